"""Masks and images with an opacity: what cannot be seen is not painted."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyewright.imaging.layers import read_hole, read_layers

STROKE = np.zeros((6, 8), bool)
STROKE[2:4, 1:6] = True


def layer(colour: int, *, channels: int) -> np.ndarray:
    """Return a white stroke on a transparent layer of one colour, uint8 (H, W, channels)."""
    pixels = np.full((*STROKE.shape, channels), colour, np.uint8)
    pixels[..., -1] = 0
    pixels[STROKE] = 255
    return pixels


@pytest.mark.parametrize("colour", [0, 255])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_a_stroke_on_a_transparent_layer_is_the_mask(tmp_path: Path, mode: str, colour: int) -> None:
    path = tmp_path / "mask.png"
    Image.fromarray(layer(colour, channels=len(mode)), mode).save(path)
    assert np.array_equal(read_hole(path), STROKE)
    assert np.array_equal(read_hole(path.read_bytes()), STROKE)


def test_an_opaque_mask_with_opacity_is_read_as_one_without(tmp_path: Path) -> None:
    grey = np.where(STROKE, 255, 0).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "L.png")
    Image.fromarray(np.dstack([grey] * 3 + [np.full_like(grey, 255)]), "RGBA").save(tmp_path / "RGBA.png")
    Image.fromarray(STROKE.astype(np.uint8)).save(tmp_path / "ones.png")
    for name in ("L", "RGBA", "ones"):
        assert np.array_equal(read_hole(tmp_path / f"{name}.png"), STROKE)
    # Black paint is no hole, however opaque it is.
    black = np.zeros((6, 8, 4), np.uint8)
    black[..., 3] = 255
    Image.fromarray(black, "RGBA").save(tmp_path / "black.png")
    assert not read_hole(tmp_path / "black.png").any()


def test_layers_keep_colour_and_opacity_apart(tmp_path: Path) -> None:
    Image.fromarray(layer(9, channels=4), "RGBA").save(tmp_path / "a.png")
    colour, opacity = read_layers(tmp_path / "a.png")
    assert opacity is not None
    assert np.array_equal(opacity, np.where(STROKE, 255, 0))
    assert colour[0, 0].tolist() == [9, 9, 9]
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(tmp_path / "grey.png")
    colour, opacity = read_layers(tmp_path / "grey.png")
    assert opacity is None
    assert colour.shape == (6, 8)
