"""What every prediction that kept its image can do: be drawn, and be written."""

__all__ = ["Drawn"]

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError


class Drawn:
    """A prediction of an image, uint8 (H, W, 3), which may not have been kept; `drawn_as` is the task that draws it."""

    drawn_as: ClassVar[str]
    image: NDArray[np.uint8] | None

    def plot(self) -> NDArray[np.uint8]:
        """Give the image with what was found drawn on it, uint8 (H, W, 3).

        Raises:
            BundleError: the image was not kept.
        """
        from eyewright.tasks import TASKS

        if self.image is None:
            raise BundleError("this prediction was made without keeping its image", fix="predict from a path or array")
        drawn: NDArray[np.uint8] = TASKS[self.drawn_as].draw(self.image, self)
        return drawn

    def save(self, path: str | Path) -> Path:
        """Write `plot` to `path`."""
        from eyewright.imaging.encode import write_image

        return write_image(path, self.plot())
