"""One address for several servers: requests are spread over replicas, which come, go and are replaced.

A replica is a server of this room on some machine that keeps no state, so a request that is lost with it can be sent to
another one.
"""

__all__ = ["Front", "serve_front"]

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from eyewright.core.errors import BusyError, EyewrightError
from eyewright.core.extras import import_extra
from eyewright.serving.exchange import (
    Budget,
    Receive,
    Request,
    Response,
    Send,
    error_response,
    json_response,
    parse_request,
    read_body,
)
from eyewright.serving.guards import Guard
from eyewright.serving.listening import quiet_server, uvicorn_config
from eyewright.serving.pace import Pace
from eyewright.serving.page import read_page
from eyewright.serving.schemas import Live, Ready
from eyewright.serving.settings import Settings

_log = logging.getLogger("eyewright.serving")

# Headers of one connection (RFC 9110, 7.6.1), and those that are the front's own.
_OWN = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
     "upgrade", "host", "authorization", "content-length", "expect", "origin")
)  # fmt: skip
_HOP = frozenset(("connection", "keep-alive", "transfer-encoding", "upgrade", "trailer"))
_LIVE, _READY = {("healthz",), ("v2", "health", "live")}, {("readyz",), ("v2", "health", "ready")}
_MOST_IDLE = 64
_PIECE = 2**16
_CHECK_S = 1.0
_CHECK_TIMEOUT_S = 5.0
_CONNECT_S = 3.0
# A replica answers within its own deadline; one that does not is gone.
_LATE_S = 5.0


@dataclass(eq=False)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def close(self) -> None:
        self.writer.transport.abort()


@dataclass(eq=False)
class _Replica:
    """A server: `running` requests are at it, `idle` connections are kept."""

    name: str
    host: str
    port: int
    healthy: bool = True
    gone: bool = False
    running: int = 0
    turns: int = 0
    idle: list[_Connection] = field(default_factory=list)


class _GoneError(Exception):
    """A replica ended, or could not be reached, before its answer was complete."""


class _Reply:
    """What a parser of `httptools` hears."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.begun = self.complete = self.keep = False
        self.parser: Any = None

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        # Later, the parser no longer knows it.
        self.begun, self.keep = True, bool(self.parser.should_keep_alive())

    def on_body(self, part: bytes) -> None:
        self.body.append(part)

    def on_message_complete(self) -> None:
        self.complete = True


class Front:
    """An ASGI application that forwards what may pass to the replica with the fewest requests.

    It checks hosts and tokens as a server does; replicas are called with the token `secret`. A request whose replica is
    lost before it answered is sent to another one, once; if there is none, the answer is 503 with Retry-After.

    >>> Front(Settings(), "secret of replicas").ready
    False
    """

    def __init__(self, settings: Settings, secret: str) -> None:
        self.settings, self._secret = settings, secret
        self.draining = False
        self.running = self.retried = 0
        self.pace = Pace(settings.busy_bytes_per_s)
        self._guard, self._budget = Guard(settings), Budget(settings.pending_bytes)
        self._pages = frozenset(read_page())
        self._replicas: dict[str, _Replica] = {}

    @property
    def ready(self) -> bool:
        """Whether a replica answers."""
        return not self.draining and any(r.healthy for r in self._replicas.values())

    @property
    def replicas(self) -> dict[str, str]:
        """The addresses of the replicas by their names."""
        return {r.name: f"{r.host}:{r.port}" for r in self._replicas.values()}

    def join(self, name: str, host: str, port: int) -> None:
        """Send requests to a replica."""
        self._replicas[name] = _Replica(name, host, port)

    def leave(self, name: str) -> None:
        """Send no more requests to a replica that has ended."""
        replica = self._replicas.pop(name, None)
        if replica is not None:
            replica.gone = True
            _drop_idle(replica)

    async def watch(self) -> None:
        """Ask each replica every second whether it is ready; requests go to those that are. Returns never."""
        while True:
            await asyncio.gather(*(self._check(r) for r in list(self._replicas.values())))
            await asyncio.sleep(_CHECK_S)

    async def drain(self, seconds: float) -> None:
        """Take no new requests, and wait until those that came are answered."""
        self.draining = True
        until = time.monotonic() + seconds
        while self.running and time.monotonic() < until:
            await asyncio.sleep(0.01)
        for replica in self._replicas.values():
            _drop_idle(replica)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
            return
        self.running += 1
        try:
            response = await self._answer(scope, receive, send)
            if response is not None:
                await response.send(send, method=scope["method"])
        finally:
            self.running -= 1

    async def _answer(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> Response | None:
        """Return an answer of the front's own, or None where that of a replica was sent."""
        request: Request | None = None
        held = 0
        try:
            request = parse_request(scope)
            response = self._own(request)
            if response is None:
                held = await read_body(request, receive, self.settings, self._budget, self.pace)
                await self._forward(scope, request, send)
                return None
        except EyewrightError as error:
            response = error_response(error)
            if isinstance(error, BusyError):
                response.status = 503
                kept = [h for h in response.headers if h[0].lower() != b"retry-after"]
                response.headers = [*kept, (b"retry-after", b"1")]
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except Exception:  # noqa: BLE001 - a client sees no traceback, whatever it is
            _log.exception("a bug in Eyewright")
            response = json_response({"error": "a bug in Eyewright", "code": "fault", "fix": "please report it"}, 500)
        finally:
            self._budget.give(held)
        if request is None or not request.whole or self.draining:
            # What is left of the body would be read as the next request.
            response.headers.append((b"connection", b"close"))
        return response

    def _own(self, request: Request) -> Response | None:
        """Return the answer to what no replica is asked; None for what may pass.

        Raises:
            HttpError: a host, origin or token that is not allowed.
            BusyError: the server is ending.
        """
        if request.path in _LIVE | _READY:
            self._guard.check(request, open_to_all=True)
            if request.path in _LIVE:
                return json_response(Live(True))
            return json_response(Ready(self.ready), 200 if self.ready else 503)
        self._guard.check(request, open_to_all=request.path in self._pages)
        if request.path == ("metrics",):
            return self._metrics()
        if self.draining:
            raise BusyError("the server is ending", fix="ask another one")
        return None

    def _metrics(self) -> Response:
        """Return the front's numbers as Prometheus reads them; those of a replica are asked of the replica."""
        from prometheus_client import CollectorRegistry, Gauge, generate_latest

        registry = CollectorRegistry()
        for name, about, value in (
            ("eyewright_replicas", "Replicas that were started", len(self._replicas)),
            ("eyewright_replicas_ready", "Replicas that answer", sum(r.healthy for r in self._replicas.values())),
            ("eyewright_running_requests", "Requests being answered", self.running),
            ("eyewright_repeated_requests", "Requests that were repeated after a loss", self.retried),
        ):
            Gauge(name, about, registry=registry).set(value)
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _forward(self, scope: Mapping[str, Any], request: Request, send: Send) -> None:
        """Send the answer of a replica.

        Raises:
            BusyError: no replica answers.
        """
        tried: set[str] = set()
        for _ in range(2):
            ready = [r for r in self._replicas.values() if r.healthy and r.name not in tried]
            if not ready:
                break
            replica = min(ready, key=lambda r: (r.running, r.turns))
            replica.turns += 1
            self.retried += bool(tried)
            tried.add(replica.name)
            with contextlib.suppress(_GoneError):
                await self._exchange(scope, request, replica, send)
                return
            # Whether it answers again, it is asked in a second.
            replica.healthy = False
        raise BusyError("no replica could answer", fix="send it again in a second")

    async def _exchange(self, scope: Mapping[str, Any], request: Request, replica: _Replica, send: Send) -> None:
        """Send the request to a replica, and its answer to the client.

        Raises:
            _GoneError: it was lost before it answered; nothing was sent to the client.
        """
        head = self._head(scope, request, replica)
        started = keep = False
        connection: _Connection | None = None
        replica.running += 1
        try:
            while True:
                connection, fresh = await self._connect(replica)
                try:
                    reply, parser = await self._ask(connection, head + request.body)
                    break
                except _GoneError:
                    connection.close()
                    # A connection that was kept may have been closed by the replica meanwhile.
                    if fresh:
                        raise
            kept = [(k, v) for k, v in reply.headers if k.decode("latin-1") not in _HOP]
            start = {"type": "http.response.start", "status": parser.get_status_code(), "headers": kept}
            started = True
            await send(start)
            while True:
                body, reply.body = b"".join(reply.body), []
                if scope["method"] == "HEAD":
                    body = b""
                await send({"type": "http.response.body", "body": body, "more_body": not reply.complete})
                if reply.complete:
                    break
                async with asyncio.timeout(self.settings.deadline_s + _LATE_S):
                    await _feed(connection, parser)
            keep = reply.keep and not replica.gone and len(replica.idle) < _MOST_IDLE
        except (OSError, TimeoutError, _GoneError) as error:
            if not started:
                raise _GoneError from error
            # A part of the answer has been sent: the client must not take it for the whole.
            scope.get("eyewright.abort", _nothing)()
        finally:
            replica.running -= 1
            if connection is not None and keep:
                replica.idle.append(connection)
            elif connection is not None:
                connection.close()

    async def _ask(self, connection: _Connection, message: bytes) -> tuple[_Reply, Any]:
        """Return the head of an answer, and the parser that reads its body."""
        httptools = import_extra("httptools", extra="serve", what="serving")
        reply = _Reply()
        reply.parser = parser = httptools.HttpResponseParser(reply)
        try:
            async with asyncio.timeout(self.settings.deadline_s + _LATE_S):
                connection.writer.write(message)
                await connection.writer.drain()
                while not reply.begun:
                    await _feed(connection, parser)
        except (OSError, TimeoutError) as error:
            raise _GoneError from error
        return reply, parser

    async def _connect(self, replica: _Replica) -> tuple[_Connection, bool]:
        """Return a connection to a replica, and whether it is a new one."""
        while replica.idle:
            kept = replica.idle.pop()
            if not kept.reader.at_eof():
                return kept, False
            kept.close()
        try:
            async with asyncio.timeout(_CONNECT_S):
                return _Connection(*await asyncio.open_connection(replica.host, replica.port)), True
        except (OSError, TimeoutError) as error:
            raise _GoneError from error

    def _head(self, scope: Mapping[str, Any], request: Request, replica: _Replica) -> bytes:
        target = bytes(scope.get("raw_path") or scope["path"].encode()).split(b"?")[0]
        if scope["query_string"]:
            target += b"?" + bytes(scope["query_string"])
        # The body of an answer is not sent to one who asked for its head.
        method = "GET" if request.method == "HEAD" else request.method
        host = f"[{replica.host}]" if ":" in replica.host else replica.host
        lines = [
            f"{method} ".encode() + target + b" HTTP/1.1",
            f"host: {host}:{replica.port}".encode(),
            f"authorization: Bearer {self._secret}".encode(),
            f"content-length: {len(request.body)}".encode(),
            *(bytes(k) + b": " + bytes(v) for k, v in scope["headers"] if k.decode("latin-1").lower() not in _OWN),
        ]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    async def _check(self, replica: _Replica) -> None:
        """Find out whether a replica is ready."""
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(replica.host, replica.port)
                connection = _Connection(reader, writer)
                host = f"[{replica.host}]" if ":" in replica.host else replica.host
                asked = f"GET /readyz HTTP/1.1\r\nhost: {host}:{replica.port}\r\nconnection: close\r\n\r\n"
                _, parser = await self._ask(connection, asked.encode())
                replica.healthy = parser.get_status_code() == 200
        except (OSError, TimeoutError, _GoneError):
            replica.healthy = False
        finally:
            if connection is not None:
                connection.close()


async def serve_front(
    front: Front, door: socket.socket, ended: asyncio.Event, *, ready: Callable[[], None] = lambda: None
) -> None:
    """Answer requests at an open port until `ended` is set, then answer those that came; `ready` is called once a
    replica answers."""
    settings = front.settings
    uvicorn, config = uvicorn_config(front, settings, front.pace)
    inner = quiet_server(uvicorn)(config)
    serving = asyncio.create_task(inner.serve(sockets=[door]))
    watching = asyncio.create_task(front.watch())
    stopping = asyncio.create_task(ended.wait())
    try:
        while not front.ready and not serving.done() and not stopping.done():
            await asyncio.sleep(0.02)
        if front.ready:
            ready()
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await front.drain(settings.drain_s)
        inner.should_exit = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(serving, settings.drain_s)
    finally:
        for task in (watching, stopping):
            task.cancel()
        door.close()


async def _feed(connection: _Connection, parser: Any) -> None:
    httptools = import_extra("httptools", extra="serve", what="serving")
    part = await connection.reader.read(_PIECE)
    if not part:
        raise _GoneError
    try:
        parser.feed_data(part)
    except httptools.HttpParserError as error:
        raise _GoneError from error


def _drop_idle(replica: _Replica) -> None:
    for connection in replica.idle:
        connection.close()
    replica.idle.clear()


def _nothing() -> None:
    """Do nothing: a server without this hook closes the connection itself."""
