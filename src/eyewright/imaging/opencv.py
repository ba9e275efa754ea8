"""OpenCV, for modules that every decoder and every prediction loads: without the catalogue of steps."""

__all__ = ["opencv"]

from typing import Any

from eyewright.core.extras import import_extra


def opencv() -> Any:
    """Return OpenCV.

    Raises:
        MissingExtraError: it is not installed.
    """
    return import_extra("cv2", extra="pixels", what="image processing")
