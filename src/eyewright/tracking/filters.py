"""One Kalman filter for all tracks at once, with the time between frames as its step."""

__all__ = ["BoxFilter", "FilterNoise", "corners_of", "states_of"]

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Up to so many tracks, plain Python is quicker than numpy.
_SMALL = 8

# Corners (x0, y0, x1, y1) to centre and size, and back.
_TO_STATE = np.array([[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]])
_TO_CORNERS = np.array([[1.0, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]])


def states_of(boxes_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return centre x, centre y, width, height of boxes, (n, 4).

    >>> states_of(np.array([[0.0, 0, 4, 2]])).tolist()
    [[2.0, 1.0, 4.0, 2.0]]
    """
    states: NDArray[np.float64] = boxes_xyxy @ _TO_STATE
    return states


def corners_of(states: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the boxes of centres and sizes, (n, 4); the inverse of `states_of`."""
    corners: NDArray[np.float64] = states @ _TO_CORNERS
    return corners


@dataclass(frozen=True)
class FilterNoise:
    """How uncertain boxes and their motion are, as fractions of the box's own size.

    A filter whose noise grows with the box has gains that do not depend on it, so all four numbers of a track share
    one covariance, and a detector that is as wrong in all of them needs no more.

    Args:
        measured: standard deviation of a detection.
        drift: standard deviation that a place gains a second next to its velocity.
        velocity: standard deviation that a velocity, in sizes a second, gains a second.
        first: standard deviation of the velocity of a new track.
        size_memory_s: how long a growth or shrinkage continues: its velocity falls to 1/e in this time.
    """

    measured: float = 0.08
    drift: float = 0.12
    velocity: float = 0.25
    first: float = 1.0
    size_memory_s: float = 0.5


class BoxFilter:
    """The states of all tracks of one sequence: rows of arrays that are updated together.

    `state` and `velocity` are float64 (n, 4): centre x, centre y, width, height, in pixels and pixels a second.
    `spread` is float64 (n, 3): variance of the place, covariance, variance of the velocity, of every one of the four.
    The constant-velocity model decouples, so each is a 2×2 filter in closed form (Kalman 1960).
    """

    __slots__ = ("_noise", "_steps", "_table")

    def __init__(self, noise: FilterNoise) -> None:
        self._noise = noise
        self._steps: dict[float, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        # All numbers of a track in one row: a row is read and written at once.
        self._table = np.zeros((0, 11))

    @property
    def state(self) -> NDArray[np.float64]:
        return self._table[:, :4]

    @property
    def velocity(self) -> NDArray[np.float64]:
        return self._table[:, 4:8]

    @property
    def spread(self) -> NDArray[np.float64]:
        return self._table[:, 8:]

    def predict(self, step_s: float) -> None:
        """Move every track on by `step_s` seconds."""
        known = self._steps.get(step_s)
        if known is None:
            known = self._steps[step_s] = self._step(step_s)
        table = self._table @ known[0]
        table += known[1]
        self._table = table

    def _step(self, t: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what a row of numbers is multiplied by in a step, (11, 11), and what is added to it, (11,)."""
        if len(self._steps) > 64:
            # Streams have a new step every frame.
            self._steps.clear()
        fade = math.exp(-t / self._noise.size_memory_s)
        moved, added = np.zeros((11, 11)), np.zeros(11)
        moved[range(4), range(4)] = 1.0
        moved[range(4, 8), range(4)] = t
        moved[range(4, 8), range(4, 8)] = [1.0, 1.0, fade, fade]
        moved[8:, 8:] = [[1.0, 0, 0], [2 * t, 1, 0], [t * t, t, 1]]
        v = self._noise.velocity**2
        added[8:] = [v * t**3 / 3 + self._noise.drift**2 * t, v * t**2 / 2, v * t]
        return moved, added

    def corners(self) -> NDArray[np.float64]:
        """Return where the tracks are expected, boxes float64 (n, 4)."""
        return corners_of(self._table[:, :4])

    def corners_list(self) -> list[tuple[float, float, float, float]]:
        """Return what `corners` returns, to the last bit, as a list: of few tracks the quicker way."""
        return [(x - 0.5 * w, y - 0.5 * h, x + 0.5 * w, y + 0.5 * h) for x, y, w, h in self._table[:, :4].tolist()]

    def correct(self, rows: NDArray[np.int64], boxes_xyxy: NDArray[np.float64]) -> None:
        """Correct the tracks `rows` by their detections, boxes float64 (k, 4)."""
        if len(rows) <= _SMALL:
            self._correct_few(rows, boxes_xyxy)
            return
        measured = states_of(boxes_xyxy)
        # One number of all tracks after another: numpy is quickest along what lies together.
        table = self._table[rows].T
        uncertain = table[8:10]
        # Of the place and of the velocity, (2, k).
        gains = uncertain / (table[8] + self._noise.measured**2)
        table[:8] += (gains[:, None] * (measured.T - table[:4])).reshape(8, -1)
        table[10] -= gains[1] * table[9]
        uncertain *= 1.0 - gains[0]
        self._table[rows] = table.T

    def _correct_few(self, rows: NDArray[np.int64], boxes_xyxy: NDArray[np.float64]) -> None:
        """Do what `correct` does, to the last bit, with the same arithmetic in plain Python."""
        noise = self._noise.measured**2
        table: list[float] = []
        for (x, y, w, h, vx, vy, vw, vh, place, both, speed), (x0, y0, x1, y1) in zip(
            self._table[rows].tolist(), boxes_xyxy.tolist(), strict=True
        ):
            whole = place + noise
            gain, speed_gain = place / whole, both / whole
            rest = 1.0 - gain
            dx, dy, dw, dh = 0.5 * x0 + 0.5 * x1 - x, 0.5 * y0 + 0.5 * y1 - y, x1 - x0 - w, y1 - y0 - h
            table += (
                x + gain * dx, y + gain * dy, w + gain * dw, h + gain * dh,
                vx + speed_gain * dx, vy + speed_gain * dy, vw + speed_gain * dw, vh + speed_gain * dh,
                place * rest, both * rest, speed - speed_gain * both,
            )  # fmt: skip
        self._table[rows] = np.array(table).reshape(-1, 11)

    def add(self, boxes_xyxy: NDArray[np.float64]) -> None:
        """Append tracks that begin at detections, boxes float64 (k, 4)."""
        new = np.zeros((len(boxes_xyxy), 11))
        new[:, :4] = states_of(boxes_xyxy)
        new[:, 8], new[:, 10] = self._noise.measured**2, self._noise.first**2
        self._table = np.concatenate([self._table, new])

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Drop all tracks but those of a mask."""
        self._table = self._table[rows]

    def move(self, affine: NDArray[np.float64]) -> None:
        """Move every track as the camera moved: `affine`, float64 (2, 3), maps the last frame onto this one."""
        turn, shift = affine[:, :2], affine[:, 2]
        scale = math.sqrt(max(abs(float(np.linalg.det(turn))), 1e-6))
        state, velocity = self.state, self.velocity
        state[:, :2] = state[:, :2] @ turn.T + shift
        velocity[:, :2] = velocity[:, :2] @ turn.T
        state[:, 2:] *= scale
        velocity[:, 2:] *= scale
