"""The scale of a detector's scores, learnt from the scores that it has given."""

__all__ = ["ScoreScale"]

import numpy as np
from numpy.typing import NDArray

_FRAMES, _BATCHES = 64, 8
_CERTAIN = 0.9


class ScoreScale:
    """Which score counts as certain: the one that a tenth of the last scores exceed.

    It is computed after 1, 2, 4, … 64 frames, then every 64 frames, over the last 512.

    >>> scale = ScoreScale()
    >>> scale.update(np.array([0.1, 0.2, 0.4, 0.4]))
    0.4
    """

    def __init__(self) -> None:
        self._batches: list[NDArray[np.float64]] = []
        self._open: list[NDArray[np.float64]] = []
        self._frames, self._next, self._value = 0, 1, 1.0

    def update(self, scores: NDArray[np.float64]) -> float:
        """Return the score that counts as certain, with the scores of the next frame, float64 (n,)."""
        if not len(scores):
            return self._value
        self._open.append(scores)
        self._frames += 1
        if self._frames < self._next:
            return self._value
        if self._frames >= _FRAMES:
            self._batches = [*self._batches[1 - _BATCHES :], np.concatenate(self._open)]
            self._open, self._frames, self._next = [], 0, _FRAMES
        else:
            self._next *= 2
        value = float(np.quantile(np.concatenate([*self._batches, *self._open]), _CERTAIN))
        # Scores that are all 0 say nothing.
        self._value = value if value > 0 else 1.0
        return self._value
