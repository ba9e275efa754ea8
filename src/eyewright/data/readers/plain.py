"""Text files as people save them: with a byte order mark, in UTF-16, or in another encoding, which is named."""

__all__ = ["PlainTree", "head_text"]

from pathlib import Path

from PIL import Image

from eyewright.core.errors import DatasetError
from eyewright.data.texts import decode_text, encoding_of
from eyewright.data.tree import Encoded, Tree

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

    def encoded(self, name: str) -> Encoded | None:
        return self._tree.encoded(name)

    def folders(self) -> tuple[str, ...]:
        return self._tree.folders()


def _plain(data: bytes) -> bytes:
    if encoding_of(data) is None:
        return data
    try:
        return decode_text(data).encode()
    except (DatasetError, UnicodeEncodeError):
        return data


def head_text(data: bytes, size: int = 65536) -> str:
    """Return the beginning of a file as text in any encoding: ASCII is right, other characters may not be."""
    start, encoding = encoding_of(data) or (0, "utf-8")
    return data[start : start + size].decode(encoding, "replace")
