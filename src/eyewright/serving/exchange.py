"""One request and one response: requests are read within bounds, responses carry safety headers."""

__all__ = [
    "Budget",
    "HttpError",
    "Message",
    "Receive",
    "Request",
    "Response",
    "Send",
    "error_response",
    "json_response",
    "parse_json",
    "parse_request",
    "read_body",
    "status_of",
]

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from eyewright.core.errors import BusyError, EyewrightError
from eyewright.core.jsonable import to_jsonable
from eyewright.serving.jsontext import parse_json
from eyewright.serving.pace import Pace
from eyewright.serving.parsing import parse_apart
from eyewright.serving.refusals import HttpError, status_of, whole_number, without_paths
from eyewright.serving.settings import Settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Said twice, they could be read in two ways: by a proxy in one and here in the other.
_SINGLE = frozenset(
    ("authorization", "content-encoding", "content-length", "content-type", "host", "inference-header-content-length",
     "origin", "transfer-encoding")
)  # fmt: skip
_MOST_QUERY = 32
_JOINED_HERE = 2**20

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


@dataclass
class Request:
    """What a client asked: `path` is split at slashes and unquoted, header names are in lower case.

    `whole` tells whether the body has been read to its end.
    """

    method: str
    path: tuple[str, ...]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    whole: bool = True

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case; empty if none was sent."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def json(self, settings: Settings) -> Any:
        """Return the body as JSON.

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
    """Return a struct or plain values as JSON; a number that is not finite is null."""
    plain = content if isinstance(content, msgspec.Struct) else to_jsonable(content)
    return Response(msgspec.json.encode(plain), status, headers=headers or [])


def error_response(error: EyewrightError) -> Response:
    """Return an error as JSON, without paths of the server's files: `error` says what was expected and what was found,
    `fix` what to do; clients of V2 read `error`."""
    status = status_of(error)
    headers = [(k.encode(), v.encode()) for k, v in getattr(error, "headers", {}).items()]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    message, fix = error.message, error.fix
    if not isinstance(error, HttpError):
        message, fix = without_paths(message), without_paths(fix)
    return json_response({"error": message, "code": error.code, "fix": fix}, status, headers)


def parse_request(scope: Mapping[str, Any]) -> Request:
    """Return the request of an ASGI scope.

    Raises:
        HttpError: a path or query that cannot be read, a name in the query or a header that must be sent once is
            repeated, or there is no Host.
    """
    raw = bytes(scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape"))
    try:
        parts = tuple(unquote_to_bytes(p).decode("utf-8") for p in raw.split(b"?")[0].split(b"/")[1:])
        pairs = parse_qsl(
            scope["query_string"].decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_QUERY, errors="strict"
        )
    except (UnicodeDecodeError, ValueError):
        raise HttpError(
            400, "address", "the address cannot be read", fix="write it as UTF-8, percent-encoded"
        ) from None
    query = dict(pairs)
    if len(query) < len(pairs):
        raise HttpError(400, "query", "expected each name in the query once, found one repeated", fix="send it once")
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        if key in headers and key in _SINGLE:
            raise HttpError(400, "header", f"expected one {key} header, found several", fix="send it once")
        headers[key] = value.decode("latin-1")
    if "host" not in headers and scope.get("http_version") == "1.1":
        raise HttpError(400, "header", "expected a Host header, found none", fix="send it")
    whole = headers.get("content-length", "0").strip("0") == "" and "transfer-encoding" not in headers
    return Request(scope["method"], parts, query, headers, whole=whole)


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
            raise BusyError("the server is at its limit of request bytes", fix="try again in a second")
        self.held += n

    def give(self, n: int) -> None:
        self.held -= n


async def read_body(
    request: Request, receive: Receive, settings: Settings, budget: Budget, pace: Pace, *, most: int | None = None
) -> int:
    """Read the body into the request; return how many bytes of the budget it holds.

    `most` bytes are read where that is less than the settings allow.

    Raises:
        HttpError: too large, compressed, not as long as it said, too slow, or cut off.
        BusyError: too many bytes of other requests are held.
    """
    most = settings.body_bytes if most is None else min(most, settings.body_bytes)
    if request.headers.get("content-encoding", "identity") not in ("identity", ""):
        raise HttpError(415, "content_encoding", "a compressed body is not read", fix="send it uncompressed")
    said = request.headers.get("content-length")
    if said is not None:
        length = whole_number(said)
        if length is None and not (said.isascii() and said.isdigit()):
            raise HttpError(400, "content_length", "Content-Length is not a whole number", fix="send the body's length")
        if length is None or length > most:
            raise _too_large(most)
    parts: list[bytes] = []
    held = 0
    try:
        async with asyncio.timeout(settings.body_s):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise HttpError(400, "cut_off", "the client disconnected before the body was complete")
                part = message.get("body", b"")
                if held + len(part) > most:
                    raise _too_large(most)
                budget.take(len(part))
                held += len(part)
                parts.append(part)
                await pace.wait(held - len(part), len(part))
                more = message.get("more_body", False)
    except TimeoutError:
        budget.give(held)
        raise HttpError(
            408, "body_too_slow", f"the body took longer than {settings.body_s:g} s", fix="send it faster"
        ) from None
    except BaseException:
        budget.give(held)
        raise
    request.whole = True
    # Joined in a thread, a large body does not hold the loop up: bytes.join lets go of the interpreter. One of an
    # ordinary photograph is joined in less time than a thread takes to begin.
    joined_here = len(parts) == 1 or held <= _JOINED_HERE
    request.body = b"".join(parts) if joined_here else await parse_apart(held, b"".join, parts)
    return held


def _too_large(most: int) -> HttpError:
    return HttpError(413, "body_too_large", f"expected a body of at most {most} bytes", fix="shrink it")
