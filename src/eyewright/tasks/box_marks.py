"""How `doctor`'s page shows objects: their boxes in the pictures, how many there are, and how large."""

__all__ = ["AUDIT"]

import numpy as np
from numpy.typing import NDArray

from eyewright.data.dataset import Dataset
from eyewright.data.scan import Scan
from eyewright.data.targets.objects import Objects
from eyewright.evaluation.charts import bar_chart, bin_values
from eyewright.evaluation.reporting import AuditView
from eyewright.imaging.drawing import draw_objects

_CHART = 330


def _drawn(dataset: Dataset, index: int, size_hw: tuple[int, int], small: NDArray[np.uint8]) -> NDArray[np.uint8]:
    objects = dataset.objects(index, size_hw)
    height, width = small.shape[:2]
    boxes = objects.boxes_xyxy * np.array([width / size_hw[1], height / size_hw[0]] * 2)
    kept = np.isfinite(boxes).all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1)
    boxes = np.clip(boxes[kept], 0, np.array([width, height] * 2, np.float64))
    return draw_objects(small, boxes, [""] * len(boxes), objects.label_ids[kept])


def _tiles(dataset: Dataset) -> list[tuple[str, str, str]]:
    n = sum(len(s.marked(Objects)) for s in dataset.samples)
    return [("objects", f"{n:,}", f"{n / max(1, len(dataset)):.1f} per image")]


def _charts(dataset: Dataset, scan: Scan) -> list[tuple[str, str, str]]:
    """Return how many objects images hold, and how large they are."""
    charts = []
    per_image = np.array([len(s.marked(Objects)) for s in dataset.samples], float)
    if len(per_image):
        svg = bar_chart(bin_values(per_image, whole=True), title="objects", width=_CHART)
        charts.append(("Objects per image", f"median {np.median(per_image):.0f}", svg))
    roots = _box_sides(dataset, scan)
    if len(roots):
        svg = bar_chart(bin_values(roots * 100, logarithmic=True), title="object size", width=_CHART)
        charts.append(("Size of objects", "side of a square of its area, in per cent of the image's", svg))
    return charts


def _box_sides(dataset: Dataset, scan: Scan) -> NDArray[np.float64]:
    found = []
    for sample, record in zip(dataset.samples, scan.records, strict=True):
        if record.info is None or not len(sample.marked(Objects)):
            continue
        height, width = record.info.size_hw
        objects = sample.marked(Objects).in_pixels((height, width))
        boxes = objects.boxes_xyxy
        found.append(np.sqrt(np.abs(boxes[:, 2:] - boxes[:, :2]).prod(1) / (height * width)))
    roots = np.concatenate(found) if found else np.zeros(0)
    return roots[np.isfinite(roots) & (roots > 0)]


AUDIT = AuditView(caption=lambda dataset, index: "", drawn=_drawn, tiles=_tiles, charts=_charts)
"""How `doctor`'s page shows objects."""
