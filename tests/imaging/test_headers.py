"""Headers of image files, read before any decoder sees them."""

import random
import struct

import pytest

from eyewright.imaging.headers import read_header


def _jpeg(entropy: bytes) -> bytes:
    frame = struct.pack(">BHHB", 8, 5, 7, 1) + b"\1\x11\0"
    scan = b"\1\1\0\0?\0"
    segments = (b"\xff\xc0", frame), (b"\xff\xda", scan)
    return b"\xff\xd8" + b"".join(m + struct.pack(">H", len(s) + 2) + s for m, s in segments) + entropy


@pytest.mark.parametrize("seed", range(4))
def test_the_scans_of_a_jpeg_are_counted_wherever_they_begin(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(200):
        entropy = bytes(rng.choice((0xFF, 0xDA, 0, 7)) for _ in range(rng.randrange(30)))
        data = _jpeg(entropy)
        # Counted by `bytes.count`, after the marker of the first.
        assert read_header(data).scans == 1 + data.count(b"\xff\xda", data.index(b"\xff\xda") + 2)
