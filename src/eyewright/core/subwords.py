"""Cutting words into the pieces of a vocabulary: byte-pair encoding and SentencePiece's unigram model, in Python."""

__all__ = ["BytePairs", "PieceBytes", "Unigram"]

import heapq
from collections.abc import Callable, Container, Mapping, Sequence
from itertools import pairwise

import numpy as np

_KEPT = 20_000
_KEPT_LENGTH = 64
# What a character that no piece covers costs more than the worst piece (kUnkPenalty of SentencePiece).
_PENALTY = 10.0


class PieceBytes:
    """The pieces `<0x00>` to `<0xFF>` of a vocabulary, for what has no piece of its own."""

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self._ids = [vocabulary.get(f"<0x{b:02X}>") for b in range(256)]

    def ids(self, text: str) -> list[int] | None:
        """Return a piece for each byte of UTF-8; None if one is not there."""
        found = [self._ids[b] for b in text.encode("utf-8", "replace")]
        return None if None in found else [i for i in found if i is not None]


class BytePairs:
    """Byte-pair encoding (Sennrich et al. 2016) as the library `tokenizers` does it.

    Args:
        vocabulary: pieces to ids.
        merges: pairs of pieces, the first to be merged first.
        unknown: the id of what has no piece; None leaves it out.
        suffix: what the last piece of a word ends with, such as "</w>".
        fuse: whether several unknown characters in a row are one.
        by_bytes: whether what has no piece becomes its bytes, where the vocabulary has them.
        whole: whether a word that is a piece itself is never cut.
        special: the ids of special tokens, which no text spells.
    """

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        merges: Sequence[tuple[str, str]],
        *,
        unknown: int | None,
        suffix: str = "",
        fuse: bool = False,
        by_bytes: bool = False,
        whole: bool = False,
        special: Container[int] = (),
    ) -> None:
        """Build the table of merges.

        Raises:
            ValueError: a merge of pieces that are not in the vocabulary.
        """
        self._unknown, self._suffix = unknown, suffix
        self._fuse, self._whole = fuse, whole
        self._bytes = PieceBytes(vocabulary) if by_bytes else None
        self._merges: dict[tuple[int, int], tuple[int, int]] = {}
        for rank, (a, b) in enumerate(merges):
            try:
                self._merges[vocabulary[a], vocabulary[b]] = (rank, vocabulary[a + b])
            except KeyError as error:
                raise ValueError(f"the merge {a!r} {b!r} needs {error.args[0]!r}, which is no piece") from None
        # A special token that is one character or a whole word would be found as that.
        self._ids = {piece: i for piece, i in vocabulary.items() if i not in special}
        self._known: dict[str, tuple[int, ...]] = {}

    def __call__(self, word: str) -> Sequence[int]:
        """Return the ids of a word's pieces."""
        found = self._known.get(word)
        if found is None:
            found = tuple(self._cut(word))
            if len(word) <= _KEPT_LENGTH:
                if len(self._known) >= _KEPT:
                    self._known.clear()
                self._known[word] = found
        return found

    def _cut(self, word: str) -> list[int]:
        if self._whole and word in self._ids:
            return [self._ids[word]]
        ids = self._characters(word)
        before, after = list(range(-1, len(ids) - 1)), list(range(1, len(ids) + 1))
        waiting = [(*self._merges[pair], i) for i, pair in enumerate(pairwise(ids)) if pair in self._merges]
        queue = [(rank, i, new) for rank, new, i in waiting]
        heapq.heapify(queue)
        while queue:
            rank, i, new = heapq.heappop(queue)
            j = after[i]
            # One of the two may be a part of another piece by now.
            if ids[i] < 0 or j >= len(ids) or self._merges.get((ids[i], ids[j])) != (rank, new):
                continue
            ids[i], ids[j], after[i] = new, -1, after[j]
            if after[i] < len(ids):
                before[after[i]] = i
            for a in (before[i], i):
                b = after[a] if a >= 0 else len(ids)
                if a >= 0 and b < len(ids) and (pair := self._merges.get((ids[a], ids[b]))):
                    heapq.heappush(queue, (pair[0], a, pair[1]))
        return [i for i in ids if i >= 0]

    def _characters(self, word: str) -> list[int]:
        ids: list[int] = []
        was_unknown = False
        for k, one in enumerate(word):
            piece = one + self._suffix if k == len(word) - 1 else one
            known = self._ids.get(piece)
            spelt = None if known is not None or self._bytes is None else self._bytes.ids(piece)
            if known is not None or spelt is not None:
                ids += [known] if known is not None else spelt or []
                was_unknown = False
            elif self._unknown is not None:
                if not (self._fuse and was_unknown):
                    ids.append(self._unknown)
                was_unknown = True
        return ids


class Unigram:
    """The most probable pieces of a text under a unigram model (Kudo 2018), found by Viterbi's algorithm.

    Args:
        pieces: each piece with its log probability; their places are their ids.
        unknown: the id of what has no piece.
        by_bytes: whether what has no piece becomes its bytes, where the vocabulary has them.
        special: the ids of pieces that no text spells, such as special tokens.
        single: whether sums are in single precision, as SentencePiece's are, so that ties fall in the same way.
    """

    def __init__(
        self,
        pieces: Sequence[tuple[str, float]],
        *,
        unknown: int | None,
        by_bytes: bool = False,
        special: Container[int] = (),
        single: bool = False,
    ) -> None:
        self._round: Callable[[float], float] = _rounded if single else float
        self._pieces = {
            piece: (i, self._round(score)) for i, (piece, score) in enumerate(pieces) if i not in special and piece
        }
        self._unknown = unknown
        self._bytes = PieceBytes({piece: i for i, (piece, _) in enumerate(pieces)}) if by_bytes else None
        self._worst = self._round(min((score for _, score in pieces), default=0.0) - _PENALTY)
        self._longest = max(map(len, self._pieces), default=1)
        # Beginnings of pieces: where no piece begins so, none has to be looked for.
        self._starts = {piece[:n] for piece in self._pieces for n in range(1, len(piece) + 1)}

    def __call__(self, text: str) -> list[int]:
        """Return the ids of a text's pieces."""
        n = len(text)
        best: list[tuple[float, int, int | None] | None] = [(0.0, 0, None), *[None] * n]
        for start in range(n):
            here = best[start]
            if here is None:
                continue
            alone = False
            for end in range(start + 1, min(n, start + self._longest) + 1):
                chunk = text[start:end]
                if chunk not in self._starts:
                    break
                known = self._pieces.get(chunk)
                if known is None:
                    continue
                found, own = known
                score, there = self._round(here[0] + own), best[end]
                if there is None or score > there[0]:
                    best[end] = (score, start, found)
                alone = alone or end == start + 1
            if not alone:
                score, there = self._round(here[0] + self._worst), best[start + 1]
                if there is None or score > there[0]:
                    best[start + 1] = (score, start, self._unknown)
        return self._read(text, best)

    def _read(self, text: str, best: Sequence[tuple[float, int, int | None] | None]) -> list[int]:
        parts: list[tuple[int | None, str]] = []
        end = len(text)
        while end > 0:
            _, start, found = best[end] or (0.0, end - 1, self._unknown)
            if found == self._unknown and parts and parts[-1][0] == self._unknown:
                # Unknown characters in a row are one.
                parts[-1] = (found, text[start:end] + parts[-1][1])
            else:
                parts.append((found, text[start:end]))
            end = start
        ids: list[int] = []
        for found, chunk in reversed(parts):
            spelt = self._bytes.ids(chunk) if found == self._unknown and self._bytes is not None else None
            if spelt is not None:
                ids += spelt
            elif found is not None:
                ids.append(found)
        return ids


def _rounded(value: float) -> float:
    """Return a number in single precision."""
    return float(np.float32(value))
