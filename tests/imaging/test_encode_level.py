"""The compression level of PNG: speed against size, never the pixels."""

import numpy as np
import pytest

from eyewright.imaging import encode_image, read_image


@pytest.mark.parametrize("level", [1, 3, 9])
def test_every_level_of_png_holds_the_same_pixels(level: int) -> None:
    image = np.random.default_rng(0).integers(0, 9, (40, 60, 3)).astype(np.uint8)
    assert (np.asarray(read_image(encode_image(image, png_level=level))) == image).all()


def test_a_lower_level_of_png_is_larger() -> None:
    image = np.random.default_rng(0).normal(128, 9, (120, 120, 3)).clip(0, 255).astype(np.uint8)
    image = (image // 4 * 4).repeat(2, 1)
    assert len(encode_image(image, png_level=1)) > len(encode_image(image)) == len(encode_image(image, png_level=9))


def test_quick_files_hold_the_same_pixels() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (9, 7, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    for format in ("PNG", "JPEG"):
        quick, small = (encode_image(image, format=format, quick=q) for q in (True, False))
        assert len(quick) > len(small)
        # JPEG's coefficients are the same, coded otherwise.
        assert np.array_equal(read_image(quick), read_image(small))
