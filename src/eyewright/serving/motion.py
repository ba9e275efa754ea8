"""Motion JPEG: a response that lasts as long as somebody watches."""

__all__ = ["LiveStream"]

import asyncio
import contextlib
import time
from collections.abc import Callable

from eyewright.serving.exchange import SAFETY, Receive, Response, Send
from eyewright.serving.live import Running

_SEND_S = 10.0
_VIEW_S = 3600.0
_BOUNDARY = b"frame"


class LiveStream(Response):
    """A response that does not end by itself: motion JPEG (multipart/x-mixed-replace), the newest frame each time.

    It ends when the client leaves, takes longer than 10 s for a frame, or has watched for an hour, with the last frame
    of a file, and with the server.
    """

    def __init__(self, running: Running) -> None:
        super().__init__(media_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY.decode()}")
        self._running = running
        self._begun = False

    def begin(self) -> None:
        """Take up the viewer, before anything is sent.

        Raises:
            HttpError: as many watch as may, or there is nothing to see.
        """
        self._running.look()
        self._begun = True

    async def stream(self, send: Send, receive: Receive, *, method: str, abort: Callable[[], None]) -> None:
        """Send frames until it ends; `abort` ends the connection without waiting for what was not read."""
        head = [(b"content-type", self.media_type.encode()), *SAFETY, *self.headers, (b"cache-control", b"no-store")]
        if method == "HEAD":
            await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({"type": "http.response.body", "body": b""})
            return
        if not self._begun:
            self.begin()
        gone = asyncio.get_running_loop().create_task(_until_gone(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [*head, (b"connection", b"close")]})
            await self._frames(send, gone)
        except TimeoutError:
            abort()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(gone), 1.0)
        finally:
            gone.cancel()
            self._running.leave()

    async def _frames(self, send: Send, gone: "asyncio.Task[None]") -> None:
        ends, number = time.monotonic() + _VIEW_S, 0
        while time.monotonic() < ends and not self._running.closing and not gone.done():
            if await self._running.newer_than(number):
                number = self._running.number
            picture = self._running.newest
            if picture is None:
                if self._running.over:
                    break
                continue
            part = b"--%b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % (_BOUNDARY, len(picture))
            async with asyncio.timeout(_SEND_S):
                await send({"type": "http.response.body", "body": part + picture + b"\r\n", "more_body": True})
            if self._running.over:
                break
        async with asyncio.timeout(_SEND_S):
            await send({"type": "http.response.body", "body": b"--%b--\r\n" % _BOUNDARY})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
