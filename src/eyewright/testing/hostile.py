"""A corpus of image files that hurt: bombs, lying headers, truncations, flipped bits, and odd files that are right.

Each file says what a reader owes it: the picture (with its size and the colours of its quadrants), a refusal, or either
of the two. Nothing is downloaded; the same seed gives the same files.
"""

__all__ = ["HostileFile", "check_hostile", "hostile_files", "odd_files"]

import functools
import io
import itertools
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from eyewright.core.errors import MissingExtraError, UnreadableImageError
from eyewright.core.rng import generator

_COLOURS = np.array([[220, 40, 40], [40, 180, 60], [50, 60, 210], [235, 225, 90]], np.uint8)
_DEEP = np.array([60000, 20000, 41000, 65535], np.uint16)


@dataclass(frozen=True)
class HostileFile:
    """One file: its name, its bytes and what is owed to it.

    For an "image", `size_hw` is that of the upright picture and `quadrants`, uint8 (4, 3) or uint16 (4,), are the
    colours at the middle of its quadrants, row by row, to be met within `tolerance`. `depth` is what to read it with.
    """

    name: str
    data: bytes
    owed: Literal["image", "refusal", "either"]
    size_hw: tuple[int, int] | None = None
    quadrants: NDArray[Any] | None = None
    tolerance: int = 0
    depth: Literal["8", "native"] = "8"


def check_hostile(file: HostileFile, read: Callable[..., NDArray[Any]]) -> None:
    """Read a file with `read(data, depth=...)` and check that it gets what is owed to it.

    >>> from eyewright.imaging import read_image
    >>> for file in itertools.islice(hostile_files(seed=1), 3):
    ...     check_hostile(file, read_image)

    Raises:
        AssertionError: a picture of the wrong size or colours, a bomb that was read, or a good file refused.
    """
    reason: UnreadableImageError | None = None
    try:
        pixels = read(file.data, depth=file.depth)
    except MissingExtraError:
        return
    except UnreadableImageError as error:
        reason = error
    if reason is not None:
        assert file.owed != "image", f"{file.name} is a good file and was refused: {reason}"
        assert reason.message, f"{file.name} was refused without a reason"
        assert "\n" not in str(reason), f"{file.name}: the reason has more than one line"
        return
    assert file.owed != "refusal", f"{file.name} was read, {pixels.shape}, and had to be refused"
    assert pixels.ndim == 3, f"{file.name}: expected (H, W, 3)"
    assert pixels.shape[2] == 3, f"{file.name}: expected (H, W, 3)"
    if file.size_hw is None or file.quadrants is None:
        return
    assert pixels.shape[:2] == file.size_hw, f"{file.name}: expected {file.size_hw}, found {pixels.shape[:2]}"
    height, width = file.size_hw
    centres = [(height // 4, width // 4), (height // 4, 3 * width // 4)]
    centres += [(3 * height // 4, width // 4), (3 * height // 4, 3 * width // 4)]
    found = np.array([pixels[at] for at in centres]).astype(int)
    wanted = np.asarray(file.quadrants).astype(int)
    wanted = wanted if wanted.ndim == 2 else wanted[:, None]
    off = int(np.abs(found - wanted).max())
    assert off <= file.tolerance, f"{file.name}: colours are off by {off}, expected {wanted.tolist()}"


def hostile_files(n: int | None = None, *, seed: int = 0) -> Iterator[HostileFile]:
    """Yield `n` files, or continue forever: each round holds every bomb and odd file, cut and flipped in new places."""
    rounds = (_round(seed + k) for k in itertools.count())
    yield from itertools.islice(itertools.chain.from_iterable(rounds), n)


def _round(seed: int) -> Iterator[HostileFile]:
    rng = generator(seed, "hostile")
    good = list(odd_files(seed=seed))
    yield from good
    yield from _bombs()
    yield from _lies(good)
    # One file of each format is cut at 50 places, spread from its first byte to its last.
    seen: set[str] = set()
    for file in good:
        kind = file.name.partition("-")[0]
        if kind in seen:
            continue
        seen.add(kind)
        for cut in np.linspace(0, len(file.data) - 1, 50).astype(int):
            yield HostileFile(f"{file.name}-cut-at-{cut}", file.data[:cut], "either")
    for file in good:
        for k in range(6):
            flipped = bytearray(file.data)
            for position in rng.integers(0, len(flipped), int(rng.integers(1, 17))):
                flipped[position] ^= 1 << int(rng.integers(8))
            yield HostileFile(f"{file.name}-flipped-{k}", bytes(flipped), "either")


def odd_files(*, seed: int = 0) -> Iterator[HostileFile]:
    """Yield files that are odd and right: every mode of every format, EXIF 1 to 8, 16 bits, profiles, animations."""
    rng = generator(seed, "odd")
    height, width = (int(v) for v in rng.integers(10, 24, 2) * 4)
    colour = _quadrants(_COLOURS, height, width)
    rgb = Image.fromarray(colour)
    luma = np.array(rgb.convert("L"))[[height // 4, height // 4, -1, -1], [width // 4, -1, width // 4, -1]]
    grey = np.repeat(luma[:, None], 3, 1)
    size_hw = (height, width)

    def file(
        name: str, data: bytes, quadrants: NDArray[Any] = _COLOURS, tolerance: int = 0, **more: Any
    ) -> HostileFile:
        return HostileFile(name, data, "image", more.pop("size_hw", size_hw), quadrants, tolerance, **more)

    for quality, progressive, subsampling in ((95, False, 0), (95, True, 2), (80, False, 1)):
        options: dict[str, Any] = {"quality": quality, "progressive": progressive, "subsampling": subsampling}
        yield file(f"jpeg-{quality}-{progressive}-{subsampling}", _save(rgb, "JPEG", **options), tolerance=14)
    yield file("jpeg-grey", _save(rgb.convert("L"), "JPEG", quality=95), grey, 6)
    yield file("jpeg-cmyk", _save(rgb.convert("CMYK"), "JPEG", quality=95, subsampling=0), tolerance=14)
    yield file("png-rgb", _save(rgb, "PNG"))
    yield file("png-interlaced", _interlaced(colour))
    yield file("png-palette", _save(rgb.quantize(8), "PNG"), tolerance=4)
    yield file("png-grey", _save(rgb.convert("L"), "PNG"), grey)
    yield file("png-grey-alpha", _save(rgb.convert("LA"), "PNG"), grey)
    yield file("png-rgba", _save(rgb.convert("RGBA"), "PNG"))
    bits = _quadrants(np.array([0, 255, 255, 0], np.uint8), height, width)
    black_white = np.repeat(np.array([0, 255, 255, 0])[:, None], 3, 1)
    one = Image.fromarray(bits).convert("1")
    for format in ("PNG", "TIFF", "BMP", "PPM"):
        name = {"PPM": "pnm"}.get(format, format.lower())
        yield file(f"{name}-one-bit", _save(one, format), black_white)
    clear = rgb.convert("RGBA")
    clear.putalpha(Image.fromarray(_quadrants(np.array([255, 0, 255, 255], np.uint8), height, width)))
    lit = _COLOURS.copy()
    lit[1] = 255
    plain: dict[str, Any] = {}
    lossless: dict[str, Any] = {"lossless": True}
    for format, more in (("PNG", plain), ("WEBP", lossless), ("TIFF", plain), ("TGA", plain)):
        yield file(f"{format.lower()}-transparent", _save(clear, format, **more), lit)
    deep = _quadrants(_DEEP, height, width)
    for format in ("PNG", "TIFF", "JPEG2000", "PPM"):
        data = _save(Image.fromarray(deep), format)
        name = {"PPM": "pnm"}.get(format, format.lower())
        yield file(f"{name}-16-bit", data, _DEEP >> 8)
        yield file(f"{name}-16-bit-native", data, _DEEP, depth="native")
    deep_colour = np.stack([deep, deep // 2, deep // 3], 2)
    wanted = np.stack([_DEEP, _DEEP // 2, _DEEP // 3], 1)
    yield file("png-16-bit-colour", _png16(deep_colour), wanted >> 8)
    yield file("png-16-bit-colour-native", _png16(deep_colour), wanted, depth="native")
    yield file("pnm-16-bit-colour-native", _ppm16(deep_colour), wanted, depth="native")
    for name, method in (("lzw", "tiff_lzw"), ("deflate", "tiff_adobe_deflate"), ("packbits", "packbits")):
        yield file(f"tiff-{name}", _save(rgb, "TIFF", compression=method))
    yield file("tiff-cmyk", _save(rgb.convert("CMYK"), "TIFF"), tolerance=2)
    yield file("webp-lossy", _save(rgb, "WEBP", quality=95), tolerance=14)
    yield file("webp-lossless", _save(rgb, "WEBP", lossless=True))
    yield file("avif-444", _save(rgb, "AVIF", quality=90, subsampling="4:4:4"), tolerance=12)
    yield file("gif-palette", _save(rgb.quantize(8), "GIF"), tolerance=4)
    yield file("bmp-rgb", _save(rgb, "BMP"))
    yield file("pnm-rgb", _save(rgb, "PPM"))
    yield file(
        "pnm-text", f"P2\n# a comment\n{width} {height}\n255\n".encode() + _text(np.array(rgb.convert("L"))), grey
    )
    yield file("ico-png", _save(rgb, "ICO", sizes=[(width, height)]))
    yield file("tga-rgb", _save(rgb, "TGA"))
    yield file("tga-rle", _save(rgb, "TGA", compression="tga_rle"))
    yield file("jpeg2000-lossless", _save(rgb, "JPEG2000", irreversible=False))
    yield file("jpeg2000-grey", _save(rgb.convert("L"), "JPEG2000"), grey)
    frames = [Image.new("RGB", (width, height), tuple(int(v) for v in c)) for c in _COLOURS]
    for format in ("GIF", "WEBP", "PNG", "TIFF"):
        more = lossless if format == "WEBP" else plain
        data = _save(rgb if format != "GIF" else rgb.quantize(8), format, save_all=True, append_images=frames, **more)
        yield file(f"{format.lower()}-animated", data, tolerance=4)
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # A profile holds the time at which it was made.
    dated = made[:24] + struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + made[36:]
    yield file("png-profile", _save(rgb, "PNG", icc_profile=dated))
    yield file("png-broken-profile", _save(rgb, "PNG", icc_profile=b"no profile at all" * 9))
    for turn in range(1, 9):
        stored = _stored(colour, turn)
        exif = Image.Exif()
        exif[0x0112] = turn
        for format, more in (("JPEG", {"quality": 95, "subsampling": 0}), ("PNG", plain), ("WEBP", lossless)):
            yield file(
                f"{format.lower()}-exif-{turn}", _save(Image.fromarray(stored), format, exif=exif, **more), tolerance=12
            )
        yield file(f"tiff-exif-{turn}", _save(Image.fromarray(stored), "TIFF", exif=exif))


def _bombs() -> Iterator[HostileFile]:
    """Yield files of a few bytes that cost a careless reader seconds, gigabytes or both."""

    def bomb(name: str, data: bytes) -> HostileFile:
        return HostileFile(f"bomb-{name}", data, "refusal")

    for side in (30_000, 65_000, 2**31 - 1):
        bmp = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
        yield bomb(f"bmp-{side}", b"BM" + struct.pack("<IHHI", 60, 0, 0, 54) + bmp + b"\0" * 6)
    yield bomb("bmp-rle", _bmp_rle(16_000, 16_000))
    vp8l = b"VP8L\x0a\0\0\0\x2f" + struct.pack("<I", 16383 | (16383 << 14)) + b"\0" * 5
    yield bomb("webp-lossless", b"RIFF\x16\0\0\0WEBP" + vp8l)
    vp8x = b"VP8X\x0a\0\0\0\x10\0\0\0" + (16383).to_bytes(3, "little") * 2
    yield bomb("webp-canvas", b"RIFF" + struct.pack("<I", 4 + len(vp8x)) + b"WEBP" + vp8x)
    yield bomb("jpeg-scans", _many_scans(1500))
    yield bomb("jpeg-size", _resized_jpeg(65_500, 65_500))
    yield bomb("png-size", _png(100_000, 100_000, zlib.compress(b"\0" * 1000)))
    # The header is within the limits and the data unpacks to a thousand times as much as it may.
    yield HostileFile("bomb-png-too-much-data", _png(16, 16, zlib.compress(b"\0" * 50_000_000, 9)), "either")
    text = b"Comment\0\0" + zlib.compress(b"a" * 80_000_000, 9)
    yield HostileFile("bomb-png-text", _png(16, 16, _rows(16, 16), ((b"zTXt", text),) * 8), "either")
    profile = b"p\0\0" + zlib.compress(b"a" * 80_000_000, 9)
    yield HostileFile("bomb-png-profile", _png(16, 16, _rows(16, 16), ((b"iCCP", profile),)), "either")
    yield bomb("png-chunks", _png(16, 16, _rows(16, 16), ((b"teXt", b""),) * 120_000))
    yield bomb("gif-size", b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\0\0\0,")
    yield HostileFile("bomb-gif-frames", _many_frames(20_000), "either")
    for order in "<>":
        mark = b"II*\0" if order == "<" else b"MM\0*"
        tags: tuple[tuple[int, int], ...] = ((256, 100), (257, 100), (258, 8), (277, 1), (322, 65_520), (323, 65_520))
        yield bomb(f"tiff-tile-{order}", mark + struct.pack(order + "I", 8) + _tiff_tags(order, tags, 0))
        tags = ((256, 60_000), (257, 60_000), (258, 8), (277, 3))
        yield bomb(f"tiff-size-{order}", mark + struct.pack(order + "I", 8) + _tiff_tags(order, tags, 0))
        tags = ((256, 16), (257, 16), (258, 8), (262, 1), (273, 8), (277, 1), (278, 16), (279, 256))
        loop = mark + struct.pack(order + "I", 8) + _tiff_tags(order, tags, 8) + b"\x80" * 256
        yield HostileFile(f"bomb-tiff-loop-{order}", loop, "either")
    yield bomb("pnm-size", b"P6\n50000 50000\n255\n" + b"\0" * 64)
    yield bomb("ico-png", _ico(_png(30_000, 30_000, zlib.compress(b"\0" * 1000))))
    tga = struct.pack("<BBBHHBHHHHBB", 0, 0, 10, 0, 0, 0, 0, 0, 60_000, 60_000, 24, 0)
    yield bomb("tga-size", tga + b"\xff\0\0\0" * 50 + b"\0" * 8 + b"TRUEVISION-XFILE.\0")
    siz = struct.pack(">HIIIIIIIIH", 0, 60_000, 60_000, 0, 0, 60_000, 60_000, 0, 0, 3) + b"\7\1\1" * 3
    yield bomb("jpeg2000-size", b"\xff\x4f\xff\x51" + struct.pack(">H", 2 + len(siz)) + siz)
    siz = struct.pack(">HIIIIIIIIH", 0, 7_000, 7_000, 0, 0, 1, 1, 0, 0, 3) + b"\7\1\1" * 3
    yield bomb("jpeg2000-tiles", b"\xff\x4f\xff\x51" + struct.pack(">H", 2 + len(siz)) + siz)
    for brand in (b"avif", b"heic"):
        yield bomb(f"{brand.decode()}-size", _heif(brand, 60_000, 60_000))
    yield bomb("jxl-size", _jxl(200_000, 200_000))
    for start in (
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"%PDF-1.7\n",
        b"<svg xmlns='x'/>",
        b"8BPS\0\1",
        b"SIMPLE  =",
        b"\0" * 64,
    ):
        yield bomb(f"not-on-the-list-{start[:4]!r}", start + b" " * 200)
    yield bomb("empty", b"")


def _lies(good: list[HostileFile]) -> Iterator[HostileFile]:
    """Yield good files whose header claims another size: much more than is there, nothing, or a little more."""
    at = {"png-rgb": (16, ">II"), "bmp-rgb": (18, "<ii"), "gif-palette": (6, "<HH"), "tga-rgb": (12, "<HH")}
    for file in good:
        if file.name not in at:
            continue
        offset, form = at[file.name]
        for width, height in ((0, 0), (1, 30_000), (30_000, 1), (5_000, 5_000), (7_999, 7_999)):
            data = bytearray(file.data)
            struct.pack_into(form, data, offset, width, height)
            if file.name == "png-rgb":
                struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
            yield HostileFile(f"{file.name}-says-{width}x{height}", bytes(data), "either")


def _quadrants(values: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Paint (height, width) in four equal parts, row by row."""
    board = np.array([[0, 1], [2, 3]])
    index = board[np.arange(height)[:, None] * 2 // height, np.arange(width)[None] * 2 // width]
    painted: NDArray[Any] = values[index]
    return painted


def _stored(upright: NDArray[Any], turn: int) -> NDArray[Any]:
    """Return what a camera stores so that EXIF `turn` shows `upright`: each turn's inverse, by hand from the table."""
    turns: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
        8: lambda a: np.rot90(a, -1),
    }
    return np.ascontiguousarray(turns[turn](upright))


def _save(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(width: int, height: int, packed: bytes, more: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    extra = b"".join(_chunk(kind, body) for kind, body in more)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _rows(width: int, height: int) -> bytes:
    return zlib.compress((b"\0" + b"\x80" * width) * height)


def _png16(pixels: NDArray[np.uint16]) -> bytes:
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    start = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    return start + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _interlaced(pixels: NDArray[np.uint8]) -> bytes:
    """Write Adam7 by hand (W3C PNG, 8.2): no available writer interlaces."""
    height, width = pixels.shape[:2]
    rows = b""
    for y, x, dy, dx in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        part = pixels[y::dy, x::dx]
        if part.size:
            rows += b"".join(b"\0" + row.tobytes() for row in part)
    start = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1))
    return start + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _ppm16(pixels: NDArray[np.uint16]) -> bytes:
    height, width = pixels.shape[:2]
    return f"P6\n{width} {height}\n65535\n".encode() + pixels.astype(">u2").tobytes()


def _text(grey: NDArray[np.uint8]) -> bytes:
    return "\n".join(" ".join(str(v) for v in row) for row in grey).encode()


def _bmp_rle(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 0, 0, 0, 256, 0)
    palette = b"\0" * 1024
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + 1024) + info + palette + b"\xff\1" * 64 + b"\0\1"


@functools.cache
def _many_scans(n: int) -> bytes:
    """Return a progressive JPEG whose last refinement scan is repeated until there are `n`.

    Flat pictures make short scans, and a large one makes each of them a long walk.
    """
    data = _save(Image.new("L", (4096, 4096), 128), "JPEG", progressive=True, quality=60)
    last = data.rfind(b"\xff\xda")
    return data[:-2] + data[last:-2] * n + b"\xff\xd9"


def _resized_jpeg(width: int, height: int) -> bytes:
    data = bytearray(_save(Image.fromarray(_quadrants(_COLOURS, 16, 16)), "JPEG"))
    struct.pack_into(">HH", data, data.find(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def _many_frames(n: int) -> bytes:
    frame = b",\0\0\0\0\1\0\1\0\0\2\2D\1\0"
    return b"GIF89a" + struct.pack("<HH", 64, 64) + b"\x80\0\0\0\0\0\xff\xff\xff" + frame * n + b";"


def _tiff_tags(order: str, tags: tuple[tuple[int, int], ...], following: int) -> bytes:
    body = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags)
    return struct.pack(order + "H", len(tags)) + body + struct.pack(order + "I", following)


def _ico(picture: bytes) -> bytes:
    return b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(picture), 22) + picture


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def _heif(brand: bytes, width: int, height: int) -> bytes:
    extent = _box(b"ispe", b"\0\0\0\0" + struct.pack(">II", width, height))
    meta = b"\0\0\0\0" + _box(b"iprp", _box(b"ipco", extent))
    return _box(b"ftyp", brand + b"\0\0\0\0" + b"mif1" + brand) + _box(b"meta", meta) + _box(b"mdat", b"\0" * 64)


def _jxl(width: int, height: int) -> bytes:
    """Write the size header of a JPEG XL code stream: not small, 30-bit sides, no fixed ratio."""
    bits = (3 << 1) | ((height - 1) << 3)
    bits |= (3 << 36) | ((width - 1) << 38)
    return b"\xff\x0a" + bits.to_bytes(12, "little") + b"\0" * 20
