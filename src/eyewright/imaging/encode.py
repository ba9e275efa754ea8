"""Write only pixels: no metadata leaves with a file."""

__all__ = [
    "CLEAR_FORMATS",
    "DEEP_FORMATS",
    "QUALITY_FORMATS",
    "WRITTEN",
    "data_uri",
    "encode_image",
    "extension_of",
    "write_image",
]

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import UsageError, spelling_hint
from eyewright.core.extras import import_extra
from eyewright.core.files import write_bytes
from eyewright.imaging.headers import FORMATS

WRITTEN = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PNM", "TGA", "JPEG2000", "JXL")
"""Formats that are written; JXL needs the extra `formats`."""

QUALITY_FORMATS = ("JPEG", "WEBP", "AVIF", "JPEG2000", "JXL")
"""Those of them that lose something, more or less."""

DEEP_FORMATS = ("PNG", "TIFF", "PNM", "JPEG2000")
"""Those of them that hold 16 bits a channel."""

CLEAR_FORMATS = ("PNG", "TIFF", "WEBP")
"""Those of them that are written with transparency; WebP in 8 bits only."""

_EXIF = b"Exif\0\0"
_BY_EXTENSION = {ext: name for name in WRITTEN for ext in FORMATS[name]}


def encode_image(
    image: NDArray[Any],
    *,
    format: str = "PNG",
    quality: float = 90,
    chroma: str = "auto",
    icc: bytes | None = None,
    exif: bytes | None = None,
    png_level: int = 9,
    quick: bool = False,
) -> bytes:
    """Encode uint8 or uint16, (H, W, 3) RGB or (H, W) grey; in `CLEAR_FORMATS` also (H, W, 4), RGB and opacity.

    `quality` is 1-100 for JPEG, WebP and AVIF as their libraries mean it, for JPEG XL 100 minus ten times the
    Butteraugli distance, for JPEG 2000 the PSNR aimed at, 20 to 60 dB mapped to 1-100; 100 is lossless where the
    format can be (WebP, JPEG XL, JPEG 2000). JPEG takes fractions. `chroma` is "420", "444" or "auto"
    (420 below 90) for JPEG and AVIF. `icc` and `exif`, a block with or without its header, are the only metadata that
    can be written, `exif` in 8 bits. 16 bits need a format of `DEEP_FORMATS`. `png_level` is zlib's compression level
    of 8-bit PNG, 1 (fastest) to 9 (smallest). `quick` writes 8-bit PNG at level 1 and JPEG in one scan with standard
    Huffman tables: five to ten times as fast, files some 5 to 15 % larger.

    >>> encode_image(np.zeros((2, 2, 3), np.uint8))[:4]
    b'\\x89PNG'

    Raises:
        UsageError: another shape or type, a format that is not written, or 16 bits for one that cannot hold them.
        MissingExtraError: JPEG XL or 16-bit colour without the extra that writes it.
    """
    if (
        image.dtype not in (np.uint8, np.uint16)
        or image.ndim not in (2, 3)
        or (image.ndim == 3 and image.shape[2] != 3 and not (image.shape[2] == 4 and format in CLEAR_FORMATS))
    ):
        raise UsageError(f"expected uint8 or uint16, (H, W, 3) or (H, W), found {image.dtype} {image.shape}")
    if 0 in image.shape:
        raise UsageError(f"expected an image with pixels, found {image.shape}")
    if format not in WRITTEN:
        raise UsageError(f"the format {format!r} cannot be written", fix=spelling_hint(format, WRITTEN))
    if not 1 <= quality <= 100:
        raise UsageError(f"expected a quality of 1 to 100, found {quality:g}")
    if image.dtype == np.uint16:
        return _deep(image, format)
    if format == "JXL":
        return _jxl(image, quality)
    buffer = io.BytesIO()
    options = _options(format, quality, chroma)
    if format == "PNG" and (quick or png_level < 9):
        options = {"compress_level": 1 if quick else png_level}
    elif format == "JPEG" and quick:
        options |= {"optimize": False, "progressive": False}
    if icc is not None:
        options["icc_profile"] = icc
    if exif:
        options["exif"] = exif if exif.startswith(_EXIF) else _EXIF + exif
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PPM" if format == "PNM" else format, **options)
    return buffer.getvalue()


def write_image(path: str | Path, image: NDArray[Any], *, quality: float = 90, quick: bool = False) -> Path:
    """Write an image, uint8 or uint16, (H, W, 3) RGB or (H, W) grey, in the format that the extension names; `quality`
    and `quick` are those of `encode_image`.

    Raises:
        UsageError: an extension that is not written, another shape or type, 16 bits where the format has 8.
        OutputError: the place cannot be written.
    """
    path = Path(path)
    name = _BY_EXTENSION.get(path.suffix.lower())
    if name is None:
        raise UsageError(f"expected an extension of {', '.join(_BY_EXTENSION)}, found {path.suffix!r}", fix="rename it")
    write_bytes(path, encode_image(image, format=name, quality=quality, quick=quick))
    return path


def extension_of(format: str) -> str:
    """Return the usual extension of a format.

    >>> extension_of("JPEG")
    '.jpg'
    """
    return FORMATS[format][0]


def data_uri(image: NDArray[np.uint8], *, format: str = "WEBP", quality: int = 80) -> str:
    """Return an image as a `data:` address, so that a page needs no second file."""
    coded = base64.b64encode(encode_image(image, format=format, quality=quality)).decode("ascii")
    return f"data:image/{format.lower()};base64,{coded}"


def _options(format: str, quality: float, chroma: str) -> dict[str, Any]:
    sampling = chroma if chroma != "auto" else "420" if quality < 90 else "444"
    if format == "JPEG":
        tables = [[_scaled(v, quality) for v in table] for table in (_LUMINANCE, _CHROMINANCE)]
        subsampling = 0 if sampling == "444" else 2
        return {"qtables": tables, "subsampling": subsampling, "optimize": True, "progressive": True}
    if format == "AVIF":
        return {"quality": round(quality), "subsampling": "4:4:4" if sampling == "444" else "4:2:0", "speed": 6}
    if format == "WEBP":
        return {"lossless": True, "quality": 80} if quality >= 100 else {"quality": quality, "method": 4}
    if format == "JPEG2000":
        if quality >= 100:
            return {"irreversible": False}
        return {"irreversible": True, "quality_mode": "dB", "quality_layers": [20 + quality * 0.4]}
    if format == "TIFF":
        return {"compression": "tiff_adobe_deflate"}
    return {"optimize": True} if format in ("PNG", "GIF") else {}


def _scaled(value: int, quality: float) -> int:
    """Scale an entry of a quantisation table as libjpeg does, without its rounding of the scale to whole percents."""
    percent = 5000 / quality if quality < 50 else 200 - 2 * quality
    return min(255, max(1, int((value * percent + 50) / 100)))


# ITU-T T.81, tables K.1 and K.2, row by row.
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *(99,) * 32,
)  # fmt: skip


def _jxl(image: NDArray[np.uint8], quality: float) -> bytes:
    codec = import_extra("imagecodecs", extra="formats", what="writing JPEG XL")
    if quality >= 100:
        return bytes(codec.jpegxl_encode(image, lossless=True))
    return bytes(codec.jpegxl_encode(image, distance=max(0.05, (100 - quality) / 10)))


def _deep(image: NDArray[np.uint16], format: str) -> bytes:
    if format not in DEEP_FORMATS:
        raise UsageError(
            f"{format} does not hold 16 bits a channel",
            fix=f"write one of {', '.join(DEEP_FORMATS)}, or go to 8 bits first",
        )
    if format == "PNM":
        height, width = image.shape[:2]
        return f"P{5 if image.ndim == 2 else 6}\n{width} {height}\n65535\n".encode() + image.astype(">u2").tobytes()
    if image.ndim == 2:
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(image)).save(buffer, format, **_options(format, 100, "auto"))
        return buffer.getvalue()
    # Pillow has no 16-bit colour.
    cv2 = import_extra("cv2", extra="pixels", what="writing 16-bit colour")
    suffix = {"PNG": ".png", "TIFF": ".tiff", "JPEG2000": ".jp2"}[format]
    options = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000] if format == "JPEG2000" else []
    order = [2, 1, 0, 3][: image.shape[2]]
    done, coded = cv2.imencode(suffix, np.ascontiguousarray(image[..., order]), options)
    if not done:
        raise UsageError(
            f"{format} could not be written, of {image.shape[1]}x{image.shape[0]} pixels", fix="write PNG or TIFF"
        )
    return bytes(coded.tobytes())
