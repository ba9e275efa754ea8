"""Holes: drawn, cut from masks, filled tile by tile."""

import numpy as np
import pytest
from numpy.typing import NDArray

from eyewright.core.errors import BundleError, UsageError
from eyewright.imaging.degrade import parse_degradation
from eyewright.imaging.filling import fill_by_net
from eyewright.imaging.first_filling import fill_smoothly
from eyewright.imaging.holes import HoleInput, HoleSource, draw_hole
from eyewright.imaging.inpainting import inpaint_pixels
from eyewright.imaging.preparation import Preparation
from eyewright.imaging.tiles import TileCut, tile_starts

REACH, ALIGN = 9, 16


def prepared(side: int, channels: int = 3) -> Preparation:
    return Preparation((side, side), fit="crop", channels=channels, tile=TileCut(REACH, "holes:10-30", ALIGN))


def average(tiles: NDArray[np.uint8], holes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A net that looks as far as its reach, at the hole too, and at places that strides of 16 see."""
    image, hole = tiles.astype(np.float32) / 255, holes.astype(np.float32) / 255
    far = sum(np.roll(image * (1 - hole), step, axis) for step in (-REACH, REACH, -1, 1) for axis in (1, 2)) / 8
    rows = np.arange(tiles.shape[1])[None, :, None, None] % ALIGN
    return (0.4 * (far - image) + 0.001 * rows).astype(np.float32)


def photo(height: int, width: int, colours: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 256, (height, width, colours)).astype(np.uint8)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (9, 7), (64, 96)])
def test_a_drawn_hole_covers_about_what_is_asked_and_never_everything(size: tuple[int, int], share: float) -> None:
    for seed in range(20):
        hole = draw_hole(size, share, rng=np.random.default_rng(seed))
        assert hole.shape == size
        assert hole.any()
        assert not hole.all() or size == (1, 1)
        if min(size) >= 64:
            assert share - 0.01 <= hole.mean() <= max(0.5, 2 * share)
    again = draw_hole(size, share, rng=np.random.default_rng(19))
    assert np.array_equal(hole, again)


def test_half_of_the_holes_are_cut_from_masks_that_are_given() -> None:
    mask = np.zeros((200, 300), bool)
    mask[::10] = True
    source = HoleSource((mask,))
    rng = np.random.default_rng(0)
    holes = [source.hole((40, 40), 0.2, rng=rng) for _ in range(200)]
    cut = [h for h in holes if h.mean() == pytest.approx(0.1) and (h.all(0).any() or h.all(1).any())]
    assert 60 < len(cut) < 140
    tiny = HoleSource((np.eye(3, dtype=bool),)).hole((20, 20), 0.2, rng=rng)
    assert tiny.shape == (20, 20)


@pytest.mark.parametrize("size", [(1, 1), (30, 90), (101, 67)])
@pytest.mark.parametrize("colours", [1, 3])
def test_every_tile_gives_the_same_pixels_and_what_is_known_stays(size: tuple[int, int], colours: int) -> None:
    image = photo(*size, colours)
    hole = np.random.default_rng(1).random(size) < 0.3
    hole[0, 0] = True
    whole = fill_by_net(average, image, hole, prepared(176))
    for tile in (48, 64, 96):
        assert np.array_equal(fill_by_net(average, image, hole, prepared(176), tile=tile), whole)
        assert np.array_equal(fill_by_net(average, image, hole, prepared(tile)), whole)
    assert np.array_equal(whole[~hole], image[~hole])
    assert not np.array_equal(whole[hole], image[hole])
    with pytest.raises(UsageError, match="tiles of at most 176"):
        fill_by_net(average, image, hole, prepared(176), tile=192)


def test_a_net_for_grey_images_fills_each_colour_and_grey_stays_grey() -> None:
    image, hole = photo(60, 70), np.zeros((60, 70), bool)
    hole[20:30, 5:60] = True
    found = fill_by_net(average, image, hole, prepared(96, 1))
    for c in range(3):
        assert np.array_equal(found[..., c : c + 1], fill_by_net(average, image[..., c : c + 1], hole, prepared(96, 1)))
    grey = image[..., :1].repeat(3, 2)
    coloured = fill_by_net(lambda t, h: average(t, h) * np.float32([1, 2, 3]), grey, hole, prepared(96))
    assert np.array_equal(coloured[..., 0], coloured[..., 2])


def test_sixteen_bits_stay_and_only_tiles_with_a_hole_are_run() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (200, 200, 3)).astype(np.uint16)
    hole = np.zeros((200, 200), bool)
    hole[3:6, 3:6] = True
    seen: list[int] = []

    def run(tiles: NDArray[np.uint8], holes: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(len(tiles))
        return average(tiles, holes)

    found = fill_by_net(run, deep, hole, prepared(64))
    assert (found.dtype, sum(seen)) == (np.uint16, 1)
    assert np.array_equal(found[~hole], deep[~hole])
    nothing = fill_by_net(lambda t, h: np.zeros((*t.shape[:3], 3), np.float32), deep, hole, prepared(64))
    assert np.array_equal(nothing, deep)


def test_tiles_begin_where_the_strides_of_the_net_do() -> None:
    found = tile_starts(301, 96, REACH, ALIGN)
    assert [k for _, first, last in found for k in range(first, last)] == list(range(301))
    assert all(
        begin % ALIGN == 0 and first - begin >= REACH and begin + 96 - last >= REACH for begin, first, last in found
    )
    with pytest.raises(UsageError, match="expected tiles of more than"):
        tile_starts(100, 40, REACH, ALIGN)


def test_holes_are_a_degradation_of_their_own() -> None:
    holes = parse_degradation("holes:10-30")
    assert (str(holes), holes.holes, holes.noisy, holes.scale) == ("holes:10-30", True, False, 1)
    image = photo(64, 64)
    done = holes(image, rng=np.random.default_rng(0), at=0.5)
    assert done.hole is not None
    assert np.array_equal(done.image[~done.hole], image[~done.hole])
    assert np.array_equal(done.image, fill_smoothly(image, done.hole))
    with pytest.raises(UsageError, match="'holes' alone"):
        parse_degradation("holes:10 | noise:5")
    with pytest.raises(UsageError, match="expected 1 to 50"):
        parse_degradation("holes:60")


def test_the_mask_is_an_input_of_its_own_that_travels_in_a_bundle() -> None:
    one = HoleInput((4, 6))
    assert HoleInput.from_json(one.to_json()) == one
    hole = np.zeros((2, 3), bool)
    hole[0, 0] = True
    (tile,), _ = one.batch([hole])
    assert tile.shape == (4, 6, 1)
    assert set(np.unique(tile)) == {0, 255}
    assert np.array_equal(one.unpack(one.pack(hole)), hole)
    assert one.unlike((2, 3), np.dtype(np.uint8)) == ""
    assert one.unlike((2, 3, 1), np.dtype(np.uint8)) == "is not a mask"
    for wrong in ({}, {"size_hw": [4]}, {"size_hw": [4, True]}, {"size_hw": [4, 6], "more": 1}, {"size_hw": [0, 6]}):
        with pytest.raises(BundleError):
            HoleInput.from_json(wrong)
    with pytest.raises(UsageError, match=r"expected a mask as bool \(H, W\)"):
        one.batch([np.zeros((2, 3, 3), bool)])


def test_a_net_and_its_method_come_together() -> None:
    image, hole = photo(40, 40), np.eye(40, dtype=bool)

    def fill(first: NDArray[np.uint8], where: NDArray[np.bool_]) -> NDArray[np.uint8]:
        return np.where(where[..., None], 7, first).astype(np.uint8)

    # Strokes of 8 bits are filled better by fsr, which does not take 16.
    assert inpaint_pixels(image, hole, net=fill).method == "fsr"
    assert inpaint_pixels(image.astype(np.uint16) * 257, hole, net=fill).method == "net"
    done = inpaint_pixels(image, hole, method="net", net=fill)
    assert done.method == "net"
    assert (done.image[hole] == 7).all()
    assert np.array_equal(done.image[~hole], image[~hole])
    feathered = inpaint_pixels(image, hole, net=fill, grow=4, feather=3)
    assert np.array_equal(feathered.image[~feathered.changed], image[~feathered.changed])
    for given in ({"method": "net"}, {"method": "ns", "net": fill}):
        with pytest.raises(UsageError, match="the method net together with the bundle"):
            inpaint_pixels(image, hole, **given)  # type: ignore[arg-type]
