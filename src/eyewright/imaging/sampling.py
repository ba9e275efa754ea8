"""Which frames stand for a clip, chosen by their times: one rule for training, serving and export."""

__all__ = ["ClipSampling", "even_times"]

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError, UsageError


@dataclass(frozen=True)
class ClipSampling:
    """Which frames stand for a clip: `frames` of them, evenly spaced in time from the first to the last.

    A clip with fewer frames repeats some. Frames are reduced so that the longer side is at most `side` pixels. The
    value travels in the bundle as JSON, so that training and inference see the same frames.

    >>> ClipSampling(3).chosen([0.0, 0.1, 0.2, 0.9, 1.0])
    [0, 2, 4]
    """

    frames: int = 32
    side: int = 160

    def __post_init__(self) -> None:
        if not 2 <= self.frames <= 256:
            raise UsageError(f"expected 2 to 256 frames for each clip, found {self.frames}", fix="change --frames")
        if not 16 <= self.side <= 1024:
            raise UsageError(f"expected frames of 16 to 1024 pixels a side, found {self.side}", fix="change it")

    def chosen(self, times_s: "NDArray[np.float64] | list[float]") -> list[int]:
        """Return the indices of the frames, at these times in order, that are nearest to evenly spaced times."""
        times = np.asarray(times_s, np.float64)
        wanted = even_times(float(times[0]), float(times[-1]), self.frames)
        after = np.clip(np.searchsorted(times, wanted), 1, max(1, len(times) - 1)) if len(times) > 1 else None
        if after is None:
            return [0] * self.frames
        nearer = after - (wanted - times[after - 1] <= times[after] - wanted)
        return [int(i) for i in nearer]

    def to_json(self) -> dict[str, int]:
        """Return the value as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ClipSampling":
        """Read `to_json`'s form.

        Raises:
            BundleError: a key is missing, unknown or of the wrong type.
        """
        try:
            if set(data) != {"frames", "side"} or not all(type(v) is int for v in data.values()):
                raise TypeError("expected frames and side")
            return cls(**data)
        except (TypeError, UsageError) as error:
            raise BundleError(f"the bundle's clip sampling is not valid: {error}", fix="export it again") from None


def even_times(start_s: float, end_s: float, n: int) -> NDArray[np.float64]:
    """Return `n` evenly spaced times, both ends included, float64 (n,).

    >>> even_times(0.0, 1.0, 3).tolist()
    [0.0, 0.5, 1.0]
    """
    return np.linspace(start_s, end_s, n)
