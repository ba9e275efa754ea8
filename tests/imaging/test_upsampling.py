"""The two most likely classes of every pixel, compared with Pillow enlarging every class."""

import numpy as np
import pytest
from PIL import Image

from eyewright.core.rng import generator
from eyewright.imaging.upsampling import top_two

Box = tuple[float, float, float, float]


def by_pillow(planes: np.ndarray, size_hw: tuple[int, int], box: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    height, width = size_hw
    large = np.stack([
        np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR, box=box))
        for plane in planes
    ])  # fmt: skip
    order = np.argsort(-large, axis=0, kind="stable")
    second = order[1] if len(planes) > 1 else order[0]
    return order[0].astype(np.uint8), second.astype(np.uint8), large.max(0)


@pytest.mark.parametrize("seed", range(60))
def test_the_two_largest_are_those_of_all_enlarged_planes_to_the_bit(seed: int) -> None:
    rng = generator(seed, "upsampling")
    n, h, w, height, width = (int(v) for v in rng.integers((1, 1, 1, 1, 1), (9, 40, 40, 160, 160)))
    scores = rng.normal(size=(n, h, w)) * rng.choice([0.5, 5.0, 80.0])
    likely = np.exp(scores - scores.max(0))
    planes = (likely / likely.sum(0)).astype(np.float32)
    if seed % 5 == 0:
        # Many equal values: of equals the lower class comes first.
        planes = np.round(planes, 1)
    x0, y0 = (0.0, 0.0) if seed % 2 else (float(rng.random() * w / 3), float(rng.integers(0, h // 3 + 1)))
    box = (x0, y0, w - x0 / 2, float(h))
    few = int(rng.choice([1, 9, 500]))
    found = top_two(planes, (height, width), box, few=few)
    first, second, value = by_pillow(planes, (height, width), box)
    np.testing.assert_array_equal(found.first, first)
    np.testing.assert_array_equal(found.second, second)
    assert found.counts.tolist() == np.bincount(first.ravel(), minlength=n).tolist()
    own = [np.sort(value[first == c])[::-1][:few].sum(dtype=np.float64) for c in range(n)]
    np.testing.assert_allclose(found.peaks, own, rtol=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_smooth_maps_whose_cells_are_mostly_settled_are_enlarged_to_the_same_bits(seed: int) -> None:
    rng = generator(seed, "smooth")
    n, height, width = int(rng.integers(1, 12)), int(rng.integers(200, 400)), int(rng.integers(200, 400))
    rough = Image.Resampling.BICUBIC
    scores = np.stack([
        np.asarray(Image.fromarray(rng.normal(size=(5, 5)).astype(np.float32)).resize((24, 31), rough))
        for _ in range(n)
    ])  # fmt: skip
    likely = np.exp(scores * rng.choice([3, 60]))
    planes = (likely / likely.sum(0)).astype(np.float32)
    if seed % 3 == 0:
        # Two classes that are nearly equal everywhere: rounding decides, and of equals the lower comes first.
        planes[-1] = planes[0] * np.float32(1 + 1e-7 * seed)
    box = (0.0, 0.0, 24.0, 31.0) if seed % 2 else (0.0, 3.25, 24.0, 27.75)
    found = top_two(planes, (height, width), box, few=40)
    first, second, value = by_pillow(planes, (height, width), box)
    np.testing.assert_array_equal(found.first, first)
    np.testing.assert_array_equal(found.second, second)
    own = [np.sort(value[first == c])[::-1][:40].sum(dtype=np.float64) for c in range(n)]
    np.testing.assert_allclose(found.peaks, own, rtol=1e-12)
