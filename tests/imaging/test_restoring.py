"""Images in tiles: every depth and size, and the same pixels whatever the tile."""

import numpy as np
import pytest
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.imaging.preparation import Preparation
from eyewright.imaging.regions import cut_region
from eyewright.imaging.restoring import restore_pixels
from eyewright.imaging.tiles import TileCut, grain_level, tile_starts

REACH = 7


def prepared(side: int = 48, *, degrade: str = "blur:1", channels: int = 3) -> Preparation:
    return Preparation((side, side), fit="crop", channels=channels, tile=TileCut(REACH, degrade))


def sharpen(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A net that looks as far as its reach: the difference to the mean of a cross, and the level it is told."""
    image = tiles[..., :-1].astype(np.float32)
    far = sum(np.roll(image, step, axis) for step in (-REACH, REACH, -1, 1) for axis in (1, 2)) / 8
    return ((image - far) / 255 * 0.3 + tiles[..., -1:] / 2550).astype(np.float32)


def photo(height: int, width: int, colours: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 256, (height, width, colours)).astype(np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (7, 90), (48, 48), (101, 67)])
def test_every_size_gives_the_same_pixels_with_every_tile(size: tuple[int, int]) -> None:
    image = photo(*size)
    whole = restore_pixels(sharpen, image, prepared(160)).image
    for tile in (22, 48, 160):
        assert np.array_equal(restore_pixels(sharpen, image, prepared(160), tile=tile).image, whole)
        assert np.array_equal(restore_pixels(sharpen, image, prepared(tile)).image, whole)
    assert not np.array_equal(whole, image) or size == (1, 1)


def test_tiles_begin_at_even_places_and_their_results_cover_a_side_once() -> None:
    for reach in (6, 7):
        found = tile_starts(101, 40, reach)
        kept = [k for _, first, last in found for k in range(first, last)]
        assert kept == list(range(101))
        assert all(begin % 2 == 0 and first - begin >= reach for begin, first, _ in found)
        assert all(begin + 40 - last >= reach for begin, _, last in found)
    with pytest.raises(UsageError, match="expected tiles of more than"):
        tile_starts(100, 14, 7)


def test_sixteen_bits_stay_sixteen_and_lose_nothing_where_nothing_is_added() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (60, 50, 3)).astype(np.uint16)
    none = restore_pixels(lambda tiles: np.zeros((*tiles.shape[:3], 3), np.float32), deep, prepared())
    assert none.image.dtype == np.uint16
    assert np.array_equal(none.image, deep)
    assert none.changed == 0
    changed = restore_pixels(sharpen, deep, prepared()).image
    assert len(np.unique(changed)) > 1000


def test_grey_stays_grey_with_a_net_for_colour_and_colours_are_done_one_by_one_by_a_net_for_grey() -> None:
    def tinted(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        return sharpen(tiles) + np.array([0.1, 0, -0.05], np.float32)

    grey = np.repeat(photo(50, 60, 1), 3, 2)
    found = restore_pixels(tinted, grey, prepared()).image
    assert np.array_equal(found[..., 0], found[..., 1])
    assert np.array_equal(found[..., 0], found[..., 2])
    flat = restore_pixels(tinted, grey[..., 0], prepared()).image
    assert flat.shape == (50, 60)
    assert np.array_equal(flat, found[..., 0])
    colour = photo(50, 60)
    own = restore_pixels(sharpen, colour, prepared(channels=1)).image
    for k in range(3):
        assert np.array_equal(own[..., k], restore_pixels(sharpen, colour[..., k], prepared(channels=1)).image)


def test_enlarging_tile_by_tile_is_bicubic_on_the_whole_where_nothing_is_added() -> None:
    import cv2

    image = photo(61, 70)
    nothing = restore_pixels(
        lambda tiles: np.zeros((len(tiles), 96, 96, 3), np.float32), image, prepared(degrade="down:2")
    ).image
    whole = cv2.resize(image.astype(np.float32) / 255, (140, 122), interpolation=cv2.INTER_CUBIC)
    expected = np.rint(np.clip(whole, 0, 1) * 255).astype(np.uint8)
    inner = (slice(4, -4), slice(4, -4))
    assert np.array_equal(nothing[inner], expected[inner])


def test_strength_is_the_share_of_the_change() -> None:
    image = photo(40, 40) // 2 + 60
    whole, none, half = (restore_pixels(sharpen, image, prepared(), strength=s) for s in (1.0, 0.0, 0.5))
    assert np.array_equal(none.image, image)
    assert half.changed == pytest.approx(whole.changed / 2, rel=0.02)
    with pytest.raises(UsageError, match="strength"):
        restore_pixels(sharpen, image, prepared(), strength=1.5)


def test_the_level_that_is_told_is_measured_or_given() -> None:
    seen = []

    def look(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(int(tiles[0, 0, 0, -1]))
        return np.zeros((*tiles.shape[:3], 3), np.float32)

    noisy = np.clip(128 + np.random.default_rng(0).normal(0, 20, (200, 200, 3)), 0, 255).astype(np.uint8)
    restore_pixels(look, noisy, prepared(256, degrade="noise:5-50"))
    restore_pixels(look, noisy, prepared(256, degrade="noise:5-50"), sigma=10)
    restore_pixels(look, noisy, prepared(256))
    assert seen[0] == pytest.approx(80, abs=4)
    assert seen[1:] == [40, 0]


def test_noise_of_a_large_image_is_measured_in_windows() -> None:
    noise = np.random.default_rng(0).normal(0, 12, (1600, 1600))
    assert grain_level(np.clip(120 + noise, 0, 255).astype(np.uint8)) == pytest.approx(12, rel=0.08)
    deep = np.clip((120 + noise) * 257, 0, 65535).astype(np.uint16)
    assert grain_level(deep) == pytest.approx(12, rel=0.08)


def test_a_region_outside_is_mirrored_as_often_as_it_takes() -> None:
    assert np.array_equal(
        cut_region(photo(5, 6), -4, 3, (20, 11)), np.pad(photo(5, 6), ((4, 11), (0, 8), (0, 0)), "symmetric")[:, 3:]
    )
