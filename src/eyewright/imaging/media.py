"""What a file holds, by its content and whatever it is called: a video, an animation, a still picture, or neither."""

__all__ = ["FIRST_PICTURE", "MOVING", "VIDEOS", "Media", "ending_of", "media_of", "said_to_hold"]

import io
import struct
import sys
from pathlib import Path
from typing import BinaryIO, Literal

from eyewright.core.errors import EyewrightError, UnreadableImageError
from eyewright.core.regular import open_regular
from eyewright.imaging.containers import bmff_brand
from eyewright.imaging.headers import Header, read_header

Media = Literal["video", "animation", "picture", "other"]
"""What a file holds: frames with times as a video or as a picture that moves, one picture, or something else."""

VIDEOS: frozenset[Media] = frozenset({"video"})
MOVING: frozenset[Media] = VIDEOS | {"animation"}
"""What holds frames with times."""

FIRST_PICTURE = "this is an animation: its first picture is predicted, and no other"
"""What is said where a model of images gets an animation."""

_HEAD = 4096
_MOST_PARTS = 100_000
_SOUND_BRANDS = frozenset({b"M4A ", b"M4B ", b"M4P "})
_OGG_PICTURES = (b"\x80theora", b"\x01video", b"BBCD", b"fishead")
_ASF = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"
_PACKET = 188


def media_of(source: str | Path | bytes) -> Media:
    """Return what a file, or the bytes of one, holds. A file that cannot be opened holds "other": reading says why.

    An animation is a GIF, PNG, WebP or AVIF of two pictures or more. A container that may hold a video counts as one;
    whether it holds frames is known once it is opened.

    >>> media_of(b"GIF89a" + bytes(20)), media_of(b"\\x1aE\\xdf\\xa3" + bytes(20)), media_of(b"hello")
    ('picture', 'video', 'other')
    """
    if isinstance(source, bytes):
        return _media(io.BytesIO(source))
    try:
        with open_regular(Path(source), most=sys.maxsize, follow=True) as file:
            return _media(file)
    except (EyewrightError, OSError):
        return "other"


def ending_of(start: bytes) -> str:
    """Return what the name of a video or animation that begins so ends with; "" where that is not known.

    >>> ending_of(b"\\0\\0\\0\\x18ftypqt  "), ending_of(b"GIF89a"), ending_of(b"hello")
    ('.mov', '.gif', '')
    """
    if start[4:8] == b"ftyp":
        return ".avif" if start[8:12] in (b"avis", b"avif") else ".mov" if start[8:12] == b"qt  " else ".mp4"
    if start[:4] == b"RIFF":
        return {b"AVI ": ".avi", b"WEBP": ".webp"}.get(start[8:12], "")
    if start[:4] == b"\x1aE\xdf\xa3":
        return ".webm" if b"webm" in start[:64] else ".mkv"
    endings = (
        (b"GIF8", ".gif"), (b"\x89PNG", ".png"), (b"FLV\x01", ".flv"), (b"OggS", ".ogv"), (b"\0\0\1\xba", ".mpg"),
        (b"\0\0\1\xb3", ".mpg"), (_ASF, ".wmv"),
    )  # fmt: skip
    found = next((ending for mark, ending in endings if start.startswith(mark)), "")
    if not found and _is_container(start):
        found = ".ts" if start[:1] == b"G" else ".mts" if start[4:5] == b"G" else ".mov"
    return found


def said_to_hold(start: bytes) -> str:
    """Return in words what begins so: "a PNG image", "text", "a zip archive".

    >>> said_to_hold(b"hello"), said_to_hold(b"GIF89a" + bytes(20))
    ('text', 'a GIF image')
    """
    found = _header(start)
    if isinstance(found, str):
        return found
    article = "an" if found.format[0] in "AEIOU" else "a"
    return f"{article} {found.format} image"


def _header(start: bytes) -> Header | str:
    """Return what the first bytes of a picture claim, or in words what they are instead."""
    try:
        return read_header(start)
    except UnreadableImageError as error:
        if error.code in ("not_an_image", "empty"):
            return error.message.rpartition("found ")[2]
        # Of a large picture the first bytes do not hold the whole header.
        return Header(bmff_brand(start) or _marked(start), None)


def _marked(start: bytes) -> str:
    marks = ((b"\xff\xd8", "JPEG"), (b"\x89PNG", "PNG"), (b"RIFF", "WEBP"), (b"GIF8", "GIF"), (b"II", "TIFF"))
    return next((name for mark, name in marks if start.startswith(mark)), "TIFF" if start[:2] == b"MM" else "damaged")


def _media(file: BinaryIO) -> Media:
    start = file.read(_HEAD)
    if start[:6] in (b"GIF87a", b"GIF89a"):
        return _moves(_gif_pictures(file))
    if start[:8] == b"\x89PNG\r\n\x1a\n":
        return _moves(_png_pictures(file))
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return _moves(_webp_pictures(file))
    if start[4:8] == b"ftyp" and len(start) >= 12 and bmff_brand(start) is not None:
        return "animation" if start[8:12] == b"avis" else "picture"
    if _is_container(start):
        return "video"
    return "other" if isinstance(_header(start), str) else "picture"


def _moves(pictures: int) -> Media:
    return "animation" if pictures > 1 else "picture"


def _is_container(start: bytes) -> bool:
    """Return whether a file begins as containers of videos do. One mark of a letter or two is not enough here, since
    nothing else says that this file is a video."""
    if start[4:8] == b"ftyp":
        return start[8:12] not in _SOUND_BRANDS
    if start[4:8] in (b"moov", b"mdat", b"wide"):
        # The length of a box comes first; text there would be 500 MB and more.
        return start[0] < 0x20
    if start[:4] == b"OggS":
        return any(mark in start for mark in _OGG_PICTURES)
    if start[:1] == b"G":
        return start[_PACKET : _PACKET + 1] == start[2 * _PACKET : 2 * _PACKET + 1] == b"G"
    if start[4:5] == b"G" and start[_PACKET + 8 : _PACKET + 9] == b"G":
        # Packets of Blu-ray and AVCHD have four bytes of time before each.
        return start[2 * _PACKET + 12 : 2 * _PACKET + 13] == b"G"
    if start[:4] == b"RIFF":
        return start[8:12] == b"AVI "
    return start.startswith((b"\x1aE\xdf\xa3", b"FLV\x01", b"\0\0\1\xba", b"\0\0\1\xb3", _ASF))


def _gif_pictures(file: BinaryIO) -> int:
    """Count the pictures of a GIF, two at most (GIF89a, sections 15 to 27)."""
    file.seek(10)
    head = file.read(3)
    _skip_colours(file, head[:1])
    found = 0
    for _ in range(_MOST_PARTS):
        mark = file.read(1)
        if mark == b",":
            found += 1
            if found == 2:
                break
            _skip_colours(file, file.read(9)[8:])
            file.read(1)
        elif mark == b"!":
            file.read(1)
        else:
            break
        # Data lie in blocks of up to 255 bytes, each with its length; one of none ends them.
        while length := int.from_bytes(file.read(1), "big"):
            file.seek(length, io.SEEK_CUR)
    return found


def _skip_colours(file: BinaryIO, flags: bytes) -> None:
    if flags and flags[0] & 0x80:
        file.seek(3 * 2 ** ((flags[0] & 7) + 1), io.SEEK_CUR)


def _png_pictures(file: BinaryIO) -> int:
    """Return the number of pictures that an animated PNG states, which comes before the first one's data (W3C PNG,
    11.3.6.1); 1 without it."""
    file.seek(8)
    for _ in range(_MOST_PARTS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IDAT":
            return 1
        if head[4:] == b"acTL":
            number = file.read(4)
            return int.from_bytes(number, "big") if len(number) == 4 else 1
        file.seek(struct.unpack(">I", head[:4])[0] + 4, io.SEEK_CUR)
    return 1


def _webp_pictures(file: BinaryIO) -> int:
    """Count the pictures of a WebP, two at most (RFC 9649, 2.7.1.1)."""
    file.seek(12)
    found = 0
    for _ in range(_MOST_PARTS):
        head = file.read(8)
        if len(head) < 8:
            break
        found += head[:4] == b"ANMF"
        if found == 2 or head[:4] in (b"VP8 ", b"VP8L"):
            break
        length = int.from_bytes(head[4:], "little")
        file.seek(length + length % 2, io.SEEK_CUR)
    return max(1, found)
