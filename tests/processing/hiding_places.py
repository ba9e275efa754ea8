"""Image files with a secret in each of the places where metadata hides, written by hand or by Pillow."""

import io
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin, features

SECRET = b"Jane-Doe-at-Elm-Street-7"
PIXELS = np.full((48, 64, 3), 180, np.uint8)


def _saved(format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, format, **options)
    return buffer.getvalue()


def _with_segment(marker: int, content: bytes) -> bytes:
    data = _saved("JPEG")
    return data[:2] + b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content + data[2:]


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    exif[0x8298] = "Copyright-Somebody"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 0.0), 3: "E", 4: (11.0, 34.0, 0.0)})
    # A maker note, and the caption that Windows writes in UTF-16.
    exif.get_ifd(0x8769)[0x927C] = b"MAKER\0" + SECRET
    exif[0x9C9B] = SECRET.decode().encode("utf-16-le")
    return exif.tobytes()


def _thumbnail() -> bytes:
    """An EXIF block whose second directory holds a JPEG of its own, with a comment."""
    small = _saved("JPEG", comment=SECRET)
    first = struct.pack("<HI", 0, 14)
    second = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, 44, 0x0202, 4, 1, len(small), 0)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + second + small


def _profile() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile + b"text\0\0\0\0" + SECRET


def _png(kind: bytes, content: bytes) -> bytes:
    data = _saved("PNG")
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return data[:33] + chunk + data[33:]


def _clear() -> bytes:
    """A face that is there and invisible: its opacity is 0."""
    pixels = np.zeros((48, 64, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[8:24, 8:40, :3] = 200
    pixels[8:24, 8:40, 3] = 0
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _pictures() -> bytes:
    """A multi-picture JPEG, as telephones write their depth and gain maps."""
    buffer = io.BytesIO()
    second = Image.fromarray(255 - PIXELS)
    Image.fromarray(PIXELS).save(buffer, "MPO", save_all=True, append_images=[second])
    return buffer.getvalue() + SECRET


def _texts() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", SECRET.decode())
    info.add_itxt("Comment", SECRET.decode(), zip=True)
    info.add_text("Long", SECRET.decode(), zip=True)
    return _saved("PNG", pnginfo=info)


def _gif() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).convert("P").save(buffer, "GIF", comment=SECRET)
    return buffer.getvalue()


def _application() -> bytes:
    """A GIF with XMP in an application extension, as Adobe's programs write it, and with plain text that is drawn."""
    data = _gif()
    screen = 13 + (3 << (data[10] & 7) + 1)
    packet = b"<x:xmpmeta>" + SECRET + b"</x:xmpmeta>" + b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    text = b"\x21\x01\x0c" + bytes(12) + bytes([len(SECRET)]) + SECRET + b"\0"
    return data[:screen] + b"\x21\xff\x0bXMP DataXMP" + packet + text + data[screen:]


def _riff(kind: bytes, content: bytes) -> bytes:
    """A WebP file with a chunk that no standard knows."""
    data = _saved("WEBP")
    chunk = kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
    return data[:4] + struct.pack("<I", len(data) - 8 + len(chunk)) + data[8:] + chunk


def _tiff(*, sub: bool) -> bytes:
    """A TIFF with a private tag, or with a directory below the first that holds a text."""
    info = TiffImagePlugin.ImageFileDirectory_v2()
    if sub:
        data = bytearray(_saved("TIFF", tiffinfo={330: 0}))
        (place,) = struct.unpack_from("<I", data, 4)
        (number,) = struct.unpack_from("<H", data, place)
        end = len(data) + len(data) % 2
        for i in range(number):
            if struct.unpack_from("<H", data, place + 2 + 12 * i)[0] == 330:
                struct.pack_into("<HHII", data, place + 2 + 12 * i, 330, 4, 1, end)
        data += b"\0" * (end - len(data))
        data += struct.pack("<HHHIII", 1, 270, 2, len(SECRET) + 1, end + 18, 0) + SECRET + b"\0"
        return bytes(data)
    info[65000] = SECRET.decode()
    info[34377] = b"8BIM\x04\x04\0\0\0\0\0\x1c\x1c\x02\x50\0\x18" + SECRET
    info.tagtype[34377] = 7
    return _saved("TIFF", tiffinfo=info)


def _zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(SECRET.decode() + ".txt", SECRET)
    return _saved("JPEG") + buffer.getvalue()


def _mode(format: str, mode: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


def _bitmap() -> bytes:
    """A BMP with bytes between its header and its pixels, which no reader shows."""
    data = _saved("BMP")
    (start,) = struct.unpack_from("<I", data, 10)
    head = data[:2] + struct.pack("<IHHI", len(data) + len(SECRET), 0, 0, start + len(SECRET)) + data[14:start]
    return head + SECRET + data[start:]


def box(kind: bytes, content: bytes) -> bytes:
    """A box of an ISO media file (ISO/IEC 14496-12, 4.2)."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def element(identifier: bytes, content: bytes) -> bytes:
    """An element of a Matroska file (RFC 8794, 5)."""
    return identifier + struct.pack(">Q", len(content) | 1 << 56) + content


PLACES: dict[str, tuple[str, bytes]] = {
    "EXIF, GPS, maker note, UTF-16": ("exif.jpg", _saved("JPEG", exif=_exif())),
    "EXIF thumbnail": ("thumbnail.jpg", _saved("JPEG", exif=_thumbnail())),
    "XMP": ("xmp.jpg", _with_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>" + SECRET + b"</x:xmpmeta>")),
    "IPTC": (
        "iptc.jpg",
        _with_segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x1a\x1c\x02\x50\0\x18" + SECRET),
    ),
    "comment": ("comment.jpg", _saved("JPEG", comment=SECRET)),
    "ICC text": ("icc.jpg", _saved("JPEG", icc_profile=_profile())),
    "PNG text, plain and compressed": ("text.png", _texts()),
    "private PNG chunk": ("chunk.png", _png(b"prVt", SECRET)),
    "GIF comment": ("comment.gif", _gif()),
    "WebP XMP": ("xmp.webp", _saved("WEBP", xmp=b"<x>" + SECRET + b"</x>")),
    "bytes after the end": ("trailing.png", _saved("PNG") + b"\0" * 8 + SECRET),
    "motion photo": ("motion.jpg", _saved("JPEG") + b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + SECRET),
    "depth map in a second picture": ("depth.jpg", _saved("JPEG") + _saved("JPEG", comment=SECRET)),
    "multi-picture JPEG": ("pictures.jpg", _pictures()),
    "invisible pixels": ("clear.png", _clear()),
    "JUMBF of content credentials": (
        "c2pa.jpg",
        _with_segment(0xEB, b"JP\0\1\0\0\0\1" + struct.pack(">I4s", 8 + len(SECRET), b"jumb") + SECRET),
    ),
    "FlashPix segment": ("flashpix.jpg", _with_segment(0xE2, b"FPXR\0" + SECRET)),
    "segment of a vendor": ("vendor.jpg", _with_segment(0xE7, SECRET)),
    "PNG EXIF": ("exif.png", _png(b"eXIf", _exif().removeprefix(b"Exif\0\0"))),
    "PNG content credentials": ("credentials.png", _png(b"caBX", SECRET)),
    "PNG time and histogram": ("time.png", _png(b"tIME", bytes(7)) + SECRET),
    "PNG ICC profile": ("icc.png", _saved("PNG", icc_profile=_profile())),
    "GIF XMP and plain text": ("xmp.gif", _application()),
    "WebP EXIF and ICC": ("exif.webp", _saved("WEBP", exif=_exif(), icc_profile=_profile())),
    "unknown WebP chunk": ("chunk.webp", _riff(b"PRIV", SECRET)),
    "bytes after the end of a WebP": ("trailing.webp", _saved("WEBP") + SECRET),
    "private TIFF tags": ("private.tif", _tiff(sub=False)),
    "TIFF directory below the first": ("below.tif", _tiff(sub=True)),
    "archive after the end": ("archive.jpg", _zipped()),
    "bytes after the end of a JPEG 2000": (
        "boxes.jp2",
        _saved("JPEG2000") + box(b"uuid", b"0123456789abcdef" + SECRET) + box(b"xml ", b"<x>" + SECRET + b"</x>"),
    ),
    "gap of a BMP": ("gap.bmp", _bitmap()),
}

if features.check("avif"):
    _avif = _saved("AVIF", exif=_exif(), xmp=b"<x>" + SECRET + b"</x>", icc_profile=_profile())
    PLACES["AVIF EXIF, XMP, ICC and a box of a vendor"] = (
        "boxes.avif",
        _avif + box(b"uuid", b"0123456789abcdef" + SECRET),
    )

MOVIES: dict[str, tuple[str, bytes]] = {
    "MP4 place, texts and a box of a vendor": (
        ".mp4",
        box(b"udta", box(b"\xa9xyz", b"\0\x18\x15\xc7" + SECRET) + box(b"meta", bytes(4) + box(b"ilst", SECRET)))
        + box(b"uuid", b"0123456789abcdef" + SECRET),
    ),
    "Matroska tags, attachments and title": (
        ".webm",
        element(
            b"\x12\x54\xc3\x67",
            element(b"\x73\x73", element(b"\x67\xc8", element(b"\x45\xa3", b"ARTIST") + element(b"\x44\x87", SECRET))),
        )
        + element(
            b"\x19\x41\xa4\x69",
            element(b"\x61\xa7", element(b"\x46\x6e", b"a.txt") + element(b"\x46\x5c", SECRET)),
        ),
    ),
}
"""What is put into the last box of a video file, or after its last element."""
