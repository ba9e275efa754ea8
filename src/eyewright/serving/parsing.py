"""Large requests are parsed outside the event loop, so that small ones are answered meanwhile.

Python runs one thread at a time: every further thread that parses makes the loop wait for its turn once more. So there
are two and no more: large bodies wait for each other, and do not hold up those of ordinary photographs.
"""

__all__ = ["end_parsing", "parse_apart", "short_turns"]

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

T = TypeVar("T")

_SMALL = 2**16
_LARGE = 4 * 2**20
_TURN_S = 0.0001

_pools: dict[str, ThreadPoolExecutor] = {}


async def parse_apart(size: int, call: Callable[..., T], *arguments: object, **named: object) -> T:
    """Return what `call` returns; `size`, the bytes it has to look at, decides where it runs.

    >>> asyncio.run(parse_apart(3, int, "12")), asyncio.run(parse_apart(2**20, int, "12"))
    (12, 12)
    """
    if size <= _SMALL:
        return call(*arguments, **named)
    name = "eyewright-parse" if size <= _LARGE else "eyewright-parse-large"
    pool = _pools.get(name)
    if pool is None:
        pool = _pools[name] = ThreadPoolExecutor(1, name)
    return await asyncio.get_running_loop().run_in_executor(pool, partial(call, *arguments, **named))


def end_parsing() -> None:
    """End the threads; what they are at is finished, and the next large body starts them again."""
    while _pools:
        _, pool = _pools.popitem()
        pool.shutdown()


@contextlib.contextmanager
def short_turns() -> Iterator[None]:
    """Let a thread that computes keep the interpreter for 0.1 ms where another waits for it; Python's default is 5 ms.

    The loop asks for the interpreter several times a request, and would wait that long each time.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, _TURN_S))
    try:
        yield
    finally:
        sys.setswitchinterval(before)
