"""Head and body of an answer leave in one write: its client wakes once."""

import asyncio
import socket
from typing import Any

import pytest

from eyewright.serving.wire import _Lingering


class _Transport:
    """A transport that notes what is written to it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0


@pytest.fixture
def pair() -> Any:
    loop = asyncio.new_event_loop()
    inner = _Transport()
    yield inner, _Lingering(inner, loop, 1.0)
    loop.close()


def test_head_and_body_of_an_answer_leave_in_one_write(pair: Any) -> None:
    inner, outer = pair
    outer.join()
    outer.write(b"head")
    outer.write(b"body")
    assert inner.written == []
    outer.send_joined()
    outer.write(b"next")
    assert inner.written == [b"headbody", b"next"]


@pytest.mark.parametrize("how", ["close", "end"])
def test_an_answer_that_is_joined_goes_before_its_connection_is_closed(pair: Any, how: str) -> None:
    inner, outer = pair
    outer.join()
    outer.write(b"last")
    getattr(outer, how)()
    outer.send_joined()
    assert inner.written == [b"last"]
    assert inner.closed


def test_an_answer_comes_whole_where_the_client_asks_to_close(served: Any) -> None:
    with socket.create_connection((served.host, served.port), 20) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        got = b""
        while part := line.recv(65536):
            got += part
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert body.startswith(b"{")
