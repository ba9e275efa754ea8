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
    found = top_two(planes, (height, width), box)
    first, second, value = by_pillow(planes, (height, width), box)
    np.testing.assert_array_equal(found.first, first)
    np.testing.assert_array_equal(found.second, second)
    np.testing.assert_array_equal(found.value, value)
    assert found.counts.tolist() == np.bincount(first.ravel(), minlength=n).tolist()
