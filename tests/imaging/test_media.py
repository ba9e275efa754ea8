"""What a file holds is told by its content: names are wrong, and some formats share their first bytes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.drawn_clips import write_animation, write_clip

from eyewright.core.report import Finding
from eyewright.imaging.encode import write_image
from eyewright.imaging.media import media_of, said_to_hold
from eyewright.imaging.sources import is_moving, is_stream, open_source


def frames(n: int) -> np.ndarray:
    return np.stack([np.full((16, 24, 3), k * 8, np.uint8) for k in range(n)])


def packets(size: int, at: int) -> bytes:
    one = bytearray(size)
    one[at] = 0x47
    return bytes(one) * 4


@pytest.mark.parametrize(
    ("content", "held"),
    [
        (b"", "other"),
        (b"Good morning, this text begins with the byte of MPEG packets" * 9, "other"),
        (b"the wide road, which is no box of QuickTime", "other"),
        (packets(188, 0), "video"),
        (packets(192, 4), "video"),
        (b"\0\0\0\x18ftypisom" + bytes(12), "video"),
        (b"\0\0\0\x18ftypM4A " + bytes(12), "other"),
        (b"\0\0\0\x18ftypheic" + bytes(12), "picture"),
        (b"\0\0\0\x18ftypavif" + bytes(12), "picture"),
        (b"\0\0\0\x18ftypavis" + bytes(12), "animation"),
        (b"OggS" + bytes(24) + b"\x80theora", "video"),
        (b"OggS" + bytes(24) + b"OpusHead", "other"),
        (b"RIFF\0\0\0\0WAVEfmt ", "other"),
        (b"RIFF\0\0\0\0AVI LIST", "video"),
        (b"\xff\xd8\xff\xe1\xff\xff" + bytes(4090), "picture"),
        (b"GIF89a", "picture"),
        (b"\x89PNG\r\n\x1a\n", "picture"),
        (b"RIFF\0\0\0\0WEBP", "picture"),
        (b"%PDF-1.7", "other"),
    ],
)
def test_the_first_bytes_tell_a_video_from_a_picture_and_from_text(content: bytes, held: str) -> None:
    assert media_of(content) == held


@pytest.mark.parametrize("ending", [".gif", ".png", ".webp"])
def test_two_pictures_are_an_animation_and_one_is_none(tmp_path: Path, ending: str) -> None:
    path = write_animation(tmp_path / f"a{ending}", frames(2), step_ms=40)
    assert media_of(path) == media_of(path.read_bytes()) == "animation"
    Image.fromarray(frames(1)[0]).save(path)
    assert media_of(path) == "picture"
    assert said_to_hold(path.read_bytes()) == f"a {ending[1:].upper()} image"


def test_what_cannot_be_opened_holds_nothing_that_is_known(tmp_path: Path) -> None:
    assert media_of(tmp_path) == media_of(tmp_path / "none.mp4") == "other"


@pytest.mark.parametrize("name", ["a", "a.png", "a.jpg", "a.txt"])
def test_a_video_is_a_stream_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    path = write_clip(tmp_path / "a.avi", frames(6)).rename(tmp_path / name)
    assert is_stream(path)
    with open_source(path) as opened:
        assert len(list(opened)) == 6


def test_a_picture_that_is_named_as_a_video_is_read_as_what_it_is_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_image(tmp_path / "a.png", frames(1)[0])
    (tmp_path / "a.png").rename(path)
    assert not is_stream(path)
    notes: list[Finding] = []
    with open_source(path, note=notes.append) as opened:
        assert len(list(opened)) == 1
    assert [(n.code, n.severity) for n in notes] == [("not_a_video", "note")]


@pytest.mark.parametrize(("step_ms", "shown_s"), [(40, 0.04), (0, 0.1), (10, 0.1), (20, 0.02)])
def test_pictures_of_an_animation_have_the_times_that_browsers_give_them(
    tmp_path: Path, step_ms: int, shown_s: float
) -> None:
    path = write_animation(tmp_path / "a.gif", frames(4), step_ms=step_ms)
    assert is_moving(path)
    assert not is_stream(path)
    with open_source(path, pages=True) as opened:
        assert [f.time_s for f in opened] == pytest.approx([k * shown_s for k in range(4)])


def test_an_animation_that_breaks_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3), dtype=np.uint8)
    path = write_animation(tmp_path / "a.gif", noise, step_ms=40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    notes: list[Finding] = []
    with open_source(path, pages=True, note=notes.append) as opened:
        n = len(list(opened))
    assert 2 < n < 12
    assert [n.code for n in notes] == ["video_breaks_off"]
