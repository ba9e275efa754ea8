"""A classifier's part of the report's page: mistakes, confusion, classes, slices, curves; and its pictures."""

__all__ = ["AUDIT", "explain_mistakes", "lay_out", "summarise", "take_pictures"]

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.predictor import Predictor
from eyewright.core.report import Report
from eyewright.data.dataset import Dataset
from eyewright.evaluation.blocks import (
    Block,
    Cell,
    Chart,
    Gallery,
    Matrix,
    Page,
    Shot,
    Span,
    Table,
    more_classes,
    name_series,
)
from eyewright.evaluation.charts import Series, confusion_svg, line_chart
from eyewright.evaluation.reporting import AuditView, Explain, Explained, Pictures
from eyewright.evaluation.units import say_rate, show_interval, show_number
from eyewright.imaging.encode import data_uri
from eyewright.imaging.overlay import shrink

_MISTAKES = 24
_ROWS = 200
_SLICES = 15
_MOST_CONFUSED = 10
_MOST = 320
_A_CELL = 12
_SIDE = 112
_LARGE_SIDE = 320
_EXPLAINED = 12


def summarise(report: Report) -> str:
    """Return a sentence with the accuracy and the most frequent mistake."""
    accuracy = report.metrics["accuracy"]
    right = round((accuracy.value or 0) * report.n)
    text = f"{right:,} of {report.n:,} images are classified correctly: {say_rate(accuracy)}."
    confusion = np.array(report.tables["confusion"])
    off = confusion - np.diag(np.diag(confusion))
    if off.sum() == 0:
        return text + " There is no mistake on this test set; a larger one would show the limits."
    t, a = np.unravel_index(int(off.argmax()), off.shape)
    n = int(off[t, a])
    pair = f"“{report.labels[t]}” classified as “{report.labels[a]}”"
    if off.sum() == 1:
        return text + f" The only mistake: {pair}."
    if n == 1:
        return text + f" The {int(off.sum())} mistakes are all different, such as {pair}."
    return text + f" The most frequent mistake is {pair} ({n} of {int(off.sum())} mistakes)."


def lay_out(report: Report, pictures: Pictures) -> Page:
    """Return the blocks of the page; `pictures` are those of `take_pictures`, some with a heatmap."""
    blocks: list[Block] = [*_mistakes(report, pictures), _matrix(report, pictures), _classes(report)]
    slices = report.tables.get("slices") or ()
    if slices:
        blocks.append(_slices(slices, grouped=bool(report.tables.get("together"))))
    return Page(blocks, _curves(report))


def _mistakes(report: Report, pictures: Pictures) -> list[Gallery]:
    mistakes = [i for i in report.items if not i["right"]]
    shown = [i for i in mistakes if i["id"] in pictures][:_MISTAKES]
    if not mistakes:
        return [Gallery("Mistakes", "", (), empty=f"No mistakes on {report.n} images.")]
    lead = f"{len(mistakes):,} of {report.n:,} predictions {'is' if len(mistakes) == 1 else 'are'} wrong."
    if not shown:
        return [Gallery("Mistakes", "", (), empty=f"{lead} Their images are not in this file.")]
    lead += " Sorted by confidence"
    lead += f", {len(shown)} shown" if len(shown) < len(mistakes) else ""
    lead += ": these are hard images or wrong labels."
    explained = [i for i in shown if pictures[i["id"]]["heat"]]
    if pictures[shown[0]["id"]]["heat"]:
        lead += " On the right, the regions that support the prediction."
    plain = [i for i in shown if not pictures[i["id"]]["heat"]]
    wide, small = ([_shot(i, pictures[i["id"]]) for i in some] for some in (explained, plain))
    if not wide:
        return [Gallery("Mistakes", lead, small)]
    return [Gallery("Mistakes", lead, wide, size="wide"), *([Gallery("", "", small)] if small else [])]


def _shot(item: Mapping[str, Any], picture: Mapping[str, Any]) -> Shot:
    said = [
        Span(item["predicted"], "bad"),
        Span(f" at {item['confidence']:.1%}, should be "),
        Span(item["true"], "good"),
        Span(f" ({item['true_score']:.1%})"),
    ]
    lines, images = [said, [Span(item["id"], "soft")]], [(picture["image"], item["name"])]
    if picture["heat"]:
        faithful = picture["faithful"]
        verdict = "faithful" if faithful else "not faithful, do not rely on it"
        lines.append([Span(f"{picture['method']}: {verdict}", "soft" if faithful else "bad", picture["verdict"])])
        images.append((picture["heat"], "heatmap"))
    return Shot(images, lines, of=sorted({item["true"], item["predicted"]}))


def _matrix(report: Report, pictures: Pictures) -> Matrix:
    position = {name: k for k, name in enumerate(report.labels)}
    gallery = [
        {
            "id": i["id"],
            "t": position[i["true"]],
            "a": position[i["predicted"]],
            "c": round(i["confidence"], 4),
            "src": pictures[i["id"]]["image"],
        }
        for i in report.items
        if i["id"] in pictures
    ]
    confusion = np.array(report.tables["confusion"])
    return Matrix(
        "Confusion matrix",
        confusion_svg(confusion, report.labels),
        cells={"labels": report.labels, "gallery": gallery},
        beside=_most_confused(confusion, report.labels),
    )


def _most_confused(confusion: NDArray[np.int64], labels: Sequence[str]) -> Table | None:
    off = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-off, axis=None, kind="stable")[:_MOST_CONFUSED]
    pairs = [divmod(int(k), off.shape[1]) for k in order if off.flat[k] > 0]
    rows = [
        (
            Cell(labels[t], "wide"),
            Cell(labels[a], "wide"),
            Cell(f"{int(off[t, a])} of {int(confusion[t].sum())}", "n"),
        )
        for t, a in pairs
    ]
    return Table("Most confused", (Cell("true"), Cell("predicted"), Cell("images", "n")), rows) if rows else None


def _classes(report: Report) -> Table:
    rows = []
    for r in report.per_class[:_ROWS]:
        precision, recall = (
            Cell(show_number("rate", r[k]["value"]), meter=r[k]["value"]) for k in ("precision", "recall")
        )
        f1 = Cell(show_number("rate", r["f1"]["value"]), bounds=show_interval("rate", r["f1"]["low"], r["f1"]["high"]))
        ranks = (Cell(show_number("rate", r[k]), "n") for k in ("auc", "average_precision"))
        rows.append((Cell(r["label"], "wide", of=r["label"]), Cell(str(r["n"]), "n"), precision, recall, f1, *ranks))
    header = (
        Cell("class"),
        Cell("images", "n"),
        Cell("precision"),
        Cell("recall"),
        Cell("F1 [95% interval]"),
        Cell("AUC", "n"),
        Cell("AP", "n"),
    )
    return Table("Classes", header, rows, note=more_classes(report, _ROWS))


def _slices(slices: Sequence[Mapping[str, Any]], *, grouped: bool) -> Table:
    lead = (
        "Accuracy by folder, size, brightness and metadata, weakest first. A slice is marked where it is weaker "
        f"than the rest significantly, corrected for the {len(slices)} slices tested"
        f"{' and for groups' if grouped else ''}."
    )
    rows = [
        (
            Cell(r["slice"]),
            Cell(r["value"], "wide"),
            Cell(str(r["n"]), "n"),
            Cell(
                show_number("rate", r["accuracy"]),
                bounds=show_interval("rate", r["low"], r["high"]),
                tag="weaker" if r["weaker"] else "",
            ),
            Cell(show_number("rate", r["rest"]), "n"),
        )
        for r in slices[:_SLICES]
    ]
    header = (
        Cell("slice"),
        Cell("value"),
        Cell("images", "n"),
        Cell("accuracy [95% interval]"),
        Cell("the rest", "n"),
    )
    return Table("Weak slices", header, rows, lead=lead)


def _curves(report: Report) -> list[Chart]:
    """Return ROC, precision over recall, and reliability."""
    curves = report.tables["curves"]
    rank = sorted(curves, key=lambda k: report.per_class[k].get("auc") or 0.0)
    # Where every class is ranked without a mistake, none is harder than another.
    low = [k for k in rank[:5] if (report.per_class[k].get("auc") or 0.0) < 1.0]

    def lines(kind: str) -> list[Series]:
        faint = [Series(_pairs(curves[k][kind]), report.labels[k], "faint") for k in rank[len(low) : 60]]
        return faint + [Series(_pairs(curves[k][kind]), report.labels[k], f"s{i}") for i, k in enumerate(low)]

    unit = {"x_range": (0.0, 1.0), "y_range": (0.0, 1.02), "x_percent": True, "y_percent": True}
    roc = line_chart(
        [Series([(0, 0), (1, 1)], "chance", "guide"), *lines("roc")],
        title="ROC",
        x_label="false positive rate",
        y_label="true positive rate",
        **unit,  # type: ignore[arg-type]
    )
    pr = line_chart(lines("pr"), title="precision and recall", x_label="recall", y_label="precision", **unit)  # type: ignore[arg-type]
    drawn = [Series([(0, 0), (1, 1)], "perfect", "guide")]
    note = [Span("on the dashed line confidence equals accuracy")]
    if "reliability_before" in report.tables:
        drawn.append(Series(_reliability(report.tables["reliability_before"]), "before", "s1", dots=True))
        about = report.tables["calibration"]
        note = [
            Span("before", "key s1"),
            Span(f" calibration, error {about['ece_before']:.1%}; "),
            Span("after", "key s0"),
            Span(f", error {about['ece_after']:.1%}"),
        ]
    drawn.append(Series(_reliability(report.tables["reliability"]), "after", "s0", dots=True))
    reliability = line_chart(
        drawn,
        title="reliability",
        x_label="confidence",
        y_label="accuracy",
        **unit,  # type: ignore[arg-type]
    )
    key = [Span("hardest classes: "), *name_series([report.labels[k] for k in low])] if low else []
    return [
        Chart("ROC, each class against the rest", key, roc),
        Chart("Precision and recall", key, pr),
        Chart("Reliability", note, reliability),
    ]


def _reliability(table: Any) -> list[tuple[float, float]]:
    bins = {k: np.array(v, dtype=np.float64) for k, v in table.items()}
    used = bins["count"] > 0
    return list(zip(bins["confidence"][used].tolist(), bins["accuracy"][used].tolist(), strict=True))


def _pairs(points: Any) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.asarray(points)]


def take_pictures(
    report: Report, dataset: Dataset, predictor_of: Callable[[str], Predictor]
) -> dict[str, dict[str, Any]]:
    """Return pictures by sample id, at most 12 a cell of the matrix and 320 in all.

    Each has `image`, a data address; `heat` is another, which `explain_mistakes` sets with `method`, `verdict` and
    `faithful`.
    """
    wrong = [i for i in report.items if not i["right"]]
    right = [i for i in report.items if i["right"]]
    of_cell: Counter[tuple[str, str]] = Counter()
    pictures: dict[str, dict[str, Any]] = {}
    share = max(1, min(_A_CELL, (_MOST - min(len(wrong), _MOST // 2)) // max(1, len(report.labels))))
    for item in wrong + right:
        cell = (item["true"], item["predicted"])
        if len(pictures) >= _MOST or of_cell[cell] >= (share if item["right"] else _A_CELL):
            continue
        of_cell[cell] += 1
        # The mistakes that the page begins with open large; the others fill the matrix.
        large = not item["right"] and len(pictures) < _MISTAKES
        small = shrink(dataset.shown(item["index"]), _LARGE_SIDE if large else _SIDE)
        pictures[item["id"]] = {"image": data_uri(small), "heat": "", "method": "", "verdict": "", "faithful": True}
    return pictures


def explain_mistakes(report: Report, dataset: Dataset, pictures: Pictures, explain: Explain) -> Pictures:
    """Return the pictures with heatmaps for the first mistakes, whose predictions are the most confident."""
    wrong = [i for i in report.items if not i["right"] and i["id"] in pictures][:_EXPLAINED]
    images = [dataset.image(i["index"]) for i in wrong]
    found = {one.source: one for one in explain(images, [i["id"] for i in wrong])}
    return {name: {**p, **_heat(found[name])} if name in found else p for name, p in pictures.items()}


def _heat(one: Explained) -> dict[str, Any]:
    heat = data_uri(shrink(one.overlay(), _LARGE_SIDE))
    return {"heat": heat, "method": one.method, "verdict": str(one.verdict), "faithful": one.verdict.faithful}


AUDIT = AuditView(
    caption=lambda dataset, index: dataset.samples[index].target.text(dataset.labels.names),
    drawn=lambda dataset, index, size_hw, small: small,
    tiles=lambda dataset: (),
    charts=lambda dataset, scan: (),
)
"""How the page of `doctor` shows labels: their names below the pictures."""
