"""uvicorn's HTTP protocol with what it leaves out.

Headers have a size and a time in which they must arrive. Connections are counted, in all and by the client's address:
where there are too many, the one that has been idle longest makes room for a new one. A refusal that comes before the
whole request was read reaches its client: closing a socket that holds unread bytes makes the kernel reset the
connection, and the answer with it (RFC 9112, section 9.6), so such a connection is half closed and what still comes is
thrown away, for a moment. A client that asks and does not read is disconnected: a transport that is closed waits
until what it holds has been sent, so such a connection would never end by itself.
"""

__all__ = ["bounded_protocol"]

import array
import asyncio
import fcntl
import resource
import termios
from typing import Any, Protocol

from eyewright.serving.pace import Pace
from eyewright.serving.settings import Settings

_REFUSAL = (
    b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s"
)
_LINGER_S = 2.0
_MOST_PIPELINED = 16
# Files and sockets that are no client's: the log, the workers, the nursery.
_OWN_FILES = 128
_FREE_CHUNKS = 2**12
_LEAST_CHUNK = 64
_PENALTY_S = 0.02
# Of the bytes that wait, this many must leave in each `write_s`, or the connection is ended.
_LEAST_TAKEN = 2**16


class _Lingering:
    """A transport whose `close` waits for the rest of a request that was refused before it was read.

    Its writes have a deadline: where bytes wait and the client takes fewer than 64 KB of them in `write_s`, the
    connection is ended at once.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop, write_s: float) -> None:
        self._transport, self._loop, self._write_s = transport, loop, write_s
        self.unread = False
        self.closing = False
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._written = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.closing or bool(self._transport.is_closing())

    def write(self, data: bytes) -> None:
        # A half-closed transport would raise where a closed one drops.
        if not self.is_closing():
            self._written += len(data)
            self._transport.write(data)

    @property
    def waiting(self) -> int:
        """How many bytes wait for the client to read."""
        return int(self._transport.get_write_buffer_size())

    def watch(self) -> None:
        """End the connection if its client does not read what waits."""
        if self._watch is None and self.waiting:
            self._watch = self._loop.call_later(self._write_s, self._check, self._written - self.waiting)

    def forget(self) -> None:
        """Stop watching: nothing waits any longer, or the connection is lost."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _check(self, taken: int) -> None:
        self._watch = None
        waiting = self.waiting
        if waiting and self._written - waiting - taken < _LEAST_TAKEN:
            self._transport.abort()
        else:
            self.watch()

    def close(self) -> None:
        if not self.unread or self._transport.is_closing() or not self._transport.can_write_eof():
            self.end()
        elif not self.closing:
            self.closing = True
            self._transport.write_eof()
            self._transport.resume_reading()
            self._timer = self._loop.call_later(_LINGER_S, self.end)
            self.watch()

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._transport.close()
        self.watch()


class _Connection(Protocol):
    """What the table of connections asks of one."""

    def answering(self) -> bool: ...
    def stalled(self) -> bool: ...
    def evict(self) -> None: ...


class _Connections:
    """The open connections, the one that has been quiet longest first, in all and by client."""

    def __init__(self, most: int, most_of_client: int) -> None:
        self.most, self.most_of_client = most, most_of_client
        self._all: dict[_Connection, str] = {}
        self._of: dict[str, dict[_Connection, None]] = {}

    def add(self, one: _Connection, client: str) -> bool:
        """Take a connection up; return whether there is room for it, if need be that of an idle or a stalled one."""
        of_client = self._of.get(client, {})
        crowded: dict[_Connection, Any] | None = None
        if len(of_client) >= self.most_of_client:
            crowded = of_client
        elif len(self._all) >= self.most:
            # Whoever has most gives way.
            crowded = max(self._of.values(), key=len)
        if crowded is not None:
            idle = next((c for c in crowded if not c.answering()), None)
            idle = idle or next((c for c in crowded if c.stalled()), None)
            if idle is None:
                return False
            self.discard(idle)
            idle.evict()
        self._all[one] = client
        self._of.setdefault(client, {})[one] = None
        return True

    def moved(self, one: _Connection) -> None:
        """Note that a request began or was answered: the connection is idle from now."""
        client = self._all.get(one)
        if client is not None:
            self._of[client].pop(one, None)
            self._of[client][one] = None

    def discard(self, one: _Connection) -> None:
        client = self._all.pop(one, None)
        if client is not None:
            left = self._of[client]
            left.pop(one, None)
            if not left:
                del self._of[client]


def _unread(transport: Any) -> bool:
    """Return whether bytes wait in a connection's socket: many connections may be taken up before the first is read."""
    door = transport.get_extra_info("socket")
    if door is None:
        return False
    size = array.array("i", [0])
    try:
        fcntl.ioctl(door.fileno(), termios.FIONREAD, size)
    except (OSError, ValueError):
        return False
    return size[0] > 0


def _room(connections: int) -> int:
    """Return how many connections there is room for, after raising the soft limit of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + _OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(16, min(connections, soft - _OWN_FILES))


def bounded_protocol(settings: Settings, pace: Pace) -> type:
    """Return a protocol class for uvicorn that ends connections whose headers are too slow or too large.

    A connection that sends nothing, or does not read its answer, is ended as well: it costs a descriptor. Malformed
    requests are refused a moment later while others are answered: who sends one after the other waits between them.
    """
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    table = _Connections(_room(settings.connections), settings.client_connections)

    class BoundedProtocol(HttpToolsProtocol):  # type: ignore[misc]
        _header_bytes = 0
        _in_headers = True
        _chunks = 0
        _body_bytes = 0
        _refused: tuple[int, bytes, bytes] | None = None
        _timer: asyncio.TimerHandle | None = None
        _no_more = False
        _waits = False

        def connection_made(self, transport: Any) -> None:
            super().connection_made(_Lingering(transport, self.loop, settings.write_s))
            if table.add(self, self.client[0] if self.client else ""):
                self._begin_timer()
            else:
                self._refuse(503, b"Service Unavailable", b"too many connections; close some, or try again later")

        def answering(self) -> bool:
            """Whether a whole head has come and its answer has not gone, or what came has not been read yet."""
            if self._refused is not None or self.transport is None or self.transport.is_closing():
                return False
            return (self.cycle is not None and not self.cycle.response_complete) or _unread(self.transport)

        def stalled(self) -> bool:
            """Whether an answer waits: because its client does not read, or for its turn."""
            return self._waits or (self.flow is not None and bool(self.flow.write_paused))

        def _waits_for_turn(self, waits: bool) -> None:
            self._waits = waits

        def evict(self) -> None:
            if self.transport is None:
                return
            if self.transport.waiting:
                # To close it would wait for the client to read.
                self.transport.abort()
            else:
                self.transport.unread = False
                self.transport.close()

        def pause_writing(self) -> None:
            super().pause_writing()
            self.transport.watch()

        def resume_writing(self) -> None:
            super().resume_writing()
            if not self.transport.is_closing():
                self.transport.forget()

        def _begin_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_later(settings.header_s, self._too_slow)

        def _too_slow(self) -> None:
            if self._in_headers and self.transport is not None and not self.transport.is_closing():
                if self._header_bytes:
                    self._refuse(408, b"Request Timeout", b"the headers took too long")
                else:
                    self.transport.close()

        def _refuse(self, status: int, reason: bytes, words: bytes) -> None:
            if self.transport is None or self.transport.is_closing():
                return
            body = b'{"error": "%s", "code": "headers"}' % words
            self.transport.write(_REFUSAL % (status, reason, len(body), body))
            self.transport.close()

        def send_400_response(self, msg: str) -> None:
            words = (400, b"Bad Request", b"this is not a request of HTTP/1.1")
            if not pace.busy:
                self._refuse(*words)
            elif self._refused is None and not self.transport.is_closing():
                self._refused = words
                self.transport.pause_reading()
                self.loop.call_later(_PENALTY_S, self._refuse, *words)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            if self._refused is not None:
                return
            if self._in_headers:
                if not self._header_bytes:
                    # Between two requests uvicorn's own, longer patience counts.
                    self._begin_timer()
                self._header_bytes += min(len(data), max(0, data.find(b"\r\n\r\n")) or len(data))
                if self._header_bytes > settings.header_bytes:
                    self.transport.unread = True
                    self._refuse(431, b"Request Header Fields Too Large", b"the headers are too large")
                    return
            super().data_received(data)

        def on_message_begin(self) -> None:
            self.transport.unread = True
            self._chunks = self._body_bytes = 0
            if len(self.pipeline) >= _MOST_PIPELINED:
                # An answer now would be taken for that of another request.
                self.transport.end()
                raise ValueError("too many requests before their answers")
            super().on_message_begin()
            self.scope["eyewright.abort"] = self.transport.abort
            self.scope["eyewright.waits"] = self._waits_for_turn

        def on_headers_complete(self) -> None:
            self._in_headers = False
            if self._timer is not None:
                self._timer.cancel()
            if not self.url.startswith(b"/") and self.url != b"*":
                # An address with a host of its own would go past the check of Host.
                raise ValueError("expected an address that begins with /")
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._body_bytes += len(body)
            super().on_body(body)

        def on_chunk_header(self) -> None:
            # Chunks of a few bytes cost more to read than they carry.
            if self._chunks > _FREE_CHUNKS and self._body_bytes < self._chunks * _LEAST_CHUNK:
                raise ValueError("the chunks are too small")
            self._chunks += 1

        def on_message_complete(self) -> None:
            self.transport.unread = False
            super().on_message_complete()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            table.moved(self)
            self._in_headers, self._header_bytes = True, 0
            if self._no_more and not self._waiting() and not self.transport.is_closing():
                self.transport.close()

        def _waiting(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def eof_received(self) -> bool:
            """Answer what came whole: a client may end its side and still read (RFC 9112, section 9.6).

            Where this returns False, the event loop closes the connection, and an answer never reaches its client.
            """
            if self.transport.is_closing() or self._refused is not None:
                return False
            waiting = self._waiting()
            if waiting and not self.cycle.more_body:
                # The beginning of a further request, which has no end, is dropped.
                self.transport.unread = False
                self._no_more = True
                return True
            begun = self.transport.unread or self._header_bytes > 0
            if begun and not self.pipeline and not (waiting and self.cycle.response_started):
                self.transport.unread = False
                self._refuse(400, b"Bad Request", b"the request ended before it was complete")
            return False

        def connection_lost(self, exc: Exception | None) -> None:
            table.discard(self)
            self.transport.unread = False
            self.transport.forget()
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

    return BoundedProtocol
