"""Headers of image files, read before any decoder sees them."""

import io
import random
import struct

import numpy as np
import pytest
from PIL import Image

from eyewright.imaging import encode_image
from eyewright.imaging.headers import is_lossy, read_header


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


@pytest.mark.parametrize(("format", "lossy"), [("JPEG", True), ("AVIF", True), ("PNG", False), ("BMP", False)])
def test_what_loses_is_told_from_what_does_not(format: str, lossy: bool) -> None:
    data = encode_image(np.zeros((16, 16, 3), np.uint8), format=format)
    assert is_lossy(data[:1024]) is lossy
    assert not is_lossy(data[:2])


def test_webp_may_be_either_also_in_its_extended_form() -> None:
    picture = Image.fromarray(np.zeros((16, 16, 3), np.uint8))
    for options in ({}, {"icc_profile": b"x" * 200}):
        for lossless in (False, True):
            buffer = io.BytesIO()
            picture.save(buffer, "WEBP", lossless=lossless, **options)
            assert is_lossy(buffer.getvalue()[:1024]) is not lossless
