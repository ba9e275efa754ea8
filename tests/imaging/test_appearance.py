"""What an image looks like in numbers: to the bit what plain formulas give, since bundles keep a reference of it."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from eyewright.imaging.appearance import LOOK, appearance, covered
from eyewright.imaging.preparation import Preparation


def _plain(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return brightness, contrast, clipped fraction, saturation and warmth by their definitions."""
    shape = pixels.shape[:2]
    luma = np.asarray(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("L"))
    share = np.bincount(luma.ravel(), minlength=256) / luma.size
    mean = float(share @ np.arange(256.0))
    spread = float(np.sqrt(max(0.0, float(share @ (np.arange(256.0) - mean) ** 2))))
    clipped = float(share[:3].sum() + share[253:].sum())
    saturation = warmth = 0.0
    if pixels.shape[2] == 3:
        few = pixels[::4, ::4].astype(np.float32)
        high, low = few.max(2), few.min(2)
        saturation = float(((high - low) / np.maximum(high, 1)).mean())
        warmth = float((few[..., 0] - few[..., 2]).mean())
    assert shape == luma.shape
    return np.array([mean, spread, clipped, saturation, warmth], np.float32)


@pytest.mark.parametrize("size", [(96, 96), (5, 7), (33, 130), (224, 64)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
def test_the_numbers_are_those_of_plain_formulas_to_the_bit(size: tuple[int, int], channels: int, fit: str) -> None:
    rng = np.random.default_rng(3)
    preparation = Preparation(size, fit=fit, channels=channels, fill=114)  # type: ignore[arg-type]
    for shape in ((40, 60), (300, 77), (size[0], size[1])):
        pixels, placement = preparation(rng.integers(0, 256, (*shape, 3), np.uint8))
        found = appearance(pixels, placement)
        assert found.shape == (LOOK,)
        assert found[[0, 1, 5, 6, 7]].tobytes() == _plain(np.ascontiguousarray(covered(pixels, placement))).tobytes()


def test_the_grain_is_that_of_plain_sums() -> None:
    rng = np.random.default_rng(4)
    grey = rng.integers(0, 256, (48, 40), np.uint8)
    pixels, placement = Preparation((48, 40), channels=1)(np.repeat(grey[..., None], 3, 2))
    g = grey.astype(np.float64)
    bent = 4 * g[1:-1, 1:-1] - g[:-2, 1:-1] - g[2:, 1:-1] - g[1:-1, :-2] - g[1:-1, 2:]
    fine = np.abs(np.diff(g, axis=1)).mean() + np.abs(np.diff(g, axis=0)).mean()
    half = g.reshape(24, 2, 20, 2).sum((1, 3))
    coarse = (np.abs(np.diff(half, axis=1)).mean() + np.abs(np.diff(half, axis=0)).mean()) / 4
    found = appearance(pixels, placement)
    assert found[2] == pytest.approx(np.log1p(np.abs(bent).mean()), rel=1e-6)
    assert found[-3] == pytest.approx(np.log1p(fine), rel=1e-6)
    assert found[-2] == pytest.approx(np.log1p(coarse), rel=1e-6)
