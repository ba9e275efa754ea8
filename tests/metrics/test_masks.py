"""Boundary counts of masks against a slow definition and the former implementation by Pillow's rank filter."""

import math
import time

import numpy as np
import pytest
from PIL import Image, ImageFilter

from eyewright.metrics.masks import IGNORE, boundary_scores


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


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (37, 1), (23, 64), (130, 90), (480, 700)])
def test_boundary_counts_are_those_of_the_former_implementation(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(sum(shape))
    for _ in range(2 if shape[0] > 400 else 40):
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
