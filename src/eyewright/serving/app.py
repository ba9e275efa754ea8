"""The application: guards, routes, one place where every error becomes an answer."""

__all__ = ["App"]

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

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
from eyewright.serving.openapi import openapi
from eyewright.serving.page import read_page
from eyewright.serving.protocols import hub, label_studio, own, v2
from eyewright.serving.refusals import refused_reload
from eyewright.serving.service import OPTIONS, Service, check_names
from eyewright.serving.settings import Settings

_FEEDBACK_BYTES = 4 * 2**20
# A mask of 40 million pixels, the largest image by default, is a PNG of 1.3 MB with 20,000 objects.
_MASK_BYTES = 8 * 2**20
_SETUP_BYTES = 2**20
_WEBHOOK_BYTES = 8 * 2**20

Call = Callable[..., Awaitable[Response]]

_log = logging.getLogger("eyewright.serving")


class _Route:
    """One line of the table: `open_to_all` needs no token, `admin` the admin's.

    `query` names what may stand in the query, `body_bytes` is a limit of this route's own, `image_bytes` another for
    bodies that are images.
    """

    def __init__(
        self,
        pattern: str,
        call: Call,
        methods: str,
        open_to_all: bool = False,
        admin: bool = False,
        *,
        query: tuple[str, ...] = (),
        body_bytes: int | None = None,
        image_bytes: int | None = None,
    ) -> None:
        self.pattern, self.query, self.body_bytes, self.image_bytes = pattern, query, body_bytes, image_bytes
        self.parts = tuple(pattern.split("/")[1:])
        self.call, self.open_to_all, self.admin = call, open_to_all, admin
        self.methods = tuple(methods.split())

    def most_bytes(self, request: Request) -> int | None:
        """How large a body may be, None for the server's own limit."""
        image = request.media_type.startswith("image/") and self.image_bytes is not None
        return self.image_bytes if image else self.body_bytes


class App:
    """An ASGI application over a `Service`."""

    def __init__(self, service: Service, settings: Settings, *, reload: Callable[[], Awaitable[None]]) -> None:
        self.service, self.settings, self._reload = service, settings, reload
        self.guard = Guard(settings)
        self.budget = Budget(settings.pending_bytes)
        recorder = service.recorder
        self.counters = Counters(service.crew, (lambda: []) if recorder is None else recorder.gauges)
        service.served.append(self.counters.predicted)
        self.pages = read_page()
        self.routes = self._table()
        self._exact = {(m, r.parts): r for r in self.routes for m in r.methods if "{" not in r.pattern}

    def _table(self) -> list[_Route]:
        r = _Route
        get, post = "GET HEAD", "POST"
        found = [
            r("/healthz", v2.live, get, True),
            r("/readyz", v2.ready, get, True),
            r("/metrics", self._metrics, get),
            r("/openapi.json", self._openapi, get),
            r("/v1/models", own.list_models, get),
            r("/v1/models/{name}", own.show_model, get),
            r("/v1/models/{name}/{kind}", own.page_of, get),
            r("/v1/models/{name}/predict", own.predict, post, query=OPTIONS),
            r(
                "/v1/feedback",
                own.feedback,
                post,
                body_bytes=_FEEDBACK_BYTES,
                image_bytes=_MASK_BYTES,
                query=("prediction_id",),
            ),
            r("/v1/watch", own.watch, get),
            r("/v1/images/{name}", own.image, get),
            r("/v1/reload", self._reloaded, post, False, True),
            r("/predict/{name}", hub.predict, post, query=hub.OPTIONS),
            r("/v2", v2.server, get),
            r("/v2/health/live", v2.live, get, True),
            r("/v2/health/ready", v2.ready, get, True),
            r("/v2/repository/index", v2.index, post),
            r("/v2/repository/models/{name}/load", self._loaded, post, False, True),
            r("/v2/repository/models/{name}/unload", self._unloaded, post, False, True),
        ]
        for head in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
            found += [
                r(head, v2.metadata, get),
                r(f"{head}/ready", v2.model_ready, get),
                r(f"{head}/config", v2.configuration, get),
                r(f"{head}/stats", v2.statistics, get),
                r(f"{head}/infer", v2.infer, post),
            ]
        for head in ("", "/label-studio/{name}"):
            found += [
                r(f"{head}/health", label_studio.health, get, True),
                r(f"{head}/setup", label_studio.setup, post, body_bytes=_SETUP_BYTES),
                r(f"{head}/predict", label_studio.predict, post),
                r(f"{head}/webhook", label_studio.webhook, post, body_bytes=_WEBHOOK_BYTES, query=("new_classes",)),
            ]
        return found

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
        except EyewrightError as error:
            response = error_response(error)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except Exception:  # noqa: BLE001 - a client sees no traceback, whatever it is
            _log.exception("a fault of ours")
            response = json_response({"error": "a fault of ours", "code": "fault", "fix": "please report it"}, 500)
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
        await response.send(send, method=scope["method"])

    async def _answer(self, request: Request, receive: Receive, counted: list[str]) -> Response:
        """Answer a request; `counted` becomes the route that it is counted under, also where it fails."""
        if request.method == "OPTIONS":
            counted[0] = "options"
            return self._options(request)
        page = self.pages.get(request.path) if request.method in ("GET", "HEAD") else None
        if page is not None:
            counted[0] = "page"
            self.guard.check(request, open_to_all=True)
            return page.response(request)
        route, named = self._find(request, counted)
        self.guard.check(request, open_to_all=route.open_to_all, admin=route.admin)
        check_names(request.query, route.query)
        held = 0
        if request.method == "POST":
            held = await read_body(request, receive, self.settings, self.budget, most=route.most_bytes(request))
        try:
            async with asyncio.timeout(self.settings.deadline_s + 2):
                return await route.call(self.service, request, **named)
        except TimeoutError:
            raise LateError("there was no answer before the deadline", fix="try again later") from None
        finally:
            self.budget.give(held)

    def _find(self, request: Request, counted: list[str]) -> tuple[_Route, dict[str, str]]:
        path = request.path[:-1] if len(request.path) > 1 and request.path[-1] == "" else request.path
        exact = self._exact.get((request.method, path))
        if exact is not None:
            counted[0] = exact.pattern
            return exact, {}
        allowed: set[str] = set()
        for route in self.routes:
            if len(route.parts) != len(path):
                continue
            named = {}
            for mine, given in zip(route.parts, path, strict=True):
                if mine.startswith("{"):
                    named[mine[1:-1]] = given
                elif mine != given:
                    break
            else:
                counted[0] = route.pattern
                if request.method in route.methods:
                    return route, named
                allowed |= set(route.methods)
        if allowed:
            raise HttpError(
                405, "method", f"expected {' or '.join(sorted(allowed))}", headers={"allow": ", ".join(sorted(allowed))}
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

    async def _metrics(self, service: Service, request: Request) -> Response:
        """GET /metrics"""
        text = await asyncio.to_thread(self.counters.text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _openapi(self, service: Service, request: Request) -> Response:
        """GET /openapi.json"""
        return json_response(openapi(service))

    async def _read_anew(self, work: Awaitable[None]) -> None:
        """Wait for new workers; what goes wrong is said in full to the operator and without paths to the client.

        Raises:
            HttpError: a bundle was refused; the models before it stay in use.
        """
        try:
            await work
        except (EyewrightError, OSError) as error:
            _log.error("the models could not be read anew, those before go on: %s", error)
            raise refused_reload(error) from None

    async def _reloaded(self, service: Service, request: Request) -> Response:
        """POST /v1/reload: read the table of models anew."""
        await self._read_anew(self._reload())
        return json_response({"models": sorted(service.models)})

    async def _loaded(self, service: Service, request: Request, name: str) -> Response:
        """POST /v2/repository/models/{name}/load: read this model's folder anew."""
        service.model(name)
        await self._read_anew(self._reload())
        return json_response({})

    async def _unloaded(self, service: Service, request: Request, name: str) -> Response:
        """POST /v2/repository/models/{name}/unload"""
        service.model(name)
        if len(service.models) - len(service.challengers) < 2:
            raise HttpError(409, "last_model", "the last model cannot be unloaded", fix="stop the server instead")
        kept = {k: m for k, m in service.models.items() if k != name}
        await self._read_anew(service.crew.start([m.place for m in kept.values()]))
        service.models = kept
        return json_response({})
