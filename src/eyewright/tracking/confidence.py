"""The scale of a detector's scores, learnt from the scores that it has given."""

__all__ = ["ScoreScale"]

import numpy as np
from numpy.typing import NDArray

_FRAMES, _BATCHES = 64, 8
_CERTAIN = 0.9
# Up to so many scores, plain Python is quicker than numpy.
_SMALL = 16
# Where scores are no probabilities, the weight of the lowest one; the highest has 1.
_LEAST_WEIGHT = 0.5


class ScoreScale:
    """How much the scores of a detector say, by what it has given so far.

    Scores from 0 to 1 are probabilities up to a factor: what counts as certain is the score that a tenth of the last
    ones exceed. Once a score lies outside, as logits and percentages do, only the order of scores is used: each is
    replaced by a weight from 0.5 to 1 that grows with its rank among the last ones, so that any increasing function of
    the scores gives the same. The reference is renewed after 1, 2, 4, … 64 frames, then every 64 frames, and holds
    the last 512.

    >>> scale = ScoreScale()
    >>> scale.update(np.array([0.1, 0.2, 0.4, 0.4]))[1]
    0.4
    >>> ScoreScale().update(np.array([-3.0, 40.0]))[0].tolist()
    [0.75, 1.0]
    """

    def __init__(self) -> None:
        self._batches: list[NDArray[np.float64]] = []
        self._open: list[NDArray[np.float64]] = []
        self._frames, self._next, self._value = 0, 1, 1.0
        self._sorted: NDArray[np.float64] | None = None
        self._only: float | None = None
        self.flat = True
        """Whether all scores so far are the same, so that they say nothing."""
        self.ranked = False
        """Whether scores are no probabilities, so that their order alone is used."""

    def update(self, scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """Return the weights of the next frame's scores, float64 (n,), and the weight that counts as certain."""
        if not len(scores):
            return scores, self._value
        self._open.append(scores)
        self._frames += 1
        if self.flat:
            self._only = float(scores[0]) if self._only is None else self._only
            self.flat = not np.count_nonzero(scores != self._only)
        turned = not self.ranked and not _probable(scores)
        if turned:
            self.ranked = True
        if self._frames >= self._next or turned:
            self._renew()
        if self._sorted is None:
            return scores, self._value
        rank = np.searchsorted(self._sorted, scores, "right") / len(self._sorted)
        return _LEAST_WEIGHT + (1 - _LEAST_WEIGHT) * rank, 1.0

    def _renew(self) -> None:
        last = np.concatenate([*self._batches, *self._open])
        if self._frames >= self._next:
            if self._frames >= _FRAMES:
                self._batches = [*self._batches[1 - _BATCHES :], np.concatenate(self._open)]
                self._open, self._frames, self._next = [], 0, _FRAMES
                last = np.concatenate(self._batches)
            else:
                self._next *= 2
        if self.ranked:
            self._sorted = np.sort(last)
            return
        value = float(np.quantile(last, _CERTAIN))
        # Scores that are all 0 say nothing.
        self._value = value if value > 0 else 1.0


def _probable(scores: NDArray[np.float64]) -> bool:
    """Return whether all scores are from 0 to 1."""
    if len(scores) <= _SMALL:
        return all(0 <= score <= 1 for score in scores.tolist())
    return bool(np.minimum.reduce(scores) >= 0 and np.maximum.reduce(scores) <= 1)
