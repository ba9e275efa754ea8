"""What anonymising came to, as a page and as JSON. Neither shows an image or a name from before."""

__all__ = ["DATA", "PAGE", "render_anonymous", "write_anonymous"]

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.files import checked_output, write_json, write_page
from eyewright.core.report import Finding, Metric
from eyewright.evaluation.finishing import finish_page
from eyewright.evaluation.pages import style_sheet, template
from eyewright.imaging.encode import data_uri

PAGE, DATA = "anonymize.html", "anonymize.json"

Shown = Sequence[tuple[str, NDArray[np.uint8]]]


def write_anonymous(
    folder: Path, result: Mapping[str, Any], *, headline: str, shown: Shown, findings: Sequence[Finding], named: bool
) -> dict[str, Path]:
    """Write `anonymize.html` and `anonymize.json` to a folder; return their paths. With `named` it names files."""
    paths = {"report": folder / PAGE, "report_json": folder / DATA}
    with checked_output(folder, option="--report"):
        folder.mkdir(parents=True, exist_ok=True)
    write_page(
        paths["report"], render_anonymous(result, headline=headline, shown=shown, findings=findings, named=named)
    )
    write_json(paths["report_json"], dict(result))
    return paths


def render_anonymous(
    result: Mapping[str, Any], *, headline: str, shown: Shown, findings: Sequence[Finding], named: bool
) -> str:
    """Return the result as one HTML file that needs nothing else; `shown` are anonymous images."""
    recall = result["recall"]
    utility = result["utility"]
    told: dict[tuple[str, str, str], list[str]] = {}
    for f in findings:
        told.setdefault((f.severity, f.message, f.fix), []).append(f.path.replace("\\", "/").rpartition("/")[2])
    page: str = template("anonymous.html.j2", Path(__file__).parent).render(
        style=style_sheet(),
        headline=headline[:1].upper() + headline[1:],
        result=result,
        recall=None if recall is None else Metric(**recall["all"]),
        large=None if recall is None else Metric(**recall["large"]),
        rows=[] if recall is None else [(k, v["hidden"], v["n"]) for k, v in recall["by_label"].items()],
        unnamed=0 if recall is None else recall["unnamed"],
        utility=None
        if utility is None
        else (utility["metric"], Metric(**utility["before"]), Metric(**utility["after"])),
        findings=[
            {"severity": severity, "message": message, "fix": fix, "n": len(names), "name": names[0] if named else ""}
            for (severity, message, fix), names in told.items()
        ],
        shown=[{"name": name, "image": data_uri(image)} for name, image in shown],
    )
    return finish_page(page)
