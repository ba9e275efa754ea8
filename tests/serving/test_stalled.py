"""Clients that ask and do not read: their connections end after a documented time, and others get in meanwhile."""

import asyncio
import contextlib
import socket
import time
from typing import Any

import pytest
from tests.serving.listener import listening

from eyewright.core.errors import UsageError
from eyewright.serving.settings import Settings

_ASKED = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
_LARGE = 24 * 2**20
"""More than the kernel holds of both sides."""


async def _app(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/turn":
        scope["eyewright.waits"](True)
        await asyncio.sleep(30)
    size = _LARGE if scope["path"] == "/" else 5
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    await send({"type": "http.response.body", "body": bytes(size)})


def _asking(port: int, data: bytes = _ASKED) -> socket.socket:
    line = socket.socket()
    # Before it connects: the window that the server sees is small.
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
    line.settimeout(10)
    line.connect(("127.0.0.1", port))
    line.sendall(data)
    return line


async def _seconds_until_closed(connections: Any, most: float) -> float:
    began = time.monotonic()
    while not connections and time.monotonic() - began < 5:
        await asyncio.sleep(0.005)
    began = time.monotonic()
    while connections and time.monotonic() - began < most:
        await asyncio.sleep(0.01)
    return time.monotonic() - began


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_of(request: pytest.FixtureRequest) -> Any:
    """Return `run` of each event loop that the server may be on."""
    return asyncio.run if request.param == "asyncio" else pytest.importorskip("uvloop").run


def test_a_client_that_never_reads_is_closed_after_the_time(loop_of: Any) -> None:
    async def main() -> float:
        async with listening(_app, write_s=0.4) as (port, connections):
            with _asking(port):
                return await _seconds_until_closed(connections, 5)

    assert 0.35 <= loop_of(main()) < 3


def test_an_answer_below_the_high_water_mark_does_not_stay_when_it_is_closed(loop_of: Any) -> None:
    """A closed transport waits for its buffer: without a deadline a client that stopped reading would keep it."""

    async def main() -> float:
        async with listening(_app, write_s=0.4) as (port, connections):
            with _asking(port):
                while not any(c.transport.waiting for c in connections):
                    await asyncio.sleep(0.005)
                for connection in list(connections):
                    connection.transport.end()
                return await _seconds_until_closed(connections, 5)

    assert 0.2 <= loop_of(main()) < 3


def test_a_client_that_reads_a_few_bytes_at_a_time_is_closed(loop_of: Any) -> None:
    async def main() -> float:
        async with listening(_app, write_s=0.4) as (port, connections):
            with _asking(port) as line:
                line.setblocking(False)
                began = time.monotonic()
                while time.monotonic() - began < 5:
                    await asyncio.sleep(0.02)
                    if not connections:
                        break
                    with contextlib.suppress(OSError):
                        line.recv(100)
                return time.monotonic() - began

    assert loop_of(main()) < 4


def test_a_slow_client_that_keeps_reading_gets_everything(loop_of: Any) -> None:
    async def main() -> int:
        got = 0
        async with listening(_app, write_s=1.2) as (port, _):
            with _asking(port) as line:
                line.setblocking(False)
                loop = asyncio.get_running_loop()
                while got < _LARGE:
                    data = await loop.sock_recv(line, 2**19)
                    if not data:
                        break
                    got += len(data)
                    # Longer in all than the deadline, which is one for progress and not for the answer.
                    await asyncio.sleep(0.03)
        return got

    began = time.monotonic()
    assert loop_of(main()) > _LARGE
    assert time.monotonic() - began > 1.2


@pytest.mark.parametrize("path", [b" / ", b" /turn "])
def test_connections_whose_answers_wait_make_room_for_others(loop_of: Any, path: bytes) -> None:
    async def main() -> bytes:
        async with listening(_app, write_s=60, client_connections=4) as (port, connections):
            with contextlib.ExitStack() as held:
                for _ in range(4):
                    held.enter_context(_asking(port, _ASKED.replace(b" / ", path)))
                while sum(c.stalled() for c in connections) < 4:
                    await asyncio.sleep(0.005)
                line = held.enter_context(_asking(port, _ASKED.replace(b" / ", b" /small ")))
                line.setblocking(False)
                return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(line, 2**16), 10)

    assert loop_of(main()).startswith(b"HTTP/1.1 200 ")


def test_a_deadline_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="write_s above 0"):
        Settings(write_s=0)
