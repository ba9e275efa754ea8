"""Frames around pictures: taken off where they are frames, and nothing else is taken off."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from eyewright.imaging.fingerprint import thumbnails_of
from eyewright.imaging.margins import without_frames


def photograph(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 200, (9, 9, 3)).astype(np.uint8))
    return coarse.resize((200, 200), Image.Resampling.BICUBIC)


def small(images: list[Image.Image]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return thumbnails_of(np.stack([np.asarray(im.resize((64, 64), Image.Resampling.BOX)) for im in images]))


@pytest.mark.parametrize("border", [(12, 12), (20, 20), (0, 30), (30, 0)])
def test_inside_its_frame_a_picture_is_what_it_was(border: tuple[int, int]) -> None:
    pictures = [photograph(k) for k in range(6)]
    found = without_frames(*small([ImageOps.expand(p, border, "white") for p in pictures]))
    assert found.rows.tolist() == list(range(6))
    grey, colours = small(pictures)
    assert np.abs(found.thumbnails.astype(int) - grey).mean() < 4
    # Cells of colour at the edge that held a part of the frame show their neighbours.
    assert np.abs(found.colours.astype(int) - colours).mean() < 16


def test_a_picture_without_a_frame_has_none() -> None:
    assert not len(without_frames(*small([photograph(k) for k in range(6)])).rows)


def test_an_object_on_a_plain_ground_is_no_frame() -> None:
    scene = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(scene).ellipse((30, 30, 170, 170), fill="navy")
    assert not len(without_frames(*small([scene])).rows)


def test_a_blank_picture_and_no_pictures_have_no_frame() -> None:
    assert not len(without_frames(*small([Image.new("RGB", (64, 64), "white")])).rows)
    nothing = np.zeros((0, 64, 64), np.uint8), np.zeros((0, 16, 16, 3), np.uint8)
    assert without_frames(*nothing).thumbnails.shape == (0, 64, 64)
