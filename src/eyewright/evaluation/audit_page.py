"""`doctor`'s page: groups, classes, sizes, the worst files and every finding, in one file that needs nothing else."""

__all__ = ["render_audit", "write_audit"]

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import EyewrightError
from eyewright.core.files import write_json, write_page
from eyewright.core.report import Finding
from eyewright.core.task import task_of
from eyewright.data.dataset import Dataset
from eyewright.data.grouping import Grouping
from eyewright.data.scan import Scan
from eyewright.evaluation.charts import bar_chart, bin_values
from eyewright.evaluation.finishing import finish_page
from eyewright.evaluation.pages import style_sheet, template
from eyewright.evaluation.reporting import reporting_of
from eyewright.imaging.encode import data_uri
from eyewright.imaging.overlay import shrink

_SIDE = 224
_GROUPS = 40
_OF_ONE = 6
_PROPOSED = 4
_WORST = 24
_PICTURES = 320
_BYTES = 4_000_000
_ROWS_A_CODE = 40
_CLASSES = 40
_CHART = 330

_GROUP_CODES = ("leak", "conflicting_labels", "duplicate", "near_duplicate", "series")
_WORST_CODES = ("blank", "truncated", "unusual_size", "unusual_mode", "mask_inverted", "mask_full", "box_huge")
_TITLES = {
    "leak": "On both sides of the split",
    "conflicting_labels": "Copies with different labels",
    "duplicate": "Identical images",
    "near_duplicate": "Copies of one image",
    "series": "Series, kept together by the split",
}


def write_audit(folder: Path, dataset: Dataset, scan: Scan, grouping: Grouping, findings: Sequence[Finding]) -> None:
    """Write `doctor.html` and `findings.json` to `folder`.

    Raises:
        OutputError: it cannot be written.
    """
    rows = [{k: v for k, v in asdict(f).items() if k != "paths" or v} for f in findings]
    about = {
        "task": dataset.task,
        "format": dataset.format,
        "images": len(dataset),
        "counts": dict(Counter(f.severity for f in findings)),
        "grouping": grouping.to_json(),
        "findings": rows,
    }
    write_json(folder / "findings.json", about)
    write_page(folder / "doctor.html", render_audit(dataset, scan, grouping, findings))


def render_audit(dataset: Dataset, scan: Scan, grouping: Grouping, findings: Sequence[Finding]) -> str:
    """Return the page; its size is bounded however many images and findings there are."""
    shown = _Pictures(dataset)
    by_code: dict[str, list[Finding]] = defaultdict(list)
    for f in findings:
        by_code[f.code].append(f)
    proposals = [_proposal(p, shown) for p in grouping.proposals[:_PROPOSED]]
    sections = _group_sections(by_code, shown)
    worst = _worst(by_code, shown)
    counts: Counter[str] = Counter(f.severity for f in findings)
    page: str = template("audit.html.j2").render(
        style=style_sheet() + (Path(__file__).parent / "audit.css").read_text("utf-8"),
        dataset=dataset,
        summary=_summary(counts, grouping),
        tiles=_tiles(dataset, scan, grouping, counts),
        proposals=proposals,
        sections=sections,
        classes=_class_chart(dataset),
        n_classes=len(dataset.labels),
        counted=task_of(dataset.task).words.counted,
        charts=_charts(dataset, scan),
        worst=worst,
        unreadable=by_code.get("unreadable", [])[:_ROWS_A_CODE],
        n_unreadable=int((~scan.readable).sum()),
        codes=[(code, _rank(own), own[:_ROWS_A_CODE], len(own)) for code, own in by_code.items()],
        notes=dataset.notes,
    )
    return finish_page(page)


class _Pictures:
    """Thumbnails by sample id as data addresses, made when asked for; none once the page holds enough of them."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._index = {s.id: i for i, s in enumerate(dataset.samples)}
        self._made: dict[str, dict[str, str]] = {}
        self._bytes = 0

    def of(self, name: str) -> dict[str, str] | None:
        """Return the picture of a sample with its caption; None if there is none, or no room for it."""
        if name in self._made:
            return self._made[name]
        index = self._index.get(name)
        if index is None or len(self._made) >= _PICTURES or self._bytes >= _BYTES:
            return None
        try:
            source = data_uri(shrink(_drawn(self._dataset, index), _SIDE), quality=70)
        except (EyewrightError, ValueError):
            return None
        self._bytes += len(source)
        sample = self._dataset.samples[index]
        label = reporting_of(self._dataset.task).audit.caption(self._dataset, index)
        made = {"id": name, "src": source, "label": label, "split": sample.split or ""}
        self._made[name] = made
        return made

    def some(self, names: Sequence[str], most: int) -> list[dict[str, str]]:
        made = (self.of(name) for name in names[:most])
        return [picture for picture in made if picture is not None]


def _drawn(dataset: Dataset, index: int) -> NDArray[np.uint8]:
    """Return an image, made small, with what is marked in it."""
    image = dataset.shown(index)
    small = shrink(image, 2 * _SIDE)
    try:
        return reporting_of(dataset.task).audit.drawn(dataset, index, (image.shape[0], image.shape[1]), small)
    except EyewrightError:
        return small


def _rank(own: Sequence[Finding]) -> str:
    severities = {f.severity for f in own}
    return next(s for s in ("error", "warning", "note") if s in severities)


def _summary(counts: Counter[str], grouping: Grouping) -> str:
    parts = [f"{counts[s]:,} {s}{'s' * (counts[s] != 1)}" for s in ("error", "warning", "note") if counts[s]]
    text = f"{' · '.join(parts)}." if parts else "Nothing to fix."
    described = grouping.describe()
    text += f" {described[0].upper()}{described[1:]}."
    if grouping.proposals:
        n = len(grouping.proposals)
        text += f" {n} further grouping{'s are' if n != 1 else ' is'} likely and asked about below."
    return text


def _tiles(dataset: Dataset, scan: Scan, grouping: Grouping, counts: Counter[str]) -> list[tuple[str, str, str]]:
    splits = " · ".join(f"{s} {sum(x.split == s for x in dataset.samples):,}" for s in dataset.splits)
    grouped = sum(len(g.members) for g in grouping.groups)
    tiles = [
        ("images", f"{len(dataset):,}", splits or "no split"),
        ("classes", f"{len(dataset.labels):,}", dataset.task),
    ]
    tiles += reporting_of(dataset.task).audit.tiles(dataset)
    tiles.append(("groups", f"{len(grouping.groups):,}", f"{grouped:,} images in them"))
    tiles.append(("unreadable", f"{int((~scan.readable).sum()):,}", "files"))
    tiles.append(
        (
            "to fix",
            f"{counts['error'] + counts['warning']:,}",
            f"and {counts['note']:,} note{'s' * (counts['note'] != 1)}",
        )
    )
    return tiles


def _proposal(proposal: Any, shown: _Pictures) -> dict[str, Any]:
    samples = shown._dataset.samples
    examples = [shown.some([samples[i].id for i in own], _OF_ONE) for own in proposal.examples[:_OF_ONE]]
    return {
        "option": proposal.option,
        "evidence": proposal.evidence,
        "groups": proposal.groups,
        "images": proposal.images,
        "p": proposal.p_value,
        "examples": [e for e in examples if e],
    }


def _group_sections(by_code: dict[str, list[Finding]], shown: _Pictures) -> list[dict[str, Any]]:
    """Return the groups of each code with their pictures, the largest first; every code gets a part of the space."""
    present = [c for c in _GROUP_CODES if any(f.paths for f in by_code.get(c, ()))]
    share = max(4, _GROUPS // max(1, len(present)))
    sections = []
    for code in present:
        own = sorted((f for f in by_code[code] if f.paths), key=lambda f: -len(f.paths))
        rows = []
        for f in own[:share]:
            pictures = shown.some(f.paths, _OF_ONE)
            rows.append({"finding": f, "pictures": pictures, "more": len(f.paths) - len(pictures)})
        sections.append({"title": _TITLES[code], "code": code, "n": len(own), "rows": rows})
    return sections


def _worst(by_code: dict[str, list[Finding]], shown: _Pictures) -> list[dict[str, Any]]:
    rows = []
    index = {getattr(s.target, "name", ""): s.id for s in shown._dataset.samples}
    for code in _WORST_CODES:
        for f in by_code.get(code, [])[: _WORST // 3]:
            picture = shown.of(index.get(f.path, f.path)) if f.path else None
            if picture is not None:
                rows.append({"finding": f, "picture": picture})
    return rows[:_WORST]


def _class_chart(dataset: Dataset) -> str:
    counts = sorted(dataset.counts().items(), key=lambda item: (-item[1], item[0]))
    shown = counts if len(counts) <= _CLASSES else [*counts[: _CLASSES // 2], *counts[-_CLASSES // 2 :]]
    return bar_chart([(name, float(n)) for name, n in shown], title="class balance", width=_CHART)


def _charts(dataset: Dataset, scan: Scan) -> list[tuple[str, str, str]]:
    """Return (title, note, svg) of how sizes and brightness are spread."""
    good = np.flatnonzero(scan.readable)
    charts = []
    sizes = scan.sizes_hw
    if len(sizes):
        kinds = Counter(f"{w}×{h}" for h, w in sizes.tolist())
        first = kinds.most_common(1)[0][0]
        note = f"{first} is the most frequent of {len(kinds):,} sizes" if len(kinds) > 1 else f"all are {first}"
        if len(kinds) <= 8:
            rows = [(name, float(n)) for name, n in kinds.most_common()]
        else:
            rows = bin_values(sizes.max(1).astype(float), logarithmic=True)
        charts.append(
            ("Longer side in pixels" if len(kinds) > 8 else "Sizes", note, bar_chart(rows, title="sizes", width=_CHART))
        )
    if len(good):
        means = np.concatenate([scan.thumbnails[good[k : k + 4096]].mean((1, 2)) for k in range(0, len(good), 4096)])
        note = f"mean grey value, 0 black to 255 white; median {np.median(means):.0f}"
        charts.append(
            ("Brightness", note, bar_chart(bin_values(means, low=0, high=256), title="brightness", width=_CHART))
        )
    charts += reporting_of(dataset.task).audit.charts(dataset, scan)
    return charts
