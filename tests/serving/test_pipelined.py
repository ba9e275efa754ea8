"""Requests that are sent before the answers to those in front, and what comes around a body: bounded, and in order."""

import asyncio
import contextlib
import time
from typing import Any

import pytest
from tests.serving.listener import listening

from eyewright.serving.pace import Pace, Turns


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the path and the size of the body."""
    size, more = 0, scope["method"] == "POST"
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    body = b"%s %d\n" % (scope["raw_path"], size)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


class _Busy(Pace):
    """A pace whose server always answers others."""

    @property
    def busy(self) -> bool:
        return True


_PACES = {"idle": lambda: Pace(1e9), "busy": lambda: _Busy(1e9)}


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_of(request: pytest.FixtureRequest) -> Any:
    """Return `run` of each event loop that the server may be on."""
    return asyncio.run if request.param == "asyncio" else pytest.importorskip("uvloop").run


def _get(k: int) -> bytes:
    return b"GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % k


def _paths(data: bytes) -> list[bytes]:
    return [line for line in data.replace(b"\r\n", b"\n").split(b"\n") if line.startswith(b"/")]


@pytest.mark.parametrize("busy", _PACES)
@pytest.mark.parametrize("cut", [1, 7, 10**6])
def test_many_requests_at_once_are_answered_in_order_also_after_the_end(loop_of: Any, busy: str, cut: int) -> None:
    n = 20 if cut == 1 else 60
    data = b"".join(_get(k) for k in range(n))

    async def main() -> bytes:
        async with listening(_app, _PACES[busy]()) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for at in range(0, len(data), cut):
                writer.write(data[at : at + cut])
                await writer.drain()
            writer.write_eof()
            got = await asyncio.wait_for(reader.read(), 20)
            writer.close()
            return got

    assert _paths(loop_of(main())) == [b"/%d 0" % k for k in range(n)]


@pytest.mark.parametrize("busy", _PACES)
def test_bodies_between_requests_sent_ahead_stay_their_own(loop_of: Any, busy: str) -> None:
    body = b"GET /no HTTP/1.1\r\n\r\n" * 5
    sent = b"POST /post HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    chunked = b"POST /chunks HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"

    async def main() -> bytes:
        async with listening(_app, _PACES[busy]()) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_get(0) + sent + _get(1) + chunked + sent + _get(2))
            writer.write_eof()
            got = await asyncio.wait_for(reader.read(), 20)
            writer.close()
            return got

    assert _paths(loop_of(main())) == [b"/0 0", b"/post 100", b"/1 0", b"/chunks 3", b"/post 100", b"/2 0"]


def test_a_body_in_one_piece_with_its_head_does_not_wait_behind_requests_sent_ahead(loop_of: Any) -> None:
    async def main() -> tuple[int, float]:
        async with listening(_app, _Busy(1e9)) as (port, connections):
            lines = []
            for _ in range(100):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"".join(_get(k) for k in range(12)))
                lines.append((reader, writer))
            while sum(c.stalled() for c in connections) < 50:
                await asyncio.sleep(0.001)
            began = time.monotonic()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /mine HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc")
            await reader.readuntil(b"/mine 3\n")
            took = time.monotonic() - began
            waiting = sum(c.stalled() for c in connections)
            for _, other in [*lines, (reader, writer)]:
                other.close()
            return waiting, took

    # 1,200 requests have a turn every 4 ms: 4.8 s, were the body's request one of them.
    waiting, took = loop_of(main())
    assert waiting > 25
    assert took < 2


def test_of_what_is_sent_ahead_no_more_than_a_piece_is_kept(loop_of: Any) -> None:
    """Reading stops, so that the kernel makes the client wait; it goes on when the requests have been answered."""
    n = 60_000
    data = b"".join(_get(k) for k in range(n))

    async def main() -> tuple[int, int]:
        async with listening(_app) as (port, connections):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            got, most = 0, 0
            while got < 2000:
                got += (await asyncio.wait_for(reader.read(2**14), 10)).count(b"HTTP/1.1 200")
                most = max([most, *(len(c._ahead) for c in connections)])
            writer.transport.abort()
            return got, most

    got, most = loop_of(main())
    assert got >= 2000
    assert 0 < most < 2**20 < len(data)


def test_connections_that_wait_for_a_turn_make_room_for_others(loop_of: Any) -> None:
    async def main() -> bytes:
        async with listening(_app, _Busy(1e9), client_connections=4) as (port, connections):
            lines = []
            for _ in range(4):
                lines.append(await asyncio.open_connection("127.0.0.1", port))
                lines[-1][1].write(b"".join(_get(k) for k in range(400)))
            while sum(c.stalled() for c in connections) < 4:
                await asyncio.sleep(0.001)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_get(7))
            got = await asyncio.wait_for(reader.readuntil(b"/7 0\n"), 10)
            for _, other in [*lines, (reader, writer)]:
                other.close()
            return got

    assert loop_of(main()).startswith(b"HTTP/1.1 200 ")


def test_turns_are_taken_in_order_and_one_at_a_time_while_others_are_answered() -> None:
    async def main(pace: Pace) -> tuple[list[int], float]:
        turns, taken, ended = Turns(pace), list[int](), asyncio.Event()
        began = time.monotonic()
        for k in range(10):
            turns.add(lambda k=k: taken.append(k))  # type: ignore[misc]
        turns.add(ended.set)
        assert turns.crowded
        await ended.wait()
        return taken, time.monotonic() - began

    taken, seconds = asyncio.run(main(_Busy(1e9)))
    assert taken == list(range(10))
    assert seconds > 10 * 0.004
    taken, _ = asyncio.run(main(Pace(1e9)))
    assert taken == list(range(10))


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"0\r\nX-End: 1\r\n\r\n", b"0;end\r\n\r\n"])
def test_extensions_of_chunks_and_trailers_are_dropped(loop_of: Any, end: bytes) -> None:
    head = b"POST /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b'3;name="va\xfflue"\r\nabc\r\n' for _ in range(100))
    assert _paths(_answer_to(loop_of, head + chunks + end)) == [b"/a 300"]


@pytest.mark.parametrize("around", [b"3;" + b"a" * 2**21 + b"\r\nabc\r\n", b"0\r\nX: " + b"a" * 2**21])
def test_more_around_a_body_than_in_it_is_refused(loop_of: Any, around: bytes) -> None:
    head = b"POST /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert _answer_to(loop_of, head + around).startswith(b"HTTP/1.1 400 ")


async def _say_headers(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the names of the headers, once the body has come."""
    while (await receive())["more_body"]:
        pass
    body = b"/" + b",".join(name for name, _ in scope["headers"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def test_a_trailer_is_no_header_of_the_request(loop_of: Any) -> None:
    head = b"POST /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    end = b"3\r\nabc\r\n0\r\nAuthorization: Bearer none\r\nHost: other\r\n\r\n"
    found = _paths(_answer_to(loop_of, head + end, _say_headers))
    assert found == [b"/host,connection,transfer-encoding"]


@pytest.mark.parametrize(("n", "status"), [(60, b"200"), (70, b"400")])
def test_many_trailers_are_refused_before_they_are_all_parsed(loop_of: Any, n: int, status: bytes) -> None:
    head = b"POST /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    got = _answer_to(loop_of, head + b"3\r\nabc\r\n0\r\n" + b"X-End: 1\r\n" * n + b"\r\n")
    assert got.startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(("n", "status"), [(250, b"200"), (300, b"431")])
def test_many_headers_are_refused_before_they_are_all_parsed(loop_of: Any, n: int, status: bytes) -> None:
    data = b"GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + b"a:\r\n" * n + b"\r\n"
    assert _answer_to(loop_of, data).startswith(b"HTTP/1.1 " + status)


def _answer_to(loop_of: Any, data: bytes, app: Any = _app) -> bytes:
    """Return all that the server sends before it ends the connection."""

    async def main() -> bytes:
        async with listening(app) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionError):
                for at in range(0, len(data), 2**16):
                    writer.write(data[at : at + 2**16])
                    await writer.drain()
            got = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return got

    return bytes(loop_of(main()))
