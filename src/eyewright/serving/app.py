"""The application: guards, routes, one place where every error becomes an answer."""

__all__ = ["App"]

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from eyewright.core.errors import EyewrightError, LateError
from eyewright.serving.counters import Counters
from eyewright.serving.exchange import (
    Budget,
    HttpError,
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
from eyewright.serving.motion import LiveStream
from eyewright.serving.openapi import openapi
from eyewright.serving.options import check_names
from eyewright.serving.pace import Pace
from eyewright.serving.page import read_page
from eyewright.serving.refusals import refused_reload
from eyewright.serving.routes import Route, build_table
from eyewright.serving.schemas import Answered, Reloaded
from eyewright.serving.service import Service
from eyewright.serving.settings import Settings

_log = logging.getLogger("eyewright.serving")

_SMALL_ANSWER = 2**14
_BURST_S = 0.25


def _nothing(waits: bool) -> None:
    """Ignore it: the server does not ask which connections wait."""


def _at_once() -> None:
    """Do nothing: the server writes head and body separately."""


class App:
    """An ASGI application over a `Service`."""

    def __init__(self, service: Service, settings: Settings, *, reload: Callable[[], Awaitable[None]]) -> None:
        self.service, self.settings, self._reload = service, settings, reload
        self.guard = Guard(settings)
        self.budget = Budget(settings.pending_bytes)
        self.pace = Pace(settings.busy_bytes_per_s)
        self.answers = Pace(settings.busy_bytes_per_s, small=_SMALL_ANSWER, burst_s=_BURST_S)
        recorder = service.recorder
        self.counters = Counters(
            service.crew,
            lambda: [*([] if recorder is None else recorder.gauges()), *service.live.gauges()],
        )
        service.served.append(self.counters.predicted)
        service.refused.append(self.counters.refused)
        self._document: tuple[tuple[Mapping[str, Any], Mapping[str, Any]], bytes] | None = None
        self.pages = read_page()
        self.routes = build_table(self)
        self._exact = {(m, r.parts): r for r in self.routes for m in r.methods if "{" not in r.pattern}
        self._by_length = {
            n: [r for r in self.routes if len(r.parts) == n] for n in {len(r.parts) for r in self.routes}
        }

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
            return
        counted = ["unknown"]
        request: Request | None = None
        try:
            request = parse_request(scope)
            response = await self._answer(request, receive, counted)
            if isinstance(response, LiveStream) and request.method != "HEAD":
                response.begin()
        except EyewrightError as error:
            response = error_response(error)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except Exception:  # noqa: BLE001 - a client sees no traceback, whatever it is
            _log.exception("a bug in Eyewright")
            response = json_response({"error": "a bug in Eyewright", "code": "fault", "fix": "please report it"}, 500)
        if request is not None:
            origin = self.guard.allowed_origin(request)
            if origin is not None:
                response.headers += [(b"access-control-allow-origin", origin.encode()), (b"vary", b"Origin")]
        if self.service.draining:
            response.headers.append((b"connection", b"close"))
        if request is None or not request.whole:
            # What is left of the body would be read as the next request.
            response.headers.append((b"connection", b"close"))
        self.counters.answered(counted[0], response.status)
        if isinstance(response, LiveStream):
            scope.get("eyewright.endless", _at_once)()
            await response.stream(send, receive, method=scope["method"], abort=scope["eyewright.abort"])
        else:
            await self._wait_to_answer(scope, 0 if scope["method"] == "HEAD" else len(response.body))
            scope.get("eyewright.join", _at_once)()
            try:
                await response.send(send, method=scope["method"])
            finally:
                scope.get("eyewright.send_joined", _at_once)()

    async def _wait_to_answer(self, scope: Mapping[str, Any], size: int) -> None:
        """Let small answers go first; a connection that waits here gives way where there are too many."""
        seconds = self.answers.delay(0, size)
        if seconds:
            waits = scope.get("eyewright.waits", _nothing)
            waits(True)
            try:
                await asyncio.sleep(seconds)
            finally:
                waits(False)

    async def _answer(self, request: Request, receive: Receive, counted: list[str]) -> Response:
        """Answer a request; `counted` becomes the route that it is counted under, also where it fails."""
        if request.method == "OPTIONS":
            counted[0] = "options"
            return self._options(request)
        page = self.pages.get(request.path)
        if page is not None:
            counted[0] = "page"
            if request.method not in ("GET", "HEAD"):
                raise HttpError(
                    405, "method", f"expected GET or HEAD, found {request.method[:20]}", headers={"allow": "GET, HEAD"}
                )
            self.guard.check(request, open_to_all=True)
            return page.response(request)
        route, named = self._find(request, counted)
        self.guard.check(request, open_to_all=route.access == "all", admin=route.access == "admin")
        check_names(request.query, route.known)
        held = 0
        if request.method == "POST":
            held = await read_body(
                request, receive, self.settings, self.budget, self.pace, most=route.most_bytes(request)
            )
        try:
            async with asyncio.timeout(self.settings.deadline_s + 2):
                return await route.call(self.service, request, **named)
        except TimeoutError:
            raise LateError("there was no response before the deadline", fix="try again later") from None
        finally:
            self.budget.give(held)
            self.pace.answered(held)

    def _find(self, request: Request, counted: list[str]) -> tuple[Route, dict[str, str]]:
        path = request.path[:-1] if len(request.path) > 1 and request.path[-1] == "" else request.path
        exact = self._exact.get((request.method, path))
        if exact is not None:
            counted[0] = exact.pattern
            return exact, {}
        routes = self._by_length.get(len(path), ())
        matches = [(route, named) for route in routes if (named := _named(route.parts, path)) is not None]
        # What is spelt out goes before a name: no model's page is called "predict".
        spelt = max((len(r.parts) - len(named) for r, named in matches), default=0)
        matches = [(r, named) for r, named in matches if len(r.parts) - len(named) == spelt]
        for route, named in matches:
            counted[0] = route.pattern
            if request.method in route.methods:
                return route, named
        allowed = {m for route, _ in matches for m in route.methods}
        if allowed:
            raise HttpError(
                405,
                "method",
                f"expected {' or '.join(sorted(allowed))}, found {request.method[:20]}",
                headers={"allow": ", ".join(sorted(allowed))},
            )
        raise HttpError(404, "route", "there is nothing at this address", fix="see /openapi.json")

    def _options(self, request: Request) -> Response:
        """Answer a browser that asks whether a page of another origin may call."""
        self.guard.check(request, open_to_all=True)
        headers = [
            (b"access-control-allow-methods", b"GET, HEAD, POST"),
            (b"access-control-allow-headers", b"authorization, content-type, inference-header-content-length"),
            (b"access-control-max-age", b"600"),
        ]
        return Response(b"", 204, headers=headers)

    async def metrics(self, service: Service, request: Request) -> Response:
        """GET /metrics"""
        text = await asyncio.to_thread(self.counters.text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def document(self, service: Service, request: Request) -> Response:
        """GET /openapi.json"""
        # Made once for each table of models, which is replaced and never changed: it takes many times what asking does.
        table = (service.models, service.challengers)
        if self._document is None or any(a is not b for a, b in zip(self._document[0], table, strict=True)):
            self._document = (table, msgspec.json.encode(openapi(self.routes, self.pages, service)))
        return Response(self._document[1])

    async def _read_again(self, work: Awaitable[None]) -> None:
        """Wait for new workers; what goes wrong is said in full to the operator and without paths to the client.

        Raises:
            HttpError: a bundle was refused; the models before it stay in use.
        """
        try:
            await work
        except (EyewrightError, OSError) as error:
            _log.error("the models could not be read again; the previous ones stay in use: %s", error)
            raise refused_reload(error) from None

    async def reloaded(self, service: Service, request: Request) -> Response:
        """POST /v1/reload: read the table of models again."""
        await self._read_again(self._reload())
        return json_response(Reloaded(sorted(service.models)))

    async def loaded(self, service: Service, request: Request, name: str) -> Response:
        """POST /v2/repository/models/{name}/load: read this model's folder again."""
        service.model(name)
        await self._read_again(self._reload())
        return json_response(Answered())

    async def unloaded(self, service: Service, request: Request, name: str) -> Response:
        """POST /v2/repository/models/{name}/unload"""
        service.model(name)
        if len(service.models) - len(service.challengers) < 2:
            raise HttpError(409, "last_model", "the last model cannot be unloaded", fix="stop the server instead")
        kept = {k: m for k, m in service.models.items() if k != name}
        await self._read_again(service.crew.start([m.place for m in kept.values()]))
        service.models = kept
        return json_response(Answered())


def _named(parts: tuple[str, ...], path: tuple[str, ...]) -> dict[str, str] | None:
    """Return the path's parameters by name, None where the path, of as many parts, is not one of the pattern."""
    named = {}
    for mine, given in zip(parts, path, strict=True):
        if mine.startswith("{"):
            named[mine[1:-1]] = given
        elif mine != given:
            return None
    return named
