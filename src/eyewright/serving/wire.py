"""uvicorn's HTTP protocol with what it leaves out.

Headers have a size and a time in which they must arrive. Connections are counted, in all and by the client's address:
where there are too many, the one that has been idle longest makes room for a new one. A refusal that comes before the
whole request was read reaches its client: closing a socket that holds unread bytes makes the kernel reset the
connection, and the answer with it (RFC 9112, section 9.6), so such a connection is half closed and what still comes is
thrown away, for a moment. A client that asks and does not read is disconnected: a transport that is closed waits
until what it holds has been sent, so such a connection would never end by itself. Of requests that are sent before the
answer to the one in front, only the bytes are kept: each is parsed when its turn comes, and while others are answered
there are few such turns in a second.
"""

__all__ = ["bounded_protocol"]

import asyncio
from typing import Any

from eyewright.serving.connections import Connections, room, unread
from eyewright.serving.pace import Pace, Turns
from eyewright.serving.settings import Settings

_REFUSAL = (
    b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s"
)
_LINGER_S = 2.0
_MOST_PIPELINED = 16
_FREE_CHUNKS = 2**12
_LEAST_CHUNK = 64
# Extensions of chunks and trailers are read and dropped: as many bytes as the body has, and this many more.
_FREE_OVERHEAD = 2**18
_MOST_HEADERS = 256
_MOST_TRAILERS = 64
_PENALTY_S = 0.02
_BLANK = b"\r\n\r\n"
_WITHOUT_BODY = (b"GET ", b"HEAD ")
# Of a body that nobody has asked for yet: the body of an ordinary photograph is read without a pause.
_MOST_UNREAD = 2**18
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
        # While requests wait that were sent ahead, nobody else resumes reading.
        self.held = False
        # A TLS transport that is lost can no longer be asked what waits in it.
        self.lost = False
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._written = 0
        # What is written while an answer is joined.
        self._joined: list[bytes] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.closing or bool(self._transport.is_closing())

    def write(self, data: bytes) -> None:
        # A half-closed transport would raise where a closed one drops.
        if self._joined is not None:
            self._joined.append(data)
        elif not self.is_closing():
            self._written += len(data)
            self._transport.write(data)

    def join(self) -> None:
        """Hold what is written until `send_joined`: head and body of an answer leave, and arrive, as one."""
        if self._joined is None:
            self._joined = []

    def send_joined(self) -> None:
        """Send what was held, and hold nothing further."""
        held, self._joined = self._joined, None
        if held:
            self.write(b"".join(held))

    def resume_reading(self) -> None:
        if not self.held:
            self._transport.resume_reading()

    @property
    def waiting(self) -> int:
        """How many bytes wait for the client to read."""
        return 0 if self.lost else int(self._transport.get_write_buffer_size())

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
        self.send_joined()
        if not self.unread or self._transport.is_closing() or not self._transport.can_write_eof():
            self.end()
        elif not self.closing:
            self.closing = True
            self._transport.write_eof()
            self._transport.resume_reading()
            self._timer = self._loop.call_later(_LINGER_S, self.end)
            self.watch()

    def end(self) -> None:
        self.send_joined()
        if self._timer is not None:
            self._timer.cancel()
        self._transport.close()
        self.watch()


def bounded_protocol(settings: Settings, pace: Pace) -> type:
    """Return a protocol class for uvicorn that ends connections whose headers are too slow or too large.

    A connection that sends nothing, or does not read its answer, is ended as well: it costs a descriptor. Malformed
    requests are refused a moment later while others are answered: who sends one after the other waits between them.
    """
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    table = Connections(room(settings.connections), settings.client_connections)
    turns = Turns(pace)

    class BoundedProtocol(HttpToolsProtocol):  # type: ignore[misc]
        _header_bytes = 0
        _in_headers = True
        _chunks = 0
        _body_bytes = 0
        _raw_bytes = 0
        # Whether the fields that come are those of a head; of requests sent ahead one may begin before an answer ends.
        _in_head = False
        _trailers = 0
        _refused: tuple[int, bytes, bytes] | None = None
        _timer: asyncio.TimerHandle | None = None
        _no_more = False
        _waits = False
        # Bytes of requests behind the one that is answered.
        _ahead = b""
        _in_turn = False
        # Whether the answer is one that ends when its client leaves.
        _endless = False

        def connection_made(self, transport: Any) -> None:
            super().connection_made(_Lingering(transport, self.loop, settings.write_s))
            if table.add(self, self.client[0] if self.client else ""):
                self._begin_timer()
            else:
                self._refuse(503, b"Service Unavailable", b"too many connections; close some, or try again later")

        def answering(self) -> bool:
            """Whether a whole head has come and its answer has not gone, or what was received has not been read yet."""
            if self._refused is not None or self.transport is None or self.transport.is_closing():
                return False
            return self._in_turn or self._waiting() or unread(self.transport)

        def stalled(self) -> bool:
            """Whether a request or an answer waits: because its client does not read, or for its turn."""
            return self._waits or self._in_turn or (self.flow is not None and bool(self.flow.write_paused))

        def _waits_for_turn(self, waits: bool) -> None:
            self._waits = waits

        def _becomes_endless(self) -> None:
            self._endless = True

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
            if self._deaf():
                return
            if self._in_turn or (self._waiting() and not self.cycle.more_body):
                self._keep(data)
            else:
                self._feed(data)

        def _deaf(self) -> bool:
            return bool(self.transport.is_closing()) or self._refused is not None

        def _keep(self, data: bytes) -> None:
            """Keep bytes of requests whose turn has not come, and stop reading where they exceed a head."""
            self._ahead += data
            if len(self._ahead) > settings.header_bytes:
                self.transport.held = True
                self.transport.pause_reading()

        def _feed(self, data: bytes) -> None:
            """Parse one request; what follows it waits for its answer."""
            while data and not self._deaf():
                end = len(data)
                if self._in_headers:
                    blank = data.find(_BLANK)
                    end = blank + len(_BLANK) if blank >= 0 else end
                    ahead = end < len(data) and not self._header_bytes and data.startswith(_WITHOUT_BODY)
                    if ahead and not self._in_turn and turns.crowded:
                        # Whoever sends several requests at once can wait for the first, too.
                        self._keep(data)
                        self._take_turn()
                        return
                    if not self._header_bytes:
                        # Between two requests uvicorn's own, longer patience counts.
                        self._begin_timer()
                    self._header_bytes += max(0, blank) or end
                    if self._header_bytes > settings.header_bytes:
                        self.transport.unread = True
                        self._refuse(431, b"Request Header Fields Too Large", b"the headers are too large")
                        return
                super().data_received(data[:end])
                if end < len(data) and self._in_body() and not self._deaf():
                    # The beginning of a body, behind its head, is handed on without a copy.
                    super().data_received(memoryview(data)[end:])
                    end = len(data)
                data = data[end:]
                self._raw_bytes += end
                if self._raw_bytes > 2 * self._body_bytes + _FREE_OVERHEAD and self._in_body() and not self._deaf():
                    self.send_400_response("chunk framing larger than the body")
                if self._waiting() and not self.cycle.more_body:
                    break
            if data and not self._deaf():
                self._keep(data)

        def _take_turn(self) -> None:
            self._in_turn = True
            self._unset_keepalive_if_required()
            turns.add(self._turn)

        def _turn(self) -> None:
            """Parse the next of the requests that were sent ahead."""
            data, self._ahead = self._ahead, b""
            if self.transport is None or self._deaf():
                self._in_turn = False
                return
            self._feed(data)
            self._in_turn = False
            if self.transport.held and len(self._ahead) <= settings.header_bytes:
                self.transport.held = False
                if not self.flow.read_paused:
                    self.transport.resume_reading()
            self._end_if_all_is_answered()

        def on_message_begin(self) -> None:
            self.transport.unread = True
            self._chunks = self._body_bytes = self._raw_bytes = self._trailers = 0
            if len(self.pipeline) >= _MOST_PIPELINED:
                # An answer now would be taken for that of another request.
                self.transport.end()
                raise ValueError("too many pipelined requests")
            self._in_head = True
            super().on_message_begin()
            self.scope["eyewright.abort"] = self.transport.abort
            self.scope["eyewright.waits"] = self._waits_for_turn
            self.scope["eyewright.endless"] = self._becomes_endless
            self.scope["eyewright.join"] = self.transport.join
            self.scope["eyewright.send_joined"] = self.transport.send_joined

        def on_header(self, name: bytes, value: bytes) -> None:
            if self._in_head:
                if len(self.headers) >= _MOST_HEADERS:
                    self.transport.unread = True
                    self._refuse(431, b"Request Header Fields Too Large", b"there are too many headers")
                    raise ValueError("too many headers")
                super().on_header(name, value)
                return
            # uvicorn would add the fields of a trailer to the headers: whoever checked these, a proxy for one, has not
            # seen them (RFC 9110, section 6.5.1).
            self._trailers += 1
            if self._trailers > _MOST_TRAILERS:
                raise ValueError("too many trailers")

        def on_headers_complete(self) -> None:
            self._in_headers = self._in_head = False
            if self._timer is not None:
                self._timer.cancel()
            if not self.url.startswith(b"/") and self.url != b"*":
                # An address with a host of its own would go past the check of Host.
                raise ValueError("expected an address that begins with /")
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._body_bytes += len(body)
            if self.cycle.response_complete:
                return
            # As uvicorn does, with a limit of our own and without two copies: most bodies come in one or two pieces.
            held = self.cycle.body
            self.cycle.body = held + body if held else body
            if len(self.cycle.body) > _MOST_UNREAD:
                self.flow.pause_reading()
            self.cycle.message_event.set()

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
            if self._ahead and not self._waiting() and not self._deaf():
                self._take_turn()
            self._end_if_all_is_answered()

        def _end_if_all_is_answered(self) -> None:
            done = self._no_more and not self._waiting() and not self._in_turn
            if done and not self.transport.is_closing():
                self.transport.close()

        def _in_body(self) -> bool:
            return self._waiting() and not self._in_headers and bool(self.cycle.more_body)

        def _waiting(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def eof_received(self) -> bool:
            """Answer what was received whole: a client may end its side and still read (RFC 9112, section 9.6).

            Where this returns False, the event loop closes the connection, and an answer never reaches its client. Of
            an answer without an end it is the only sign that nobody watches, where no frame is sent that could fail.
            """
            if self.transport.is_closing() or self._refused is not None or self._endless:
                return False
            waiting = self._waiting()
            if self._in_turn or (waiting and not self.cycle.more_body):
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
            self.transport.lost = True
            self.transport.forget()
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

    return BoundedProtocol
