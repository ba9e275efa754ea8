"""Restore images by a bundle: as a step of processing, and file by file."""

__all__ = ["Restorer", "open_restorer"]

from functools import lru_cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from eyewright.bundle.load import Bundle, load_bundle
from eyewright.bundle.manifest import bundle_folder
from eyewright.core.errors import InputError, UsageError
from eyewright.core.quoting import quoted
from eyewright.core.task import task_of
from eyewright.imaging.degrade import Degradation
from eyewright.imaging.restoring import Restored, restore_pixels


class Restorer:
    """A bundle that restores images, uint8 or uint16, (H, W) or (H, W, 3), of any size."""

    def __init__(self, bundle: Bundle) -> None:
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
    ) -> Restored:
        """Return the image restored; the arguments are those of `imaging.restoring.restore_pixels`."""

        def run(tiles: NDArray[Any]) -> NDArray[Any]:
            return self.bundle.raw(tiles)["residual"]

        return restore_pixels(run, image, self.bundle.preparation, strength=strength, sigma=sigma, tile=tile)


@lru_cache(maxsize=4)
def open_restorer(place: str, threads: int | None = None) -> Restorer:
    """Open the bundle at a path, or that in a run folder; one that was opened before is used again.

    Raises:
        InputError: nothing is there.
        BundleError, UsageError: it is damaged, or for something else.
    """
    folder = bundle_folder(Path(place).expanduser())
    if not (folder / "bundle.json").exists():
        raise InputError(f"expected a bundle at {quoted(place)}, found none", fix="check the path", code="not_found")
    return Restorer(load_bundle(folder, threads=threads))
