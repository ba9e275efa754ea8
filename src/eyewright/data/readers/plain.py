"""Text files as people save them: with a byte order mark, in UTF-16, or in another encoding, which is named."""

__all__ = ["PlainTree", "decode_text", "head_text"]

import codecs
from pathlib import Path

from PIL import Image

from eyewright.core.errors import DatasetError
from eyewright.data.tree import Tree

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_TEXTS = (".json", ".jsonl", ".csv", ".tsv", ".txt", ".yaml", ".yml")


class PlainTree:
    """A tree whose text files begin without a byte order mark and are UTF-8 where the mark says UTF-16 or UTF-32.

    XML files are left alone: they declare their encoding themselves.
    """

    def __init__(self, tree: Tree) -> None:
        self.root: Path = tree.root
        self._tree = tree

    def names(self) -> tuple[str, ...]:
        return self._tree.names()

    def content(self, name: str) -> bytes:
        data = self._tree.content(name)
        return _plain(data) if name.lower().endswith(_TEXTS) else data

    def picture(self, name: str) -> Image.Image:
        return self._tree.picture(name)

    def folders(self) -> tuple[str, ...]:
        return self._tree.folders()


def _plain(data: bytes) -> bytes:
    mark = _mark(data)
    if mark is None:
        return data
    start, encoding = mark
    if encoding == "utf-8":
        return data[len(start) :]
    try:
        return data[len(start) :].decode(encoding).encode()
    except UnicodeDecodeError:
        return data


def _mark(data: bytes) -> tuple[bytes, str] | None:
    return next(((start, encoding) for start, encoding in _MARKS if data.startswith(start)), None)


def decode_text(data: bytes) -> str:
    """Return a text file's content: UTF-8, or UTF-16 or UTF-32 with a byte order mark.

    >>> decode_text(b"\\xef\\xbb\\xbfa,b"), decode_text("a,b".encode("utf-16"))
    ('a,b', 'a,b')

    Raises:
        DatasetError: another encoding; the message names the line.
    """
    mark = _mark(data)
    start, encoding = mark if mark is not None else (b"", "utf-8")
    try:
        return data[len(start) :].decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, len(start) + error.start) + 1
        raise DatasetError(f"line {line} is not UTF-8", fix="save the file as UTF-8") from None


def head_text(data: bytes, size: int = 65536) -> str:
    """Return the beginning of a file as text in any encoding: ASCII is right, other characters may not be."""
    mark = _mark(data)
    start, encoding = mark if mark is not None else (b"", "utf-8")
    return data[len(start) : len(start) + size].decode(encoding, "replace")
