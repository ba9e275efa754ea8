"""What every prediction that kept its image can do: be drawn, and be written."""

__all__ = ["Drawn", "mask_png"]

import base64
import io
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import BundleError


class Drawn(ABC):
    """A prediction of an image, uint8 (H, W, 3), which may not have been kept."""

    image: NDArray[np.uint8] | None

    @abstractmethod
    def drawn_on(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return an image, uint8 (H, W, 3), with the prediction drawn on it."""

    def plot(self) -> NDArray[np.uint8]:
        """Return the image with the prediction drawn on it, uint8 (H, W, 3).

        Raises:
            BundleError: the image was not kept.
        """
        if self.image is None:
            raise BundleError("this prediction was made without keeping its image", fix="predict from a path or array")
        return self.drawn_on(self.image)

    def save(self, path: str | Path) -> Path:
        """Write `plot` to `path`."""
        from eyewright.imaging.encode import write_image

        return write_image(path, self.plot())


def mask_png(mask: NDArray[np.bool_]) -> str:
    """Return a mask, bool (H, W), as a PNG of 0 and 255 in base64."""
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
