"""Frames around pictures: taken off where they are frames, and nothing else is taken off."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from eyewright.imaging.fingerprint import thumbnails_of
from eyewright.imaging.margins import soften_as_inside, without_frames


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


@pytest.mark.parametrize("ground", ["white", "black"])
def test_a_margin_that_goes_over_into_a_sky_of_its_colour_is_as_wide_as_the_other(ground: str) -> None:
    pictures = [photograph(k) for k in range(6)]
    for picture in pictures:
        picture.paste(ground, (0, 0, 130, 40))
    whole = [ImageOps.expand(p, border, ground) for p in pictures for border in ((0, 30), (30, 30))]
    found = without_frames(*small(whole))
    assert found.rows.tolist() == list(range(12))
    grey = small([p for p in pictures for _ in range(2)])[0]
    assert np.abs(found.thumbnails.astype(int) - grey).mean() < 5


def test_between_wide_margins_only_the_rest_of_an_edge_says_what_it_is() -> None:
    """A border of a fifth of each side leaves 60 % of a row, of which a sky may have the border's colour in part."""
    pictures = [photograph(k) for k in range(6)]
    for picture in pictures:
        picture.paste("white", (0, 0, 40, 12))
    found = without_frames(*small([ImageOps.expand(p, 60, "white") for p in pictures]))
    assert found.rows.tolist() == list(range(6))
    assert np.abs(found.sides - 200 / 320).max() < 0.03


def test_a_picture_is_softened_to_what_a_frame_leaves_of_it() -> None:
    pictures = [photograph(k) for k in range(6)]
    sharp = [
        Image.fromarray(np.random.default_rng(k).integers(0, 255, (200, 200, 3)).astype(np.uint8)) for k in range(6)
    ]
    pictures = [
        Image.blend(p, s.resize((50, 50)).resize((200, 200)), 0.4) for p, s in zip(pictures, sharp, strict=True)
    ]
    inside = without_frames(*small([ImageOps.expand(p, 60, "white") for p in pictures]))
    grey = small(pictures)[0]
    before = np.abs(inside.thumbnails.astype(int) - grey).mean()
    after = np.abs(inside.thumbnails.astype(int) - soften_as_inside(grey, inside.sides)).mean()
    assert after < 0.7 * before
    assert (soften_as_inside(grey, np.ones((6, 2), np.float32)) == grey).all()


def test_a_blank_picture_and_no_pictures_have_no_frame() -> None:
    assert not len(without_frames(*small([Image.new("RGB", (64, 64), "white")])).rows)
    nothing = np.zeros((0, 64, 64), np.uint8), np.zeros((0, 16, 16, 3), np.uint8)
    assert without_frames(*nothing).thumbnails.shape == (0, 64, 64)
