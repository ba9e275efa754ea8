"""Reading images. Oracles: Pillow's own conversions where they are right, values by hand where they are not."""

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from eyewright.core.errors import EyewrightError, LimitError, UnreadableImageError
from eyewright.imaging import Limits, probe_image, read_image
from eyewright.testing import check_format

RAMP = np.stack([*np.mgrid[0:4, 0:6] * 40, np.full((4, 6), 7)], 2).astype(np.uint8)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "lossless", "options"),
    [
        ("JPEG", False, {"quality": 95}),
        ("JPEG", False, {"quality": 95, "progressive": True}),
        ("PNG", True, {}),
        ("WEBP", True, {"lossless": True}),
        ("WEBP", False, {"quality": 95}),
        ("BMP", True, {}),
        ("TIFF", True, {}),
        ("TIFF", True, {"compression": "tiff_lzw"}),
        ("GIF", False, {}),
    ],
)
def test_every_listed_format_conforms(name: str, lossless: bool, options: dict[str, object]) -> None:
    check_format(lambda image: encoded(Image.fromarray(image), name, **options), lossless=lossless, name=name)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_exif_orientation_is_read_upright(orientation: int, format: str) -> None:
    # By hand, from the EXIF standard's table: where row 0 and column 0 of the stored image lie in the upright one.
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
        8: lambda a: np.rot90(a, 1),
    }
    stored = np.kron(RAMP, np.ones((8, 8, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if format == "JPEG" else {"lossless": True} if format == "WEBP" else {}
    data = encoded(Image.fromarray(stored), format, exif=exif, **options)
    upright = turns[orientation](stored)
    found = read_image(data)
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).max() <= (4 if format == "JPEG" else 0)
    assert probe_image(data).size_hw == upright.shape[:2]
    assert probe_image(data).orientation == orientation


def test_grey_becomes_three_equal_channels() -> None:
    grey = Image.fromarray(RAMP[..., 0])
    assert np.array_equal(read_image(encoded(grey, "PNG")), np.repeat(RAMP[..., :1], 3, 2))


def test_sixteen_bits_give_their_high_byte_or_all_of_them() -> None:
    deep = (np.arange(24, dtype=np.uint16) * 2731).reshape(4, 6)
    for format in ("PNG", "TIFF"):
        data = encoded(Image.fromarray(deep), format)
        assert np.array_equal(read_image(data)[..., 1], deep >> 8)
        native = read_image(data, depth="native")
        assert native.dtype == np.uint16
        assert np.array_equal(native[..., 2], deep)


def test_sixteen_bit_colour_png_gives_its_high_bytes() -> None:
    pixels = (np.arange(2 * 3 * 3).reshape(2, 3, 3) * 3000).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", 3, 2, 16, 2, 0, 0, 0)
    assert np.array_equal(read_image(png_bytes(header, rows)), pixels >> 8)


def test_a_float_image_is_refused_because_its_range_is_not_known() -> None:
    data = encoded(Image.fromarray(np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)), "TIFF")
    with pytest.raises(UnreadableImageError, match="32-bit float"):
        read_image(data)
    assert read_image(data, depth="native").dtype == np.float32


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_over_white(mode: str) -> None:
    image = Image.new(mode, (2, 1), (10, 20, 30, 0) if mode == "RGBA" else (10, 0))
    image.putpixel((1, 0), (10, 20, 30, 255) if mode == "RGBA" else (10, 255))
    found = read_image(encoded(image, "PNG"))
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[0, 1].tolist() == ([10, 20, 30] if mode == "RGBA" else [10, 10, 10])


def test_a_palette_with_a_transparent_entry_lies_over_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.putpixel((1, 0), 1)
    found = read_image(encoded(image, "PNG", transparency=0))
    assert found.tolist() == [[[255, 255, 255], [0, 0, 200]]]


def test_one_bit_images_are_black_and_white() -> None:
    found = read_image(encoded(Image.fromarray(np.array([[True, False]])), "PNG"))
    assert found[0].tolist() == [[255] * 3, [0] * 3]


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(format: str) -> None:
    # Pure cyan ink, by hand: no red, full green and blue.
    data = encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), format)
    assert np.abs(read_image(data)[8, 8].astype(int) - [0, 255, 255]).max() <= 3


def test_of_an_animation_the_first_frame_is_read() -> None:
    frames = [Image.new("RGB", (8, 8), c) for c in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    for format in ("GIF", "WEBP", "TIFF"):
        options = {"lossless": True} if format == "WEBP" else {}
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
        assert read_image(data)[0, 0].tolist() == [250, 0, 0]
        assert probe_image(data).frames == 3


def png_bytes(header: bytes, rows: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def huge_headers() -> dict[str, bytes]:
    side = 100_000
    webp = b"RIFF\x16\0\0\0WEBPVP8L\x0a\0\0\0\x2f" + struct.pack("<I", 16383 | (16383 << 14)) + b"\0" * 5
    return {
        "png": png_bytes(struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0), b"")[:60],
        "bmp": b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 60, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
        + b"\0" * 6,
        "gif": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b"\0" * 40,
        "webp": webp,
        "jpeg": b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", 65535, 65535) + b"\3" + b"\1\x11\0" * 3,
    }


@pytest.mark.parametrize("name", huge_headers())
def test_a_header_that_claims_too_much_is_refused_before_decoding(name: str) -> None:
    started = time.process_time()
    with pytest.raises(LimitError, match="over the limit"):
        read_image(huge_headers()[name])
    assert time.process_time() - started < 1.0


def test_a_jpeg_of_many_scans_is_refused_before_decoding() -> None:
    plain = encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    at = plain.rindex(b"\xff\xda")
    scan = plain[at:-2]
    with pytest.raises(LimitError, match=r"15\d\d scans"):
        read_image(plain[:-2] + scan * 1500 + b"\xff\xd9")
    assert read_image(plain).shape == (64, 64, 3)


def test_a_thumbnail_inside_exif_is_no_scan_of_the_image() -> None:
    exif = Image.Exif()
    exif[0x010E] = "\xff\xda" * 200
    data = encoded(Image.new("RGB", (8, 8)), "JPEG", exif=exif)
    assert read_image(data, limits=Limits(scans=1)).shape == (8, 8, 3)


def test_limits_can_be_set_by_the_caller() -> None:
    data = encoded(Image.new("RGB", (64, 32)), "PNG")
    with pytest.raises(LimitError):
        read_image(data, limits=Limits(pixels=2000))
    assert read_image(data, limits=Limits(pixels=2048)).shape == (32, 64, 3)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "an empty file"),
        (b"hello, I am text", "found text"),
        (b"\0" * 100, "only zero bytes"),
        (b"%PDF-1.7 ...", "a PDF"),
        (b"<svg xmlns=''></svg>", "an SVG"),
        (b"PK\x03\x04....", "a zip"),
        (b"%!PS-Adobe", "PostScript"),
        (b"\xff\xd8\xff", "cut off"),
    ],
)
def test_what_is_no_image_is_refused_by_name(data: bytes, said: str) -> None:
    with pytest.raises(UnreadableImageError, match=said):
        read_image(data)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]), st.data())
def test_damaged_files_give_an_image_or_a_named_error(format: str, data) -> None:  # type: ignore[no-untyped-def]
    good = bytearray(encoded(Image.fromarray(np.kron(RAMP, np.ones((4, 4, 1), np.uint8))), format))
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    del good[data.draw(st.integers(1, len(good))) :]
    try:
        found = read_image(bytes(good))
    except EyewrightError as error:
        assert str(error)  # noqa: PT017 (either outcome is right; what must not happen is another exception)
    else:
        assert found.dtype == np.uint8
        assert found.ndim == 3


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(UnreadableImageError, match="cannot read"):
            read_image(path)


def test_nothing_else_in_the_house_decodes_images() -> None:
    source = Path(__file__).parents[2] / "src" / "eyewright"
    guilty = [
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if path.name != "decode.py"
        and any(call in path.read_text() for call in ("Image.open(", "imread(", "imdecode("))
    ]
    assert guilty == []
