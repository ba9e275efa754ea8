"""The rate of large bodies and of large answers, which leaves small requests their time."""

__all__ = ["Pace"]

import asyncio
import math
import time
from collections.abc import Callable

_SMALL = 2**18
_BUSY_S = 0.25
_LEAST_S = 0.001


class Pace:
    """The rate of all large bodies together, in bytes a second, while requests with small bodies are answered.

    What a large body costs, to send it from the same machine too, is time that the others wait. The first 256 KB of
    each body are free (`small` bytes), and so is everything a quarter of a second after the last small request. With
    `burst_s` the rate always holds, after that many seconds of it at once: requests of a few bytes may ask for many
    large answers, and a small request that waits behind them is not answered yet.

    >>> pace = Pace(2**20, clock=lambda: 10.0)
    >>> pace.delay(2**19, 2**19)
    0.0
    >>> pace.answered(1000)
    >>> pace.delay(0, 2**18), pace.delay(2**18, 2**18), pace.delay(2**19, 2**18)
    (0.0, 0.25, 0.5)
    """

    def __init__(
        self,
        rate: float,
        *,
        small: int = _SMALL,
        burst_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rate, self._small, self._burst_s, self._clock = rate, small, burst_s, clock
        self._answered = self._free = -math.inf

    @property
    def busy(self) -> bool:
        """Whether a small request was answered a moment ago."""
        return self._clock() - self._answered <= _BUSY_S

    def answered(self, size: int) -> None:
        """Note that a request with a body, or an answer, of `size` bytes is done."""
        if size <= self._small:
            self._answered = self._clock()

    def delay(self, before: int, n: int) -> float:
        """Return for how many seconds to wait before more is read, after n bytes of a body with `before` in front."""
        if before + n <= self._small or (self._burst_s is None and not self.busy):
            return 0.0
        now = self._clock()
        self._free = max(self._free, now - (self._burst_s or 0.0)) + n / self.rate
        left = self._free - now
        return left if left > _LEAST_S else 0.0

    async def wait(self, before: int, n: int) -> None:
        """Wait for as long as `delay` says."""
        seconds = self.delay(before, n)
        if seconds:
            await asyncio.sleep(seconds)
