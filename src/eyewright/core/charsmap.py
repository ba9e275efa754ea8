"""The table of characters of a SentencePiece model: what each sequence of bytes is written as."""

__all__ = ["CharacterMap"]

import struct
import unicodedata
from collections.abc import Iterator

_LONGEST = 6
# Rules of SentencePiece replace at most a few characters at once.
_MOST_KEY = 64
_JOINERS = "\u200c\u200d"


class CharacterMap:
    """What SentencePiece replaces before it cuts a text into pieces, from the `precompiled_charsmap` of its model.

    The table is a double-array trie of UTF-8 bytes (darts-clone) and a text of replacements, each ended by a zero. As
    in the library `tokenizers`, a character with its combining marks is looked up first, then each character of it.
    """

    def __init__(self, data: bytes) -> None:
        """Read the table.

        Raises:
            ValueError: it is not one.
        """
        if len(data) < 4:
            raise ValueError("expected a table of characters, found fewer than 4 bytes")
        (size,) = struct.unpack_from("<I", data)
        if size % 4 or size > len(data) - 4 or size < 4:
            raise ValueError("the table of characters is cut off")
        self._units = struct.unpack_from(f"<{size // 4}I", data, 4)
        self._texts = data[4 + size :]
        self._known: dict[str, str | None] = {}

    def __call__(self, text: str) -> str:
        """Return the text with its characters replaced."""
        parts = []
        for cluster in _clusters(text):
            whole = self._found(cluster) if len(cluster.encode("utf-8", "replace")) < _LONGEST else None
            if whole is not None:
                parts.append(whole)
                continue
            for one in cluster:
                found = self._found(one)
                parts.append(one if found is None else found)
        return "".join(parts)

    def longest(self, text: str, at: int) -> tuple[str, int]:
        """Return what the longest beginning of `text[at:]` that has a replacement is replaced by, and how many
        characters it has, as the library `sentencepiece` does it; one character as it is where there is none."""
        key = text[at : at + _MOST_KEY].encode("utf-8", "replace")
        found, units = None, self._units
        place = _offset(units[0])
        for k, byte in enumerate(key):
            place ^= byte
            if byte == 0 or place >= len(units) or units[place] & 0x800000FF != byte:
                break
            unit = units[place]
            place ^= _offset(unit)
            if unit >> 8 & 1 and place < len(units):
                found = (units[place] & 0x7FFFFFFF, k + 1)
        if found is None:
            return text[at], 1
        return self._text(found[0]), len(key[: found[1]].decode("utf-8", "ignore"))

    def _found(self, chunk: str) -> str | None:
        if chunk not in self._known:
            if len(self._known) > 65_536:
                self._known.clear()
            self._known[chunk] = self._look_up(chunk.encode("utf-8", "replace"))
        return self._known[chunk]

    def _look_up(self, key: bytes) -> str | None:
        """Return the replacement of the shortest beginning that has one, as the library does."""
        units = self._units
        place = _offset(units[0])
        for byte in key:
            place ^= byte
            if byte == 0 or place >= len(units) or units[place] & 0x800000FF != byte:
                return None
            unit = units[place]
            place ^= _offset(unit)
            if unit >> 8 & 1:
                if place >= len(units):
                    return None
                return self._text(units[place] & 0x7FFFFFFF)
        return None

    def _text(self, start: int) -> str:
        end = self._texts.find(b"\0", start)
        return self._texts[start : end if end >= 0 else None].decode("utf-8", "replace")


def _offset(unit: int) -> int:
    return (unit >> 10) << ((unit & 0x200) >> 6)


def _clusters(text: str) -> Iterator[str]:
    """Yield each character with the marks and joiners that follow it; a carriage return with its line feed."""
    start = 0
    for i in range(1, len(text)):
        one, last = text[i], text[i - 1]
        marks = unicodedata.category(one)[0] == "M" or one in _JOINERS
        if (marks and not _is_control(last)) or (one == "\n" and last == "\r"):
            continue
        yield text[start:i]
        start = i
    if text:
        yield text[start:]


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") and character not in _JOINERS
