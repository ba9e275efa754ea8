"""Restore images by a bundle, or fill their holes: as a step of processing, and file by file."""

__all__ = ["Filler", "Restorer", "fills_holes", "open_filler", "open_restorer"]

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.load import Bundle, load_bundle
from eyewright.bundle.manifest import bundle_folder, no_bundle
from eyewright.core.errors import InputError, UsageError
from eyewright.core.inputs import IMAGE, MASK
from eyewright.core.quoting import quoted
from eyewright.core.task import task_of
from eyewright.imaging.degrade import Degradation
from eyewright.imaging.eightfold import eightfold
from eyewright.imaging.filling import fill_by_net
from eyewright.imaging.restoring import Restored, restore_pixels


class Restorer:
    """A bundle that restores images, uint8 or uint16, (H, W) or (H, W, 3), of any size."""

    def __init__(self, bundle: Bundle) -> None:
        if fills_holes(bundle):
            raise UsageError(
                "the bundle fills holes, and needs a mask of them", fix="use eyewright inpaint --with BUNDLE"
            )
        if bundle.preparation.tile is None:
            raise UsageError(
                f"expected a bundle that restores images, found one for {task_of(bundle.task_name).words.noun}",
                fix="train one with --task restore",
            )
        self.bundle = bundle
        self.tile = bundle.preparation.tile

    @property
    def degradation(self) -> Degradation:
        """What the net has learnt to undo."""
        return self.tile.degradation

    def __call__(
        self,
        image: NDArray[Any],
        *,
        strength: float = 1.0,
        sigma: float | None = None,
        tile: int | None = None,
        test_time_augment: bool = False,
    ) -> Restored:
        """Return the image restored; the arguments are those of `imaging.restoring.restore_pixels`, and whether it is
        the mean over 8 flips and rotations (`imaging.eightfold`)."""

        def run(tiles: NDArray[Any]) -> NDArray[Any]:
            return self.bundle.raw(tiles)["residual"]

        used = eightfold(run) if test_time_augment else run
        return restore_pixels(used, image, self.bundle.preparation, strength=strength, sigma=sigma, tile=tile)


class Filler:
    """A bundle that fills holes in images, uint8 or uint16 (H, W, 1 or 3), of any size."""

    def __init__(self, bundle: Bundle) -> None:
        if not fills_holes(bundle):
            raise UsageError(
                f"expected a bundle that fills holes, found one for {task_of(bundle.task_name).words.noun}"
                f"{_undone(bundle)}",
                fix="train one with --task restore --degrade holes:10-30",
            )
        self.bundle = bundle
        self.preparation: Any = bundle.inputs[IMAGE]

    def __call__(
        self, image: NDArray[Any], hole: NDArray[np.bool_], *, tile: int | None = None, test_time_augment: bool = False
    ) -> NDArray[Any]:
        """Return the image with the first filling of its hole, bool (H, W), improved (`imaging.filling`); on request by
        the mean over 8 flips and rotations (`imaging.eightfold`)."""

        def run(tiles: NDArray[np.uint8], holes: NDArray[np.uint8]) -> NDArray[np.float32]:
            return self.bundle.raw({IMAGE: tiles, MASK: holes})["residual"]

        return fill_by_net(eightfold(run) if test_time_augment else run, image, hole, self.preparation, tile=tile)


def fills_holes(bundle: Bundle) -> bool:
    """Return whether a bundle takes an image and where it is to be filled."""
    return set(bundle.inputs) == {IMAGE, MASK}


def _undone(bundle: Bundle) -> str:
    image: Any = bundle.inputs.get(IMAGE)
    tile = getattr(image, "tile", None)
    return "" if tile is None else f" that undoes {tile.degrade}"


@lru_cache(maxsize=4)
def open_filler(place: str, threads: int | None = None) -> Filler:
    """Open a bundle that fills holes, as `open_restorer` does."""
    return Filler(_open(place, threads))


@lru_cache(maxsize=4)
def open_restorer(place: str, threads: int | None = None) -> Restorer:
    """Open the bundle at a path, or that in a run folder; one that was opened before is used again.

    Raises:
        InputError: nothing is there.
        BundleError, UsageError: it is damaged, or for something else.
    """
    return Restorer(_open(place, threads))


def _open(place: str, threads: int | None) -> Bundle:
    folder = bundle_folder(Path(place).expanduser())
    if not folder.exists():
        raise InputError(f"expected a bundle at {quoted(place)}, found none", fix="check the path", code="not_found")
    if not (folder / "bundle.json").exists():
        raise no_bundle(folder)
    return load_bundle(folder, threads=threads, frees=True)
