"""Text as a published model takes it: the ids of its tokens, all of one length."""

__all__ = ["TextInput", "TokenPreparation", "said_overlong"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError, UsageError
from eyewright.core.ngrams import TextPreparation
from eyewright.core.piece_tokenizer import PieceTokenizer
from eyewright.core.tokenizer import Tokenizer

_MOST_LENGTH = 4096
_MOST_CHARACTERS = 100_000


@dataclass(frozen=True)
class TokenPreparation:
    """From a text to token ids, int32 (length,), cut or padded to that length; a value that travels in the bundle as
    JSON, with its `tokenizer` as a file of its own.

    `pad` is the id that fills, at the end, or with `left` at the beginning. Of a longer text the first tokens are kept.
    With `brief` the model reads a text up to its first end mark alone, so that the rest can be left out (`trimmed`).
    """

    kind: ClassVar[str] = "tokens"

    tokenizer: Tokenizer | PieceTokenizer = field(repr=False, compare=False)
    content: bytes = field(repr=False)
    length: int = 77
    pad: int = 0
    left: bool = False
    brief: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (("length", 1, _MOST_LENGTH), ("pad", 0, self.tokenizer.size - 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise UsageError(f"expected {name} of {low} to {high}, found {value!r}", fix="export the model again")
        if not isinstance(self.brief, bool) or (self.brief and (self.left or len(self.tokenizer.last) != 1)):
            raise UsageError("expected an end mark and padding after it, found others", fix="export the model again")
        if len(self.tokenizer.first) + len(self.tokenizer.last) >= self.length:
            raise UsageError(f"expected a length of more than {self.length} tokens", fix="export the model again")

    @property
    def dtype(self) -> str:
        """numpy's name of the type of prepared text."""
        return "int32"

    @property
    def shape(self) -> tuple[int]:
        """The shape of one prepared text."""
        return (self.length,)

    @property
    def said(self) -> str:
        """What the prepared array holds, in words."""
        return "token ids"

    def numbers(self, text: str) -> list[int]:
        """Return the token ids of one text, cut to the length, without padding.

        Raises:
            UsageError: the text is empty.
        """
        if not text.strip():
            raise UsageError("expected a text with a word in it, found an empty one", fix="write some words")
        first, last = self.tokenizer.first, self.tokenizer.last
        return [*first, *self.tokenizer.ids(text[:_MOST_CHARACTERS])[: self.most], *last]

    @property
    def most(self) -> int:
        """How many tokens of a text are read, without those that it is put between."""
        return self.length - len(self.tokenizer.first) - len(self.tokenizer.last)

    def overlong(self, text: str) -> str:
        """Return what of a text is not read, in words; "" where all of it is."""
        n = len(self.tokenizer.ids(text[:_MOST_CHARACTERS]))
        least = "more than " if len(text) > _MOST_CHARACTERS else ""
        return said_overlong(n, self.most, least) if n > self.most else ""

    def batch(self, values: Sequence[str]) -> tuple[NDArray[np.int32], Sequence[None]]:
        """Return texts prepared, int32 (N, length).

        Raises:
            UsageError: a text is empty, or no text.
        """
        out = np.full((len(values), self.length), self.pad, np.int32)
        for row, text in zip(out, values, strict=True):
            if not isinstance(text, str):
                raise UsageError(f"expected a text, found {type(text).__name__}", fix="pass words")
            own = self.numbers(text)
            row[len(row) - len(own) if self.left else 0 :][: len(own)] = own
        return out, [None] * len(values)

    def trimmed(self, prepared: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return prepared texts, (N, length), as short as the longest of them needs: the model's vectors are the same.

        Not `brief`, they are returned as they are.
        """
        if not self.brief or not len(prepared):
            return prepared
        ends = prepared == self.tokenizer.last[0]
        return prepared[:, : int(ends.argmax(1).max()) + 1] if ends.any(1).all() else prepared

    def to_json(self) -> dict[str, Any]:
        """Return the value as plain JSON types, without the tokenizer, which is a file of its own."""
        return {"length": self.length, "pad": self.pad, "left": self.left, "brief": self.brief}

    @classmethod
    def from_json(cls, about: Mapping[str, Any], content: bytes) -> "TokenPreparation":
        """Return what `to_json` gave, with the bytes of its `tokenizer.json`.

        Raises:
            BundleError: it is not that.
        """
        tokenizer = Tokenizer.from_bytes(content)
        try:
            return cls(tokenizer, content, **about)
        except (TypeError, UsageError) as error:
            raise BundleError(f"the text preparation is not valid: {error}", fix="export the model again") from None


def said_overlong(n: int, most: int, least: str = "") -> str:
    """Return how many tokens of a text are not read, in words."""
    return f"the text has {least}{n:,} tokens, of which the first {most:,} are read: {least}{n - most:,} are cut off"


TextInput = TextPreparation | TokenPreparation
"""What a text becomes before a model takes it: numbers of buckets, or ids of tokens."""
