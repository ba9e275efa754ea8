"""Motion JPEG over HTTP, as network cameras give it: a response that continues, one JPEG after another.

Each JPEG goes through the one image decoder with its caps, so that a camera that is not what it says harms nothing.
"""

__all__ = ["MjpegStream"]

import base64
import http.client
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from eyewright.core.errors import InputError, UnreadableImageError
from eyewright.core.quoting import quoted
from eyewright.imaging.decode import read_image
from eyewright.imaging.headers import Limits
from eyewright.imaging.sources.frames import Frame

_HEADER_BYTES = 16_384
_FRAME_BYTES = 32 * 2**20
_BAD_IN_A_ROW = 30


class MjpegStream:
    """A `multipart/x-mixed-replace` response, or a single JPEG that is asked for again and again."""

    live = True

    def __init__(self, address: str, *, timeout_s: float, limits: Limits) -> None:
        self._limits = limits
        self._response: http.client.HTTPResponse | None = None
        parts = urlsplit(address)
        self._shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        kind = http.client.HTTPSConnection if parts.scheme.lower() == "https" else http.client.HTTPConnection
        try:
            self._connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
        except (ValueError, http.client.HTTPException) as error:
            raise InputError(f"{quoted(self._shown)} is not an address", fix="check it", code="no_stream") from error
        try:
            headers = {"Accept": "multipart/x-mixed-replace, image/jpeg"}
            if parts.username is not None:
                pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
                headers["Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            self._connection.request("GET", path, headers=headers)
            response = self._response = self._connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            reason = "no answer" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or str(error)
            raise InputError(
                f"cannot reach {quoted(self._shown)}: {reason or type(error).__name__}",
                fix="check the address",
                code="no_stream",
            ) from error
        content = response.getheader("Content-Type", "")
        if response.status != 200:
            status = f"{response.status} {response.reason}"
            self.close()
            fix = "try again later" if response.status >= 500 else "check the address"
            if response.status in (401, 403):
                fix = "check the user and the password in the address"
            raise InputError(f"{quoted(self._shown)} answered with status {status}", fix=fix, code="no_stream")
        found = re.search(r'multipart/[-\w]+\s*;.*boundary="?([^";,]+)', content, re.IGNORECASE)
        self._stream = response
        self._boundary = None if found is None else found[1].strip().removeprefix("--").encode("latin-1")
        if found is None and "image/" not in content:
            self.close()
            raise InputError(
                f"expected motion JPEG at {quoted(self._shown)}, found {content or 'no content type'!r}",
                fix="pass the camera's MJPEG address, or its rtsp:// one",
                code="no_stream",
            )

    def frames(self) -> Iterator[Frame]:
        started, bad = time.monotonic(), 0
        index = 0
        for data in self._parts():
            try:
                image: Any = read_image(data, limits=self._limits)
            except UnreadableImageError as error:
                # One torn picture is usual on a bad line; nothing but torn pictures is not a stream.
                bad += 1
                if bad >= _BAD_IN_A_ROW:
                    raise InputError(
                        f"{quoted(self._shown)}: {error.message}", fix=error.fix, code=error.code
                    ) from error
                continue
            bad = 0
            yield Frame(np.asarray(image), self._shown, index, time.monotonic() - started)
            index += 1

    def _parts(self) -> Iterator[bytes]:
        try:
            if self._boundary is None:
                yield self._read(_FRAME_BYTES + 1)
                return
            while True:
                length = self._part_header()
                if length is None:
                    return
                yield self._read(length) if length >= 0 else self._until_boundary()
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = "no picture in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
            raise InputError(
                f"{quoted(self._shown)} stopped: {reason}", fix="check the camera", code="stream_ended"
            ) from error

    def _part_header(self) -> int | None:
        """Read to the end of the next part's header; return its length, -1 where none is said, None at the end."""
        length, lines, begun = -1, 0, False
        while lines < 64:
            line = self._stream.readline(_HEADER_BYTES)
            if not line:
                return None
            lines += 1
            text = line.strip()
            if not begun:
                begun = self._boundary is not None and text.lstrip(b"-").startswith(self._boundary.lstrip(b"-"))
                continue
            if not text:
                return length
            name, _, value = text.partition(b":")
            if name.lower() == b"content-length" and value.strip().isdigit():
                length = int(value)
                if length > _FRAME_BYTES:
                    raise ValueError(f"a picture of {length} bytes")
        raise ValueError("a part without an end to its header")

    def _read(self, length: int) -> bytes:
        data = self._stream.read(length)
        if len(data) > _FRAME_BYTES:
            raise ValueError(f"a picture of more than {_FRAME_BYTES} bytes")
        return data

    def _until_boundary(self) -> bytes:
        """Read a part whose length is not said: to the JPEG's end mark, at a line's end or not."""
        data = bytearray()
        while b"\xff\xd9" not in data[-2:]:
            byte = self._stream.read(1)
            if not byte or len(data) > _FRAME_BYTES:
                break
            data += byte
        return bytes(data)

    def close(self) -> None:
        """Close the connection."""
        # A response without a length has taken the socket over.
        if self._response is not None:
            self._response.close()
        self._connection.close()
