"""Damaged files of every format: each door of the decoder reads them or says in one line why it cannot."""

import struct

import numpy as np
import pytest
from PIL import Image

from eyewright.core.errors import LimitError, UnreadableImageError
from eyewright.imaging import decode, encode_image
from eyewright.imaging.decode import probe_image, read_frames, read_image, read_labels, read_picture, read_thumbnail
from eyewright.imaging.workers import Bounds, Worker
from eyewright.testing.mutated import decode_everyway, mutated_files


def test_five_hundred_mutated_files_are_read_or_refused() -> None:
    worker = Worker("eyewright.testing.mutated:try_mutated", Bounds(wall_s=60.0, cpu_s=30, answers=2**31))
    answers = [worker.ask({}, data)[0] for _, data in mutated_files(500, seed=1)]
    worker.close()
    assert [a["fault"] for a in answers if "fault" in a] == []
    assert worker.replaced == 0
    read = sum("decoded" in a["said"].values() for a in answers)
    assert 100 < read < 450, "the mutations are all harmless, or all deadly"


@pytest.mark.parametrize(
    "raised",
    [
        OverflowError("size"),
        struct.error("unpack requires 4 bytes"),
        SystemError("tile"),
        AssertionError(),
        KeyError(1),
    ],
)
def test_whatever_a_decoder_raises_is_said_of_the_file(monkeypatch, raised) -> None:
    data = encode_image(np.zeros((4, 4, 3), np.uint8), format="PNG")

    def fail(*args, **options):
        raise raised

    monkeypatch.setattr(Image, "open", fail)
    for read in (read_image, read_picture, read_labels, probe_image, lambda d: list(read_frames(d))):
        with pytest.raises(UnreadableImageError, match="damaged"):
            read(data)
    with pytest.raises(UnreadableImageError, match="damaged"):
        read_thumbnail(data, 8)


def test_a_header_reader_that_fails_is_said_of_the_file(monkeypatch) -> None:
    def fail(data):
        raise OverflowError("cannot fit 'int' into an index-sized integer")

    monkeypatch.setattr(decode, "read_header", fail)
    with pytest.raises(UnreadableImageError, match="damaged"):
        read_image(b"\x89PNG")


def test_memory_is_a_limit_and_not_damage(monkeypatch) -> None:
    def fail(*args, **options):
        raise MemoryError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(LimitError):
        read_image(encode_image(np.zeros((4, 4, 3), np.uint8), format="PNG"))


def test_the_check_sees_an_exception_that_a_door_lets_through(monkeypatch) -> None:
    monkeypatch.setitem(decode_everyway.__globals__["_DOORS"], "image", lambda data: struct.unpack("<I", b""))
    with pytest.raises(AssertionError, match="image let error through"):
        decode_everyway(b"x")
