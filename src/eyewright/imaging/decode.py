"""The one place where bytes become pixels. Nothing else in Eyewright decodes an image."""

__all__ = [
    "Depth",
    "ImageInfo",
    "checked_header",
    "file_bytes",
    "name_unreadable",
    "named_errors",
    "open_picture",
    "probe_image",
    "read_clear",
    "read_encoded",
    "read_frames",
    "read_image",
    "read_labels",
    "read_picture",
    "read_profile",
    "read_thumbnail",
    "send_elsewhere",
]

import contextlib
import functools
import inspect
import io
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from eyewright.core.errors import EyewrightError, LimitError, UnreadableImageError
from eyewright.core.extras import import_extra
from eyewright.core.quoting import quoted
from eyewright.core.regular import open_regular
from eyewright.imaging.capture import Capture, capture_of
from eyewright.imaging.containers import pnm_size
from eyewright.imaging.conversion import (
    clear_array,
    deep_array,
    in_one_piece,
    is_clear,
    orientation_of,
    over_white,
    to_rgb,
    turn_array,
    turn_upright,
)
from eyewright.imaging.headers import Header, Limits, check_limits, read_header
from eyewright.imaging.video_facts import VideoFacts

Depth = Literal["8", "native"]
Pixels = NDArray[np.uint8]
Deep = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_PLUGINS = {"PNM": "PPM"}
_OPENING = threading.Lock()

Elsewhere = Callable[[str, bytes, Mapping[str, Any]], Any]
"""Does one of the functions of this module, by its name, with the bytes of a file and its other arguments."""

_elsewhere: list[Elsewhere] = []


@dataclass(frozen=True)
class ImageInfo:
    """What a file holds, read without decoding it.

    `size_hw` is (height, width) in pixels as a viewer shows it, after EXIF `orientation` (1-8, 1 is upright); `mode`
    is Pillow's name for the pixel type; `frames` counts those of an animated or multi-page file; `capture`: when and
    by which camera; `seconds`: from the first frame of a clip to its last; `clear`: it can be transparent.
    """

    format: str
    size_hw: tuple[int, int]
    mode: str
    orientation: int
    frames: int
    capture: Capture | None = field(default=None, repr=False)
    seconds: float | None = field(default=None, repr=False)
    video: VideoFacts | None = field(default=None, repr=False)
    clear: bool = field(default=False, repr=False)


@contextlib.contextmanager
def named_errors() -> Iterator[None]:
    """Raise one clear error for every way in which a decoder fails.

    Decoders raise whatever their authors did not think of: OverflowError, struct.error, KeyError, SystemError. All of
    it is about the file.
    """
    try:
        yield
    except EyewrightError:
        raise
    except MemoryError as error:
        raise LimitError("the image needs more memory than there is", fix="shrink it") from error
    except Exception as error:
        raise UnreadableImageError(_reason(error), fix="copy it again, re-save it or remove it") from error


def _guarded(read: Callable[_P, _R]) -> Callable[_P, _R]:
    """Name every error, and do the work in another process where a program has asked for that."""
    signature = inspect.signature(read)

    @functools.wraps(read)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if _elsewhere:
            # The first argument is the file.
            (_, source), *given = signature.bind(*args, **kwargs).arguments.items()
            data = file_bytes(source, kwargs.get("limits") or Limits())  # type: ignore[arg-type]
            found: _R = _elsewhere[-1](read.__name__, data, dict(given))
            return found
        with named_errors():
            return read(*args, **kwargs)

    return guarded


def send_elsewhere(other: Elsewhere | None) -> None:
    """From now on, have what this module decodes decoded by `other`; None undoes it. For `isolation`."""
    _elsewhere[:] = [] if other is None else [other]


def elsewhere() -> Elsewhere | None:
    """Return what decodes in place of this process, if anything does."""
    return _elsewhere[-1] if _elsewhere else None


@contextlib.contextmanager
def name_unreadable(name: str) -> Iterator[None]:
    """Name the file in the error of an image that cannot be read.

    >>> with name_unreadable("a.png"):
    ...     read_image(b"")
    Traceback (most recent call last):
    eyewright.core.errors.UnreadableImageError: 'a.png': expected an image, found an empty file; ...
    """
    try:
        yield
    except UnreadableImageError as error:
        if name in error.message:
            raise
        raise type(error)(f"{name!r}: {error.message}", fix=error.fix, code=error.code) from error


@_guarded
def read_image(
    source: str | Path | bytes,
    *,
    depth: Depth = "8",
    limits: Limits | None = None,
    at_least: tuple[int, int] | None = None,
    colour: Literal["srgb", "file"] = "srgb",
) -> Deep:
    """Read one image as uint8 (H, W, 3) sRGB, upright, without metadata.

    EXIF orientation is applied, an ICC profile is carried out, grey becomes three equal channels, palettes are looked
    up, transparency is laid over white, CMYK and YCCK become RGB. Of an animated or multi-page file the first frame is
    read. 16-bit sources give their high byte (the format's full range, never guessed from the pixels); with
    `depth="native"` 16-bit sources keep uint16 and float sources float32, their profiles not carried out.

    With `colour="file"` an ICC profile is not carried out, for those who keep it with the pixels (`read_profile`).

    `at_least` (height, width) lets a JPEG be decoded at 1/2, 1/4 or 1/8 of its size, as long as neither side falls
    below it: three to six times as fast for a thumbnail, and not the same bits as decoding it whole.

    >>> image = read_image(_example_png())
    >>> image.shape, image.dtype
    ((2, 3, 3), dtype('uint8'))

    Raises:
        UnreadableImageError: missing, empty, damaged, cut off, or of a format that is not read.
        LimitError: over a cap in `limits`; found before decoding.
        MissingExtraError: HEIF, JPEG XL or 16-bit colour without the extra that reads it.
    """
    limits = limits or Limits()
    return _decoded(file_bytes(source, limits), depth, limits, at_least, colour)


def read_encoded(data: bytes, *, colour: Literal["srgb", "file"] = "srgb") -> NDArray[np.uint8]:
    """Read what this process has encoded itself, in 8 bits as `read_image` does, and never in another process.

    Raises:
        UnreadableImageError: the encoder wrote what cannot be read.
    """
    with named_errors():
        return np.asarray(_decoded(data, "8", Limits(), None, colour), np.uint8)


def _decoded(
    data: bytes, depth: Depth, limits: Limits, at_least: tuple[int, int] | None, colour: Literal["srgb", "file"]
) -> Deep:
    header = checked_header(data, limits)
    if _holds_deep_colour(header) and (depth == "native" or _only_deep(data, header)):
        deep = _deep_colour(data, header)
        return deep if depth == "native" else _high_byte(deep)
    image = open_picture(data, header, limits)
    with named_errors():
        if at_least is not None and header.format == "JPEG":
            _draft(image, at_least)
        upright = turn_upright(image)
        if colour == "file":
            upright.info.pop("icc_profile", None)
        native = deep_array(upright, header.format) if depth == "native" or upright.mode == "I" else None
        if native is not None and (depth == "native" or native.dtype == np.uint16):
            return native if depth == "native" else _high_byte(native)
        return np.asarray(to_rgb(upright))


@_guarded
def read_clear(source: str | Path | bytes, *, limits: Limits | None = None) -> NDArray[Any] | None:
    """Return an image with its opacity as last channel, uint8 or uint16 (H, W, 4), nothing laid over white; None for an
    image that is opaque by its type. Errors are those of `read_image`."""
    limits = limits or Limits()
    data = file_bytes(source, limits)
    header = checked_header(data, limits)
    if _holds_deep_colour(header):
        deep = _deep_colour(data, header, flat=False)
        return deep[..., [0, -2, -2, -1] if deep.shape[2] == 2 else [0, 1, 2, 3]] if deep.shape[2] in (2, 4) else None
    return clear_array(turn_upright(open_picture(data, header, limits)))


@_guarded
def read_profile(source: str | Path | bytes, *, limits: Limits | None = None) -> bytes | None:
    """Return the ICC profile of an image file, None where there is none.

    >>> read_profile(_example_png()) is None
    True

    Raises:
        UnreadableImageError, LimitError, MissingExtraError: as `read_image`.
    """
    limits = limits or Limits()
    data = file_bytes(source, limits)
    header = checked_header(data, limits)
    if _only_deep(data, header):
        return None
    found = open_picture(data, header, limits).info.get("icc_profile")
    return bytes(found) if found else None


@_guarded
def read_picture(
    source: str | Path | bytes, *, limits: Limits | None = None, at_least: tuple[int, int] | None = None
) -> Image.Image:
    """Read one image as `read_image` does, as a Pillow picture in mode RGB: the same pixels, without two copies.

    For `Preparation`, which resizes with Pillow anyway. `at_least` is as in `read_image`.

    Raises:
        UnreadableImageError, LimitError, MissingExtraError: as `read_image`.
    """
    limits = limits or Limits()
    data = file_bytes(source, limits)
    header = checked_header(data, limits)
    if header.bits > 8:
        return Image.fromarray(np.asarray(read_image(data, limits=limits)))
    image = open_picture(data, header, limits)
    with named_errors():
        if at_least is not None and header.format == "JPEG":
            _draft(image, at_least)
        return to_rgb(turn_upright(image))


@_guarded
def read_labels(source: str | Path | bytes, *, limits: Limits | None = None) -> NDArray[np.integer]:
    """Read a picture of class numbers as they are stored, (H, W): no palette, no colour, no profile is applied.

    Grey that was saved as RGB, three equal channels, is read as one.

    Raises:
        UnreadableImageError: damaged; with the code "mask_in_colour" if it has colours in place of numbers.
        LimitError: over the limits.
    """
    limits = limits or Limits()
    data = file_bytes(source, limits)
    image = open_picture(data, checked_header(data, limits), limits)
    with named_errors():
        if image.mode == "1":
            image = image.convert("L")
        values = np.asarray(turn_upright(image))
    if values.ndim == 3:
        if image.mode in ("RGB", "RGBA") and bool((values[..., :1] == values[..., 1:3]).all()):
            values = values[..., 0]
        else:
            raise UnreadableImageError(
                f"a mask in colour ({image.mode}) holds no class numbers",
                fix="save it as one channel of class numbers, 0 for background",
                code="mask_in_colour",
            )
    if values.dtype.kind not in "ui":
        raise UnreadableImageError(f"expected whole class numbers, found {values.dtype}", fix="save it as 8-bit PNG")
    return values


def read_frames(
    source: str | Path | bytes, *, limits: Limits | None = None
) -> Iterator[tuple[NDArray[np.uint8], float | None]]:
    """Yield every frame of an animation and every page of a document: uint8 (H, W, 3), one in memory at a time.

    With each frame comes the time in seconds at which it is shown, None for pages. Frames are complete pictures: what
    an animation leaves out of a frame is taken from those before it.

    >>> [frame.shape for frame, _ in read_frames(_example_png())]
    [(2, 3, 3)]

    Raises:
        UnreadableImageError, LimitError, MissingExtraError: as `read_image`, and when a later frame is damaged.
    """
    limits = limits or Limits()
    if _elsewhere:
        yield from _elsewhere[-1]("read_frames", file_bytes(source, limits), {"limits": limits})
        return
    with named_errors():
        data = file_bytes(source, limits)
        header = checked_header(data, limits)
        whole = header.format in ("HEIF", "JXL") or _only_deep(data, header)
    if whole:
        yield np.asarray(read_image(data, limits=limits)), None
        return
    with named_errors():
        image = open_picture(data, header, limits)
        moves = header.format != "TIFF" and bool(getattr(image, "is_animated", False))
    shown_at = 0.0
    for index in itertools.count():
        if index >= limits.frames:
            text = f"the file has more than {limits.frames} frames"
            raise LimitError(text, fix="raise the limit: Limits(frames=...)")
        with named_errors():
            try:
                image.seek(index)
            except EOFError:
                return
            check_limits(Header(header.format, (image.height, image.width)), len(data), limits)
            image.load()
            # Known only once the frame is decoded.
            duration = image.info.get("duration")
            pixels = _eight_bits(turn_upright(image), header.format)
        yield pixels, shown_at if moves or (duration and header.format != "TIFF") else None
        # As browsers do: up to 10 ms mean 100 ms.
        shown_at += (duration if isinstance(duration, int | float) and duration > 10 else 100) / 1000


@_guarded
def probe_image(source: str | Path | bytes, *, limits: Limits | None = None) -> ImageInfo:
    """Return what an image file holds without decoding its pixels.

    >>> probe_image(_example_png())
    ImageInfo(format='PNG', size_hw=(2, 3), mode='L', orientation=1, frames=1)

    Raises:
        UnreadableImageError, LimitError, MissingExtraError: as `read_image`.
    """
    limits = limits or Limits()
    data = file_bytes(source, limits)
    header = checked_header(data, limits)
    if _only_deep(data, header):
        height, width = header.size_hw or (0, 0)
        size_hw = (width, height) if header.orientation >= 5 else (height, width)
        mode = f"{header.channels}x{header.bits}-bit"
        return ImageInfo(header.format, size_hw, mode, header.orientation, 1, clear=header.channels in (2, 4))
    return _info(open_picture(data, header, limits), header)


@_guarded
def read_thumbnail(data: bytes, side: int, *, limits: Limits | None = None) -> tuple[ImageInfo, NDArray[np.uint8]]:
    """Return what `probe_image` returns and a small stand-in, uint8 (side, side, 3) RGB, for fingerprints.

    Equal pixels give equal stand-ins, whatever the file's format. A JPEG of more than 16 times `side` is decoded at a
    reduced scale of at least 8 times `side`, which is faster and changes the stand-in by less than a level on
    average. The whole file is read, so damage is found. Not for training: `Preparation` gives the real pixels.

    Raises:
        UnreadableImageError, LimitError, MissingExtraError: as `read_image`.
    """
    limits = limits or Limits()
    header = checked_header(data, limits)
    if _holds_deep_colour(header) and _only_deep(data, header):
        shown = Image.fromarray(_high_byte(_deep_colour(data, header)))
        return probe_image(data, limits=limits), np.asarray(shown.convert("RGB").resize((side, side), _BOX))
    image = open_picture(data, header, limits)
    if header.format == "PNG":
        # Pillow decodes a PNG to look for its EXIF. What fails there would be taken for broken metadata, and the half
        # of the picture that was decoded for the whole.
        image.load()
    info = _info(image, header)
    with named_errors():
        if header.format == "JPEG" and min(image.size) >= _REDUCED * 2 * side:
            image.draft(image.mode, (side * _REDUCED, side * _REDUCED))
        picture = turn_upright(image)
        deep = deep_array(picture, header.format) if picture.mode == "I" else None
        if deep is not None and deep.dtype == np.uint16:
            picture = Image.fromarray(_high_byte(deep))
        small = to_rgb(picture) if picture.mode not in ("RGB", "L") else picture
        return info, np.asarray(small.resize((side, side), _BOX).convert("RGB"))


_REDUCED = 8
_BOX = Image.Resampling.BOX


def file_bytes(source: str | Path | bytes, limits: Limits) -> bytes:
    """Return the bytes of a file within the limits.

    Raises:
        UnreadableImageError: it cannot be read.
        LimitError: it is too large.
    """
    if isinstance(source, bytes):
        return source
    path = Path(source)
    with open_regular(path, most=sys.maxsize, error=UnreadableImageError, follow=True) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            data = b"" if size > limits.bytes else file.read(size + 1)
        except OSError as error:
            raise UnreadableImageError(f"cannot read {quoted(path)}: {error.strerror}", fix="check the path") from error
    if (size := max(size, len(data))) > limits.bytes:
        raise LimitError(f"{quoted(path)} has {size} bytes, over the limit of {limits.bytes}", fix="shrink it")
    return data


def checked_header(data: bytes, limits: Limits) -> Header:
    """Return what the first bytes of a file say, within the limits."""
    header = read_header(data)
    check_limits(header, len(data), limits)
    return header


def open_picture(data: bytes, header: Header, limits: Limits) -> Image.Image:
    """Open an image file with Pillow, not decoded yet, after its size was checked."""
    if header.format in ("HEIF", "JXL"):
        with named_errors():
            image = _open_heif(data) if header.format == "HEIF" else _open_jxl(data)
        check_limits(Header(header.format, (image.height, image.width)), len(data), limits)
        return image
    try:
        with _pillows_limit(limits.pixels):
            image = Image.open(io.BytesIO(data), formats=[_PLUGINS.get(header.format, header.format)])
    except UnidentifiedImageError as error:
        raise UnreadableImageError(f"the {header.format} is damaged", fix="copy it again or remove it") from error
    # The container may promise less than the frame inside it; what Pillow is about to decode counts.
    check_limits(Header(header.format, (image.height, image.width)), len(data), limits)
    return in_one_piece(image, len(data))


@contextlib.contextmanager
def _pillows_limit(pixels: int) -> Iterator[None]:
    """Let Pillow open as many pixels as ours allow where that is more than its own limit, a global, which comes back.

    Its limit is a guess at what a bomb is; ours was asked for, and the header has been held against it.
    """
    with _OPENING:
        before = Image.MAX_IMAGE_PIXELS
        if before is None or pixels <= before:
            yield
            return
        Image.MAX_IMAGE_PIXELS = pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _open_heif(data: bytes) -> Image.Image:
    heif = import_extra("pi_heif", extra="formats", what="reading HEIF")
    decoded = heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
    image = Image.frombytes(decoded.mode, decoded.size, bytes(decoded.data), "raw", decoded.mode, decoded.stride)
    image.info["icc_profile"] = decoded.info.get("icc_profile")
    return image


def _open_jxl(data: bytes) -> Image.Image:
    pixels = np.asarray(import_extra("imagecodecs", extra="formats", what="reading JPEG XL").jpegxl_decode(data))
    if pixels.ndim == 4:
        pixels = pixels[0]
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise ValueError(f"its pixels are {pixels.dtype}")
    return Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)


def _holds_deep_colour(header: Header) -> bool:
    """Return whether more than 8 bits a channel in several channels are there, which Pillow would cut to 8."""
    return header.bits > 8 and header.channels > 1 and header.format in ("PNG", "TIFF", "PNM", "JPEG2000")


def _only_deep(data: bytes, header: Header) -> bool:
    """Return whether Pillow cannot open it at all: TIFF with floats in several channels, PFM in colour and so on."""
    if not _holds_deep_colour(header) or header.format not in ("TIFF", "PNM"):
        return False
    try:
        Image.open(io.BytesIO(data), formats=[_PLUGINS.get(header.format, header.format)])
    except UnidentifiedImageError:
        return True
    except Exception:  # noqa: BLE001 - what is wrong with it is said by the decoder that comes next
        return False
    return False


def _deep_colour(data: bytes, header: Header, *, flat: bool = True) -> NDArray[np.uint16] | NDArray[np.float32]:
    cv2 = import_extra("cv2", extra="pixels", what="reading 16-bit colour")
    with named_errors():
        try:
            read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
        except cv2.error as error:
            raise ValueError(str(error).splitlines()[0]) from error
        if read is None:
            raise ValueError(f"the {header.format} cannot be decoded")
        if read.ndim == 2:
            read = read[..., None]
        order = {1: [0, 0, 0], 2: [0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[read.shape[2]]
        pixels = read[..., order]
        if pixels.dtype == np.uint8:
            pixels = pixels.astype(np.uint16) * 257
        elif pixels.dtype == np.uint16:
            pixels = _full_range(pixels, header, data)
        elif pixels.dtype in (np.float32, np.float64):
            pixels = pixels[..., :3].astype(np.float32)
        else:
            raise ValueError(f"its pixels are {pixels.dtype}")
        if flat and pixels.dtype == np.uint16 and pixels.shape[2] in (2, 4):
            pixels = over_white(pixels)
        upright: NDArray[np.uint16] = turn_array(pixels, _stored_orientation(data, header))  # type: ignore[assignment]
        return upright


def _full_range(pixels: NDArray[np.uint16], header: Header, data: bytes) -> NDArray[np.uint16]:
    """Stretch values of 9 to 15 bits to 16, by the maximum that the file names."""
    top = 65535
    if header.format == "PNM":
        _, top = pnm_size(data)
    elif 8 < header.bits < 16:
        top = 2**header.bits - 1
    if top == 65535:
        return pixels
    return ((pixels.astype(np.uint32) * 65535 + top // 2) // top).clip(0, 65535).astype(np.uint16)


def _stored_orientation(data: bytes, header: Header) -> int:
    if header.format == "TIFF":
        return header.orientation
    try:
        return orientation_of(Image.open(io.BytesIO(data), formats=[_PLUGINS.get(header.format, header.format)]))
    except Exception:  # noqa: BLE001 - a damaged tag turns nothing
        return 1


def _high_byte(deep: NDArray[Any]) -> NDArray[np.uint8]:
    if deep.dtype != np.uint16:
        found = "the image is 32-bit float, whose range is not stated in the file"
        fix = 'save it in 8 or 16 bits, or in Python read it with depth="native" and map it to 8 bits yourself'
        raise UnreadableImageError(found, fix=fix, code="unknown_range")
    return (deep >> 8).astype(np.uint8)


def _eight_bits(upright: Image.Image, format: str) -> NDArray[np.uint8]:
    deep = deep_array(upright, format) if upright.mode == "I" else None
    return np.asarray(to_rgb(upright)) if deep is None or deep.dtype != np.uint16 else _high_byte(deep)


def _draft(image: Image.Image, at_least: tuple[int, int]) -> None:
    height, width = at_least[::-1] if orientation_of(image) >= 5 else at_least
    image.draft(None, (max(1, width), max(1, height)))


def _info(image: Image.Image, header: Header) -> ImageInfo:
    with named_errors():
        orientation = orientation_of(image)
        width, height = image.size
        # Pillow already swaps the sides of a turned TIFF.
        turned = orientation >= 5 and header.format != "TIFF"
        size_hw = (width, height) if turned else (height, width)
        n, taken = getattr(image, "n_frames", 1), capture_of(image)
        return ImageInfo(header.format, size_hw, image.mode, orientation, n, taken, clear=is_clear(image))


def _reason(error: BaseException) -> str:
    text = str(error)
    if "truncated" in text or "cut off" in text or isinstance(error, EOFError):
        return "the image is cut off"
    return f"the image is damaged ({text or type(error).__name__})"


def _example_png() -> bytes:
    Image.new("L", (3, 2)).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()
