"""The metadata that somebody names to keep: a new, small EXIF block with these fields and no other."""

__all__ = ["RETAINABLE", "retained_exif"]

import contextlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from PIL import Image

from eyewright.core.errors import UsageError, spelling_hint
from eyewright.imaging.conversion import DECODER_ERRORS
from eyewright.imaging.residue import parts_of

RETAINABLE: Mapping[str, int] = MappingProxyType({"copyright": 0x8298, "artist": 0x013B, "gps": 0x8825})
"""What can be kept, and its tag (EXIF 2.3, table 4 and 4.6.3)."""

_HEAD = b"Exif\0\0"
_POSITION = (1, 2, 3, 4)
_LONGEST = 1_000


def retained_exif(data: bytes, names: Sequence[str]) -> bytes:
    """Return an EXIF block, without its header, with the named fields of an image file; empty where it has none.

    Of `gps` latitude and longitude are kept, neither height nor time nor direction. Texts end after 1,000 characters.

    >>> retained_exif(b"GIF89a", ["copyright"])
    b''

    Raises:
        UsageError: a name that is not in `RETAINABLE`.
    """
    for name in names:
        if name not in RETAINABLE:
            raise UsageError(f"unknown metadata {name!r} to keep", fix=spelling_hint(name, RETAINABLE))
    block = _block_of(data) if names else b""
    if not block:
        return b""
    kept = Image.Exif()
    # Broken metadata has nothing that could be kept.
    with contextlib.suppress(*DECODER_ERRORS):
        given = Image.Exif()
        given.load(block)
        for name in names:
            tag = RETAINABLE[name]
            if name == "gps":
                place = given.get_ifd(tag)
                if all(t in place for t in _POSITION):
                    kept[tag] = {t: place[t] for t in _POSITION}
            elif isinstance(value := given.get(tag), str) and value.strip("\0 "):
                kept[tag] = value.strip("\0 ")[:_LONGEST]
    return kept.tobytes().removeprefix(_HEAD) if len(kept) else b""


def _block_of(data: bytes) -> bytes:
    """Return the EXIF block of a JPEG, PNG, WebP or TIFF with its header; empty where there is none."""
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _HEAD + data
    for part in parts_of(data):
        if part.name == "APP1" and part.data.startswith(_HEAD):
            return part.data
        if part.name in ("eXIf", "EXIF"):
            return part.data if part.data.startswith(_HEAD) else _HEAD + part.data
    return b""
