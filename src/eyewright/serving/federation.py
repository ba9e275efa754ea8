"""The coordinator of a federation over HTTP: a few requests, each within bounds, in a thread of its own.

`privacy.rounds.Rounds` decides; here requests are read and answered. The server binds its port before training begins,
so that a port in use is known at once.
"""

__all__ = ["FederationServer"]

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from eyewright.core.errors import EyewrightError, UsageError, plain_reason
from eyewright.core.quoting import quoted
from eyewright.privacy.federated_messages import Join, Keys, Revealed, Sealed, Update
from eyewright.privacy.rounds import ConflictError, ForeignError, Rounds
from eyewright.serving.answering import answer_request
from eyewright.serving.exchange import (
    Budget,
    HttpError,
    Receive,
    Request,
    Response,
    Send,
    json_response,
    read_body,
)
from eyewright.serving.guards import Guard
from eyewright.serving.listening import open_port, quiet_server, uvicorn_config
from eyewright.serving.pace import Pace
from eyewright.serving.settings import Settings, is_loopback

_SMALL_BODY = 2**16
# Requests to join come before it is known who sends them, and share this room.
_JOINING_BODIES = 2**22
# A client sends one update at a time; one that was cut off may not be noticed before it is sent again.
_BODIES_OF_A_CLIENT = 2
_STEP_BODY = 2**20
_STEPS: Mapping[str, type[Keys] | type[Sealed] | type[Revealed]] = MappingProxyType(
    {"keys": Keys, "shares": Sealed, "reveal": Revealed}
)
_POLL_S = 15.0
_LOOK_S = 0.05
_START_S = 30.0


class FederationApp:
    """An ASGI application over `Rounds`."""

    def __init__(self, rounds: Rounds, settings: Settings) -> None:
        self.rounds, self.settings = rounds, settings
        self.guard, self.pace = Guard(settings), Pace(settings.busy_bytes_per_s)
        self.ending = False
        self._joining = Budget(_JOINING_BODIES)
        self._budgets: dict[str, Budget] = {}

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await answer_request(scope, receive, send, self._answer, refused=_as_http)

    async def _answer(self, request: Request, receive: Receive) -> Response:
        self.guard.check(request)
        method, path, rounds = request.method, request.path, self.rounds
        if (method, path) == ("GET", ("v1", "federation")):
            found = rounds.description()
            if found is None:
                raise HttpError(503, "not_ready", "the federation is being prepared", fix="try again in a second")
            return json_response(found)
        if (method, path) == ("POST", ("v1", "join")):
            async with self._read(request, receive, _SMALL_BODY, self._joining):
                return json_response(rounds.join(_decoded(msgspec.json.decode, request.body, Join)))
        name = request.headers.get("x-eyewright-client", "")
        key = request.headers.get("x-eyewright-key", "")
        if (method, path) == ("GET", ("v1", "task")):
            return await self._task(name, key)
        if method == "GET" and path[:2] == ("v1", "weights") and len(path) == 3:
            return Response(rounds.weights(name, key, path[2]), media_type="application/octet-stream")
        if (method, path) == ("POST", ("v1", "update")):
            # Who has not joined sends no long body.
            rounds.task(name, key)
            async with self._read(request, receive, rounds.most_bytes, self._budget_of(name)):
                update = _decoded(msgspec.msgpack.decode, request.body, Update)
                return json_response(await asyncio.to_thread(rounds.take, name, key, update))
        if method == "POST" and path[:1] == ("v1",) and len(path) == 2 and path[1] in _STEPS:
            rounds.task(name, key)
            async with self._read(request, receive, _STEP_BODY, self._budget_of(name)):
                sent = _decoded(msgspec.msgpack.decode, request.body, _STEPS[path[1]])
                return json_response(await asyncio.to_thread(rounds.take_step, name, key, sent))
        if (method, path) == ("POST", ("v1", "leave")):
            async with self._read(request, receive, _SMALL_BODY, self._joining):
                rounds.leave(name, key)
                return json_response({})
        raise HttpError(404, "route", "there is nothing at this address", fix="see docs/concepts/federated.md")

    async def _task(self, name: str, key: str) -> Response:
        """Answer when there is something to do, or after a while: a client then asks again."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _POLL_S
        while True:
            task = self.rounds.task(name, key)
            if task.state != "wait" or self.ending or loop.time() > until:
                return json_response(task)
            await asyncio.sleep(_LOOK_S)

    def _budget_of(self, name: str) -> Budget:
        """Return how many bytes a client may send at once: one that opens many connections fills its own room only."""
        most = _BODIES_OF_A_CLIENT * max(self.rounds.most_bytes, _STEP_BODY)
        return self._budgets.setdefault(name, Budget(most))

    @contextlib.asynccontextmanager
    async def _read(self, request: Request, receive: Receive, most: int, budget: Budget) -> AsyncIterator[None]:
        held = await read_body(request, receive, replace(self.settings, body_bytes=most), budget, self.pace)
        try:
            yield
        finally:
            budget.give(held)


def _decoded(decode: Any, body: bytes, kind: Any) -> Any:
    try:
        return decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise HttpError(
            400, "message", f"the message cannot be read: {plain_reason(error)}", fix="use eyewright federate join"
        ) from None


def _as_http(error: EyewrightError) -> EyewrightError:
    if isinstance(error, HttpError):
        return error
    status = 403 if isinstance(error, ForeignError) else 503 if error.code == "not_ready" else 409
    if isinstance(error, ConflictError | ForeignError):
        return HttpError(status, error.code, error.message, fix=error.fix)
    return error


class FederationServer:
    """A coordinator that listens during training.

    Args:
        settings: where, and with which token; anything but a loopback address needs one.
        certificate, key: files of PEM for TLS; None for plain HTTP.
    """

    def __init__(
        self, rounds: Rounds, settings: Settings, *, certificate: Path | None = None, key: Path | None = None
    ) -> None:
        if (certificate is None) != (key is None):
            raise UsageError("expected --tls-cert and --tls-key, found one of them", fix="name both, or neither")
        self.settings, self._certificate, self._key = settings, certificate, key
        self.app = FederationApp(rounds, settings)
        self.port = settings.port

    @property
    def address(self) -> str:
        """Where clients find it."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"http{'s' if self._certificate else ''}://{host}:{self.port}"

    @property
    def open_to_eavesdroppers(self) -> bool:
        """Whether others on the network can read the token and the updates."""
        return self._certificate is None and not is_loopback(self.settings.host)

    @contextlib.contextmanager
    def listening(self) -> Iterator["FederationServer"]:
        """Listen until the end of the block.

        Raises:
            UsageError: the port cannot be opened, or certificate and key cannot be read.
            MissingExtraError: the extra `serve` is not installed.
        """
        uvicorn, config = uvicorn_config(self.app, self.settings, self.app.pace)
        if self._certificate is not None and self._key is not None:
            config.ssl_certfile, config.ssl_keyfile = str(self._certificate), str(self._key)
        try:
            config.load()
        except (OSError, ValueError) as error:
            raise UsageError(
                f"cannot use the certificate {quoted(self._certificate)} with the key {quoted(self._key)}: "
                f"{plain_reason(error)}",
                fix="pass a certificate and its key as PEM files",
            ) from None
        door = open_port(self.settings)
        self.port = door.getsockname()[1]
        inner = quiet_server(uvicorn)(config)
        thread = threading.Thread(
            target=lambda: asyncio.run(inner.serve(sockets=[door])), name="federation", daemon=True
        )
        thread.start()
        try:
            yield self
        finally:
            self.app.ending = True
            inner.should_exit = True
            thread.join(_START_S)
            door.close()
