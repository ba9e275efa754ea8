"""Text as a model takes it: the hashed n-grams of its words and characters, as numbers of buckets."""

__all__ = ["LONGEST", "TextPreparation", "plain_text"]

import base64
import binascii
import re
import unicodedata
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError, UsageError, plain_reason

LONGEST = 2000
"""Characters of a text that are read; the rest of a longer one is left out."""

_MOST_BUCKETS, _MOST_LENGTH = 2**20, 4096
# Emoji and other signs are words of their own: \w knows letters and digits only.
# The part of a word's n-grams, beyond those that any word shares with the captions by chance, from which it is known.
_KNOWN = 0.4
_WORDS = re.compile(r"\w+|[^\w\s]")


def plain_text(text: str) -> str:
    """Return a text as it is compared with others: NFKC, without case, spaces joined, cut after 2,000 characters.

    >>> plain_text("  A  Red\\nCar ")
    'a red car'
    """
    return " ".join(unicodedata.normalize("NFKC", text[:LONGEST]).casefold().split())


@dataclass(frozen=True)
class TextPreparation:
    """From a text to bucket numbers, int32 (length,), padded with 0; a value that travels in the bundle as JSON.

    `seen` says which buckets the captions of training have, as base64 of a bit each ("" where that is not known).

    A text's n-grams are those of its words (1 to `words`), and of the characters of each word with a space on both
    sides (3 to `characters`). Each is hashed by CRC-32 of its UTF-8 into one of `buckets` - 1 buckets, from 1 on; each
    bucket counts once. Words come first, so that of a long text the characters are cut off.

    >>> prepare = TextPreparation(buckets=64, length=8)
    >>> array, _ = prepare.batch(["a cat", "A  CAT"])
    >>> array.shape, bool((array[0] == array[1]).all())
    ((2, 8), True)
    """

    kind: ClassVar[str] = "text"

    buckets: int = 16_384
    words: int = 2
    characters: int = 5
    length: int = 256
    seen: str = ""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("buckets", 2, _MOST_BUCKETS),
            ("words", 1, 5),
            ("characters", 0, 8),
            ("length", 1, _MOST_LENGTH),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise UsageError(f"expected {name} of {low} to {high}, found {value!r}", fix="export the model again")
        if self.seen != "":
            self._seen_buckets()

    def with_seen(self, seen: NDArray[np.bool_]) -> "TextPreparation":
        """Return the value with which of its buckets the captions of training have, bool (buckets,)."""
        return replace(self, seen=base64.b64encode(np.packbits(seen).tobytes()).decode("ascii"))

    def unknown_words(self, text: str) -> tuple[list[str], int]:
        """Return the words of a text that the captions of training do not have, and how many different words it has.

        A word of which they have a good part, such as the plural of one that they have, is known. Without `seen` all
        words are.

        >>> prepare = TextPreparation()
        >>> seen = np.zeros(prepare.buckets, bool)
        >>> seen[prepare.numbers("a red car")] = True
        >>> prepare.with_seen(seen).unknown_words("two red tomographs")
        (['two', 'tomographs'], 3)
        """
        if len(text) > LONGEST and text[LONGEST - 1 : LONGEST + 1].isalnum():
            # The cut goes through a word, whose half nobody wrote.
            text = text[:LONGEST].rpartition(" ")[0]
        found = dict.fromkeys(_WORDS.findall(plain_text(text)))
        words = [w for w in found if not unicodedata.category(w[0]).startswith("P")]
        if not self.seen:
            return [], len(words)
        seen = self._seen_buckets()
        chance = min(0.9, float(seen[1:].mean()))
        return [w for w in words if (float(seen[self.numbers(w)].mean()) - chance) / (1 - chance) < _KNOWN], len(words)

    def _seen_buckets(self) -> NDArray[np.bool_]:
        try:
            bits = np.frombuffer(base64.b64decode(self.seen, validate=True), np.uint8)
        except (TypeError, ValueError, binascii.Error):
            bits = np.zeros(0, np.uint8)
        if len(bits) != -(-self.buckets // 8):
            raise UsageError(
                f"expected a bit for each of {self.buckets:,} buckets in seen", fix="export the model again"
            )
        return np.unpackbits(bits)[: self.buckets].astype(bool)

    @property
    def dtype(self) -> str:
        """numpy's name of the type of prepared text."""
        return "int32"

    @property
    def shape(self) -> tuple[int]:
        """The shape of one prepared text."""
        return (self.length,)

    @property
    def contract(self) -> dict[str, Any]:
        """What a tensor contract says of it in addition to type and shape."""
        return {"layout": "bucket numbers, 0 pads", "range": [0, self.buckets - 1]}

    @property
    def said(self) -> str:
        """What the prepared array holds, in words."""
        return "buckets of hashed n-grams"

    def numbers(self, text: str) -> list[int]:
        """Return the buckets of one text in order, each once.

        Raises:
            UsageError: the text is empty.
        """
        return self._all(text)[: self.length]

    def overlong(self, text: str) -> str:
        """Return what of a text is not read, in words; "" where all of it is."""
        if len(text) > LONGEST:
            return f"the text has {len(text):,} characters, of which the first {LONGEST:,} are read"
        n = len(self._all(text))
        return f"the text has {n:,} n-grams, of which the first {self.length:,} are read" if n > self.length else ""

    def _all(self, text: str) -> list[int]:
        tokens = _WORDS.findall(plain_text(text))
        if not tokens:
            raise UsageError("expected a text with a word in it, found an empty one", fix="write some words")
        grams = [" ".join(tokens[i : i + n]) for n in range(1, self.words + 1) for i in range(len(tokens) - n + 1)]
        for token in tokens:
            around = f" {token} "
            grams += [
                f"#{around[i : i + n]}" for n in range(3, self.characters + 1) for i in range(len(around) - n + 1)
            ]
        found = dict.fromkeys(zlib.crc32(g.encode("utf-8", "replace")) % (self.buckets - 1) + 1 for g in grams)
        return list(found)

    def trimmed(self, prepared: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return prepared texts as they are: all of one length."""
        return prepared

    def batch(self, values: Sequence[str]) -> tuple[NDArray[np.int32], Sequence[None]]:
        """Return texts prepared, int32 (N, length).

        Raises:
            UsageError: a text is empty, or no text.
        """
        out = np.zeros((len(values), self.length), np.int32)
        for row, text in zip(out, values, strict=True):
            if not isinstance(text, str):
                raise UsageError(f"expected a text, found {type(text).__name__}", fix="pass words")
            own = self.numbers(text)
            row[: len(own)] = own
        return out, [None] * len(values)

    def to_json(self) -> dict[str, Any]:
        """Return the value as plain JSON types."""
        content = asdict(self)
        if not self.seen:
            del content["seen"]
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "TextPreparation":
        """Return what `to_json` gave.

        Raises:
            BundleError: it is not that.
        """
        try:
            return cls(**content)
        except (TypeError, UsageError) as error:
            raise BundleError(
                f"the text preparation is not valid: {plain_reason(error)}", fix="export the model again"
            ) from None
