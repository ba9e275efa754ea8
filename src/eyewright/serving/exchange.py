"""One request and one response: what came is read within bounds, what goes out carries its safety headers."""

__all__ = ["HttpError", "Request", "Response", "error_response", "json_response", "read_body", "status_of"]

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from eyewright.core.errors import (
    BusyError,
    EyewrightError,
    InputError,
    LateError,
    LimitError,
    LostError,
    MissingExtraError,
    RefusedError,
    UnreadableImageError,
    UsageError,
)
from eyewright.core.jsonable import to_jsonable
from eyewright.serving.settings import Settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]|\d{2,}', re.DOTALL)

SAFETY = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        b"manifest-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)


class HttpError(EyewrightError):
    """A request that is refused with a status of HTTP's."""

    def __init__(
        self, status: int, code: str, message: str, *, fix: str = "", headers: Mapping[str, str] | None = None
    ):
        super().__init__(message, fix=fix, code=code)
        self.status = status
        self.headers = dict(headers or {})


@dataclass
class Request:
    """What a client asked: `path` is split at slashes and unquoted, header names are in lower case."""

    method: str
    path: tuple[str, ...]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case; empty if none was sent."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def json(self, settings: Settings) -> Any:
        """Give the body as JSON.

        Raises:
            HttpError: not JSON, too deep, or with a number of too many digits.
        """
        return parse_json(self.body, settings)


@dataclass
class Response:
    """What goes back."""

    body: bytes = b""
    status: int = 200
    media_type: str = "application/json"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def send(self, send: Send, *, method: str = "GET") -> None:
        head = [
            (b"content-type", self.media_type.encode("latin-1")),
            (b"content-length", str(len(self.body)).encode()),
            *SAFETY,
            *self.headers,
        ]
        if not any(k == b"cache-control" for k, _ in self.headers):
            head.append((b"cache-control", b"no-store"))
        await send({"type": "http.response.start", "status": self.status, "headers": head})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else self.body})


def json_response(content: Any, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None) -> Response:
    """Give plain values as JSON; a number that is not finite is null."""
    return Response(msgspec.json.encode(to_jsonable(content)), status, headers=headers or [])


def error_response(error: EyewrightError) -> Response:
    """Give an error's name and words; clients of V2 read `error`."""
    status = status_of(error)
    headers = [(k.encode(), v.encode()) for k, v in getattr(error, "headers", {}).items()]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    message = error.message if not error.fix else f"{error.message}; {error.fix}"
    return json_response({"error": message, "code": error.code, "fix": error.fix}, status, headers)


def status_of(error: EyewrightError) -> int:
    """Give HTTP's status for an error of ours.

    >>> status_of(UnreadableImageError("cut off")), status_of(BusyError("full"))
    (422, 503)
    """
    if isinstance(error, HttpError):
        return error.status
    kinds: tuple[tuple[type[EyewrightError] | tuple[type[EyewrightError], ...], int], ...] = (
        (LimitError, 413),
        ((UnreadableImageError, InputError), 422),
        ((BusyError, LostError), 503),
        (LateError, 504),
        (MissingExtraError, 415),
        (UsageError, 400),
        (RefusedError, 500),
    )
    return next((status for kind, status in kinds if isinstance(error, kind)), 500)


def parse_json(data: bytes, settings: Settings) -> Any:
    """Read JSON no deeper and with no more digits in a number than the settings allow.

    >>> parse_json(b'{"a": [1, 2.5]}', Settings())
    {'a': [1, 2.5]}

    Raises:
        HttpError: it is not.
    """
    depth = 0
    for token in _TOKENS.finditer(data):
        first = data[token.start()]
        if first in b"[{":
            depth += 1
            if depth > settings.json_depth:
                raise HttpError(400, "json_too_deep", f"expected JSON at most {settings.json_depth} deep, found deeper")
        elif first in b"]}":
            depth -= 1
        elif first != 34 and token.end() - token.start() > settings.json_digits:
            raise HttpError(
                400, "json_digits", f"expected numbers of at most {settings.json_digits} digits, found more"
            )
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise HttpError(400, "json", f"the body is not JSON: {str(error)[:200]}", fix="check it") from None


def parse_request(scope: Mapping[str, Any]) -> Request:
    """Read an ASGI scope.

    Raises:
        HttpError: a path or query that cannot be read.
    """
    raw = bytes(scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape"))

    try:
        parts = tuple(unquote_to_bytes(p).decode("utf-8") for p in raw.split(b"?")[0].split(b"/")[1:])
        query = dict(parse_qsl(scope["query_string"].decode("ascii"), keep_blank_values=True, max_num_fields=32))
    except (UnicodeDecodeError, ValueError):
        raise HttpError(
            400, "address", "the address cannot be read", fix="write it as UTF-8, percent-encoded"
        ) from None
    headers = {}
    for name, value in scope["headers"]:
        headers[name.decode("latin-1").lower()] = value.decode("latin-1")
    return Request(scope["method"], parts, query, headers)


class Budget:
    """How many bytes of bodies are held at once."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0

    def take(self, n: int) -> None:
        """Hold n bytes more.

        Raises:
            BusyError: there would be too many.
        """
        if self.held + n > self.most:
            raise BusyError("the server holds as many bytes of requests as it takes", fix="try again in a second")
        self.held += n

    def give(self, n: int) -> None:
        self.held -= n


async def read_body(request: Request, receive: Receive, settings: Settings, budget: Budget) -> int:
    """Read the body into the request; give how many bytes of the budget it holds.

    Raises:
        HttpError: too large, compressed, not as long as it said, too slow, or cut off.
        BusyError: too many bytes of other requests are held.
    """
    closing = {"connection": "close"}
    if request.headers.get("content-encoding", "identity") not in ("identity", ""):
        raise HttpError(
            415, "content_encoding", "a compressed body is not read", fix="send it as it is", headers=closing
        )
    said = request.headers.get("content-length")
    if said is not None and (not said.isdigit() or int(said) > settings.body_bytes):
        raise HttpError(
            413, "body_too_large", f"expected a body of at most {settings.body_bytes} bytes", fix="shrink it",
            headers=closing,
        )  # fmt: skip
    parts: list[bytes] = []
    held = 0
    try:
        async with asyncio.timeout(settings.body_s):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise HttpError(400, "cut_off", "the client went away before the body was whole")
                part = message.get("body", b"")
                held += len(part)
                if held > settings.body_bytes:
                    held -= len(part)
                    raise HttpError(
                        413, "body_too_large", f"expected a body of at most {settings.body_bytes} bytes",
                        fix="shrink it", headers=closing,
                    )  # fmt: skip
                try:
                    budget.take(len(part))
                except BusyError:
                    held -= len(part)
                    raise
                parts.append(part)
                more = message.get("more_body", False)
    except TimeoutError:
        budget.give(held)
        raise HttpError(
            408,
            "body_too_slow",
            f"the body took longer than {settings.body_s:g} s",
            fix="send it sooner",
            headers=closing,
        ) from None
    except EyewrightError:
        budget.give(held)
        raise
    request.body = parts[0] if len(parts) == 1 else b"".join(parts)
    return held
