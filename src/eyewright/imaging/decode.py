"""The one place where bytes become pixels. Nothing else in the house decodes an image."""

__all__ = ["ImageInfo", "probe_image", "read_image", "read_picture", "read_thumbnail"]

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from eyewright.core.errors import LimitError, UnreadableImageError
from eyewright.imaging.headers import Header, Limits, check_limits, read_header

Depth = Literal["8", "native"]

_ORIENTATION = 0x0112
# What Pillow and the libraries below it raise on damaged files; MemoryError and KeyboardInterrupt pass through.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    EOFError,
    AttributeError,
    RuntimeError,
    ZeroDivisionError,
    Warning,  # where a caller has made warnings errors
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class ImageInfo:
    """What a file holds, read without decoding it.

    `size_hw` is (height, width) in pixels as a viewer shows it, after EXIF `orientation` (1-8, 1 is upright); `mode`
    is Pillow's name for the pixel type; `frames` counts the images of an animated or multi-page file.
    """

    format: str
    size_hw: tuple[int, int]
    mode: str
    orientation: int
    frames: int


def read_image(
    source: str | Path | bytes, *, depth: Depth = "8", limits: Limits | None = None
) -> NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]:
    """Read one image as uint8 (H, W, 3) RGB, upright, without metadata.

    EXIF orientation is applied, grey becomes three equal channels, palettes are looked up, transparency is laid over
    white, CMYK and YCCK become RGB. Of an animated or multi-page file the first frame is read. 16-bit sources give
    their high byte (the format's full range, never guessed from the pixels); with `depth="native"` grey 16-bit
    sources keep uint16 and float sources float32. Colour is not managed: an ICC profile is ignored.

    >>> image = read_image(_example_png())
    >>> image.shape, image.dtype
    ((2, 3, 3), dtype('uint8'))

    Raises:
        UnreadableImageError: missing, empty, damaged, cut off, or of a format that is not read.
        LimitError: over a cap in `limits`; found before decoding.
    """
    data = _bytes_of(source, limits or Limits())
    image, _ = _open(data, limits or Limits())
    with _named_errors():
        upright = _upright(image)
        deep = _deep_array(upright) if depth == "native" else None
        return np.asarray(_to_rgb(upright)) if deep is None else deep


def read_picture(source: str | Path | bytes, *, limits: Limits | None = None) -> Image.Image:
    """Read one image as `read_image` does, as a Pillow picture in mode RGB: the same pixels, without two copies.

    For `Preparation`, which resizes with Pillow anyway.

    Raises:
        UnreadableImageError, LimitError: as `read_image`.
    """
    image, _ = _open(_bytes_of(source, limits or Limits()), limits or Limits())
    with _named_errors():
        return _to_rgb(_upright(image))


def probe_image(source: str | Path | bytes, *, limits: Limits | None = None) -> ImageInfo:
    """Tell what an image file holds without decoding its pixels.

    >>> probe_image(_example_png())
    ImageInfo(format='PNG', size_hw=(2, 3), mode='L', orientation=1, frames=1)

    Raises:
        UnreadableImageError, LimitError: as `read_image`.
    """
    data = _bytes_of(source, limits or Limits())
    return _info(*_open(data, limits or Limits()))


def read_thumbnail(data: bytes, side: int, *, limits: Limits | None = None) -> tuple[ImageInfo, NDArray[np.uint8]]:
    """Read what `probe_image` tells and a small grey stand-in, uint8 (side, side), for fingerprints.

    JPEG decodes at a reduced scale, which is sooner done.

    The whole file is still read, so damage is still found. Not for training: `Preparation` gives the real pixels.

    Raises:
        UnreadableImageError, LimitError: as `read_image`.
    """
    image, header = _open(data, limits or Limits())
    info = _info(image, header)
    with _named_errors():
        if header.format == "JPEG":
            image.draft("L" if image.mode in ("L", "RGB", "YCbCr") else None, (side * 2, side * 2))
        grey = _upright(image)
        if grey.mode != "L":
            grey = _to_rgb(grey).convert("L")
        return info, np.asarray(grey.resize((side, side), Image.Resampling.BOX))


def _bytes_of(source: str | Path | bytes, limits: Limits) -> bytes:
    if isinstance(source, bytes):
        return source
    path = Path(source)
    try:
        size = path.stat().st_size
        if size > limits.bytes:
            raise LimitError(f"{str(path)!r} has {size} bytes, over the limit of {limits.bytes}", fix="shrink it")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableImageError(f"cannot read {str(path)!r}: {reason}", fix="check the path") from error


def _open(data: bytes, limits: Limits) -> tuple[Image.Image, Header]:
    header = read_header(data)
    check_limits(header, len(data), limits)
    try:
        image = Image.open(io.BytesIO(data), formats=[header.format])
    except UnidentifiedImageError as error:
        raise UnreadableImageError(f"the {header.format} is damaged", fix="copy it again or remove it") from error
    except _DECODER_ERRORS as error:
        raise UnreadableImageError(_reason(error), fix="copy it again, re-save it or remove it") from error
    # The container may promise less than the frame inside it; what Pillow is about to decode counts.
    check_limits(Header(header.format, (image.height, image.width)), len(data), limits)
    return image, header


def _info(image: Image.Image, header: Header) -> ImageInfo:
    with _named_errors():
        orientation = _orientation(image)
        width, height = image.size
        # Pillow already swaps the sides of a turned TIFF.
        turned = orientation >= 5 and header.format != "TIFF"
        size_hw = (width, height) if turned else (height, width)
        return ImageInfo(header.format, size_hw, image.mode, orientation, getattr(image, "n_frames", 1))


@contextlib.contextmanager
def _named_errors() -> Iterator[None]:
    """Give every way in which a decoder fails one clear name."""
    try:
        yield
    except UnreadableImageError:
        raise
    except _DECODER_ERRORS as error:
        raise UnreadableImageError(_reason(error), fix="copy it again, re-save it or remove it") from error
    except MemoryError as error:
        raise LimitError("the image needs more memory than there is", fix="shrink it") from error


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    return ImageOps.exif_transpose(image) if _orientation(image) != 1 else image


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except _DECODER_ERRORS:
        # Broken metadata says nothing about the pixels, which are read as they lie.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _deep_array(image: Image.Image) -> NDArray[np.uint16] | NDArray[np.float32] | None:
    """Give what holds more than 8 bits as it is, (H, W, 3), and None for the rest."""
    if image.mode.startswith("I;16"):
        return np.repeat(np.asarray(image).astype(np.uint16)[..., None], 3, axis=2)
    if image.mode in ("F", "I"):
        return np.repeat(np.asarray(image, dtype=np.float32)[..., None], 3, axis=2)
    return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("F", "I"):
        kind = "32-bit float" if image.mode == "F" else "32-bit integer"
        raise UnreadableImageError(
            f"the image is {kind}, whose range is not stated in the file",
            fix='read it with depth="native" and map it to 8 bits yourself',
            code="unknown_range",
        )
    if image.mode in ("LAB", "HSV"):
        raise UnreadableImageError(f"the image is in {image.mode}, which is not read", fix="save it as RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        over = Image.new("RGBA", image.size, (255, 255, 255, 255))
        over.alpha_composite(image.convert("RGBA"))
        return over.convert("RGB")
    return image.convert("RGB")


def _reason(error: BaseException) -> str:
    text = str(error)
    if "truncated" in text or "cut off" in text or isinstance(error, EOFError):
        return "the image is cut off"
    return f"the image is damaged ({text or type(error).__name__})"


def _example_png() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (3, 2)).save(buffer, "PNG")
    return buffer.getvalue()
