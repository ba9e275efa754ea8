"""Connectionist temporal classification (Graves et al. 2006) in numpy: from probabilities a step to a text.

A model answers at each of T steps along a line a probability for each character, and for the blank, index 0, which
stands for "no character begins here". A path names one of them a step; the text of a path is what is left when
repetitions are joined and blanks are removed, so that a doubled letter needs a blank between its halves. The
probability of a text is the sum over all of its paths.
"""

__all__ = ["BLANK", "Reading", "fewest_steps", "read_beam", "read_greedy", "text_probability"]

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BLANK = 0
"""The index of the blank; character k of the alphabet has the index k + 1."""

_NEVER = -math.inf
_TINY = 1e-30
_SURE = 1 - 1e-4
_FEWEST = 1e-4


class Reading(NamedTuple):
    """A text as ids of the alphabet, what its characters and the whole are worth, and the steps of each character.

    `scores` are float (L,): the highest probability of each character on the likeliest path; `probability` is that of
    the text, over all paths. `steps` int (L, 2): the first step of each character, and the one after its last.
    """

    ids: tuple[int, ...]
    scores: NDArray[np.float64]
    probability: float
    steps: NDArray[np.int64]


def fewest_steps(ids: Sequence[int]) -> int:
    """Return how many steps a text needs at least: one a character, and a blank between two that are the same.

    >>> fewest_steps([3, 1, 1, 2])
    5
    """
    return len(ids) + sum(a == b for a, b in itertools.pairwise(ids))


def read_greedy(probabilities: NDArray[Any]) -> Reading:
    """Return the text of the likeliest path through probabilities (T, 1 + C); steps that are all 0 are ignored.

    >>> p = np.array([[0.1, 0.9, 0], [0.2, 0.8, 0], [0.9, 0.1, 0], [0.1, 0.7, 0.2], [0.3, 0.1, 0.6]])
    >>> read_greedy(p).ids
    (0, 0, 1)
    """
    p = _steps_of(probabilities)
    best = p.argmax(1) if len(p) else np.zeros(0, np.int64)
    starts = np.flatnonzero(np.diff(best, prepend=-1) != 0)
    ends = [*starts[1:], len(best)][: len(starts)]
    kept = [(int(s), int(e)) for s, e in zip(starts, ends, strict=True) if best[s] != BLANK]
    ids = tuple(int(best[s]) - 1 for s, _ in kept)
    scores = np.array([p[s:e, best[s]].max() for s, e in kept], np.float64)
    return Reading(ids, scores, text_probability(p, ids), np.array(kept, np.int64).reshape(-1, 2))


def read_beam(probabilities: NDArray[Any], *, width: int = 16) -> Reading:
    """Return the likeliest text that a prefix beam search finds (Graves and Jaitly 2014; Hannun et al. 2014).

    Texts are compared by the sum over their paths, of which the greedy search sees one. `width` texts are kept a step.

    >>> p = np.array([[0.4, 0.35, 0.25], [0.4, 0.35, 0.25]])
    >>> read_greedy(p).ids, read_beam(p).ids
    ((), (0,))
    """
    p = _steps_of(probabilities)
    # Of each text, the logarithms of the sums over its paths that end with a blank, and over the others.
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, _NEVER)}
    with np.errstate(divide="ignore"):
        logs = np.log(p)
    for row, log_row in zip(p, logs, strict=True):
        log_blank = float(log_row[BLANK])
        if row[BLANK] >= _SURE:
            beams = {text: (_add(*ends) + log_blank, _repeated(text, ends[1], log_row)) for text, ends in beams.items()}
            continue
        likely = [int(k) for k in np.flatnonzero(row > _FEWEST) if k != BLANK] or [int(row[1:].argmax()) + 1]
        found: dict[tuple[int, ...], tuple[float, float]] = {}

        def add(text: tuple[int, ...], blank: float, other: float, found: dict[Any, Any] = found) -> None:
            before = found.get(text, (_NEVER, _NEVER))
            found[text] = (_add(before[0], blank), _add(before[1], other))

        for text, (blank, other) in beams.items():
            whole = _add(blank, other)
            add(text, whole + log_blank, _repeated(text, other, log_row))
            for k in likely:
                # After itself a character needs a blank between, or it would be the same one.
                before = blank if text and text[-1] == k else whole
                if before > _NEVER:
                    add((*text, k), _NEVER, before + float(log_row[k]))
        best = sorted(found.items(), key=lambda item: (-_add(*item[1]), item[0]))
        beams = dict(best[:width])
    text = min(beams, key=lambda t: (-_add(*beams[t]), t))
    ids = tuple(k - 1 for k in text)
    places = _place(p, ids)
    scores = np.array([p[s:e, k].max() for (s, e), k in zip(places, text, strict=True)], np.float64)
    return Reading(ids, scores, text_probability(p, ids), np.array(places, np.int64).reshape(-1, 2))


def text_probability(probabilities: NDArray[Any], ids: Sequence[int]) -> float:
    """Return the probability of a text: the sum over all of its paths, by the forward algorithm.

    >>> round(text_probability(np.array([[0.4, 0.6], [0.4, 0.6]]), [0]), 4)  # a-, -a and aa
    0.84
    """
    p = _steps_of(probabilities)
    extended, may_skip = _extended(ids)
    if not len(p):
        return float(not ids)
    at = np.maximum(p[:, extended], _TINY)
    alpha = np.zeros(len(extended))
    alpha[:2] = at[0, :2]
    log_scale = 0.0
    for row in at[1:]:
        before = alpha.copy()
        before[1:] += alpha[:-1]
        before[2:] += np.where(may_skip[2:], alpha[:-2], 0.0)
        alpha = before * row
        total = float(alpha.sum())
        if total <= 0:
            return 0.0
        alpha /= total
        log_scale += math.log(total)
    whole = float(alpha[-2:].sum())
    # Steps that are all but sure round to a little above 1 in float32.
    return min(1.0, math.exp(log_scale + math.log(whole))) if whole > 0 else 0.0


def _place(p: NDArray[np.float64], ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return the steps of each character on the likeliest path of a text (Viterbi)."""
    extended, may_skip = _extended(ids)
    if not ids:
        return []
    logs = np.log(np.maximum(p[:, extended], _TINY))
    score = np.full(len(extended), _NEVER)
    score[:2] = logs[0, :2]
    came = np.zeros((len(p), len(extended)), np.int64)
    for t in range(1, len(p)):
        options = np.full((3, len(extended)), _NEVER)
        options[0] = score
        options[1, 1:] = score[:-1]
        options[2, 2:] = np.where(may_skip[2:], score[:-2], _NEVER)
        came[t] = options.argmax(0)
        score = options.max(0) + logs[t]
    state = len(extended) - 1 if score[-1] >= score[-2] else len(extended) - 2
    states = np.zeros(len(p), np.int64)
    for t in range(len(p) - 1, -1, -1):
        states[t] = state
        state -= int(came[t, state])
    places = []
    for k in range(len(ids)):
        own = np.flatnonzero(states == 2 * k + 1)
        places.append((int(own[0]), int(own[-1]) + 1))
    return places


def _extended(ids: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the text with blanks around and between, and where a path may come from two places before."""
    extended = np.zeros(2 * len(ids) + 1, np.int64)
    extended[1::2] = np.asarray(ids, np.int64) + 1
    may_skip = np.zeros(len(extended), bool)
    may_skip[2:] = (extended[2:] != BLANK) & (extended[2:] != extended[:-2])
    return extended, may_skip


def _steps_of(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    p: NDArray[np.float64] = np.asarray(probabilities, np.float64)
    kept: NDArray[np.float64] = p[p.sum(1) > 0.5]
    return kept


def _repeated(text: tuple[int, ...], other: float, log_row: NDArray[np.float64]) -> float:
    return other + float(log_row[text[-1]]) if text else _NEVER


def _add(a: float, b: float) -> float:
    """Return the logarithm of the sum of two numbers whose logarithms these are."""
    if a < b:
        a, b = b, a
    return a if b == _NEVER else a + math.log1p(math.exp(b - a))
