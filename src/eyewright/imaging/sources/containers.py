"""What a file that is meant to be a video holds, by its first bytes and boxes: why no picture can be read from it."""

__all__ = ["CONTAINERS", "index_of", "no_video", "unopened_video"]

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from eyewright.core.errors import InputError
from eyewright.core.quoting import quoted
from eyewright.imaging.media import media_of, said_to_hold

# A playlist or a concat script names other files and hosts; a container holds its own pictures. By first bytes.
CONTAINERS = (
    (4, b"ftyp"), (4, b"moov"), (4, b"mdat"), (4, b"wide"), (0, b"\x1aE\xdf\xa3"), (8, b"AVI "), (0, b"FLV\x01"),
    (0, b"OggS"), (0, b"\0\0\1\xba"), (0, b"\0\0\1\xb3"), (0, b"G"), (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
)  # fmt: skip
_SOUNDS = ((8, b"WAVE"), (0, b"ID3"), (0, b"fLaC"), (8, b"AIFF"))
_PICTURES = re.compile(rb"hdlr.{8}vide", re.DOTALL)
_MOST_INDEX = 64 * 2**20


def no_video(path: Path, start: bytes) -> InputError | None:
    """Return why a file that begins with `start`, 4,096 bytes or all, is no container of video; None if it is one."""
    if media_of(start) in ("animation", "picture"):
        # Some begin with a container's mark.
        return _other(path, start)
    if any(start[at : at + len(mark)] == mark for at, mark in CONTAINERS):
        return None
    if not start:
        return InputError(f"{quoted(path)} is empty", fix="copy it again", code="not_a_video")
    if any(start[at : at + len(mark)] == mark for at, mark in _SOUNDS):
        return InputError(f"{quoted(path)} has sound only, no video stream", fix="pass a video", code="not_a_video")
    return _other(path, start)


def _other(path: Path, start: bytes) -> InputError:
    found = said_to_hold(start)
    fix = (
        "pass a video" if not found.endswith(" image") else "pass a video, an animation or a folder of numbered images"
    )
    return InputError(f"expected a video at {quoted(path)}, found {found}", fix=fix, code="not_a_video")


def unopened_video(path: Path) -> InputError:
    """Return why no pictures can be decoded from a container.

    Of MP4 and MOV the boxes tell (ISO/IEC 14496-12): the index is written last, so that a recording or a copy that was
    cut off has none; and a file may hold sound only.
    """
    with open(path, "rb") as file:
        boxes = dict(_boxes(file))
        if boxes and "moov" not in boxes:
            return InputError(
                f"{quoted(path)} is incomplete: its index (moov), which is written last, is missing",
                fix="copy it again, or record it again to its end",
                code="unreadable_video",
            )
        if "moov" in boxes:
            at, size = boxes["moov"]
            file.seek(at)
            index = file.read(min(size, _MOST_INDEX))
            if len(index) == size and not _PICTURES.search(index):
                found = "has no video stream, only sound" if b"soun" in index else "holds no frames"
                return InputError(f"{quoted(path)} {found}", fix="pass a video", code="not_a_video")
    return InputError(
        f"{quoted(path)} holds no pictures that can be decoded",
        fix="copy it again, or convert it to MP4",
        code="unreadable_video",
    )


def index_of(path: Path, most: int) -> bytes | None:
    """Return the content of the index (moov) of an MP4 or MOV file, `most` bytes of it; None where it has none."""
    with open(path, "rb") as file:
        place = dict(_boxes(file)).get("moov")
        if place is None:
            return None
        file.seek(place[0])
        return file.read(min(place[1], most))


def _boxes(file: BinaryIO) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the names of the boxes of an MP4 or MOV file, with where the content of each begins and how long it is."""
    at = file.seek(0)
    end = file.seek(0, 2)
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size, name, begin = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1 and len(head) == 16:
            size, begin = int.from_bytes(head[8:], "big"), 16
        elif size == 0:
            size = end - at
        if size < begin or not (name.isascii() and name.isalnum()):
            return
        yield name.decode(), (at + begin, size - begin)
        at += size
