"""Sizes that containers claim: TIFF, the boxes of AVIF, HEIF, JPEG 2000 and JPEG XL, PNM, ICO, TGA.

Every walk is bounded by the bytes that are there, and nothing is allocated for what a header promises.
"""

__all__ = [
    "JP2_SIGNATURE",
    "JXL_SIGNATURE",
    "ContainerError",
    "TiffPage",
    "bmff_brand",
    "first_tiff_page",
    "heif_size",
    "ico_size",
    "jpeg2000_size",
    "jxl_size",
    "looks_like_ico",
    "looks_like_tga",
    "pnm_size",
]

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

JP2_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
JXL_SIGNATURE = b"\0\0\0\x0cJXL \r\n\x87\n"

_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_BOXES = 200_000


class ContainerError(Exception):
    """What a container says contradicts itself; the header reader turns it into the one error users see."""


@dataclass(frozen=True)
class TiffPage:
    """What the first directory of a TIFF claims: (height, width), bits a channel, channels, EXIF orientation."""

    size_hw: tuple[int, int]
    bits: int
    channels: int
    orientation: int


def first_tiff_page(data: bytes) -> TiffPage:
    """Read the first directory (TIFF 6.0, section 2; BigTIFF by its design note).

    A tile counts as the size where it is larger than the image: the decoder allocates whole tiles.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    entry_bytes, first = (20, start + 8) if big else (12, start + 2)
    if not 0 < count <= 4096:
        raise ContainerError(f"its directory has {count} entries")
    tags: dict[int, int] = {}
    for k in range(count):
        at = first + k * entry_bytes
        tag, kind = struct.unpack_from(order + "HH", data, at)
        (n,) = struct.unpack_from(order + ("Q" if big else "I"), data, at + 4)
        letter = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)
        if letter is None or n < 1:
            continue
        where = at + (12 if big else 8)
        if struct.calcsize(letter) * n > (8 if big else 4):
            (where,) = struct.unpack_from(order + ("Q" if big else "I"), data, where)
        if tag in (256, 257, 258, 274, 277, 322, 323):
            tags[tag] = struct.unpack_from(order + letter, data, where)[0]
    if 256 not in tags or 257 not in tags:
        raise ContainerError("its directory names no size")
    channels = tags.get(277, 1)
    if channels > 16:
        raise ContainerError(f"it claims {channels} channels")
    height, width = max(tags[257], tags.get(323, 0)), max(tags[256], tags.get(322, 0))
    if not tags[256] or not tags[257]:
        height = width = 0
    turned = tags.get(274, 1)
    return TiffPage((height, width), tags.get(258, 1), channels, turned if 1 <= turned <= 8 else 1)


def bmff_brand(data: bytes) -> str | None:
    """Tell AVIF from HEIF by the brands in the file-type box (ISO/IEC 14496-12, 4.3); None for anything else."""
    if data[4:8] != b"ftyp":
        return None
    (length,) = struct.unpack_from(">I", data, 0)
    end = min(length, len(data), 1024)
    brands = {data[8:12], *(data[k : k + 4] for k in range(16, end - 3, 4))}
    if data[8:12] in _AVIF_BRANDS or (data[8:12] in (b"mif1", b"msf1") and brands & _AVIF_BRANDS):
        return "AVIF"
    return "HEIF" if data[8:12] in _HEIF_BRANDS else None


def heif_size(data: bytes) -> tuple[tuple[int, int], int]:
    """Return the largest spatial extent that any item claims (ISO/IEC 23008-12, 6.5.3), and how many boxes were met."""
    largest, n = (0, 0), 0
    for kind, start, end in _boxes(data, 0, len(data)):
        n += 1
        if kind == b"moov":
            # A sequence names its size in each track's header, the last eight bytes, as 16.16 fixed point.
            for position in _all(data, b"tkhd", start, end):
                (length,) = struct.unpack_from(">I", data, position - 4)
                width, height = struct.unpack_from(">II", data, position - 4 + length - 8)
                largest = max(largest, (height >> 16, width >> 16), key=_area)
        if kind != b"meta":
            continue
        for inner, a, b in _boxes(data, start + 4, end):
            n += 1
            if inner != b"iprp":
                continue
            for deeper, c, d in _boxes(data, a, b):
                if deeper != b"ipco":
                    continue
                for kind_of, e, _ in _boxes(data, c, d):
                    n += 1
                    if kind_of == b"ispe":
                        width, height = struct.unpack_from(">II", data, e + 4)
                        largest = max(largest, (height, width), key=_area)
    if largest == (0, 0):
        raise ContainerError("its container names no size")
    return largest, n


def jpeg2000_size(data: bytes) -> tuple[tuple[int, int], int, int, int]:
    """Read the SIZ segment (ITU-T T.800, A.5.1): (height, width), number of tiles, bits a channel, channels."""
    start = 0
    if data[:4] != b"\xff\x4f\xff\x51":
        for kind, a, _ in _boxes(data, 0, len(data)):
            if kind == b"jp2c":
                start = a
                break
        else:
            raise ContainerError("its container holds no code stream")
    if data[start : start + 4] != b"\xff\x4f\xff\x51":
        raise ContainerError("its code stream does not start with SIZ")
    x1, y1, x0, y0, tile_w, tile_h, tile_x0, tile_y0, channels, depth = struct.unpack_from(
        ">IIIIIIIIHB", data, start + 8
    )
    if not tile_w or not tile_h or x1 <= x0 or y1 <= y0:
        raise ContainerError("its tiles or its image have no size")
    if channels > 16:
        raise ContainerError(f"it claims {channels} channels")
    tiles = -(-(x1 - tile_x0) // tile_w) * -(-(y1 - tile_y0) // tile_h)
    return (y1 - y0, x1 - x0), max(tiles, 1), (depth & 0x7F) + 1, channels


def jxl_size(data: bytes) -> tuple[int, int]:
    """Read the size header of a JPEG XL code stream (ISO/IEC 18181-1, D.2)."""
    stream = data
    if data[:12] == JXL_SIGNATURE:
        for kind, a, b in _boxes(data, 0, len(data)):
            if kind in (b"jxlc", b"jxlp"):
                stream = data[a + (4 if kind == b"jxlp" else 0) : b]
                break
        else:
            raise ContainerError("its container holds no code stream")
    if stream[:2] != b"\xff\x0a":
        raise ContainerError("its code stream has no mark")
    bits = int.from_bytes(stream[2:18], "little")
    position = 0

    def take(n: int) -> int:
        nonlocal position
        value = (bits >> position) & ((1 << n) - 1)
        position += n
        return value

    def side(small: int) -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    small = take(1)
    height = side(small)
    ratio = take(3)
    if ratio == 0:
        return height, side(small)
    over, under = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return height, height * over // under


def pnm_size(data: bytes) -> tuple[tuple[int, int], int]:
    """Read the text header of PBM, PGM, PPM and PFM: (height, width) and the largest value, 0 for floats."""
    text = re.sub(rb"#[^\r\n]*", b" ", data[2:4096])
    numbers = re.match(rb"\s+(\d{1,9})\s+(\d{1,9})(?:\s+(\d{1,9})\s)?", text)
    if numbers is None:
        raise ContainerError("its header names no size")
    size_hw = int(numbers[2]), int(numbers[1])
    if data[1:2] in b"fF":
        return size_hw, 0
    return size_hw, int(numbers[3] or 255) if data[1:2] in b"2356" else 1


def looks_like_ico(data: bytes) -> bool:
    """Tell an icon from other files that begin with small numbers: its first entry lies within the file."""
    (count,) = struct.unpack_from("<H", data, 4)
    if not 1 <= count <= 256 or len(data) < 22:
        return False
    length, offset = struct.unpack_from("<II", data, 14)
    return bool(offset >= 6 + 16 * count and 0 < length <= len(data))


def ico_size(data: bytes) -> tuple[int, int]:
    """Return the largest size that an entry or the picture inside it claims: the two need not agree."""
    (count,) = struct.unpack_from("<H", data, 4)
    largest = (0, 0)
    for k in range(count):
        if 22 + 16 * k > len(data):
            break
        width, height = data[6 + 16 * k] or 256, data[7 + 16 * k] or 256
        (offset,) = struct.unpack_from("<I", data, 18 + 16 * k)
        if data[offset : offset + 8] == b"\x89PNG\r\n\x1a\n":
            width, height = struct.unpack_from(">II", data, offset + 16)
        elif offset + 12 <= len(data):
            width, height = struct.unpack_from("<ii", data, offset + 4)
            width, height = abs(width), abs(height) // 2
        largest = max(largest, (height, width), key=_area)
    return largest


def looks_like_tga(data: bytes) -> bool:
    """Tell a Truevision TGA by its footer or, in the older form, by a header that makes sense throughout."""
    if len(data) < 18:
        return False
    mapped, kind = data[1], data[2]
    map_length, map_depth = struct.unpack_from("<HB", data, 5)
    width, height, depth, flags = struct.unpack_from("<HHBB", data, 12)
    depths = {1: (8,), 2: (15, 16, 24, 32), 3: (8, 16), 9: (8,), 10: (15, 16, 24, 32), 11: (8, 16)}
    # A black and white TGA (type 3 with depth 1) is Pillow's own invention.
    if kind not in depths or (depth not in depths[kind] and not (kind in (3, 11) and depth == 1)) or flags & 0xC0:
        return False
    if mapped not in (0, 1) or (kind in (1, 9)) != bool(mapped) or not width or not height:
        return False
    if mapped and (not map_length or map_depth not in (15, 16, 24, 32)):
        return False
    if data[-18:-1] == b"TRUEVISION-XFILE.":
        return True
    start = 18 + data[0] + map_length * ((map_depth + 7) // 8)
    whole = (width * height * depth + 7) // 8
    # Run-length coding needs at least a byte for every 128 pixels, so a few bytes cannot claim a large picture.
    return bool(len(data) >= start + (whole if kind < 8 else width * height // 128))


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, first byte of the content, byte after it) of the boxes in a part of the file."""
    position = start
    for _ in range(_BOXES):
        if position + 8 > end:
            return
        length, kind = struct.unpack_from(">I4s", data, position)
        content = position + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, content)
            content += 8
        elif length == 0:
            length = end - position
        if length < content - position:
            raise ContainerError("a box is smaller than its own header")
        yield kind, content, min(position + length, end)
        position += length
    raise ContainerError(f"it has more than {_BOXES} boxes")


def _all(data: bytes, mark: bytes, start: int, end: int) -> Iterator[int]:
    for _ in range(1000):
        start = data.find(mark, start, end)
        if start < 0:
            return
        yield start
        start += 4


def _area(size_hw: tuple[int, int]) -> int:
    return size_hw[0] * size_hw[1]
