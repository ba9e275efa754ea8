"""The second reader: it names every part of a file that is not pixels, and finds texts in any form."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from eyewright.core.errors import UsageError
from eyewright.imaging import encode_image
from eyewright.imaging.residue import hidden_parts, parts_of, residue_of, texts_in, texts_left
from eyewright.imaging.retained import retained_exif

PIXELS = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_what_is_written_has_no_hidden_part(format: str) -> None:
    data = encode_image(PIXELS, format=format)
    assert hidden_parts(data) == []
    assert residue_of(data, []) == []
    assert [p.name for p in parts_of(data + b"more")][-1] == "trailing bytes"


def test_the_parts_of_a_jpeg_hold_all_its_bytes_but_the_markers() -> None:
    data = encode_image(PIXELS, format="JPEG")
    markers = data.count(b"\xff\xda") + data.count(b"\xff\xc4") + data.count(b"\xff\xdb") + 2
    # SOI and EOI have two bytes; every other segment four with its length.
    assert sum(len(p.data) for p in parts_of(data)) + 4 + 4 * markers == len(data)


@pytest.mark.parametrize("kept", ["Somebody at Home", "Jane Doe, Elm Street 7, a text that is longer than one piece"])
def test_a_text_is_found_in_ascii_and_both_orders_of_utf_16(kept: str) -> None:
    texts = texts_in(b"xx" + kept.encode() + b"\0\0")
    for coded in (kept.encode(), kept.encode("utf-16-le"), kept.encode("utf-16-be")):
        assert texts_left(b"\x01\x02" + coded + b"\x03", texts)
    assert not texts_left(zlib.compress(kept.encode()), texts)


def test_the_tables_that_thumbnails_share_with_outputs_are_no_texts() -> None:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "JPEG")
    small = buffer.getvalue()
    assert not any(
        b"CDEFGHIJSTUVWXYZ" in t for t in texts_in(b"\xff\xd8\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small)
    )


def test_only_the_named_fields_are_kept() -> None:
    exif = Image.Exif()
    exif[0x8298], exif[0x013B], exif[0x010E] = "Copyright Somebody", "An Artist", "a description"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 0.0), 3: "E", 4: (11.0, 34.0, 0.0), 6: 500.0})
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "JPEG", exif=exif)
    kept = retained_exif(buffer.getvalue(), ["copyright", "gps"])
    read = Image.Exif()
    read.load(b"Exif\0\0" + kept)
    assert read[0x8298] == "Copyright Somebody"
    assert set(read) == {0x8298, 0x8825}
    assert set(read.get_ifd(0x8825)) == {1, 2, 3, 4}
    for format in ("JPEG", "PNG", "WEBP"):
        coded = encode_image(PIXELS, format=format, exif=kept)
        assert residue_of(coded, [], allowed=kept) == []
        (part,) = residue_of(coded, [])
        assert any(name in part for name in ("'APP1'", "'eXIf'", "'EXIF'"))
        assert retained_exif(coded, ["copyright", "gps"]) == kept
    with pytest.raises(UsageError, match="copyright"):
        retained_exif(buffer.getvalue(), ["copyrights"])


def test_damaged_files_end_the_walk_and_lose_no_bytes_unseen() -> None:
    whole = encode_image(PIXELS, format="PNG")
    rng = np.random.default_rng(1)
    for format in ("JPEG", "PNG", "WEBP", "GIF"):
        data = encode_image(PIXELS, format=format)
        for _ in range(60):
            cut = data[: rng.integers(12, len(data))]
            at = int(rng.integers(0, len(cut)))
            parts_of(cut[:at] + bytes([rng.integers(256)]) + cut[at + 1 :])
            texts_in(cut)
    assert parts_of(whole)
