"""The probabilities of classes over the time of a video, as numbers and as a picture."""

__all__ = ["OverTime", "OverTimeMaker"]

from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from eyewright.imaging.drawing import colour_of
from eyewright.tasks.segments import Windowed

# Of more classes, those with the highest peaks are shown; of more windows, every second, fourth, …
_MOST_CLASSES, _MOST_WINDOWS = 12, 1_000
_WIDTH, _HEIGHT, _LINE = 960, 120, 22


@dataclass(frozen=True)
class OverTime:
    """Probabilities of windows of a video, one row a window, in the order of time.

    Args:
        middle_s: float64 (n,), the middle of each window in seconds since the first frame.
        labels: the classes with the highest peaks, at most 12.
        label_ids: their numbers.
        probabilities: float32 (n, C'), of these classes.
    """

    middle_s: NDArray[np.float64]
    labels: tuple[str, ...]
    label_ids: tuple[int, ...]
    probabilities: NDArray[np.float32]

    def to_json(self) -> dict[str, Any]:
        """Return times and, for each label, its probabilities, as plain JSON types."""
        columns = self.probabilities.T.astype(float).round(4).tolist()
        return {
            "time_s": self.middle_s.round(3).tolist(),
            "labels": list(self.labels),
            "label_ids": list(self.label_ids),
            "scores": dict(zip(self.labels, columns, strict=True)),
        }

    def to_svg(self) -> str:
        """Return a picture: the classes above each other over time, each as high as its probability, and a legend."""
        n, (first, last) = len(self.middle_s), self.middle_s[[0, -1]].tolist()
        length = max(last - first, 1e-9)
        edges = np.concatenate([self.middle_s[:1], (self.middle_s[1:] + self.middle_s[:-1]) / 2, self.middle_s[-1:]])
        x = (edges - first) / length * _WIDTH if n > 1 else np.array([0.0, _WIDTH])
        parts, below = [], np.zeros(n)
        for k, label in enumerate(self.labels):
            colour = "#{:02x}{:02x}{:02x}".format(*colour_of(self.label_ids[k]))
            above = below + self.probabilities[:, k]
            top, bottom = _HEIGHT * (1 - above), _HEIGHT * (1 - below)
            there = [f"{x[i]:.1f},{top[i]:.1f} {x[i + 1]:.1f},{top[i]:.1f}" for i in range(n)]
            back = [f"{x[i + 1]:.1f},{bottom[i]:.1f} {x[i]:.1f},{bottom[i]:.1f}" for i in reversed(range(n))]
            name = escape(label)
            parts.append(f'<polygon fill="{colour}" points="{" ".join(there + back)}"><title>{name}</title></polygon>')
            row = _HEIGHT + 26 + _LINE * (k // 4)
            at = 240 * (k % 4)
            parts.append(f'<rect x="{at}" y="{row}" width="12" height="12" fill="{colour}"/>')
            parts.append(f'<text x="{at + 18}" y="{row + 11}">{name}</text>')
            below = above
        height = _HEIGHT + 26 + _LINE * ((len(self.labels) + 3) // 4)
        parts.append(f'<text x="0" y="{_HEIGHT + 16}">{first:.2f} s</text>')
        parts.append(f'<text x="{_WIDTH}" y="{_HEIGHT + 16}" text-anchor="end">{last:.2f} s</text>')
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
            'font-family="sans-serif" font-size="13" aria-label="Probabilities of the classes over time">\n'
            f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
        )


class OverTimeMaker:
    """Collects predictions of windows in memory that does not grow with a stream: of more than 1,000 windows only every
    second one is kept, of more than 2,000 every fourth, and so on.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[float, NDArray[np.float32]]] = []
        self._names: tuple[str, ...] = ()
        self._every, self._seen = 1, 0

    def add(self, one: Windowed) -> None:
        """Take the prediction of the next window."""
        self._names = one.label_space.names
        if self._seen % self._every == 0:
            middle = ((one.start_s or 0.0) + (one.end_s or 0.0)) / 2
            self._kept.append((middle, np.asarray(one.probabilities, np.float32)))
            if len(self._kept) > _MOST_WINDOWS:
                self._kept, self._every = self._kept[::2], 2 * self._every
        self._seen += 1

    def done(self) -> OverTime | None:
        """Return what was collected; None where nothing was."""
        if not self._kept:
            return None
        probabilities = np.stack([p for _, p in self._kept])
        highest = np.sort(np.argsort(-probabilities.max(0), kind="stable")[:_MOST_CLASSES])
        chosen = tuple(int(k) for k in highest)
        times = np.array([t for t, _ in self._kept])
        return OverTime(times, tuple(self._names[k] for k in chosen), chosen, probabilities[:, list(chosen)])
