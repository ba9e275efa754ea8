"""Images as people have them in Python: paths, `file://` addresses, bytes, arrays, Pillow images."""

__all__ = ["given_source", "read_image"]

import os
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import UsageError
from eyewright.core.machine import disk
from eyewright.imaging import decode
from eyewright.imaging.conversion import to_rgb, turn_upright
from eyewright.imaging.headers import Limits

_HERE = ("", "localhost", "127.0.0.1")


def given_source(source: Any) -> Any:
    """Return a source as the readers take it: a Pillow image as uint8 (H, W, 3) sRGB upright, grey pixels, uint8
    (H, W), as three equal channels, other bytes and paths as `bytes` and `Path`, and anything else unchanged.

    >>> given_source("file:///data/my%20cat.png"), given_source(bytearray(b"ab"))
    (PosixPath('/data/my cat.png'), b'ab')
    >>> given_source(Image.new("L", (3, 2))).shape
    (2, 3, 3)

    Raises:
        UsageError: a `file://` address of another machine, or an image in a mode without a stated range.
    """
    if isinstance(source, Image.Image):
        with decode.name_unreadable("the Pillow image"):
            # Its owner's image is not changed: what decodes and turns it works on a copy.
            return np.asarray(to_rgb(turn_upright(source.copy())))
    if isinstance(source, bytearray | memoryview):
        return bytes(source)
    if isinstance(source, np.ndarray) and source.ndim == 2 and source.dtype == np.uint8:
        return np.repeat(source[:, :, None], 3, axis=2)
    if isinstance(source, str) and source[:7].lower() == "file://":
        address = urlsplit(source)
        if address.netloc.lower() not in _HERE:
            raise UsageError(
                f"expected a file of this machine, found one of {address.netloc!r}", fix="copy it here, or mount it"
            )
        return disk.path_of_address(unquote(address.path))
    if isinstance(source, os.PathLike) and not isinstance(source, Path):
        return Path(os.fsdecode(source))
    return source


def read_image(
    source: "str | Path | bytes | NDArray[np.uint8] | Image.Image",
    *,
    depth: decode.Depth = "8",
    limits: Limits | None = None,
    at_least: tuple[int, int] | None = None,
    colour: Literal["srgb", "file"] = "srgb",
) -> NDArray[Any]:
    """Return one image as uint8 (H, W, 3) sRGB, upright, without metadata.

    `source` is a path, a `file://` address, encoded bytes, a Pillow image, or pixels already, uint8 (H, W) or
    (H, W, 3). EXIF orientation is applied, an ICC profile is carried out, transparency is laid over white; see
    `eyewright.imaging.decode.read_image`. With `depth="native"` files of 16 bits keep uint16, float files float32.
    `at_least` (height, width) lets a JPEG be decoded at 1/2, 1/4 or 1/8 of its size; with `colour="file"` the profile
    of a file is not carried out.

    Raises:
        UnreadableImageError: missing, empty, damaged, cut off, or of a format that is not read.
        LimitError: over a cap in `limits`; found before decoding.
        UsageError: something else than an image, or an array of another shape or type.
    """
    plain = given_source(source)
    if isinstance(plain, np.ndarray):
        if plain.dtype != np.uint8 or plain.ndim != 3 or plain.shape[2] != 3 or 0 in plain.shape:
            raise UsageError(
                f"expected an image of uint8 (H, W), (H, W, 3), found {plain.dtype} {plain.shape}", fix="convert it"
            )
        return plain
    if not isinstance(plain, str | Path | bytes):
        raise UsageError(
            f"expected a path, a file:// address, bytes, an array or a Pillow image, found {type(source).__name__}",
            fix="pass one of these",
        )
    return np.asarray(decode.read_image(plain, depth=depth, limits=limits, at_least=at_least, colour=colour))
