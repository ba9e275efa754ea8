"""Write pixels, and nothing but pixels: no metadata leaves with a file."""

__all__ = ["data_uri", "encode_image", "write_image"]

import base64
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import UsageError
from eyewright.core.files import write_bytes
from eyewright.imaging.headers import FORMATS

_WRITTEN = {ext: name for name, exts in FORMATS.items() for ext in exts}


def encode_image(image: NDArray[np.uint8], *, format: str = "PNG", quality: int = 90) -> bytes:
    """Encode uint8 (H, W, 3) RGB or (H, W) grey; `quality` 1-100 is for JPEG and WebP.

    >>> encode_image(np.zeros((2, 2, 3), np.uint8))[:4]
    b'\\x89PNG'

    Raises:
        UsageError: another shape or type, or a format that is not written.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise UsageError(f"expected uint8 (H, W, 3) or (H, W), found {image.dtype} {image.shape}")
    if format not in FORMATS:
        raise UsageError(f"expected a format of {', '.join(FORMATS)}, found {format!r}")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format, quality=quality)
    return buffer.getvalue()


def write_image(path: str | Path, image: NDArray[np.uint8], *, quality: int = 90) -> Path:
    """Write an image, uint8 (H, W, 3) RGB or (H, W) grey, in the format that the extension names.

    Raises:
        UsageError: an extension that is not written, another shape or type.
        OutputError: the place cannot be written.
    """
    path = Path(path)
    name = _WRITTEN.get(path.suffix.lower())
    if name is None:
        raise UsageError(f"expected an extension of {', '.join(_WRITTEN)}, found {path.suffix!r}", fix="rename it")
    write_bytes(path, encode_image(image, format=name, quality=quality))
    return path


def data_uri(image: NDArray[np.uint8], *, format: str = "WEBP", quality: int = 80) -> str:
    """Give an image as a `data:` address, so that a page needs no second file."""
    coded = base64.b64encode(encode_image(image, format=format, quality=quality)).decode("ascii")
    return f"data:image/{format.lower()};base64,{coded}"
