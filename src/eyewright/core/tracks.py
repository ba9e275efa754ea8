"""Boxes over time: which object is where in which frame."""

__all__ = ["Tracks"]

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Tracks:
    """The boxes of one sequence, a row each: true objects, what a tracker found, or detections without identity.

    Args:
        frames: int64 (n,), the frame's number, from 1.
        ids: int64 (n,), the object's identity; -1 where there is none.
        boxes_xyxy: float64 (n, 4), in pixels from 0, half-open.
        scores: float64 (n,), NaN where none is given.
        label_ids: int64 (n,), into `labels`.
        labels: names of the classes.
        times_s: float64 (n,), seconds of each row's frame; None where only frames are known.
        ignored: bool (n,), true objects that are not measured; None where all are.
        distractor: bool (n,), ignored objects on which a tracker may lie without being wrong; None without any.
    """

    frames: NDArray[np.int64]
    ids: NDArray[np.int64]
    boxes_xyxy: NDArray[np.float64]
    scores: NDArray[np.float64]
    label_ids: NDArray[np.int64]
    labels: tuple[str, ...] = ("object",)
    times_s: NDArray[np.float64] | None = None
    ignored: NDArray[np.bool_] | None = None
    distractor: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @staticmethod
    def of(
        rows: Sequence[tuple[int, int, float, float, float, float]], *, labels: tuple[str, ...] = ("object",)
    ) -> "Tracks":
        """Return tracks of rows (frame, id, x0, y0, x1, y1).

        >>> len(Tracks.of([(1, 1, 0, 0, 5, 5), (2, 1, 1, 0, 6, 5)]))
        2
        """
        table = np.array(rows, np.float64).reshape(-1, 6)
        n = len(table)
        return Tracks(
            table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2:6].copy(), np.full(n, np.nan),
            np.zeros(n, np.int64), labels,
        )  # fmt: skip

    def keep(self, rows: NDArray[Any]) -> "Tracks":
        """Return the rows of a mask, bool (n,), or of indices."""
        parts = {name: value[rows] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return replace(self, **parts)

    def ordered(self) -> "Tracks":
        """Return the rows by frame; the order within a frame stays."""
        return self.keep(np.argsort(self.frames, kind="stable"))

    @property
    def n_frames(self) -> int:
        """The number of the last frame with a row; 0 without rows."""
        return int(self.frames.max()) if len(self.frames) else 0
