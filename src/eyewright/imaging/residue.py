"""What an image file holds in addition to its pixels: its parts, the texts in them, and what a copy still has of these.

The second reader of what `anonymize` writes: it shares no code with the decoder or the encoder, and walks the bytes of
JPEG (ITU-T T.81, annex B), PNG (W3C PNG, 5), WebP (RFC 9649) and GIF (GIF89a) itself. Other formats are one part.
"""

__all__ = ["Part", "hidden_parts", "parts_of", "residue_of", "texts_in", "texts_left"]

import re
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass

_LEAST, _LEAST_OF_WHOLE = 6, 12
_DISTINCT = 5
_PIECE = 8
_MOST_TEXTS = 50_000
_MOST_INFLATED = 4 * 2**20
_ASCII = re.compile(rb"[\x20-\x7e]{%d,}" % _LEAST)
_WIDE_LITTLE = re.compile(rb"(?:[\x20-\x7e]\x00){%d,}" % _LEAST)
_WIDE_BIG = re.compile(rb"(?:\x00[\x20-\x7e]){%d,}" % _LEAST)
_NEXT_MARKER = re.compile(rb"\xff+([^\xff\x00\xd0-\xd7])", re.DOTALL)
_SCALED_TABLES = frozenset({0xDB, 0xC4, 0xCC, 0xDD})
# Runs of the Huffman tables of ITU-T T.81, annex K.3, which thumbnails and outputs share and which are no text.
_STANDARD = b"%&'()*456789:CDEFGHIJSTUVWXYZcdefghijstuvwxyz\0&'()*56789:CDEFGHIJSTUVWXYZcdefghijstuvwxyz"
_JFIF = re.compile(rb"JFIF\x00\x01.{6}\x00\x00", re.DOTALL)


@dataclass(frozen=True)
class Part:
    """One part of a file: its name, its bytes, and whether they are pixels or needed to decode them."""

    name: str
    data: bytes
    pixels: bool


def parts_of(data: bytes) -> list[Part]:
    """Return the parts of an image file, in order; what follows its end is the part "trailing bytes".

    >>> [p.name for p in parts_of(b"GIF89a" + bytes(7) + b"\\x21\\xfe\\x02hi\\0" + b"\\x3b" + b"more")]
    ['header', 'comment', 'trailing bytes']
    """
    if data[:2] == b"\xff\xd8":
        return list(_jpeg(data))
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return list(_png(data))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return list(_webp(data))
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return list(_gif(data))
    return [Part("file", data, False)]


def hidden_parts(data: bytes) -> list[Part]:
    """Return the parts of a file that are not its pixels."""
    return [p for p in parts_of(data) if not p.pixels]


def texts_in(data: bytes) -> frozenset[bytes]:
    """Return the texts in the hidden parts of a file, as ASCII: runs of 6 printable characters or more, also in UTF-16
    and inside compressed parts, cut into pieces of 8: a copy need not hold the whole run to be found."""
    found: set[bytes] = set()
    for part in hidden_parts(data):
        least = _LEAST_OF_WHOLE if part.name == "file" else _LEAST
        for text in _runs(part.data + _inflated(part)):
            if len(text) < least:
                continue
            pieces = (text[i : i + _PIECE] for i in range(0, len(text), _PIECE))
            found.update(p for p in pieces if len(p) >= _LEAST and len(set(p)) >= _DISTINCT and p not in _STANDARD)
            if len(found) > _MOST_TEXTS:
                return frozenset(found)
    return frozenset(found)


def residue_of(data: bytes, texts: Collection[bytes], *, allowed: bytes = b"") -> list[str]:
    """Return what is left in a file that must not be: hidden parts, and any of `texts`, wherever it is.

    `allowed` are the bytes of EXIF data that were written on purpose, without their header; texts in them do not count.

    >>> residue_of(b"\\x89PNG\\r\\n\\x1a\\n" + b"\\0\\0\\0\\x02tEXtab\\0\\0\\0\\0", [])
    ["the part 'tEXt' (2 bytes)"]
    """
    left = []
    parts = parts_of(data)
    for part in parts:
        written = bool(allowed) and allowed in part.data and len(part.data) <= len(allowed) + 8
        if not part.pixels and not written:
            left.append(f"the part {part.name!r} ({len(part.data):,} bytes)")
    # Scaled tables follow from the quality alone and hold nothing of the input.
    searched = b"\0".join(p.data for p in parts if not (p.pixels and p.name in ("DQT", "DHT")))
    return left + [f"the text {t!r}" for t in texts_left(searched, [t for t in texts if t not in allowed])]


def texts_left(data: bytes, texts: Collection[bytes]) -> list[str]:
    """Return which of `texts` are in some bytes, as ASCII or UTF-16, sorted.

    >>> texts_left("xx Jane Doe xx".encode("utf-16-le"), [b"Jane Doe", b"John Doe"])
    ['Jane Doe']
    """
    runs = b"\n".join(_runs(data))
    return sorted(t.decode("ascii") for t in texts if t in runs)


def _runs(data: bytes) -> Iterator[bytes]:
    for found in _ASCII.finditer(data):
        yield found.group()
    for found in _WIDE_LITTLE.finditer(data):
        yield found.group()[::2]
    for found in _WIDE_BIG.finditer(data):
        yield found.group()[1::2]


def _inflated(part: Part) -> bytes:
    """Return what is compressed inside a PNG's zTXt, iTXt or iCCP, which a reader shows as text."""
    if part.name not in ("zTXt", "iTXt", "iCCP"):
        return b""
    found = b""
    for start in (i for i, b in enumerate(part.data[:512]) if b == 0x78):
        try:
            found += b"\0" + zlib.decompressobj().decompress(part.data[start:], _MOST_INFLATED)
        except zlib.error:
            continue
    return found


def _jpeg(data: bytes) -> Iterator[Part]:
    position = 2
    while position < len(data):
        found = _NEXT_MARKER.search(data, position)
        if found is None:
            yield Part("trailing bytes", data[position:], False)
            return
        if found.start() > position:
            yield Part("bytes between segments", data[position : found.start()], False)
        marker, position = found.group(1)[0], found.end()
        if marker == 0xD9:
            break
        if marker in (0x01, 0xD8):
            continue
        length = struct.unpack_from(">H", data, position)[0] if position + 2 <= len(data) else 2
        content = data[position + 2 : position + max(length, 2)]
        position += max(length, 2)
        if marker == 0xDA:
            # Entropy-coded data ends at the next marker that is not a restart.
            after = _NEXT_MARKER.search(data, position)
            end = len(data) if after is None else after.start()
            yield Part("SOS", content + data[position:end], True)
            position = end
        elif 0xE0 <= marker <= 0xEF or marker == 0xFE:
            plain = marker == 0xE0 and _JFIF.fullmatch(content) is not None
            # Adobe's segment says how colours are coded; without it CMYK cannot be decoded.
            plain |= marker == 0xEE and content[:5] == b"Adobe" and len(content) == 12
            yield Part("COM" if marker == 0xFE else f"APP{marker - 0xE0}", content, plain)
        else:
            name = {0xDB: "DQT", 0xC4: "DHT"}.get(marker, f"{marker:02X}")
            known = marker in _SCALED_TABLES or 0xC0 <= marker <= 0xCF
            yield Part(name, content, known)
    if position < len(data):
        yield Part("trailing bytes", data[position:], False)


_PNG_PIXELS = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT"})


def _png(data: bytes) -> Iterator[Part]:
    position = 8
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield Part(kind.decode("latin-1"), data[position + 8 : position + 8 + length], kind in _PNG_PIXELS)
        position += 12 + length
        if kind == b"IEND":
            break
    if position < len(data):
        yield Part("trailing bytes", data[position:], False)


_WEBP_PIXELS = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"})


def _webp(data: bytes) -> Iterator[Part]:
    (size,) = struct.unpack_from("<I", data, 4)
    end, position = min(len(data), 8 + size), 12
    while position + 8 <= end:
        kind, length = data[position : position + 4], struct.unpack_from("<I", data, position + 4)[0]
        yield Part(kind.decode("latin-1").strip(), data[position + 8 : position + 8 + length], kind in _WEBP_PIXELS)
        position += 8 + length + length % 2
    if end < len(data):
        yield Part("trailing bytes", data[end:], False)


def _gif(data: bytes) -> Iterator[Part]:
    packed = data[10] if len(data) > 10 else 0
    position = 13 + (3 << (packed & 7) + 1 if packed & 0x80 else 0)
    yield Part("header", data[:position], True)
    while position < len(data):
        mark = data[position]
        if mark == 0x3B:
            position += 1
            break
        if mark == 0x21 and position + 1 < len(data):
            label = data[position + 1]
            content, position = _sub_blocks(data, position + 2)
            loops = label == 0xFF and content[:11] in (b"NETSCAPE2.0", b"ANIMEXTS1.0") and len(content) == 14
            name = {0xFE: "comment", 0xFF: "application", 0x01: "plain text", 0xF9: "graphic control"}.get(label, "?")
            yield Part(name, content, label == 0xF9 or loops)
        elif mark == 0x2C and position + 10 <= len(data):
            own = data[position + 9]
            table = 3 << (own & 7) + 1 if own & 0x80 else 0
            content, position = _sub_blocks(data, position + 11 + table)
            yield Part("image", content, True)
        else:
            break
    if position < len(data):
        yield Part("trailing bytes", data[position:], False)


def _sub_blocks(data: bytes, position: int) -> tuple[bytes, int]:
    blocks = []
    while position < len(data) and data[position]:
        blocks.append(data[position + 1 : position + 1 + data[position]])
        position += 1 + data[position]
    return b"".join(blocks), position + 1
