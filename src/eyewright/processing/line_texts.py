"""Texts for lines that are drawn: parts of a user's texts, and random ones with their frequencies and lengths."""

__all__ = ["CASES", "TextSource"]

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError, spelling_hint
from eyewright.data.targets.text import alphabet_of, line_text

CASES = ("keep", "upper", "lower")
"""How the text of a line is written down: as it is drawn, or in one case whatever case it is drawn in."""

_WORDS = (2, 9)
_DEFAULT_LENGTHS = tuple(range(1, 33))


class TextSource:
    """Texts in an alphabet, like those of a corpus if there is one.

    Of the corpus's lines a half are used as they are or in part, and a half are random: each character follows the one
    before as often as in the corpus, with some of any in between. Without a corpus every character is as likely.

    >>> source = TextSource("AB 1", ["A 1", "BA"])
    >>> text = source.draw(np.random.default_rng(0))[0]
    >>> set(text) <= set("AB 1")
    True
    """

    def __init__(self, alphabet: Sequence[str], corpus: Sequence[str] = (), *, case: str = "keep") -> None:
        if case not in CASES:
            raise UsageError(f"unknown case {case!r}", fix=spelling_hint(case, CASES))
        self.case = case
        self.alphabet = tuple(alphabet)
        known = set(alphabet)
        self.corpus = tuple(t for t in (line_text(c) for c in corpus if c.strip()) if set(self.written(t)) <= known)
        self._visible = np.array([c for c in alphabet if c != " "])
        if not len(self._visible):
            raise UsageError("expected characters to draw, found none", fix="pass --alphabet or --texts")
        self._lengths = np.array([len(t) for t in self.corpus] or _DEFAULT_LENGTHS)
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for text in self.corpus:
            for a, b in zip(" " + text, text, strict=False):
                counts[a][b] += 1
        self._next = {a: _table(c) for a, c in counts.items()}

    @classmethod
    def of(cls, alphabet: str | None, corpus: Sequence[str], *, case: str = "keep") -> "TextSource":
        """Return the source of an alphabet, of a corpus, or of both."""
        written = [{"upper": str.upper, "lower": str.lower}.get(case, str)(line_text(t)) for t in corpus if t.strip()]
        characters = alphabet_of([*written, *([" ".join(alphabet.split())] if alphabet else [])])
        if alphabet and " " not in alphabet and not written:
            characters = tuple(c for c in characters if c != " ")
        return cls(characters, corpus, case=case)

    def written(self, text: str) -> str:
        """Return a text as it is written down."""
        return {"upper": text.upper(), "lower": text.lower()}.get(self.case, text)

    def draw(self, rng: np.random.Generator) -> tuple[str, str]:
        """Return a text to draw, and the text that it says."""
        for _ in range(100):
            text = self._from_corpus(rng) if self.corpus and rng.random() < 0.5 else self._random(rng)
            text = " ".join(text.split())
            if text:
                break
        shown = text
        if self.case != "keep" and text.isascii():
            kind = rng.random()
            shown = text.upper() if kind < 0.55 else text.title() if kind < 0.8 else text.lower()
        return shown, self.written(text)

    def _from_corpus(self, rng: np.random.Generator) -> str:
        text = self.corpus[int(rng.integers(len(self.corpus)))]
        if rng.random() < 0.5:
            return _renumbered(text, rng)
        words = text.split()
        other = self.corpus[int(rng.integers(len(self.corpus)))].split()
        mixed = [*words, *other]
        rng.shuffle(mixed)
        return " ".join(mixed[: int(rng.integers(1, min(5, len(mixed)) + 1))])

    def _random(self, rng: np.random.Generator) -> str:
        length = int(self._lengths[int(rng.integers(len(self._lengths)))])
        if not self._next or rng.random() < 0.3:
            text = "".join(rng.choice(self._visible, length))
            if " " in self.alphabet and length > 3:
                cut = int(rng.integers(*_WORDS))
                text = " ".join(text[i : i + cut] for i in range(0, len(text), cut))[:length]
            return text
        text = " "
        while len(text) <= length:
            names, chances = self._next.get(text[-1], self._next.get(" ", (self._visible, None)))
            wild = rng.random() < 0.05
            text += str(rng.choice(self._visible)) if wild else str(names[int(np.searchsorted(chances, rng.random()))])  # type: ignore[arg-type]
        return text


def _renumbered(text: str, rng: np.random.Generator) -> str:
    """Return a text with other digits: numbers of receipts, prices and dates are never the same."""
    return "".join(str(int(rng.integers(10))) if c in "0123456789" else c for c in text)


def _table(counts: Counter[str]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    names = sorted(counts)
    total = np.cumsum([counts[n] for n in names]).astype(np.float64)
    return np.array(names), total / total[-1] - 1e-12
