"""The mean over flips and rotations: of nets that see all directions alike it changes nothing, of others it does."""

import numpy as np
import pytest
from numpy.typing import NDArray

from eyewright.imaging.eightfold import eightfold
from eyewright.imaging.filling import fill_by_net
from eyewright.imaging.preparation import Preparation
from eyewright.imaging.restoring import restore_pixels
from eyewright.imaging.tiles import TileCut

RNG = np.random.default_rng(0)


def test_it_is_the_mean_over_the_eight_turned_back() -> None:
    tiles = RNG.integers(0, 256, (2, 6, 6, 3)).astype(np.uint8)
    weights = RNG.random((6, 6, 1)).astype(np.float32)

    def run(given: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(given * weights, np.float32)

    # By hand: turning a product back turns its weights, so their mean over all symmetries of the square is what counts.
    turns = [np.rot90(w, k) for w in (weights, weights[::-1]) for k in range(4)]
    assert np.allclose(eightfold(run)(tiles), tiles * np.mean(turns, 0), rtol=1e-5)


def test_it_enlarges_and_takes_a_second_array_along() -> None:
    tiles, masks = (
        RNG.integers(0, 256, (1, 4, 4, 1)).astype(np.uint8),
        RNG.integers(0, 2, (1, 4, 4, 1)).astype(np.uint8),
    )

    def run(image: NDArray[np.uint8], hole: NDArray[np.uint8]) -> NDArray[np.float32]:
        return (image * hole).repeat(2, 1).repeat(2, 2).astype(np.float32)

    assert np.array_equal(eightfold(run)(tiles, masks), run(tiles, masks))


@pytest.mark.parametrize("kind", ["restore", "fill"])
def test_tiles_equal_the_whole_and_nothing_outside_a_hole_changes(kind: str) -> None:
    image = RNG.integers(0, 256, (101, 67, 3)).astype(np.uint8)
    hole = np.zeros((101, 67), bool)
    hole[30:40, 5:60] = True

    def shifted(tiles: NDArray[np.uint8], holes: NDArray[np.uint8] | None = None) -> NDArray[np.float32]:
        """A net that looks to one side only."""
        seen = tiles[..., :3].astype(np.float32) / 255
        return np.asarray(0.3 * (np.roll(seen, 3, 1) - seen), np.float32)

    def done(side: int, tile: int | None = None) -> NDArray[np.uint8]:
        run = eightfold(shifted)
        cut = TileCut(7, "blur:1" if kind == "restore" else "holes:10")
        prepared = Preparation((side, side), fit="crop", channels=3, tile=cut)
        if kind == "restore":
            return restore_pixels(run, image, prepared, tile=tile).image
        return np.asarray(fill_by_net(run, image, hole, prepared, tile=tile))

    whole = done(160)
    for side, tile in ((160, 48), (48, None), (22, None)):
        assert np.array_equal(done(side, tile), whole)
    if kind == "fill":
        assert np.array_equal(whole[~hole], image[~hole])
    assert not np.array_equal(whole[hole], image[hole])
