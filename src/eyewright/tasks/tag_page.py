"""A tagger's part of the report's page: worst images, tags, pairs of tags, slices, curves; and its pictures."""

__all__ = ["AUDIT", "explain_worst", "lay_out", "summarise", "take_pictures"]

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from eyewright.core.predictor import Predictor
from eyewright.core.report import Report
from eyewright.data.dataset import Dataset
from eyewright.data.scan import Scan
from eyewright.data.targets.tags import Tags
from eyewright.evaluation.blocks import (
    Block,
    Cell,
    Chart,
    Gallery,
    Page,
    Shot,
    Span,
    Table,
    more_classes,
    name_series,
)
from eyewright.evaluation.charts import Series, bar_chart, bin_values, line_chart
from eyewright.evaluation.reporting import AuditView, Explain, Explained, Pictures
from eyewright.evaluation.units import say_rate, show_interval, show_number
from eyewright.imaging.encode import data_uri
from eyewright.imaging.overlay import shrink

_SHOWN = 24
_EXPLAINED = 12
_SIDE = 320
_ROWS = 200
_PAIRS = 15
_SLICES = 15
_NAMED = 8


def summarise(report: Report) -> str:
    """Say how well tags are ranked and found, against scores that know nothing, and which tag is the hardest."""
    found, exact, guess = (report.metrics.get(k) for k in ("map", "exact_match", "f1_micro"))
    if found is None or found.value is None:
        return f"No tag can be distinguished on these {report.n:,} images: mAP is not defined."
    text = f"mAP {say_rate(found)}"
    if report.tables.get("guess") is not None:
        text += f"; scores that know only the frequency of each tag would have {report.tables['guess']:.1%}"
    if guess is not None and guess.value is not None and exact is not None and exact.value is not None:
        text += f". At the operating points F1 is {say_rate(guess)}; every tag is right on {exact.value:.1%} of"
        text += f" {report.n:,} images"
    known = [r for r in report.per_class if r["average_precision"]["value"] is not None]
    if len(known) > 1:
        worst = min(known, key=lambda r: r["average_precision"]["value"])
        text += f". Hardest tag: “{worst['label']}”, AP {worst['average_precision']['value']:.1%}"
    lacking = [r["label"] for r in report.per_class if r["average_precision"]["value"] is None]
    if lacking:
        shown = ", ".join(f"“{n}”" for n in lacking[:_NAMED]) + (" and others" if len(lacking) > _NAMED else "")
        text += f". Not measured here, since no image or every image has it: {shown}"
    if report.tables.get("assumed"):
        text += ". No label says that an image lacks a tag: absence is assumed, so precision and AP are lower bounds"
    return text + "."


def lay_out(report: Report, pictures: Pictures) -> Page:
    """Return the blocks of the page; `pictures` are those of `take_pictures`, some with a heatmap."""
    blocks: list[Block] = [*_worst(report, pictures), _tags(report)]
    blocks += [b for b in (_pairs(report.tables["pairs"]), _slices(report.tables["slices"])) if b is not None]
    return Page(blocks, _charts(report))


def _worst(report: Report, pictures: Pictures) -> list[Gallery]:
    wrong = sum(not i["right"] for i in report.items)
    if not wrong:
        return [Gallery("Worst images", "", (), empty=f"Every tag is right on all {report.n} images.")]
    lead = f"A tag is wrong on {wrong} of {report.n:,} images."
    shown = [i for i in report.items if not i["right"] and i["id"] in pictures][:_SHOWN]
    if not shown:
        return [Gallery("Worst images", "", (), empty=f"{lead} Their images are not in this file.")]
    lead += " The worst first: these are hard images or wrong tags."
    wide = [_shot(i, pictures[i["id"]]) for i in shown if pictures[i["id"]]["heat"]]
    small = [_shot(i, pictures[i["id"]]) for i in shown if not pictures[i["id"]]["heat"]]
    if not wide:
        return [Gallery("Worst images", lead, small)]
    lead += " On the right, the regions that support the named tag."
    return [Gallery("Worst images", lead, wide, size="wide"), *([Gallery("", "", small)] if small else [])]


def _shot(item: Mapping[str, Any], picture: Mapping[str, Any]) -> Shot:
    lines = []
    for key, style, title in (("missed", "bad", "missed: "), ("wrong", "bad", "not there: ")):
        if item[key]:
            said = [Span(f"{name} ({score:.0%})", style) for name, score in item[key][:_NAMED]]
            parts = [s for k, one in enumerate(said) for s in ([Span(", ")] if k else []) + [one]]
            lines.append([Span(title), *parts, *([Span(" …")] if len(item[key]) > _NAMED else [])])
    lines.append([Span("has "), Span(item["true"] or "no tag", "good")])
    lines.append([Span(item["id"], "soft")])
    images = [(picture["image"], item["name"])]
    if picture["heat"]:
        faithful = picture["faithful"]
        verdict = "faithful" if faithful else "not faithful, do not rely on it"
        text = f"{picture['tag']} by {picture['method']}: {verdict}"
        lines.append([Span(text, "soft" if faithful else "bad", picture["verdict"])])
        images.append((picture["heat"], f"heatmap of {picture['tag']}"))
    return Shot(images, lines, of=sorted({name for key in ("missed", "wrong") for name, _ in item[key]}))


def _rate(value: Mapping[str, Any]) -> Cell:
    if value["value"] is None:
        return Cell("–")
    bounds = "" if value["low"] is None else show_interval("rate", value["low"], value["high"])
    return Cell(show_number("rate", value["value"]), bounds=bounds)


def _tags(report: Report) -> Table:
    rows = [
        (
            Cell(r["label"], "wide", of=r["label"]),
            Cell(f"{r['n']:,}", "n"),
            Cell(f"{r['judged']:,}", "n"),
            Cell(show_number("rate", r["prevalence"]), "n"),
            _rate(r["average_precision"]),
            _rate(r["precision"]),
            _rate(r["recall"]),
            _rate(r["f1"]),
            Cell(f"{r['threshold']:.2f}", "n"),
        )
        for r in report.per_class[:_ROWS]
    ]
    header = (
        Cell("tag"),
        Cell("images", "n"),
        Cell("judged", "n"),
        Cell("fraction", "n"),
        Cell("AP [95% interval]"),
        Cell("precision"),
        Cell("recall"),
        Cell("F1"),
        Cell("from", "n"),
    )
    lead = "The AP of random scores is the tag's frequency. A tag is predicted from the threshold in the last column."
    return Table("Tags", header, rows, lead=lead, note=more_classes(report, _ROWS))


def _pairs(pairs: Sequence[Mapping[str, Any]]) -> Table | None:
    rows = [
        (
            Cell(" + ".join(p["tags"]), "wide"),
            Cell(f"{p['there']:,}", "n"),
            Cell(f"{p['found']:,}", "n"),
            Cell(f"{p['chance']:,.1f}", "n"),
        )
        for p in pairs[:_PAIRS]
    ]
    header = (Cell("tags"), Cell("images with both", "n"), Cell("found with both", "n"), Cell("by chance", "n"))
    lead = (
        "A model may confuse tags that occur together far more often than by chance. Where it finds both more "
        "often than they are present, look at images with only one of them."
    )
    return Table("Tags that occur together", header, rows, lead=lead) if rows else None


def _slices(slices: Sequence[Mapping[str, Any]]) -> Table | None:
    rows = [
        (
            Cell(r["slice"]),
            Cell(r["value"], "wide"),
            Cell(f"{r['n']:,}", "n"),
            Cell(show_number("rate", r["f1"]), "n"),
            Cell(show_number("rate", r["rest"]), "n"),
        )
        for r in slices[:_SLICES]
    ]
    header = (Cell("slice"), Cell("value"), Cell("images", "n"), Cell("F1, micro", "n"), Cell("the rest", "n"))
    lead = "F1 by size, brightness, folder and metadata, weakest first."
    return Table("Weak slices", header, rows, lead=lead) if rows else None


def _charts(report: Report) -> list[Chart]:
    """Return precision over recall of every tag, and reliability."""
    curves = report.tables["curves"]

    def precision_of(k: int) -> float:
        return float(report.per_class[k]["average_precision"]["value"] or 0.0)

    rank = sorted(curves, key=precision_of)
    low = [k for k in rank[:5] if precision_of(k) < 1.0]
    series = [Series(_line(curves[k]), report.labels[k], "faint") for k in rank[len(low) :]]
    series += [Series(_line(curves[k]), report.labels[k], f"s{i}") for i, k in enumerate(low)]
    unit = {"x_range": (0.0, 1.0), "y_range": (0.0, 1.02), "x_percent": True, "y_percent": True}
    pr = line_chart(series, title="precision and recall", x_label="recall", y_label="precision", **unit)  # type: ignore[arg-type]
    bins = {k: np.array(v, np.float64) for k, v in report.tables["reliability"].items()}
    used = bins["count"] > 0
    dots = list(zip(bins["confidence"][used].tolist(), bins["accuracy"][used].tolist(), strict=True))
    reliability = line_chart(
        [Series([(0, 0), (1, 1)], "perfect", "guide"), Series(dots, "found", "s0", dots=True)],
        title="reliability",
        x_label="probability",
        y_label="fraction that has the tag",
        **unit,  # type: ignore[arg-type]
    )
    key = [Span("hardest tags: "), *name_series([report.labels[k] for k in low])] if low else []
    return [
        *([Chart("Precision and recall of each tag", key, pr)] if series else []),
        Chart(
            "Reliability",
            [Span("on the dashed line a probability is the fraction of images with the tag")],
            reliability,
        ),
    ]


def _line(points: Any) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.asarray(points)]


def take_pictures(
    report: Report, dataset: Dataset, predictor_of: Callable[[str], Predictor]
) -> dict[str, dict[str, Any]]:
    """Return pictures of the worst images by sample id, which `explain_worst` adds heatmaps to."""
    wrong = [i for i in report.items if not i["right"]][:_SHOWN]
    blank = {"heat": "", "tag": "", "method": "", "verdict": "", "faithful": True}
    return {i["id"]: {"image": data_uri(shrink(dataset.image(i["index"]), _SIDE)), **blank} for i in wrong}


def explain_worst(report: Report, dataset: Dataset, pictures: Pictures, explain: Explain) -> Pictures:
    """Return the pictures with a heatmap of what is most wrong in the first few: the tag of highest probability that is
    not there, else the missed tag of lowest."""
    worst = [i for i in report.items if i["id"] in pictures and (i["wrong"] or i["missed"])][:_EXPLAINED]
    labels = [_most_wrong(i) for i in worst]
    images = [dataset.image(i["index"]) for i in worst]
    found = {one.source: one for one in explain(images, [i["id"] for i in worst], labels)}
    return {name: {**p, **_heat(found[name])} if name in found else p for name, p in pictures.items()}


def _most_wrong(item: Mapping[str, Any]) -> str:
    if item["wrong"]:
        return str(max(item["wrong"], key=lambda pair: pair[1])[0])
    return str(min(item["missed"], key=lambda pair: pair[1])[0])


def _heat(one: Explained) -> dict[str, Any]:
    return {
        "heat": data_uri(shrink(one.overlay(), _SIDE)),
        "tag": one.label,
        "method": one.method,
        "verdict": str(one.verdict),
        "faithful": one.verdict.faithful,
    }


def _audit_charts(dataset: Dataset, scan: Scan) -> list[tuple[str, str, str]]:
    """Return how many tags images have."""
    counts = np.array([len(s.marked(Tags).present) for s in dataset.samples], float)
    if not len(counts):
        return []
    svg = bar_chart(bin_values(counts, whole=True), title="tags", width=330)
    return [("Tags of an image", f"median {np.median(counts):.0f}", svg)]


def _audit_tiles(dataset: Dataset) -> list[tuple[str, str, str]]:
    n = sum(len(s.marked(Tags).present) for s in dataset.samples)
    unknown = sum(len(s.marked(Tags).unknown) for s in dataset.samples)
    tiles = [("tags given", f"{n:,}", f"{n / max(1, len(dataset)):.1f} per image")]
    return [*tiles, ("not annotated", f"{unknown:,}", "used neither in training nor in metrics")] if unknown else tiles


AUDIT = AuditView(
    caption=lambda dataset, index: dataset.samples[index].target.cell(dataset.labels.names),
    drawn=lambda dataset, index, size_hw, small: small,
    tiles=_audit_tiles,
    charts=_audit_charts,
)
"""How the page of `doctor` shows tags."""
