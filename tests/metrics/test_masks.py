"""Boundary counts of masks against a slow definition and the former implementation by Pillow's rank filter."""

import math
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter
from sklearn import metrics as oracle

from eyewright.metrics import wilson_interval
from eyewright.metrics.masks import IGNORE, boundary_scores, image_confusion, mask_metrics


def former_scores(found: np.ndarray, truth: np.ndarray, n_classes: int) -> np.ndarray:
    """The implementation before, whole images and Pillow's MaxFilter, as the oracle."""

    def boundary(mask: np.ndarray) -> np.ndarray:
        inner = mask.copy()
        inner[1:] &= mask[:-1]
        inner[:-1] &= mask[1:]
        inner[:, 1:] &= mask[:, :-1]
        inner[:, :-1] &= mask[:, 1:]
        return mask & ~inner

    def grown(mask: np.ndarray, reach: int) -> np.ndarray:
        picture = Image.fromarray(mask.astype(np.uint8))
        left = reach
        while left > 0:
            step = min(left, 7)
            picture = picture.filter(ImageFilter.MaxFilter(2 * step + 1))
            left -= step
        return np.asarray(picture) > 0

    reach = max(1, round(0.0075 * math.hypot(*truth.shape)))
    known = truth != IGNORE
    counts = np.zeros((n_classes, 4))
    for c in np.unique(np.concatenate([np.unique(truth[known]), np.unique(found[known])])).tolist():
        ours, theirs = boundary((found == c) & known), boundary((truth == c) & known)
        counts[c] = (
            ours.sum(), (ours & grown(theirs, reach)).sum(), theirs.sum(), (theirs & grown(ours, reach)).sum()
        )  # fmt: skip
    return counts


def blobs(rng: np.random.Generator, shape: tuple[int, int], n_classes: int) -> np.ndarray:
    """Rectangles of classes and ignored pixels, some at the image's edge, one pixel high or wide."""
    mask = np.zeros(shape, np.uint8)
    for _ in range(int(rng.integers(0, 12))):
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        height, width = rng.integers(1, max(2, shape[0] // 2)), rng.integers(1, max(2, shape[1] // 2))
        mask[y : y + height, x : x + width] = rng.choice([*range(n_classes), IGNORE])
    return mask


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (37, 1), (23, 64), (130, 90), (300, 400)])
def test_boundary_counts_are_those_of_the_former_implementation(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(sum(shape))
    for _ in range(2 if shape[0] > 200 else 40):
        found, truth = blobs(rng, shape, 4), blobs(rng, shape, 4)
        found[found == IGNORE] = 1
        assert boundary_scores(found, truth, 4).tolist() == former_scores(found, truth, 4).tolist()
    everywhere = np.full(shape, IGNORE, np.uint8)
    assert boundary_scores(np.zeros(shape, np.uint8), everywhere, 4).tolist() == np.zeros((4, 4)).tolist()


def test_boundary_counts_of_a_large_image_cost_less_than_a_tenth_of_the_rank_filter() -> None:
    rng = np.random.default_rng(0)
    found, truth = blobs(rng, (400, 600), 4), blobs(rng, (400, 600), 4)
    found[found == IGNORE] = 1

    def quickest(score, times: int) -> float:
        taken = []
        for _ in range(times):
            started = time.process_time()
            score(found, truth, 4)
            taken.append(time.process_time() - started)
        return min(taken)

    assert quickest(boundary_scores, 3) < quickest(former_scores, 1) / 10


def metrics_of(
    found: list[np.ndarray], truth: list[np.ndarray], names: tuple[str, ...], fore: tuple[int, ...], **more: Any
):  # type: ignore[no-untyped-def]
    c = len(names)
    tables = np.stack([image_confusion(f, t, c) for f, t in zip(found, truth, strict=True)])
    edges = np.stack([boundary_scores(f, t, c) for f, t in zip(found, truth, strict=True)])
    return mask_metrics(tables, edges, names, fore, rng=np.random.default_rng(0), replicates=200, **more)


def test_the_confusion_of_pixels_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    found, truth = rng.integers(0, 4, (7, 9)).astype(np.uint8), rng.integers(0, 3, (7, 9)).astype(np.uint8)
    truth[2, 3:7] = IGNORE
    known = truth != IGNORE
    wanted = oracle.confusion_matrix(truth[known], found[known], labels=range(4))
    assert np.array_equal(image_confusion(found, truth, 4), wanted)
    assert image_confusion(found, truth, 4).dtype == np.int64


def test_numbers_of_a_segmentation_are_scikit_learns() -> None:
    """Pixels of all images are pooled; the class `c` is found and is nowhere, so it is no class of the means."""
    rng = np.random.default_rng(1)
    truth = [rng.choice([0, 1, 2], (12, 20), p=[0.6, 0.3, 0.1]).astype(np.uint8) for _ in range(3)]
    found = [
        np.where(rng.random((12, 20)) < 0.7, t, rng.choice([0, 1, 2, 3], (12, 20))).astype(np.uint8) for t in truth
    ]
    metrics, rows = metrics_of(found, truth, ("background", "a", "b", "c"), (1, 2, 3))
    t, f = np.concatenate([x.ravel() for x in truth]), np.concatenate([x.ravel() for x in found])
    iou = oracle.jaccard_score(t, f, average=None, labels=range(3))
    dice = oracle.f1_score(t, f, average=None, labels=range(3))
    assert metrics["miou"].value == pytest.approx(iou[1:].mean())
    assert metrics["miou_all"].value == pytest.approx(iou.mean())
    assert metrics["dice"].value == pytest.approx(dice[1:].mean())
    assert metrics["pixel_accuracy"].value == pytest.approx((t == f).mean())
    # All foreground as one class, whichever it was called: what agrees is of the same side.
    same = ((t > 0) & (f > 0)).sum()
    assert metrics["foreground_iou"].value == pytest.approx(same / ((t > 0) | (f > 0)).sum())
    assert [r["label"] for r in rows] == ["background", "a", "b", "c"]
    assert [r["iou"]["value"] for r in rows] == [*map(pytest.approx, iou), None]
    assert [r["dice"] for r in rows] == [*map(pytest.approx, dice), None]
    assert [r["pixels"] for r in rows] == [*(int((t == c).sum()) for c in range(3)), 0]
    assert [r["n"] for r in rows] == [3, 3, 3, 0]
    assert rows[3]["boundary_f"] is None
    for row in rows[:3]:
        assert row["iou"]["low"] <= row["iou"]["value"] <= row["iou"]["high"]
        assert row["iou"]["high"] - row["iou"]["low"] < 0.2
    assert (metrics["miou"].n, metrics["miou"].method, metrics["miou"].groups) == (3, "bootstrap", None)
    assert metrics["miou"].low <= metrics["miou"].value <= metrics["miou"].high


def test_boundary_f_is_the_harmonic_mean_of_both_sides() -> None:
    def boundary(*counts: tuple[float, float, float, float]) -> list[float | None]:
        edges = np.array([[[9.0, 9, 9, 9], row] for row in counts])
        tables = np.tile(np.array([[5, 0], [0, 5]]), (len(counts), 1, 1))
        metrics, rows = mask_metrics(
            tables, edges, ("background", "a"), (1,), rng=np.random.default_rng(0), replicates=9
        )
        assert metrics["boundary_f"].value == rows[1]["boundary_f"]
        return rows[1]["boundary_f"]  # type: ignore[no-any-return]

    # Precision 2/4 and recall 3/5; summed over images 4/8 and 9/10.
    assert boundary((4, 2, 5, 3)) == pytest.approx(2 * 0.5 * 0.6 / 1.1)
    assert boundary((4, 2, 5, 3), (4, 2, 5, 6)) == pytest.approx(2 * 0.5 * 0.9 / 1.4)
    # A boundary on one side only, or none near, is 0; none at all is not defined.
    assert boundary((4, 0, 0, 0)) == boundary((0, 0, 4, 0)) == boundary((4, 0, 4, 0)) == 0.0
    assert boundary((0, 0, 0, 0)) is None


def test_the_reach_of_a_boundary_is_a_share_of_the_diagonal_and_at_least_a_pixel() -> None:
    # 0.75 % of the diagonals of 500 and 40 pixels: 4 (3.75) and at least 1.
    for (height, width), reach in (((300, 400), 4), ((24, 32), 1), ((160, 120), 2)):
        truth = np.zeros((height, width), np.uint8)
        truth[:, width // 2 :] = 1
        for shift, near in ((reach, True), (reach + 1, False)):
            found = np.zeros_like(truth)
            found[:, width // 2 + shift :] = 1
            assert boundary_scores(found, truth, 2)[1].tolist() == [height, height * near, height, height * near]


def test_a_defect_is_found_above_a_tenth_and_a_clean_image_is_alarmed_by_a_pixel() -> None:
    def image(*parts: tuple[int, int, int]) -> np.ndarray:
        mask = np.zeros((10, 20), np.uint8)
        for label, start, stop in parts:
            mask.ravel()[start:stop] = label
        return mask

    names, fore = ("background", "a", "b"), (1, 2)
    # Of 100 pixels 10 are found, a tenth; and 11. The class b is a foreground of its own.
    truth = [image((1, 0, 100)), image((1, 0, 100)), image((1, 0, 100), (2, 150, 160)), image(), image()]
    found = [image((1, 0, 10)), image((1, 0, 11)), image((2, 0, 60)), image((2, 5, 6)), image()]
    metrics, _ = metrics_of(found, truth, names, fore)
    assert (metrics["found"].value, metrics["found"].n) == (pytest.approx(1 / 4), 4)
    assert (metrics["found_any"].value, metrics["found_any"].n) == (pytest.approx(2 / 3), 3)
    assert (metrics["false_alarms"].value, metrics["false_alarms"].n) == (pytest.approx(1 / 2), 2)
    assert (metrics["found"].low, metrics["found"].high) == pytest.approx(wilson_interval(1, 4))
    assert (metrics["found"].method, metrics["found"].groups) == ("wilson", None)
    marked, _ = metrics_of(found[:3], truth[:3], names, fore)
    assert (marked["false_alarms"].value, marked["false_alarms"].n, marked["false_alarms"].low) == (None, 0, None)
    by_group, _ = metrics_of(found, truth, names, fore, groups=np.array([0, 0, 1, 1, 2]))
    assert (by_group["found"].method, by_group["found"].groups) == ("t over groups", 3)
    assert (by_group["miou"].method, by_group["miou"].groups) == ("t over groups", 3)
    assert by_group["found"].high > metrics["found"].high


def test_without_foreground_there_are_no_means_of_it() -> None:
    clean = [np.zeros((4, 6), np.uint8)] * 2
    metrics, rows = metrics_of(clean, clean, ("background", "a"), (1,))
    assert (metrics["miou"].value, metrics["foreground_iou"].value, metrics["found"].value) == (None, None, None)
    assert (metrics["miou_all"].value, metrics["pixel_accuracy"].value, metrics["false_alarms"].value) == (
        1.0,
        1.0,
        0.0,
    )
    assert (rows[1]["n"], rows[1]["pixels"], rows[1]["iou"]["value"]) == (0, 0, None)
