"""What of a video file is said: that it breaks off, is turned, has a variable frame rate, or sound."""

import struct
from array import array
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import UsageError
from eyewright.imaging.sources import open_source
from eyewright.imaging.video_facts import VideoFacts, facts_of, has_sound, without_sound
from eyewright.imaging.webm import WebmWriter

cv2 = pytest.importorskip("cv2")


def _write(path: Path, times_s: list[float]) -> Path:
    with WebmWriter(path) as writer:
        for k, time_s in enumerate(times_s):
            writer.add(np.full((32, 48, 3), 5 * k % 250, np.uint8), time_s)
    return path


def _mp4(path: Path, n: int = 12) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
    for k in range(n):
        writer.write(np.full((48, 64, 3), 10 * k, np.uint8))
    writer.release()
    return path


def _turned(path: Path, out: Path) -> Path:
    """Write the matrix of a quarter turn into the header of an MP4's track (ISO/IEC 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 4 + 40
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30)
    data[at : at + 36] = quarter
    out.write_bytes(data)
    return out


def _notes(path: Path) -> tuple[list[str], VideoFacts, tuple[int, int]]:
    notes: list[str] = []
    with open_source(path, note=lambda f: notes.append(f"{f.severity} {f.code}")) as opened:
        shape = [f.image.shape for f in opened][-1]
        assert opened.facts is not None
        return notes, opened.facts, (shape[0], shape[1])


def test_an_even_upright_whole_video_says_nothing(tmp_path: Path) -> None:
    notes, facts, _ = _notes(_write(tmp_path / "a.webm", [k / 30 for k in range(20)]))
    assert notes == []
    assert (facts.rotation, facts.sound, facts.variable_rate, facts.breaks_off) == (0, False, False, "")
    assert _notes(_mp4(tmp_path / "a.mp4"))[0] == []


def test_frames_that_are_unevenly_far_apart_are_said_with_their_times(tmp_path: Path) -> None:
    times = [0, 0.03, 0.06, 0.16, 0.19, 0.22, 0.32, 0.35, 0.38, 0.48]
    notes, facts, _ = _notes(_write(tmp_path / "a.webm", times))
    assert notes == ["note variable_rate"]
    (found,) = facts.findings("a.webm")
    assert "30 to 100 ms apart" in found.message
    # One long gap is a break in a recording of one rate.
    assert not facts_of(
        array("d", [*np.arange(20) / 10, *(5 + np.arange(20) / 10)]), rotation=0, sound=None
    ).variable_rate


def test_a_turned_video_is_upright_and_said(tmp_path: Path) -> None:
    path = _turned(_mp4(tmp_path / "a.mp4"), tmp_path / "b.mp4")
    notes, facts, size_hw = _notes(path)
    assert notes == ["note rotated"]
    assert facts.rotation == 90
    assert size_hw == (64, 48)


def test_a_video_that_breaks_off_is_a_warning(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.webm", [k / 10 for k in range(30)])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    notes, facts, _ = _notes(path)
    assert notes == ["warning video_breaks_off"]
    assert "of about 30 frames can be read" in facts.breaks_off


def test_facts_of_a_part_of_a_video_are_said_too(tmp_path: Path) -> None:
    path = _turned(_mp4(tmp_path / "a.mp4"), tmp_path / "b.mp4")
    notes: list[str] = []
    with open_source(path, max_frames=2, note=lambda f: notes.append(f.code)) as opened:
        assert len(list(opened)) == 2
    assert notes == ["rotated"]


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def _element(name: str, content: bytes) -> bytes:
    return bytes.fromhex(name) + bytes([0x40 | len(content) >> 8, len(content) & 255]) + content


def _mkv(kind: int) -> bytes:
    # The list of places names the element of tracks before the tracks themselves.
    seek = _element("114d9b74", _element("4dbb", _element("53ab", bytes.fromhex("1654ae6b"))))
    tracks = [_element("ae", _element("d7", bytes([k])) + _element("83", bytes([v]))) for k, v in ((1, 1), (2, kind))]
    inner = seek + _element("1654ae6b", b"".join(tracks))
    return bytes.fromhex("1a45dfa380") + bytes.fromhex("1853806701ffffffffffffff") + inner


def _mp4_index(kind: bytes) -> bytes:
    handler = _box(b"hdlr", bytes(8) + kind + bytes(12))
    return _box(b"ftyp", b"isom" + bytes(4)) + _box(b"mdat", bytes(40)) + _box(b"moov", _box(b"trak", handler))


@pytest.mark.parametrize(
    ("with_sound", "without"),
    [
        (_mp4_index(b"soun"), _mp4_index(b"vide")),
        (_mkv(2), _mkv(17)),
        (b"RIFF\0\0\0\0AVI LIST\0\0\0\0strh\x38\0\0\0auds", b"RIFF\0\0\0\0AVI LIST\0\0\0\0strh\x38\0\0\0vids"),
        (b"FLV\x01\x05" + bytes(20), b"FLV\x01\x01" + bytes(20)),
        (b"OggS" + bytes(24) + b"\x01vorbis", b"OggS" + bytes(24) + b"\x80theora"),
        (b"\0\0\1\xba" + bytes(10) + b"\0\0\1\xc0", b"\0\0\1\xba" + bytes(10) + b"\0\0\1\xe0"),
        (
            (b"G\x40\0\x10\0\0\1\xc0" + bytes(180)) * 4,
            (b"G\x40\0\x10\0\0\1\xe0" + bytes(180)) * 4,
        ),
    ],
)
def test_sound_is_found_by_the_container(tmp_path: Path, with_sound: bytes, without: bytes) -> None:
    (tmp_path / "a").write_bytes(with_sound)
    (tmp_path / "b").write_bytes(without)
    assert has_sound(tmp_path / "a") is True
    assert has_sound(tmp_path / "b") is False
    found = without_sound(str(tmp_path / "a"), Path("drawn.webm"))
    assert found is not None
    assert found.severity == "note"
    assert "drawn.webm has none" in found.message
    assert without_sound(str(tmp_path / "b"), Path("drawn.webm")) is None
    assert without_sound("rtsp://camera/1", Path("drawn.webm")) is None


@pytest.mark.parametrize(
    "data", [b"", b"text", b"\x1aE\xdf\xa3", b"\0\0\0\x08ftyp", bytes.fromhex("1a45dfa380") + b"\0" * 40]
)
def test_a_container_that_does_not_tell_is_not_known(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    assert has_sound(tmp_path / "a") is None
    for cut in range(0, len(_mkv(2)), 7):
        (tmp_path / "a").write_bytes(_mkv(2)[:cut])
        assert has_sound(tmp_path / "a") in (None, False)


def test_an_address_of_another_scheme_is_named() -> None:
    with pytest.raises(UsageError, match="ftp:// addresses are not read"):
        open_source("ftp://host/film.mp4")
