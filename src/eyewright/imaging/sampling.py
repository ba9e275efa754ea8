"""Which frames stand for a clip, chosen by their times: one rule for training, serving and export."""

__all__ = ["ClipSampling", "even_times"]

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError, UsageError, plain_reason


@dataclass(frozen=True)
class ClipSampling:
    """Which frames stand for a clip: `frames` of them, evenly spaced in time from the first to the last.

    With `span_s` they are evenly spaced over so many seconds around the middle of the clip, so that the time between
    two frames is the same for every clip; a clip that is shorter repeats its first and last frame. Else a clip with
    fewer frames repeats some. Frames are reduced so that the longer side is at most `side` pixels. The value travels in
    the bundle as JSON, so that training and inference see the same frames.

    >>> ClipSampling(3).chosen([0.0, 0.1, 0.2, 0.9, 1.0])
    [0, 2, 4]
    >>> ClipSampling(3, span_s=0.2).chosen([0.0, 0.4, 0.5, 0.6, 1.0])
    [1, 2, 3]
    """

    frames: int = 32
    side: int = 160
    span_s: float | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.frames <= 256:
            raise UsageError(f"expected 2 to 256 frames for each clip, found {self.frames}", fix="change --frames")
        if not 16 <= self.side <= 1024:
            raise UsageError(f"expected frames of 16 to 1024 pixels a side, found {self.side}", fix="change it")
        if self.span_s is not None and not 0.05 <= self.span_s <= 3600:
            raise UsageError(f"expected a span of 0.05 to 3600 seconds, found {self.span_s:g}", fix="change --span")

    def chosen(self, times_s: "NDArray[np.float64] | list[float]") -> list[int]:
        """Return the indices of the frames, at these times in order, that are nearest to evenly spaced times."""
        times = np.asarray(times_s, np.float64)
        if len(times) == 1:
            return [0] * self.frames
        wanted, after = self._between(times)
        nearer = after - (wanted - times[after - 1] <= times[after] - wanted)
        return [int(i) for i in nearer]

    def candidates(self, times_s: "NDArray[np.float64] | list[float]", tolerance_s: float) -> list[int]:
        """Return the indices, ascending, of all frames that may be chosen where a difference of two times is wrong by
        up to `tolerance_s`: of two frames that are about equally near, both.

        >>> ClipSampling(3).candidates([0.0, 0.1, 0.2, 0.3], 0.001)
        [0, 1, 2, 3]
        """
        times = np.asarray(times_s, np.float64)
        if len(times) == 1:
            return [0]
        wanted, after = self._between(times)
        farther = (times[after] - wanted) - (wanted - times[after - 1])
        both = np.concatenate([(after - 1)[farther >= -tolerance_s], after[farther <= tolerance_s]])
        return [int(i) for i in np.unique(both)]

    def _between(self, times: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the evenly spaced times, and of each the index of the frame that comes after it."""
        first, last = float(times[0]), float(times[-1])
        if self.span_s is not None:
            middle = (first + last) / 2
            first, last = middle - self.span_s / 2, middle + self.span_s / 2
        wanted = even_times(first, last, self.frames)
        return wanted, np.clip(np.searchsorted(times, wanted), 1, len(times) - 1)

    def to_json(self) -> dict[str, int | float]:
        """Return the value as plain JSON types; without a span as bundles were before there was one."""
        return {k: v for k, v in asdict(self).items() if v is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ClipSampling":
        """Read `to_json`'s form.

        Raises:
            BundleError: a key is missing, unknown or of the wrong type.
        """
        try:
            whole = {k: v for k, v in data.items() if k != "span_s"}
            if set(whole) != {"frames", "side"} or not all(type(v) is int for v in whole.values()):
                raise TypeError("expected frames and side")
            if "span_s" in data and type(data["span_s"]) not in (int, float):
                raise TypeError("expected span_s as a number")
            return cls(**data)
        except (TypeError, UsageError) as error:
            raise BundleError(
                f"the bundle's clip sampling is not valid: {plain_reason(error)}", fix="export it again"
            ) from None


def even_times(start_s: float, end_s: float, n: int) -> NDArray[np.float64]:
    """Return `n` evenly spaced times, both ends included, float64 (n,).

    >>> even_times(0.0, 1.0, 3).tolist()
    [0.0, 0.5, 1.0]
    """
    return np.linspace(start_s, end_s, n)
