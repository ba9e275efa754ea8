"""An audit of privacy as a page and as JSON."""

__all__ = ["DATA", "PAGE", "render_audit", "write_audit"]

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.files import write_json, write_page
from eyewright.core.report import Metric
from eyewright.evaluation.charts import Series, line_chart
from eyewright.evaluation.finishing import finish_page
from eyewright.evaluation.pages import style_sheet, template
from eyewright.imaging import data_uri, shrink
from eyewright.privacy.auditing import PrivacyAudit
from eyewright.privacy.canaries import CanaryAudit
from eyewright.privacy.membership import AttackResult

PAGE, DATA = "privacy.html", "privacy.json"
_SIDE = 320
_BINS = 40

Images = Mapping[int, NDArray[np.uint8]]


def write_audit(folder: Path, audit: PrivacyAudit, *, title: str, images: Images) -> dict[str, Path]:
    """Write `privacy.html` and `privacy.json` to a folder; return their paths. The page shows training images."""
    paths = {"report": folder / PAGE, "report_json": folder / DATA}
    write_page(paths["report"], render_audit(audit, title=title, images=images))
    write_json(paths["report_json"], audit.to_json())
    return paths


def render_audit(audit: PrivacyAudit, *, title: str, images: Images) -> str:
    """Return the audit as one HTML file that needs nothing else; `images` are those of `exposed`, by row."""
    page: str = template("privacy.html.j2", Path(__file__).parent).render(
        title=title,
        style=style_sheet(),
        audit=audit,
        sentence=audit.sentence(),
        warnings=[f"{w[0].upper()}{w[1:]}." for w in audit.warnings],
        run=[_row(a) for a in audit.run],
        recipe=[_row(a) for a in audit.recipe],
        chart="" if audit.canaries is None else _canary_chart(audit.canaries),
        canaries=audit.canaries,
        exposed=[
            {"id": e.id, "label": e.label, "score": f"{e.score:.1f}", "image": data_uri(shrink(images[e.row], _SIDE))}
            for e in audit.exposed
            if e.row in images
        ],
        claim=_claim(audit.claim),
    )
    return finish_page(page)


def _row(a: AttackResult) -> dict[str, Any]:
    return {
        "name": a.name,
        "auc": _shown(a.auc, percent=False),
        "found": ["too few images" if m is None else _shown(m, percent=True) for m in a.found.values()],
        "members": a.members,
        "others": a.others,
    }


def _shown(m: Metric, *, percent: bool) -> str:
    if m.value is None or m.low is None or m.high is None:
        return "not known"
    if percent:
        return f"{m.value:.1%} ({m.low:.1%} to {m.high:.1%})"
    return f"{m.value:.3f} ({m.low:.3f} to {m.high:.3f})"


def _claim(claim: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if claim is None:
        return []
    return [
        ("epsilon", f"{claim['epsilon']:.4g} at delta {claim['delta']:.1e}"),
        ("unit and neighbours", f"one {claim['unit']}; {claim['adjacency']}"),
        ("sampling", str(claim["sampling"])),
        ("noise and clipping", f"{claim['noise']:g} x {claim['clip']:g}, {claim['steps']:,} steps"),
        ("counted", "; ".join(claim["counted"])),
        ("declared public", "; ".join(claim["public"])),
        ("left out", "; ".join(claim["left_out"])),
    ]


def _canary_chart(found: CanaryAudit) -> str:
    """Draw how the scores of canaries that took part differ from those of the others."""
    scores, inside = np.array(found.scores), np.array(found.inside)
    scale = scores[~inside].std() or 1.0
    low, high = scores.min() / scale, scores.max() / scale
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    series = []
    for name, style, chosen in (("in training", "s0", inside), ("left out", "s2", ~inside)):
        counts = np.histogram(scores[chosen] / scale, edges)[0]
        series.append(Series(list(zip(middle.tolist(), counts.tolist(), strict=True)), name, style))
    return line_chart(
        series,
        title="scores of canaries",
        x_label="score, in standard deviations of the noise",
        y_label="canaries",
        width=520,
    )
