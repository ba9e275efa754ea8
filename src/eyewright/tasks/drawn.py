"""What every prediction that kept its image can do: be drawn, and be written."""

__all__ = ["Drawn", "import_supervision", "kept_image", "mask_png", "video_frame"]

import base64
import io
from abc import ABC, abstractmethod
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import BundleError, EyewrightError, MissingExtraError
from eyewright.core.notebook import html_card
from eyewright.core.quoting import quoted
from eyewright.imaging.encode import data_uri, write_image
from eyewright.imaging.overlay import NARROWEST, shrink

if TYPE_CHECKING:
    from eyewright.core.prediction import Prediction


_SHOWN_SIDE = 480


class _KeptImage:
    """A field of a dataclass: an image, or a function that reads it again each time it is asked for."""

    def __get__(self, owner: object | None, kind: type | None = None) -> Any:
        if owner is None:
            return self
        found = owner.__dict__.get("_image")
        return found() if callable(found) else found

    def __set__(self, owner: object, image: Any) -> None:
        # A field's default is the field itself.
        owner.__dict__["_image"] = None if image is self else image


def kept_image() -> Any:
    """Return the field `image` of a prediction, None by default.

    `dataclasses.replace` accepts a function for it, which reads the image again whenever it is needed, so that a
    thousand predictions of photographs do not hold a thousand photographs. A prediction's `repr` does not read it.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Example:
    ...     name: str
    ...     image: NDArray[np.uint8] | None = kept_image()
    >>> Example("a").image is None, Example("a", lambda: np.zeros((2, 3, 3), np.uint8)).image.shape
    (True, (2, 3, 3))
    """
    return field(default=_KeptImage(), repr=False)


class Drawn(ABC):
    """A prediction of an image, uint8 (H, W, 3), which may not have been kept."""

    image: NDArray[np.uint8] | None

    source: str

    def __repr__(self) -> str:
        where = f" in {quoted(self.source)}" if self.source else ""
        return f"<{type(self).__name__}: {self.line()}{where}>"

    def _repr_html_(self) -> str:
        """Return the image with the prediction drawn on it, for notebooks; the prediction alone if it was not kept."""
        try:
            pictures = {self.source or "image": data_uri(shrink(self.plot(), _SHOWN_SIDE))}
        except EyewrightError:
            pictures = {}
        return html_card(self.line(), pictures=pictures)

    @property
    def confidence(self) -> float | None:
        """The lowest score that the prediction rests on, from 0 to 1; None where nothing was found, or has a score."""
        return None

    @abstractmethod
    def line(self, *, top: int | None = None) -> str:
        """Say in a line what was predicted."""

    @abstractmethod
    def drawn_on(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return an image, uint8 (H, W, 3), with the prediction drawn on it."""

    def plot(self) -> NDArray[np.uint8]:
        """Return the image with the prediction drawn on it, uint8 (H, W, 3).

        Raises:
            BundleError: the image was not kept.
            InputError: it has to be read again, and its file is gone or has changed.
        """
        image = self.image
        if image is None:
            raise BundleError("this prediction was made without keeping its image", fix="predict from a path or array")
        return self.drawn_on(image)

    def strip_rows(self, size_hw: tuple[int, int]) -> int | None:
        """Return how many rows a frame of a video has below an image of this size; None where `drawn_on` adds none.

        A subclass overrides this if it draws a strip whose size depends on the prediction.
        """
        return None

    def save(self, path: str | Path) -> Path:
        """Write `plot` to `path`, in the format that its extension names; written fast rather than small."""
        return write_image(path, self.plot(), quick=True)


def video_frame(prediction: "Prediction") -> NDArray[np.uint8]:
    """Return `plot` for a video, uint8 (H, W, 3): its size depends on that of the kept image alone.

    Raises:
        BundleError: the image was not kept.
    """
    image = prediction.image
    if not isinstance(prediction, Drawn) or image is None:
        return prediction.plot()
    drawn = prediction.drawn_on(image)
    height, width = image.shape[:2]
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


def import_supervision() -> Any:
    """Return the module `supervision`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise MissingExtraError("supervision is not installed", fix="pip install supervision") from error
    return supervision


def mask_png(mask: NDArray[np.bool_]) -> str:
    """Return a mask, bool (H, W), as a PNG of 0 and 255 in base64."""
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
