"""Fingerprints: alike for copies, in whatever orientation; thumbnails as Pillow's box filter makes them."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images

from eyewright.imaging import read_thumbnail
from eyewright.imaging.alignment import align_pictures, align_roughly, same_colours
from eyewright.imaging.fingerprint import (
    CROPS,
    array_thumbnails,
    canonical_turns,
    crop_frequencies,
    describe_pictures,
    equalise,
    frequencies,
    quarter_sums,
    thumbnails_of,
    turned,
)

PHOTOS = [Image.fromarray(p) for p in load_sample_images().images]


def small(image: Image.Image) -> np.ndarray:
    return np.asarray(image.resize((64, 64), Image.Resampling.BOX))


def coded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_thumbnails_of_arrays_are_those_of_pillows_box_filter() -> None:
    rng = np.random.default_rng(0)
    for side in (28, 64, 100):
        images = rng.integers(0, 256, (3, side, side + 4, 3)).astype(np.uint8)
        grey, colours = array_thumbnails(images)
        expected = thumbnails_of(np.stack([small(Image.fromarray(i)) for i in images]))
        # Pillow rounds after each direction.
        assert np.abs(grey.astype(int) - expected[0]).max() <= 2
        assert np.abs(colours.astype(int) - expected[1]).max() <= 1


def test_equal_pixels_have_equal_thumbnails_in_every_format() -> None:
    for photo in PHOTOS:
        jpeg = Image.open(io.BytesIO(coded(photo, "JPEG", quality=90))).convert("RGB")
        first = read_thumbnail(coded(photo, "JPEG", quality=90), 64)[1]
        for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {})):
            assert (read_thumbnail(coded(jpeg, kind, **options), 64)[1] == first).all()


def test_a_large_jpeg_is_reduced_while_it_is_decoded_and_keeps_its_thumbnail() -> None:
    photo = PHOTOS[0].resize((2400, 1600), Image.Resampling.BICUBIC)
    data = coded(photo, "JPEG", quality=92)
    whole = read_thumbnail(coded(Image.open(io.BytesIO(data)).convert("RGB"), "PNG"), 64)[1].astype(int)
    difference = np.abs(read_thumbnail(data, 64)[1].astype(int) - whole)
    assert difference.mean() < 1
    assert difference.max() <= 10


@pytest.mark.parametrize("turn", range(8))
def test_a_turned_picture_has_the_canonical_frequencies_of_the_upright_one(turn: int) -> None:
    grey = thumbnails_of(np.stack([small(p) for p in PHOTOS]))[0]
    waves = frequencies(grey)
    upright = turned(waves, canonical_turns(waves)[0][1], waves=True)
    other = frequencies(turned(grey, np.full(len(grey), turn, np.int8)))
    found = [np.full(len(grey), -1.0)]
    for rows, turns in canonical_turns(other):
        near = np.full(len(grey), -1.0)
        near[rows] = (turned(other[rows], turns, waves=True) * upright[rows]).sum((1, 2))
        found.append(near)
    assert np.max(found, 0).min() > 0.99


def test_turning_frequencies_is_turning_pixels() -> None:
    grey = thumbnails_of(np.stack([small(PHOTOS[0])] * 8))[0]
    turns = np.arange(8, dtype=np.int8)
    expected = frequencies(turned(grey, turns))
    assert np.abs(turned(frequencies(grey), turns, waves=True) - expected).max() < 0.02


def test_a_crop_is_aligned_and_agrees_where_another_photograph_does_not() -> None:
    for k, photo in enumerate(PHOTOS):
        w, h = photo.size
        crop = photo.crop((int(0.08 * w), int(0.04 * h), int(0.98 * w), int(0.94 * h)))
        a, b, c = (thumbnails_of(small(p)[None])[0] for p in (photo, crop, PHOTOS[1 - k]))
        begin = np.array([[0.93, 0.07, 0.93, 0.07]], np.float32)
        found = align_pictures(a, b, begin)
        assert found.whole[0] > 0.95
        assert found.blocks[0] > 0.9
        assert np.abs(found.warp[0] - [0.9, 0.04, 0.9, 0.08]).max() < 0.02
        assert align_pictures(a, c, begin).whole[0] < 0.5


def test_light_is_no_difference_of_colour_and_another_paint_is() -> None:
    still = np.array([[1, 0, 1, 0]], np.float32)
    photo = PHOTOS[1]
    tinted = Image.fromarray((np.asarray(photo) * [1.0, 0.9, 0.75] * 0.7).astype(np.uint8))
    grey = ImageOps.grayscale(photo).convert("RGB")
    a, b, c = (thumbnails_of(small(p)[None])[1] for p in (photo, tinted, grey))
    assert same_colours(a, b, still).tolist() == same_colours(a, c, still).tolist() == [True]
    flat = np.full((1, 64, 64, 3), 255, np.uint8)
    red, blue = flat.copy(), flat.copy()
    red[:, 8:56, 8:56] = (221, 46, 68)
    blue[:, 8:56, 8:56] = (85, 172, 238)
    assert same_colours(thumbnails_of(red)[1], thumbnails_of(blue)[1], still).tolist() == [False]


@pytest.mark.parametrize("share", [0.03, 0.06])
def test_a_border_is_no_difference_of_colour_and_another_paint_within_it_is(share: float) -> None:
    for photo in PHOTOS:
        dark = Image.fromarray((np.asarray(photo) * 0.6).astype(np.uint8))
        framed = ImageOps.expand(dark, round(share * dark.width), "white")
        painted = dark.copy()
        painted.paste((240, 20, 20), (0, 0, dark.width // 2, dark.height // 2))
        a, b, c = (thumbnails_of(small(p)[None])[1] for p in (framed, dark, painted))
        scales = [own / whole for own, whole in zip(dark.size[::-1], framed.size[::-1], strict=True)]
        warp = np.array([[n for s in scales for n in (s, (1 - s) / 2)]], np.float32)
        assert same_colours(a, b, warp).tolist() == [True]
        # Seen the other way round, the warp enlarges.
        back = np.array([[n for s in scales for n in (1 / s, (1 - 1 / s) / 2)]], np.float32)
        assert same_colours(b, a, back).tolist() == [True]
        assert same_colours(a, c, warp).tolist() == [False]


def test_what_a_rough_alignment_leads_astray_is_aligned_again_where_told() -> None:
    photo = PHOTOS[0]
    w, h = photo.size
    crop = photo.crop((int(0.06 * w), int(0.06 * h), int(0.94 * w), int(0.94 * h)))
    a, b = (thumbnails_of(small(p)[None])[0] for p in (photo, crop))
    begin, astray = (np.array([warp], np.float32) for warp in ([0.97, 0.0, 0.97, 0.0], [1.2, -0.2, 0.8, 0.2]))
    for told in (False, True):
        found = align_pictures(a, b, begin, 0.9, rough_warp=astray, again=np.array([told]))
        assert (found.whole[0] >= 0.9) == told


def test_a_description_is_nearer_to_a_copy_than_to_another_photograph() -> None:
    darker = Image.fromarray((np.asarray(PHOTOS[0]) * 0.6).astype(np.uint8))
    rows = describe_pictures(*thumbnails_of(np.stack([small(p) for p in (PHOTOS[0], darker, PHOTOS[1])])))
    assert np.linalg.norm(rows[0] - rows[1]) < 0.3 * np.linalg.norm(rows[0] - rows[2])


def test_the_frequencies_of_all_crops_are_those_of_each_crop() -> None:
    grey = np.stack([thumbnails_of(small(p)[None])[0][0] for p in PHOTOS])
    found = crop_frequencies(equalise(quarter_sums(grey)))
    for number, crop in enumerate(CROPS):
        alike = (found[:, number] * frequencies(grey, crop)).sum((1, 2))
        assert alike.min() > 0.98


def test_a_rough_alignment_passes_copies_and_stops_strangers() -> None:
    grey = np.stack([thumbnails_of(small(p)[None])[0][0] for p in PHOTOS])
    rough = np.rint(quarter_sums(grey) / 16).astype(np.uint8)
    brighter = np.clip(rough * 1.2, 0, 255).astype(np.uint8)
    still = np.tile(np.array([1, 0, 1, 0], np.float32), (len(rough), 1))
    assert align_roughly(equalise(rough), equalise(brighter), still)[0].min() > 0.9
    assert align_roughly(equalise(rough), equalise(rough[::-1]), still)[0].max() < 0.5
