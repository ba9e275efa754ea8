"""The manifest of an index, `index.json`: its schema, checked as a whole before any of it is used."""

__all__ = ["MANIFEST", "damaged", "read_manifest"]

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from eyewright.core.errors import InputError, RefusedError
from eyewright.core.regular import read_regular

MANIFEST = "index.json"
"""The file whose replacement commits a change."""

_KIND = "eyewright-index"
_VERSION = 1
_LARGEST = 1 << 28

_Count = Annotated[int, Meta(ge=0, le=2**53)]
_Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,200}$")]
_Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_Word = Annotated[str, Meta(min_length=1, max_length=10_000)]


class _Size(Struct):
    bytes: _Count
    sha256: _Digest


class _File(Struct):
    name: _Name
    bytes: _Count
    sha256: _Digest


class _Graph(Struct):
    name: _Name
    bytes: _Count
    sha256: _Digest
    next_id: _Count


class _Segment(Struct):
    name: _Name
    rows: _Count
    error: Annotated[float, Meta(ge=0, le=1e12)]
    files: dict[str, _Size]


class _Model(Struct):
    name: _Word
    digest: _Word


class _Manifest(Struct):
    format: str
    version: _Count
    generation: _Count
    dim: Annotated[int, Meta(ge=1, le=1_000_000)]
    model: _Model
    next_id: _Count
    next_segment: _Count
    segments: list[_Segment]
    deleted: _File | None
    graph: _Graph | None
    about: dict[str, Any] = {}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of the index in a folder.

    Raises:
        InputError: it cannot be read, or says what no index says.
        RefusedError: it was written by a newer Eyewright.
    """
    data = read_regular(folder / MANIFEST, most=_LARGEST, fix="restore it, or index again", follow=True)
    try:
        manifest: dict[str, Any] = msgspec.json.decode(data, type=dict[str, Any])
        version = manifest.get("version")
        if manifest.get("format") == _KIND and isinstance(version, int) and version > _VERSION:
            raise RefusedError(
                f"the index has format {version}, expected at most {_VERSION}",
                fix="use a newer Eyewright",
                code="index",
            )
        read = msgspec.convert(manifest, _Manifest)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, UnicodeDecodeError) as error:
        raise damaged(f"its {MANIFEST} cannot be read ({' '.join(str(error).split())[:160]})") from None
    names = [s.name for s in read.segments]
    if read.format != _KIND:
        raise damaged(f"its {MANIFEST} is not that of an Eyewright index")
    if len(set(names)) < len(names):
        raise damaged(f"its {MANIFEST} names a segment twice")
    if not isinstance(read.about.get("root", ""), str):
        raise damaged(f"its {MANIFEST} names no folder")
    return manifest


def damaged(how: str) -> InputError:
    """Return the error that an index is damaged."""
    return InputError(f"the index is damaged: {how}", fix="restore it, or index again", code="index_damaged")
