"""Image files with a secret in each of the places where metadata hides, written by hand or by Pillow."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

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
}
