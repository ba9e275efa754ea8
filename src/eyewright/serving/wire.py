"""uvicorn's HTTP protocol with what it leaves out.

Headers have a size and a time in which they must arrive. A refusal that comes before the whole request was read reaches
its client: closing a socket that holds unread bytes makes the kernel reset the connection, and the answer with it
(RFC 9112, section 9.6), so such a connection is half closed and what still comes is thrown away, for a moment.
"""

__all__ = ["bounded_protocol"]

import asyncio
from typing import Any

from eyewright.serving.settings import Settings

_REFUSAL = (
    b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s"
)
_LINGER_S = 2.0


class _Lingering:
    """A transport whose `close` waits for the rest of a request that was refused before it was read."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self.unread = False
        self.closing = False
        self._timer: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.closing or bool(self._transport.is_closing())

    def write(self, data: bytes) -> None:
        # A half-closed transport would raise where a closed one drops.
        if not self.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        if not self.unread or self._transport.is_closing() or not self._transport.can_write_eof():
            self.end()
        elif not self.closing:
            self.closing = True
            self._transport.write_eof()
            self._transport.resume_reading()
            self._timer = self._loop.call_later(_LINGER_S, self.end)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._transport.close()


def bounded_protocol(settings: Settings) -> type:
    """Give a protocol class for uvicorn that ends connections whose headers are too slow or too large.

    A connection that sends nothing is ended as well: it costs a descriptor.
    """
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class BoundedProtocol(HttpToolsProtocol):  # type: ignore[misc]
        _header_bytes = 0
        _in_headers = True
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(_Lingering(transport, self.loop))
            self._begin_timer()

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

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            self.transport.unread = True
            if self._in_headers:
                if not self._header_bytes:
                    # Between two requests uvicorn's own, longer patience counts.
                    self._begin_timer()
                self._header_bytes += min(len(data), max(0, data.find(b"\r\n\r\n")) or len(data))
                if self._header_bytes > settings.header_bytes:
                    self._refuse(431, b"Request Header Fields Too Large", b"the headers are too large")
                    return
            super().data_received(data)

        def on_headers_complete(self) -> None:
            self._in_headers = False
            if self._timer is not None:
                self._timer.cancel()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self.transport.unread = False
            super().on_message_complete()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._in_headers, self._header_bytes = True, 0

        def connection_lost(self, exc: Exception | None) -> None:
            self.transport.unread = False
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

    return BoundedProtocol
