"""How well pixels are classified: IoU and Dice a class, boundary F, defects found and false alarms, with intervals."""

__all__ = ["FOUND_IOU", "IGNORE", "boundary_scores", "image_confusion", "mask_metrics"]

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Metric
from eyewright.metrics.bootstrap import resample, share_interval
from eyewright.metrics.groups import Clusters

IGNORE = 255
"""The class id of pixels that are ignored."""

FOUND_IOU = 0.1
"""A defect is found where the overlap with it in its image passes this."""

_REACH = 0.0075


def image_confusion(found: NDArray[np.uint8], truth: NDArray[np.uint8], n_classes: int) -> NDArray[np.int64]:
    """Count the pixels of one image by true class (rows) and found class (columns), int64 (C, C).

    >>> image_confusion(np.array([[0, 1]], np.uint8), np.array([[1, 255]], np.uint8), 2).tolist()
    [[0, 0], [1, 0]]
    """
    known = truth != IGNORE
    pairs = truth[known].astype(np.int64) * n_classes + found[known]
    return np.bincount(pairs, minlength=n_classes * n_classes).reshape(n_classes, n_classes)


def boundary_scores(found: NDArray[np.uint8], truth: NDArray[np.uint8], n_classes: int) -> NDArray[np.float64]:
    """Count a class's boundary pixels of one image, float64 (C, 4): found, of them near a true one, true, of them near.

    Near is within 0.75 % of the diagonal, at least a pixel (Perazzi et al. 2016, "DAVIS"), by a square window.
    """
    reach = max(1, round(_REACH * math.hypot(*truth.shape)))
    known = truth != IGNORE
    counts = np.zeros((n_classes, 4))
    for c in sorted(_ids(truth, known) | _ids(found, known)):
        ours, theirs = (found == c) & known, (truth == c) & known
        window = _extent(ours, theirs)
        ours, theirs = ours[window], theirs[window]
        # What lies beyond the window is of neither mask; the image's own edge is no boundary.
        sides = tuple((s.start > 0, s.stop < n) for s, n in zip(window, truth.shape, strict=True))
        ours, theirs = _boundary(ours, sides), _boundary(theirs, sides)
        counts[c] = (
            np.count_nonzero(ours),
            np.count_nonzero(ours & _grown(theirs, reach)),
            np.count_nonzero(theirs),
            np.count_nonzero(theirs & _grown(ours, reach)),
        )
    return counts


def _ids(mask: NDArray[np.uint8], known: NDArray[np.bool_]) -> set[int]:
    return set(np.flatnonzero(np.bincount(mask[known], minlength=1)).tolist())


def _extent(*masks: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the smallest window that holds all masks, which are not all empty."""
    slices = []
    for axis in (1, 0):
        held = np.flatnonzero(np.logical_or.reduce([m.any(axis) for m in masks]))
        slices.append(slice(int(held[0]), int(held[-1]) + 1))
    return slices[0], slices[1]


def _boundary(mask: NDArray[np.bool_], sides: tuple[tuple[bool, bool], ...]) -> NDArray[np.bool_]:
    """Return the pixels of a mask with a neighbour by an edge outside it.

    `sides` tells for each axis whether there are pixels before the first and after the last, which are outside.
    """
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    (above, below), (left, right) = sides
    for beyond, line in ((above, inner[0]), (below, inner[-1]), (left, inner[:, 0]), (right, inner[:, -1])):
        if beyond:
            line[:] = False
    edge: NDArray[np.bool_] = mask & ~inner
    return edge


def _grown(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Dilate by a square window of 2 * reach + 1 pixels: each axis on its own, its steps doubling."""
    for axis in (0, 1):
        mask = np.swapaxes(_grown_down(np.swapaxes(mask, 0, axis), reach), 0, axis)
    return mask


def _grown_down(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    n, width = len(mask), 2 * reach + 1
    # Row i of the result is the union of rows i to i + width - 1 of the padded mask.
    union = np.zeros((n + 2 * reach, mask.shape[1]), bool)
    union[reach : reach + n] = mask
    covered = 1
    while covered < width:
        step = min(covered, width - covered)
        union = union[:-step] | union[step:]
        covered += step
    return union


def mask_metrics(
    confusions: NDArray[np.int64],
    boundaries: NDArray[np.float64],
    names: Sequence[str],
    foreground: Sequence[int],
    *,
    rng: np.random.Generator,
    groups: NDArray[Any] | None = None,
    replicates: int = 1000,
) -> tuple[dict[str, Metric], list[dict[str, Any]]]:
    """Measure a segmentation from every image's counts: `confusions` (N, C, C), `boundaries` (N, C, 4).

    Pixels of all images are summed before anything is divided. `miou`, `dice` and `boundary_f` are means over the
    foreground classes that occur; `miou_all` counts the background too; `foreground_iou` takes all foreground for one
    class: what is marked against what is not. `found` is the fraction of (image, class) pairs whose IoU in that image
    passes 0.1, `found_any` that of images whatever the class, `false_alarms` the fraction of images without any
    foreground in which some was found. The second value has one row per class.
    """
    n, c, _ = confusions.shape
    fore = np.array(list(foreground), np.int64)
    flat = confusions.reshape(n, -1).astype(np.float64)
    edges = boundaries.reshape(n, -1)

    def numbers(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        table = (weights @ flat).reshape(-1, c, c)
        right = np.einsum("bii->bi", table)
        truth, found = table.sum(2), table.sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = np.where(truth + found > 0, right / (truth + found - right), np.nan)
            dice = np.where(truth + found > 0, 2 * right / (truth + found), np.nan)
            near = (weights @ edges).reshape(-1, c, 4)
            precision, recall = near[..., 1] / near[..., 0], near[..., 3] / near[..., 2]
            sharp = np.where(precision + recall > 0, 2 * precision * recall / (precision + recall), np.nan)
            sharp = np.where((near[..., 0] > 0) != (near[..., 2] > 0), 0.0, sharp)
            sharp = np.where((near[..., 0] > 0) & (near[..., 2] > 0) & ~np.isfinite(sharp), 0.0, sharp)
            accuracy = right.sum(1) / table.sum((1, 2))
            both = table[:, fore][:, :, fore].sum((1, 2))
            either = truth[:, fore].sum(1) + found[:, fore].sum(1) - both
            marked = np.where(either > 0, both / either, np.nan)
        # A class that is not there and was found all the same counts in its images, not as a class of its own.
        there = truth > 0
        return {"iou": np.where(there, iou, np.nan), "dice": np.where(there, dice, np.nan),
                "boundary": np.where(there, sharp, np.nan), "accuracy": accuracy, "marked": marked}  # fmt: skip

    def means(found: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        return {
            "miou": _mean(found["iou"][:, fore]),
            "dice": _mean(found["dice"][:, fore]),
            "boundary_f": _mean(found["boundary"][:, fore]),
            "foreground_iou": found["marked"],
            "miou_all": _mean(found["iou"]),
            "pixel_accuracy": found["accuracy"],
        }

    plan = resample(n, replicates=replicates, rng=rng, groups=groups)
    point = numbers(np.ones((1, n)))
    drawn: dict[str, list[NDArray[np.float64]]] = {}
    for weights in plan.weights():
        each = numbers(weights)
        for key, value in (means(each) | {"iou": each["iou"]}).items():
            drawn.setdefault(key, []).append(value)
    samples = {k: np.concatenate(v) for k, v in drawn.items()}
    result = {}
    for name, value in means(point).items():
        low, high = plan.bounded(float(value[0]), samples[name])
        result[name] = Metric(
            _finite(value[0]), _finite(low), _finite(high), n, method=plan.method, groups=plan.n_groups
        )
    result |= _defects(confusions, fore, plan.clusters)
    rows = []
    with np.errstate(invalid="ignore"):
        for k, name in enumerate(names):
            low, high = plan.bounded(float(point["iou"][0, k]), samples["iou"][:, k])
            rows.append(
                {
                    "label": name,
                    "n": int((confusions[:, k].sum(1) > 0).sum()),
                    "pixels": int(confusions[:, k].sum()),
                    "iou": {"value": _finite(point["iou"][0, k]), "low": _finite(low), "high": _finite(high)},
                    "dice": _finite(point["dice"][0, k]),
                    "boundary_f": _finite(point["boundary"][0, k]),
                }
            )
    return result, rows


def _defects(confusions: NDArray[np.int64], fore: NDArray[np.int64], clusters: Clusters | None) -> dict[str, Metric]:
    """Return the fraction of (image, foreground class) pairs that were found, and of clean images with false alarms."""
    right = np.einsum("nii->ni", confusions)
    truth, found = confusions.sum(2), confusions.sum(1)
    there = truth[:, fore] > 0
    iou = right[:, fore] / np.maximum(truth[:, fore] + found[:, fore] - right[:, fore], 1)
    both = confusions[:, fore][:, :, fore].sum((1, 2))
    whole = truth[:, fore].sum(1) + found[:, fore].sum(1) - both
    any_marked = there.any(1)
    alarmed = found[:, fore].sum(1) > 0
    result = {}
    for name, hits, counts in (
        ("found", ((iou > FOUND_IOU) & there).sum(1), there.sum(1)),
        ("found_any", any_marked & (both > FOUND_IOU * whole), any_marked),
        ("false_alarms", ~any_marked & alarmed, ~any_marked),
    ):
        k, m = int(hits.sum()), int(counts.sum())
        low, high = share_interval(hits, counts, clusters)
        value = k / m if m else math.nan
        method, groups = ("wilson", None) if clusters is None else ("t over groups", clusters.count)
        result[name] = Metric(_finite(value), _finite(low), _finite(high), m, method, groups=groups)
    return result


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.isfinite(values)
    count = known.sum(1)
    found: NDArray[np.float64] = np.where(count > 0, np.where(known, values, 0).sum(1) / np.maximum(count, 1), np.nan)
    return found


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
