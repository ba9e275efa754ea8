"""A detector's part of the page: errors, misses, false alarms, ground truth next to prediction; and its pictures."""

__all__ = ["AUDIT", "lay_out", "summarise", "take_pictures"]

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from eyewright.core.predictor import Predictor, predict_everything
from eyewright.core.report import Report
from eyewright.core.task import task_of
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
from eyewright.evaluation.reporting import Pictures
from eyewright.evaluation.units import say_rate, show_interval, show_number
from eyewright.imaging.drawing import draw_objects
from eyewright.imaging.encode import data_uri
from eyewright.imaging.overlay import shrink
from eyewright.metrics.matching import whole_masks
from eyewright.tasks.box_marks import AUDIT
from eyewright.tasks.box_results import true_objects
from eyewright.tasks.scene_blocks import (
    explained_block,
    scene_address,
    slice_table,
    upscale_factor,
    upscaled,
    worst_block,
)

if TYPE_CHECKING:
    from eyewright.tasks.detect import BoxPrediction

_KINDS = (
    ("missed", "objects with no detection near them"),
    ("background", "detections where no object is marked"),
    ("localisation", "right class, poorly placed (IoU 0.1 to 0.5)"),
    ("class", "well placed, wrong class"),
    ("both", "poorly placed and wrong class"),
    ("duplicate", "a second detection of one object"),
)
_ROWS = 200
_SCENES = 8
_CROPS = 18
_CROP_SIDE = 320


def summarise(report: Report) -> str:
    """Say how many objects are found, and which kind of error costs most."""
    total = sum(i["objects"] for i in report.items)
    text = f"AP50 {say_rate(report.metrics['ap50'])} on {report.n:,} images with {total:,} objects."
    f1, recall, precision = (report.metrics[k].value for k in ("f1", "recall", "precision"))
    if f1 is not None and recall is not None and precision is not None:
        text += (
            f" At its operating points it finds {recall:.1%} of them, and {precision:.1%} of its detections are right."
        )
    kinds = report.tables["errors"]["kinds"]
    most = max(kinds, key=lambda k: kinds[k]["ap50_lost"])
    if kinds[most]["ap50_lost"] > 0.005:
        text += f" The errors that cost most AP50, over all scores: {dict(_KINDS)[most]}."
    return text


def lay_out(report: Report, pictures: Pictures) -> Page:
    """Return the blocks of the page; `pictures` are those of `take_pictures` and `explain_most_confident`."""
    blocks: list[Block] = []
    errors = report.tables.get("errors")
    if errors is not None:
        blocks.append(_error_table(errors, report.n))
    blocks += _galleries(pictures)
    wrong = sum(bool(i["missed"] or i["false"]) for i in report.items)
    empty = f"{wrong} of {report.n} images have misses or false alarms; they are not in this file."
    blocks.append(worst_block(pictures, empty if wrong else f"No misses and no false alarms on {report.n} images."))
    blocks += explained_block(pictures)
    blocks.append(_classes(report))
    note = (
        "Objects at the operating points: rows are the true class, columns the predicted one. “background” as true "
        "class is a false alarm, as predicted class a miss."
    )
    svg = confusion_svg(np.array(report.tables["confusion"]), (*report.labels, "background"), unit="objects")
    blocks.append(Matrix("Confusion matrix", svg, note))
    blocks += slice_table(report, "ap50", "AP50", "AP50")
    return Page(blocks, _curves(report))


def _error_table(errors: Mapping[str, Any], n: int) -> Table:
    kinds = errors["kinds"]
    rows = [(k, meaning, round(kinds[k]["n"]), kinds[k]["ap50_lost"]) for k, meaning in _KINDS]
    some = f". Both are of {errors['n']:,} of the images" if errors["n"] < n else ""
    lead = (
        "count: errors at the operating points, as a user sees them. AP50 lost: by how much AP50, which is over the "
        "detections of all scores, would rise if only that kind were fixed (TIDE, Bolya et al. 2020). A kind can "
        f"therefore cost something and have no count{some}. Start with the largest cost."
    )
    cells = [
        (Cell(k), Cell(meaning, "soft wide"), Cell(str(count), "n"), Cell(f"{lost:.1%}", meter=lost, meter_px=140))
        for k, meaning, count, lost in sorted(rows, key=lambda r: -r[3])
    ]
    header = (
        Cell("kind"),
        Cell("what it means"),
        Cell("count at operating points", "n"),
        Cell("AP50 lost, all scores"),
    )
    return Table("Kinds of error", header, cells, lead=lead)


def _galleries(pictures: Pictures) -> list[Block]:
    misses = [
        Shot([(c["src"], c["label"])], [[Span(c["label"], "good")], [Span(c["name"], "soft")]], of=(c["label"],))
        for c in pictures.get("misses", ())
    ]
    alarms = [
        Shot(
            [(c["src"], c["label"])],
            [[Span(c["label"], "bad"), Span(f" at {c['score']:.1%}: {c['kind']}")], [Span(c["name"], "soft")]],
            of=(c["label"],),
        )
        for c in pictures.get("alarms", ())
    ]
    blocks: list[Block] = []
    if misses:
        blocks.append(Gallery("Worst misses", "Objects that were not found, the largest first.", misses, "small"))
    if alarms:
        lead = "Wrong detections, sorted by confidence: hard cases, or objects that nobody marked."
        blocks.append(Gallery("Worst false alarms", lead, alarms, "small"))
    return blocks


def _classes(report: Report) -> Table:
    rows = []
    for r in report.per_class[:_ROWS]:
        ap50 = r["ap50"]
        bounds = show_interval("rate", ap50["low"], ap50["high"])
        rows.append(
            (
                Cell(r["label"], "wide", of=r["label"]),
                Cell(str(r["n"]), "n"),
                Cell(show_number("rate", ap50["value"]), bounds=bounds, meter=ap50["value"] or 0.0),
                Cell(show_number("rate", r["ap"]), "n"),
                Cell(f"{r['threshold']:.3f}", "n"),
                *(Cell(show_number("rate", r[k]), "n") for k in ("precision", "recall", "f1")),
            )
        )
    titles = ("AP50:95", "score threshold", "precision", "recall", "F1")
    header = (Cell("class"), Cell("objects", "n"), Cell("AP50 [95% interval]"), *(Cell(t, "n") for t in titles))
    return Table("Classes", header, rows, note=more_classes(report, _ROWS))


def _curves(report: Report) -> list[Chart]:
    """Return precision over recall, and F1 over the score."""
    curves = report.tables.get("curves") or {}
    if not curves:
        return []
    rank = sorted(curves, key=lambda k: report.per_class[int(k)]["ap50"]["value"] or 0.0)
    low = rank[:5]
    key = [Span("at an IoU of 0.5; weakest classes: "), *name_series([report.labels[int(k)] for k in low])]
    result = []
    for kind, name, x, y in (
        ("pr", "Precision and recall", "recall", "precision"),
        ("f1", "F1 over the score threshold", "score threshold", "F1"),
    ):
        faint = [Series(_pairs(curves[k][kind]), report.labels[int(k)], "faint") for k in rank[5:60]]
        lines = [Series(_pairs(curves[k][kind]), report.labels[int(k)], f"s{i}") for i, k in enumerate(low)]
        svg = line_chart(
            faint + lines,
            title=name,
            x_label=x,
            y_label=y,
            x_range=(0.0, 1.0),
            y_range=(0.0, 1.02),
            x_percent=kind == "pr",
            y_percent=True,
        )
        result.append(Chart(name, key, svg))
    return result


def _pairs(points: Any) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.asarray(points)]


def take_pictures(
    report: Report, dataset: Dataset, predictor_of: Callable[[str], Predictor]
) -> dict[str, Sequence[dict[str, Any]]]:
    """Return the worst images with truth and prediction side by side, and the worst misses and false alarms cut out."""
    ids = {name: k for k, name in enumerate(report.labels)}
    points = np.array([r["threshold"] for r in report.per_class])
    worst = [
        _scene(i, dataset, predictor_of(i["id"]), points, ids)
        for i in report.items[:_SCENES]
        if i["missed"] or i["false"]
    ]
    misses = [{**m, "item": i} for i in report.items for m in i["missed"]]
    misses.sort(key=lambda m: -(m["box"][2] - m["box"][0]) * (m["box"][3] - m["box"][1]))
    alarms = [{**f, "item": i} for i in report.items for f in i["false"]]
    alarms.sort(key=lambda f: -f["score"])
    return {
        "worst": worst,
        "misses": [_crop(m, dataset, ids) for m in misses[:_CROPS]],
        "alarms": [_crop(a, dataset, ids) for a in alarms[:_CROPS]],
    }


def _scene(
    item: Mapping[str, Any], dataset: Dataset, predictor: Predictor, points: NDArray[np.float64], ids: dict[str, int]
) -> dict[str, Any]:
    image = dataset.image(item["index"])
    # What is drawn is what the report counts: objects at its own operating points.
    (every,) = predict_everything(predictor, [image])
    prediction = cast("BoxPrediction", task_of(predictor.task_name).settle(every, points))
    truth = [(t["box"], t["label"]) for t in item["truth"]]
    masks = _true_masks(dataset, item["index"], image) if prediction.crops is not None else None
    boxes = np.array([b for b, _ in truth], np.float64).reshape(-1, 4)
    names = [n for _, n in truth]
    # Words on a small picture would hide it, so it is enlarged first.
    k = upscale_factor(image)
    shown = upscaled(image, k)
    real = draw_objects(
        shown, boxes * k, names, np.array([ids[n] for n in names], np.int64), masks=_upscaled_masks(masks, k)
    )
    found = draw_objects(
        shown,
        prediction.boxes_xyxy * k,
        [f"{n} {s:.0%}" for n, s in zip(prediction.labels, prediction.scores, strict=True)],
        prediction.label_ids,
        masks=_upscaled_masks(prediction.masks, k),
    )
    objects, false = item["objects"], len(item["false"])
    text = (
        f"{objects} {'object' if objects == 1 else 'objects'}, {len(item['missed'])} missed, "
        f"{false} false {'alarm' if false == 1 else 'alarms'}."
    )
    return {
        "id": item["id"],
        "text": text,
        "of": sorted({*names, *prediction.labels}),
        "truth": scene_address(real),
        "found": scene_address(found),
    }


def _upscaled_masks(masks: NDArray[np.bool_] | None, k: int) -> NDArray[np.bool_] | None:
    return masks if masks is None or k == 1 else np.repeat(np.repeat(masks, k, 1), k, 2)


def _true_masks(dataset: Dataset, index: int, image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    size = (image.shape[0], image.shape[1])
    truth = true_objects(dataset, index, size, outlined=True)
    kept = [m for m, c in zip(truth.masks or (), truth.crowd if truth.crowd is not None else (), strict=True) if not c]
    return whole_masks(kept, size)


def _crop(row: dict[str, Any], dataset: Dataset, ids: dict[str, int]) -> dict[str, Any]:
    """Cut an object out with half its size around it, and draw its box."""
    image = dataset.image(row["item"]["index"])
    x0, y0, x1, y1 = row["box"]
    around = max(12.0, 0.6 * max(x1 - x0, y1 - y0))
    left, top = (max(0, int(v - around)) for v in (x0, y0))
    right, bottom = min(image.shape[1], int(x1 + around) + 1), min(image.shape[0], int(y1 + around) + 1)
    part = image[top:bottom, left:right]
    box = np.array([[x0 - left, y0 - top, x1 - left, y1 - top]])
    factor = max(1, _CROP_SIDE // max(part.shape[:2]))
    part = upscaled(part, factor)
    # The page shows it at less than half of its size until it is opened.
    line = max(1, round(max(part.shape[:2]) / 100))
    drawn = draw_objects(part, box * factor, [""], np.array([ids[row["label"]]]), line=line)
    return {
        "src": data_uri(shrink(drawn, _CROP_SIDE)),
        "label": row["label"],
        "name": row["item"]["name"],
        "score": row.get("score"),
        "kind": row.get("kind"),
    }
