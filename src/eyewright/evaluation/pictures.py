"""Small pictures for a report: the images behind the cells of the confusion matrix, or truth beside answer."""

__all__ = ["choose_pictures", "scene_pictures"]

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.report import Report
from eyewright.data.dataset import Dataset
from eyewright.imaging.drawing import draw_classes, draw_objects
from eyewright.imaging.encode import data_uri
from eyewright.imaging.overlay import shrink
from eyewright.metrics.matching import whole_masks

_MOST = 320
_SIDE = 112


def choose_pictures(report: Report, dataset: Dataset, *, a_cell: int = 12) -> dict[str, dict[str, Any]]:
    """Give pictures as data addresses by sample id, at most `a_cell` a cell and 320 in all.

    `dataset` is the one that the report was made on. For boxes see `scene_pictures`.
    """
    if report.task != "classify":
        raise UsageError("pictures of boxes and masks are chosen by scene_pictures")
    wrong = [i for i in report.items if not i["right"]]
    right = [i for i in report.items if i["right"]]
    of_cell: Counter[tuple[str, str]] = Counter()
    pictures: dict[str, dict[str, Any]] = {}
    share = max(1, min(a_cell, (_MOST - min(len(wrong), _MOST // 2)) // max(1, len(report.labels))))
    for item in wrong + right:
        cell = (item["true"], item["predicted"])
        if len(pictures) >= _MOST or of_cell[cell] >= (share if item["right"] else a_cell):
            continue
        of_cell[cell] += 1
        small = shrink(dataset.image(item["index"]), _SIDE)
        pictures[item["id"]] = {"image": data_uri(small), "heat": "", "method": "", "verdict": "", "faithful": True}
    return pictures


_SCENES = 8
_ALIKE = 2
_CROPS = 18
_SCENE_SIDE = 520
_CROP_SIDE = 150


def scene_pictures(
    report: Report, dataset: Dataset, predictor: Any, *, owners: Mapping[str, Any] | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Give the pictures of a report on boxes or masks: the worst images with truth and answer side by side, and the
    worst misses and false alarms cut out.

    `dataset` and `predictor` are those that the report was made with; `owners` names by sample id who predicted it,
    where that differs.
    """
    owners = owners or {}
    if report.task == "segment":
        wrong = _various([i for i in report.items if _is_wrong(i)])
        return {"worst": [_mask_scene(i, dataset, owners.get(i["id"], predictor)) for i in wrong]}
    ids = {name: k for k, name in enumerate(report.labels)}
    worst = [
        _box_scene(i, dataset, owners.get(i["id"], predictor), ids)
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


def _box_scene(item: Mapping[str, Any], dataset: Dataset, predictor: Any, ids: dict[str, int]) -> dict[str, Any]:
    image = dataset.image(item["index"])
    (prediction,) = predictor.predict_images([image])
    truth = [(t["box"], t["label"]) for t in item["truth"]]
    masks = _true_masks(dataset, item["index"], image) if prediction.crops is not None else None
    boxes = np.array([b for b, _ in truth], np.float64).reshape(-1, 4)
    names = [n for _, n in truth]
    # Words on a small picture would hide it, so it is made larger first.
    k = _factor(image)
    shown = _larger(image, k)
    real = draw_objects(
        shown, boxes * k, names, np.array([ids[n] for n in names], np.int64), masks=_larger_masks(masks, k)
    )
    found = draw_objects(
        shown,
        prediction.boxes_xyxy * k,
        [f"{n} {s:.0%}" for n, s in zip(prediction.labels, prediction.scores, strict=True)],
        prediction.label_ids,
        masks=_larger_masks(prediction.masks, k),
    )
    text = f"{item['objects']} objects, {len(item['missed'])} missed, {len(item['false'])} found in vain."
    return {
        "id": item["id"],
        "text": text,
        "truth": data_uri(shrink(real, _SCENE_SIDE)),
        "found": data_uri(shrink(found, _SCENE_SIDE)),
    }


def _factor(image: NDArray[np.uint8]) -> int:
    longer: int = max(image.shape[:2])
    return max(1, _SCENE_SIDE // longer)


def _larger(pixels: NDArray[Any], k: int) -> NDArray[Any]:
    """Show every pixel as k x k of them, (H, W, ...)."""
    return pixels if k == 1 else np.repeat(np.repeat(pixels, k, 0), k, 1)


def _larger_masks(masks: NDArray[np.bool_] | None, k: int) -> NDArray[np.bool_] | None:
    return masks if masks is None or k == 1 else np.repeat(np.repeat(masks, k, 1), k, 2)


def _true_masks(dataset: Dataset, index: int, image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    from eyewright.evaluation.scenes import true_objects

    size = (image.shape[0], image.shape[1])
    truth = true_objects(dataset, index, size)
    kept = [m for m, c in zip(truth.masks or (), truth.crowd if truth.crowd is not None else (), strict=True) if not c]
    return whole_masks(kept, size)


def _mask_scene(item: Mapping[str, Any], dataset: Dataset, predictor: Any) -> dict[str, Any]:
    image = dataset.image(item["index"])
    (prediction,) = predictor.predict_images([image])
    names = predictor.labels.names
    mask = dataset.relabelled(predictor.labels).mask(item["index"], image.shape[:2])
    rows = [f"{name} {value:.2f}" for name, value in item["iou"].items()]
    k = _factor(image)
    shown = _larger(image, k)
    return {
        "id": item["id"],
        "text": f"IoU: {', '.join(rows)}.",
        "truth": data_uri(shrink(draw_classes(shown, _larger(mask, k), names), _SCENE_SIDE)),
        "found": data_uri(shrink(draw_classes(shown, _larger(prediction.mask, k), names), _SCENE_SIDE)),
    }


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
    part = _larger(part, factor)
    drawn = draw_objects(part, box * factor, [""], np.array([ids[row["label"]]]))
    return {
        "src": data_uri(shrink(drawn, _CROP_SIDE)),
        "label": row["label"],
        "name": row["item"]["name"],
        "score": row.get("score"),
        "kind": row.get("kind"),
    }
