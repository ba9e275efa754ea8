"""A segmenter's part of the page: ground truth next to prediction, classes, confusion, slices; and its pictures."""

__all__ = ["AUDIT", "lay_out", "summarise", "take_pictures"]

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from eyewright.core.predictor import Predictor
from eyewright.core.report import Report
from eyewright.data.dataset import BACKGROUND, Dataset
from eyewright.evaluation.blocks import Block, Cell, Matrix, Page, Table, more_classes
from eyewright.evaluation.charts import confusion_svg
from eyewright.evaluation.reporting import AuditView, Pictures
from eyewright.evaluation.units import say_rate, show_interval, show_number
from eyewright.imaging.drawing import draw_classes
from eyewright.tasks.scene_blocks import (
    explained_block,
    scene_address,
    slice_table,
    upscale_factor,
    upscaled,
    worst_block,
)

if TYPE_CHECKING:
    from eyewright.tasks.segment import MaskPrediction

_ROWS = 200
_SCENES = 8
_ALIKE = 2


def summarise(report: Report) -> str:
    """Say how well masks agree, and at which class best and least."""
    text = f"Mean IoU {say_rate(report.metrics['miou'])} on {report.n:,} images."
    known = [r for r in report.per_class if r["iou"]["value"] is not None and r["label"].lower() not in BACKGROUND]
    if len(known) > 1:
        best, worst = (f(known, key=lambda r: r["iou"]["value"]) for f in (max, min))
        text += (
            f" Best at “{best['label']}” ({best['iou']['value']:.1%}), "
            f"weakest at “{worst['label']}” ({worst['iou']['value']:.1%})."
        )
    return text


def lay_out(report: Report, pictures: Pictures) -> Page:
    """Return the blocks of the page; `pictures` are those of `take_pictures` and `explain_most_confident`."""
    wrong = sum(_is_wrong(i) for i in report.items)
    empty = f"The mean IoU of {wrong} of {report.n} images is below 0.98; they are not in this file."
    svg = confusion_svg(np.array(report.tables["confusion"]), report.labels, unit="pixels")
    blocks: list[Block] = [
        worst_block(pictures, empty if wrong else f"No misses and no false alarms on {report.n} images."),
        *explained_block(pictures),
        _classes(report),
        Matrix("Confusion matrix", svg, "Pixels: rows are the true class, columns the predicted one."),
        *slice_table(report, "miou", "Mean IoU", "mIoU"),
    ]
    return Page(blocks)


def _classes(report: Report) -> Table:
    rows = []
    for r in report.per_class[:_ROWS]:
        iou = r["iou"]
        bounds = show_interval("rate", iou["low"], iou["high"])
        rows.append(
            (
                Cell(r["label"], "wide", of=r["label"]),
                Cell(str(r["n"]), "n"),
                Cell(show_number("rate", iou["value"]), bounds=bounds, meter=iou["value"] or 0.0),
                Cell(show_number("rate", r["dice"]), "n"),
                Cell(show_number("rate", r["boundary_f"]), "n"),
            )
        )
    titles = (Cell("class"), Cell("images", "n"), Cell("IoU [95% interval]"), Cell("Dice", "n"))
    return Table("Classes", (*titles, Cell("boundary F", "n")), rows, note=more_classes(report, _ROWS))


def take_pictures(
    report: Report, dataset: Dataset, predictor_of: Callable[[str], Predictor]
) -> dict[str, Sequence[dict[str, Any]]]:
    """Return the worst images with truth and prediction side by side."""
    wrong = _various([i for i in report.items if _is_wrong(i)])
    return {"worst": [_scene(i, dataset, predictor_of(i["id"])) for i in wrong]}


def _various(items: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Choose the worst, but of images in which the same classes are confused no more than two."""
    kinds: Counter[tuple[str, ...]] = Counter()
    chosen = []
    for item in items:
        kind = tuple(sorted(item["iou"]))
        kinds[kind] += 1
        if kinds[kind] <= _ALIKE:
            chosen.append(item)
    return chosen[:_SCENES]


def _is_wrong(item: Mapping[str, Any]) -> bool:
    return bool(item["iou"]) and (item["miou"] or 0.0) < 0.98


def _scene(item: Mapping[str, Any], dataset: Dataset, predictor: Predictor) -> dict[str, Any]:
    image = dataset.image(item["index"])
    seen = dataset.example(item["index"], predictor.preparation)
    (prediction,) = cast("Sequence[MaskPrediction]", predictor.predict_images([seen]))
    names = predictor.labels.names
    mask = dataset.relabelled(predictor.labels).mask(item["index"], image.shape[:2])
    rows = [f"{name} {value:.2f}" for name, value in item["iou"].items()]
    k = upscale_factor(image)
    shown = upscaled(image, k)
    return {
        "id": item["id"],
        "text": f"IoU: {', '.join(rows)}.",
        "of": sorted(item["iou"]),
        "truth": scene_address(draw_classes(shown, upscaled(mask, k), names)),
        "found": scene_address(draw_classes(shown, upscaled(prediction.mask, k), names)),
    }


def _drawn(dataset: Dataset, index: int, size_hw: tuple[int, int], small: NDArray[np.uint8]) -> NDArray[np.uint8]:
    mask = dataset.mask(index, size_hw)
    rows, columns = (
        ((np.arange(s) + 0.5) / (s / whole)).astype(int).clip(0, whole - 1)
        for s, whole in zip(small.shape[:2], size_hw, strict=True)
    )
    # The strip of names below it is for larger pictures.
    return draw_classes(small, mask[rows[:, None], columns], dataset.labels.names)[: small.shape[0]]


AUDIT = AuditView(
    caption=lambda dataset, index: "",
    drawn=_drawn,
    tiles=lambda dataset: (),
    charts=lambda dataset, scan: (),
)
"""How the page of `doctor` shows masks: painted on the pictures."""
