"""A file that is no video says what it is, and why no picture can be read from it."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from eyewright.core.errors import InputError
from eyewright.imaging.headers import Limits
from eyewright.imaging.sources.video import VideoFile


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


SOUND = box(b"hdlr", bytes(8) + b"soun" + bytes(12))
SOUND_ONLY = box(b"ftyp", b"isomiso2") + box(b"moov", box(b"trak", box(b"mdia", SOUND))) + box(b"mdat", bytes(64))
LARGE = box(b"ftyp", b"isomiso2") + struct.pack(">I4sQ", 1, b"mdat", 16 + 64) + bytes(64)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; copy it again"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "has sound only, no video stream"),
        (b"ID3\x04 and more of it", "has sound only, no video stream"),
        (b"hello\n" * 9, "found text; pass a video"),
        (SOUND_ONLY, "has no video stream, only sound; pass a video"),
        (box(b"ftyp", b"isom") + box(b"moov", bytes(8)), "holds no frames; pass a video"),
        (LARGE, "is incomplete: its index (moov), which is written last, is missing; copy it again"),
        (box(b"ftyp", b"isom") + b"\0\0\0\1mdat", "incomplete"),
        (b"\x1aE\xdf\xa3" + bytes(40), "holds no pictures that can be decoded"),
    ],
)
def test_what_is_no_video_says_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        VideoFile(path, limits=Limits())
    assert said in str(error.value)


def test_a_recording_that_was_cut_off_has_no_index(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 12, (64, 48))
    for frame in np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), dtype=np.uint8):
        writer.write(frame)
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="moov"):
        VideoFile(path, limits=Limits())
