"""uvicorn's HTTP protocol with what it leaves out: headers have a size and a time in which they must arrive."""

__all__ = ["bounded_protocol"]

import asyncio
from typing import Any

from eyewright.serving.settings import Settings

_REFUSAL = (
    b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s"
)


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
            super().connection_made(transport)
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

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._in_headers, self._header_bytes = True, 0

        def connection_lost(self, exc: Exception | None) -> None:
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

    return BoundedProtocol
