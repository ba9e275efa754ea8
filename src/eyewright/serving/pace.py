"""The rate of large bodies, of large answers and of requests sent ahead, which leaves small requests their time."""

__all__ = ["Pace", "Turns"]

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

_SMALL = 2**18
_BUSY_S = 0.25
_LEAST_S = 0.001
_TURN_S = 0.004


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


class Turns:
    """The order in which requests are parsed that were sent before the answer to the one in front of them.

    Alone on the server each has its turn at once. While others are answered, one has it every 4 ms: whoever sends many
    requests without waiting makes only its own wait.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._queue: deque[Callable[[], None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def crowded(self) -> bool:
        """Whether a turn has to be waited for."""
        return self._timer is not None or self._pace.busy

    def add(self, turn: Callable[[], None]) -> None:
        """Call `turn` later, after those added before it."""
        self._queue.append(turn)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TURN_S if self._pace.busy else 0, self._next)

    def _next(self) -> None:
        turn = self._queue.popleft()
        later = _TURN_S if self._pace.busy else 0
        self._timer = asyncio.get_running_loop().call_later(later, self._next) if self._queue else None
        turn()
