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
from eyewright.imaging import Limits, encode_image, probe_image, read_image
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
    with pytest.raises(UnreadableImageError, match="cannot read"):
        read_image(tmp_path / "none.png")
    with pytest.raises(UnreadableImageError, match="found a folder"):
        read_image(tmp_path)


def test_an_icc_profile_is_carried_out_and_can_be_kept_instead() -> None:
    # Oracle: LittleCMS itself, called directly. Adobe RGB's red is redder than sRGB's.
    from PIL import ImageCms

    from eyewright.imaging.decode import read_profile

    profile = linear_profile()
    image = Image.fromarray(np.full((4, 4, 3), (64, 128, 200), np.uint8))
    data = encoded(image, "PNG", icc_profile=profile)
    srgb = ImageCms.createProfile("sRGB")
    wanted = np.asarray(ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode="RGB"))
    assert np.abs(wanted.astype(int) - (64, 128, 200)).max() > 20, "the profile must change something"
    assert np.array_equal(read_image(data), wanted)
    assert read_image(data, colour="file")[0, 0].tolist() == [64, 128, 200]
    assert read_profile(data) == profile


def linear_profile() -> bytes:
    """Make an RGB profile with sRGB's primaries and gamma 1, by hand (ICC.1:2010): header, tag table, XYZ and"
    " curves."""

    def xyz(x: float, y: float, z: float) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in (x, y, z)))

    tags = {
        b"rXYZ": xyz(0.4360, 0.2225, 0.0139),
        b"gXYZ": xyz(0.3851, 0.7169, 0.0971),
        b"bXYZ": xyz(0.1431, 0.0606, 0.7141),
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rTRC": b"curv" + bytes(8),
        b"gTRC": b"curv" + bytes(8),
        b"bTRC": b"curv" + bytes(8),
        b"desc": b"desc\0\0\0\0\0\0\0\x07linear\0" + bytes(79),
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
    }
    table, body, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", offset + len(body), len(content))
        body += content
    size = offset + len(body)
    header = struct.pack(">I4sI4s4s4s12s4s", size, b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ ", bytes(12), b"acsp")
    header += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


@pytest.mark.parametrize("format", ["AVIF", "JPEG2000", "TGA", "ICO", "PPM"])
def test_the_further_formats_are_read_and_told_by_content(format: str, tmp_path: Path) -> None:
    image = np.kron(RAMP, np.ones((8, 8, 1), np.uint8))
    options = {
        "AVIF": {"quality": 95, "subsampling": "4:4:4"},
        "JPEG2000": {"irreversible": False},
        "ICO": {"sizes": [(48, 32)]},
    }.get(format, {})
    data = encoded(Image.fromarray(image), format, **options)
    path = tmp_path / "named.wrong"
    path.write_bytes(data)
    found = read_image(path)
    assert found.shape == (32, 48, 3)
    assert np.abs(found.astype(int) - image).mean() <= (4 if format == "AVIF" else 0)
    assert probe_image(path).format == {"PPM": "PNM"}.get(format, format)


def test_jpeg_xl_is_read_by_its_extra() -> None:
    codec = pytest.importorskip("imagecodecs")
    image = np.kron(RAMP, np.ones((8, 8, 1), np.uint8))
    data = codec.jpegxl_encode(image, lossless=True)
    assert np.array_equal(read_image(data), image)
    assert probe_image(data).size_hw == (32, 48)
    with pytest.raises(LimitError):
        read_image(data, limits=Limits(pixels=1000))


# 48 x 32 in four colours, by libheif with x265, once; 748 bytes.
HEIC = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAAAAAE"
    "RAAAEA"
    "AQAAAAABoQABAAAAAAAAAUsAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/WlwcnAAAADda"
    "XBjbwAAAHZodmND"
    "AQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBB"
    "Zbq5Ka5uAhoMCAA"
    "AAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAADAAAAABAAAAI"
    "AAAAAH////wAAAA"
    "Av///+AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAAVNtZGF0AAABRygBrwT47KXp+t/5Tf//+bquy"
    "/PsSUeJ3ud5Sn/n"
    "Xv/7SZTuuXr3sAh5UHeuGgvDIA+in2uPxw+//1UoP5Tfo31LVX/3JYlhbvi0XIqi340/hnHsM99LmJYdtjVTg9+RJpMJXFB//24f/vH3s"
    "/rvPnCvcNzCCSxU"
    "NyD81wNbw/H9HvAD9/Mvr/s72eBffxJ+QXk+x1GgXz+rr1mVVJ8R8iyj97mMfrDSy6fsdYX4u0Xet/ZU7dK5m67fgZ9EXo2qDz3uPJRW/"
    "NiBDRoGKuB4dLVz"
    "eLjeWKrYAAAIUjsLpOF9ce8m5C+uDWxobImdXUH42XIMnDtahxBQBqMLEBpgDdAu0MTm9BQrtlHURMR2eKheDo0CYxSYGJ8PpjlJh98T/"
    "RIRsjSGiPUj8HcT"
    "HgH5CdLioYpdwinHVKbXHetda1MOpNv1XUwRgA=="
)


def test_heif_is_read_by_its_extra_or_the_extra_is_named() -> None:
    import base64
    import importlib.util

    from eyewright.core.errors import MissingExtraError

    data = base64.b64decode(HEIC)
    if importlib.util.find_spec("pi_heif") is None:
        with pytest.raises(MissingExtraError, match="pip install"):
            read_image(data)
        return
    found = read_image(data)
    assert found.shape == (32, 48, 3)
    assert np.abs(found[8, 12].astype(int) - (230, 30, 30)).max() < 20
    assert np.abs(found[24, 36].astype(int) - (240, 240, 240)).max() < 20


def test_sixteen_bit_colour_is_kept_where_it_is_asked_for() -> None:
    pytest.importorskip("cv2")
    from eyewright.imaging import encode_image

    deep = (np.arange(48 * 64 * 3, dtype=np.uint16) * 7).reshape(48, 64, 3)
    for format in ("PNG", "TIFF", "PNM", "JPEG2000"):
        data = encode_image(deep, format=format)
        assert np.array_equal(read_image(data, depth="native"), deep), format
        # Pillow rounds these where everything else cuts.
        assert np.abs(read_image(data).astype(int) - (deep >> 8)).max() <= (format in ("PNM", "JPEG2000")), format


def test_every_frame_of_an_animation_and_every_page_comes_with_its_time() -> None:
    from eyewright.imaging.decode import read_frames

    frames = [Image.new("RGB", (8, 8), c) for c in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    for format, timed in (("GIF", True), ("WEBP", True), ("PNG", True), ("TIFF", False)):
        more = {"lossless": True} if format == "WEBP" else {}
        timing = {"duration": [100, 200, 50]} if timed else {}
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **more, **timing)
        found = list(read_frames(data))
        assert [f[0, 0].argmax() for f, _ in found] == [0, 1, 2], format
        times = [t for _, t in found]
        assert times == ([0.0, 0.1, pytest.approx(0.3)] if timed else [None] * 3), format
        with pytest.raises(LimitError, match="more than 2 frames"):
            list(read_frames(data, limits=Limits(frames=2)))


def test_every_page_of_a_sixteen_bit_document_is_read() -> None:
    pages = [Image.fromarray(np.full((6, 8), 20_000 * (k + 1), np.uint16)) for k in range(3)]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    from eyewright.imaging.decode import read_frames

    assert [int(f[0, 0, 0]) for f, _ in read_frames(data)] == [20_000 >> 8, 40_000 >> 8, 60_000 >> 8]


def test_a_jpeg_can_be_read_at_reduced_size_but_not_below_what_is_asked() -> None:
    image = np.kron(RAMP, np.ones((200, 200, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(image), "JPEG", quality=95, exif=exif)
    found = read_image(data, at_least=(290, 190))
    assert found.shape == (300, 200, 3)
    whole = np.asarray(Image.fromarray(read_image(data)).resize((200, 300), Image.Resampling.BOX))
    assert np.abs(found.astype(int) - whole).mean() < 2
    assert read_image(data, at_least=(5000, 5000)).shape == (1200, 800, 3)


def test_nothing_else_in_the_house_decodes_an_image() -> None:
    import re

    root = Path(__file__).parents[2] / "src" / "eyewright"
    found = {
        str(p.relative_to(root))
        for p in root.rglob("*.py")
        if re.search(r"Image\.open\(|\bimread\(|imdecode\(|jpegxl_decode\(|open_heif\(", p.read_text("utf-8"))
    }
    assert found == {"imaging/decode.py"}


def test_a_limit_that_was_asked_for_counts_and_not_pillows_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    # Pillow refuses twice its own limit, which an image of 20,000x20,000 pixels passes.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    data = encode_image(np.zeros((60, 60, 3), np.uint8))
    assert read_image(data, limits=Limits(pixels=4000)).shape == (60, 60, 3)
    assert Image.MAX_IMAGE_PIXELS == 1000
    with pytest.raises(LimitError):
        read_image(data, limits=Limits(pixels=3000))


@pytest.mark.parametrize("size", [(40, 30), (900, 1100)])
def test_a_jpeg_is_decoded_to_the_same_bits_in_one_piece_as_in_many(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=95, progressive=size[0] > 100)
    data = buffer.getvalue()
    with Image.open(io.BytesIO(data)) as plain:
        assert np.array_equal(read_image(data), np.asarray(plain))
    for cut in (len(data) // 2, len(data) - 10):
        with pytest.raises(UnreadableImageError, match="cut off"):
            read_image(data[:cut])
