"""Read what an image claims to be from its first bytes, before any decoder sees it.

The format is told by content, never by the file's name, and only formats on this list are read. Sizes come from our
own reading of the header because some decoders allocate the whole canvas as soon as they open a file (a 34-byte WebP
can cost 2 GB).
"""

__all__ = ["FORMATS", "Header", "Limits", "check_limits", "is_lossy", "read_header"]

import re
import struct
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from eyewright.core.errors import LimitError, UnreadableImageError
from eyewright.imaging import containers

FORMATS = MappingProxyType(
    {
        "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
        "PNG": (".png", ".apng"),
        "WEBP": (".webp",),
        "AVIF": (".avif",),
        "GIF": (".gif",),
        "BMP": (".bmp", ".dib"),
        "TIFF": (".tif", ".tiff"),
        "PNM": (".pnm", ".pbm", ".pgm", ".ppm", ".pfm"),
        "ICO": (".ico",),
        "TGA": (".tga", ".icb", ".vda", ".vst"),
        "JPEG2000": (".jp2", ".j2k", ".jpx", ".j2c", ".jpc"),
        "HEIF": (".heic", ".heif", ".hif"),
        "JXL": (".jxl",),
    }
)
"""Formats that are read, each with the file extensions that fit it. HEIF and JXL need the extra `formats`."""


@dataclass(frozen=True)
class Limits:
    """Caps checked against the header, before decoding.

    `pixels` bounds height x width, `side` each of them in pixels, `scans` the passes of a progressive JPEG (every one
    costs a walk over the whole image: 1,500 scans in 109 KB keep a decoder busy for 40 s), `scan_pixels` their
    product with the size, `frames` the pages or pictures of a file that are read, `chunks` the parts of a PNG or the
    boxes of a container, `tiles` the pieces that a JPEG 2000 is cut into, `bytes` the file itself.
    """

    pixels: int = 64_000_000
    side: int = 32_768
    scans: int = 64
    scan_pixels: int = 1_000_000_000
    frames: int = 10_000
    chunks: int = 100_000
    tiles: int = 16_384
    bytes: int = 256 * 2**20


@dataclass(frozen=True)
class Header:
    """What the header claims, where it claims it.

    `format` is a key of `FORMATS`, `size_hw` (height, width) in pixels before orientation, `scans` those of a JPEG,
    `chunks` and `tiles` as in `Limits`, `bits` the most that a channel has and `channels` how many there are, as far
    as the header tells. `orientation` is that of a TIFF, which keeps it with the size.
    """

    format: str
    size_hw: tuple[int, int] | None
    scans: int = 1
    chunks: int = 0
    tiles: int = 1
    bits: int = 8
    channels: int = 0
    orientation: int = 1


def read_header(data: bytes) -> Header:
    """Return what `data` claims to be.

    >>> read_header(b"GIF89a" + struct.pack("<HH", 7, 5) + b"rest").size_hw
    (5, 7)

    Raises:
        UnreadableImageError: empty, of no format on the list, or cut off inside its header.
    """
    if not data:
        raise UnreadableImageError("expected an image, found an empty file", fix="copy the file again", code="empty")
    try:
        return _read(data)
    except (struct.error, IndexError):
        raise UnreadableImageError("the image is cut off inside its header", fix="copy it again") from None
    except containers.ContainerError as error:
        raise UnreadableImageError(f"the image is damaged ({error})", fix="copy it again or remove it") from None


def _read(data: bytes) -> Header:
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Header("WEBP", _webp_size(data))
    if data[:6] in (b"GIF87a", b"GIF89a"):
        width, height = struct.unpack_from("<HH", data, 6)
        return Header("GIF", (height, width))
    if data[:2] == b"BM" and len(data) >= 26:
        return Header("BMP", _bmp_size(data))
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        page = containers.first_tiff_page(data)
        return Header("TIFF", page.size_hw, bits=page.bits, channels=page.channels, orientation=page.orientation)
    if (brand := containers.bmff_brand(data)) is not None:
        size_hw, boxes = containers.heif_size(data)
        return Header(brand, size_hw, chunks=boxes)
    if data[:12] == containers.JP2_SIGNATURE or data[:4] == b"\xff\x4f\xff\x51":
        size_hw, tiles, bits, channels = containers.jpeg2000_size(data)
        return Header("JPEG2000", size_hw, tiles=tiles, bits=bits, channels=channels)
    if data[:2] == b"\xff\x0a" or data[:12] == containers.JXL_SIGNATURE:
        return Header("JXL", containers.jxl_size(data))
    if data[:1] == b"P" and data[1:2] in b"123456fF" and data[2:3].isspace():
        size_hw, top = containers.pnm_size(data)
        bits = 32 if top == 0 else 16 if top > 255 else 8
        return Header("PNM", size_hw, bits=bits, channels=3 if data[1:2] in b"36F" else 1)
    if data[:4] == b"\0\0\1\0" and containers.looks_like_ico(data):
        return Header("ICO", containers.ico_size(data))
    # A TGA has no mark at its start, so everything else is ruled out first.
    if containers.looks_like_tga(data):
        width, height = struct.unpack_from("<HH", data, 12)
        return Header("TGA", (height, width))
    raise UnreadableImageError(
        f"expected one of {', '.join(FORMATS)}, found {_looks_like(data)}",
        fix="convert it to PNG or JPEG, or remove it",
        code="not_an_image",
    )


def is_lossy(start: bytes) -> bool:
    """Return whether a file that begins with these bytes, 1,024 or all of it, is compressed as photographs are: JPEG,
    HEIF, AVIF and WebP that is not lossless. It may still be no image.

    >>> is_lossy(bytes.fromhex("ffd8ffe0")), is_lossy(bytes.fromhex("89504e470d0a1a0a"))
    (True, False)
    """
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        # An extended file names what its pixels are in a later part.
        return start[12:16] == b"VP8 " or (start[12:16] == b"VP8X" and b"VP8 " in start and b"VP8L" not in start)
    return start[:3] == b"\xff\xd8\xff" or (len(start) >= 16 and containers.bmff_brand(start) is not None)


def check_limits(header: Header, n_bytes: int, limits: Limits) -> None:
    """Refuse what the header claims when it is over a cap.

    >>> check_limits(Header("PNG", (100_000, 100_000)), 60, Limits())
    Traceback (most recent call last):
    eyewright.core.errors.LimitError: the image claims 100000x100000 pixels, over the limit of 32768 a side; ...

    Raises:
        LimitError: over a cap.
        UnreadableImageError: the claimed size is zero.
    """
    raising = "make it smaller or cut it into tiles (for a server, serve --max-pixels raises the limit)"
    if n_bytes > limits.bytes:
        raise LimitError(f"the file has {n_bytes} bytes, over the limit of {limits.bytes}", fix=raising)
    for value, cap, name in (
        (header.scans, limits.scans, "scans"),
        (header.chunks, limits.chunks, "chunks"),
        (header.tiles, limits.tiles, "tiles"),
    ):
        if value > cap:
            raise LimitError(f"the {header.format} has {value} {name}, over the limit of {cap}", fix="save it again")
    if header.size_hw is None:
        return
    height, width = header.size_hw
    if height < 1 or width < 1:
        raise UnreadableImageError(f"the image claims {width}x{height} pixels", fix="copy it again or remove it")
    if max(height, width) > limits.side:
        over = f"over the limit of {limits.side} a side"
        raise LimitError(f"the image claims {width}x{height} pixels, {over}", fix=raising)
    if height * width > limits.pixels:
        over = f"over the limit of {limits.pixels} in all"
        raise LimitError(f"the image claims {width}x{height} pixels, {over}", fix=raising)
    if header.scans * height * width > limits.scan_pixels:
        over = f"over the limit of {limits.scan_pixels} pixels in all scans"
        raise LimitError(f"the JPEG has {header.scans} scans of {width}x{height} pixels, {over}", fix="save it again")


def _png(data: bytes) -> Header:
    """Read the header chunk and count the others, whose number alone can keep a decoder busy (W3C PNG, 5.3)."""
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    chunks, position = 0, 8
    while position + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        chunks += data[position + 4 : position + 8] not in (b"IDAT", b"fdAT")
        position += 12 + length
    return Header(
        "PNG", (height, width), chunks=chunks, bits=bits, channels={0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(colour, 0)
    )


# FF DA as a little-endian number.
_SCAN = np.uint16(0xDAFF)
_NEXT_MARKER = re.compile(rb"\xff+([^\xff\x00\xd0-\xd7])", re.DOTALL)


def _jpeg(data: bytes) -> Header:
    """Walk the segments up to the first scan: size from the frame header, scans by their markers (ITU-T T.81, B.1)."""
    size_hw, scans, position = None, 0, 2
    bits = channels = 0
    while (found := _NEXT_MARKER.search(data, position)) is not None:
        marker = found.group(1)[0]
        position = found.end()
        if marker == 0xD9:
            break
        if marker in (0x01, 0xD8):
            continue
        if position + 2 > len(data):
            break
        (length,) = struct.unpack_from(">H", data, position)
        if marker == 0xDA:
            # Within entropy-coded data FF is followed by 00 or a restart marker, so every FF DA from here on is a scan;
            # one inside a table between two scans would be counted too, which the limit's distance allows for.
            scans = 1 + _count_scans(data, position)
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and position + 8 <= len(data):
            bits, height, width, channels = struct.unpack_from(">BHHB", data, position + 2)
            size_hw = (height, width)
        position += max(length, 2)
    if size_hw is None:
        raise UnreadableImageError("the JPEG is cut off inside its header", fix="copy it again")
    return Header("JPEG", size_hw, max(scans, 1), bits=bits, channels=channels)


def _count_scans(data: bytes, start: int) -> int:
    """Return how often FF DA occurs from `start` on: `bytes.count` takes eight times as long for two bytes."""
    found = 0
    for first in (start, start + 1):
        pairs = (len(data) - first) // 2
        if pairs > 0:
            found += int(np.count_nonzero(np.frombuffer(data, "<u2", pairs, first) == _SCAN))
    return found


def _webp_size(data: bytes) -> tuple[int, int]:
    chunk = data[12:16]
    if chunk == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
    elif chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    elif chunk == b"VP8 ":
        width, height = (v & 0x3FFF for v in struct.unpack_from("<HH", data, 26))
    else:
        raise UnreadableImageError("the WebP has an unknown first chunk", fix="save it again")
    return height, width


def _bmp_size(data: bytes) -> tuple[int, int]:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header_bytes == 12 else "<ii", data, 18)
    return abs(height), width


def _looks_like(data: bytes) -> str:
    start = data[:512].lstrip()
    known = {
        b"%PDF": "a PDF",
        b"%!PS": "PostScript",
        b"<svg": "an SVG drawing",
        b"<?xml": "XML",
        b"8BPS": "a Photoshop file",
        b"PK\x03\x04": "a zip archive",
        b"\x1f\x8b": "a gzip file",
        b"SIMPLE  =": "a FITS file",
        b"<!DOC": "an HTML page",
        b"<html": "an HTML page",
        b"version https://git-lfs": "a Git LFS pointer, whose content git lfs pull fetches",
    }
    for magic, name in known.items():
        if start[: len(magic)].lower() == magic.lower():
            return name
    if data[4:8] == b"ftyp":
        return f"a {data[8:12].decode('latin-1')!r} container, a video perhaps"
    if not start.strip(b"\0"):
        return "only zero bytes"
    return "text" if all(32 <= b < 127 or b in b"\t\r\n" for b in start) else "other bytes"
