"""What every prediction that kept its image can do: be drawn, and be written."""

__all__ = ["Drawn", "mask_png", "video_frame"]

import base64
import io
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import BundleError
from eyewright.imaging.encode import write_image
from eyewright.imaging.overlay import NARROWEST

if TYPE_CHECKING:
    from eyewright.core.prediction import Prediction


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

    def strip_rows(self, size_hw: tuple[int, int]) -> int | None:
        """Return how many rows a frame of a video has below an image of this size; None where `drawn_on` adds none.

        A subclass overrides this if it draws a strip whose size depends on the prediction.
        """
        return None

    def save(self, path: str | Path) -> Path:
        """Write `plot` to `path`."""
        return write_image(path, self.plot())


def video_frame(prediction: "Prediction") -> NDArray[np.uint8]:
    """Return `plot` for a video, uint8 (H, W, 3): its size depends on that of the kept image alone.

    Raises:
        BundleError: the image was not kept.
    """
    drawn = prediction.plot()
    if not isinstance(prediction, Drawn) or prediction.image is None:
        return drawn
    height, width = prediction.image.shape[:2]
    rows = prediction.strip_rows((height, width))
    return drawn if rows is None else _fitted(drawn, height + rows, max(width, NARROWEST))


def _fitted(drawn: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return a picture on white or cut, uint8 (height, width, 3): its top and its middle columns are kept."""
    cut = max(0, drawn.shape[1] - width) // 2
    kept = drawn[:height, cut : cut + width]
    frame = np.full((height, width, 3), 255, np.uint8)
    left = (width - kept.shape[1]) // 2
    frame[: len(kept), left : left + kept.shape[1]] = kept
    return frame


def mask_png(mask: NDArray[np.bool_]) -> str:
    """Return a mask, bool (H, W), as a PNG of 0 and 255 in base64."""
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
