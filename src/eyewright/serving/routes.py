"""The table of routes: the application finds its way by it, and the OpenAPI document is made from it."""

__all__ = ["BINARY", "Answer", "Body", "Machinery", "Route", "build_table"]

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

import msgspec

from eyewright.serving import fill_schemas as filled
from eyewright.serving import schemas as s
from eyewright.serving import search_schemas as found
from eyewright.serving.exchange import Request, Response
from eyewright.serving.protocols import fill, hub, label_studio, own, search, sources, v2
from eyewright.serving.service import Service

Call = Callable[..., Awaitable[Response]]
Access = Literal["all", "token", "admin"]

BINARY = "binary"
"""In the place of a struct: bytes that no schema describes, such as an image file."""
TEXT = "text"
FORM = "form"

_FEEDBACK_BYTES = 4 * 2**20
# A mask of 40 million pixels, the largest image by default, is a PNG of 1.3 MB with 20,000 objects.
_MASK_BYTES = 8 * 2**20
_SETUP_BYTES = 2**20
_WEBHOOK_BYTES = 8 * 2**20

_IMAGES = ("application/octet-stream", "image/jpeg", "image/png")
_NAME = r"^[0-9a-f]{64}$"


@dataclass(frozen=True)
class Answer:
    """What comes back: a description, and a schema by media type."""

    about: str
    content: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Body:
    """What a request may carry, a schema by media type; `form` holds the options of a form next to its one file.
    Further files that a form may have are in `files`, by their field, each with what it is.

    JSON must hold one of the fields `required_one_of`, and no other of them with `exclusive`.
    `most_bytes` is a limit of this route's own, `most_image_bytes` another for bodies that are images.
    """

    content: Mapping[str, Any]
    form: type[msgspec.Struct] | None = None
    required_one_of: tuple[str, ...] = ()
    exclusive: bool = False
    required: bool = True
    most_bytes: int | None = None
    most_image_bytes: int | None = None
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """One line of the table. `access`: "all" needs no token, "admin" the admin's.

    `query` is the struct of the query's parameters, `paths` the schemas of the path's that are not names of models;
    `refusals` are statuses in addition to those that every route of its kind can answer with.
    """

    pattern: str
    call: Call
    methods: tuple[str, ...]
    about: str
    answers: Mapping[int, Answer]
    access: Access = "token"
    query: type[msgspec.Struct] | None = None
    body: Body | None = None
    paths: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    refusals: tuple[int, ...] = ()

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """The pattern, split at slashes."""
        return tuple(self.pattern.split("/")[1:])

    @cached_property
    def named(self) -> tuple[str, ...]:
        """The names of the path's parameters."""
        return tuple(p[1:-1] for p in self.parts if p.startswith("{"))

    @cached_property
    def known(self) -> tuple[str, ...]:
        """What the query may hold."""
        return () if self.query is None else self.query.__struct_fields__

    def most_bytes(self, request: Request) -> int | None:
        """Return how large a body may be, None for the server's own limit."""
        if self.body is None:
            return None
        if request.media_type.startswith("image/") and self.body.most_image_bytes is not None:
            return self.body.most_image_bytes
        return self.body.most_bytes


class Machinery(Protocol):
    """The routes that belong to the application itself."""

    async def metrics(self, service: Service, request: Request) -> Response: ...
    async def document(self, service: Service, request: Request) -> Response: ...
    async def reloaded(self, service: Service, request: Request) -> Response: ...
    async def loaded(self, service: Service, request: Request, name: str) -> Response: ...
    async def unloaded(self, service: Service, request: Request, name: str) -> Response: ...


def _json(kind: Any, about: str = "") -> Answer:
    words = about or (getattr(kind, "__doc__", None) or "Done").strip().splitlines()[0]
    return Answer(words, {"application/json": kind})


def _get(pattern: str, call: Call, about: str, answer: Answer, **more: Any) -> Route:
    answers = {200: answer, **more.pop("answers", {})}
    return Route(pattern, call, ("GET", "HEAD"), about, answers, **more)


def _post(pattern: str, call: Call, about: str, answer: Answer, *, status: int = 200, **more: Any) -> Route:
    return Route(pattern, call, ("POST",), about, {status: answer}, **more)


def _image(json: type[msgspec.Struct], form: type[msgspec.Struct]) -> Body:
    content = dict.fromkeys(_IMAGES, BINARY) | {"multipart/form-data": FORM, "application/json": json}
    return Body(content, form=form, required_one_of=("inputs", "image"), exclusive=True)


def build_table(app: Machinery) -> list[Route]:
    """Return every route."""
    json_body = "application/json"
    not_ready = {503: _json(s.Ready, "Not ready")}
    live, ready = _json(s.Live), _json(s.Ready)
    kinds = {"kind": {"enum": ["report", "card"], "description": "Which page"}}
    page = Answer("The page", {"text/html": TEXT, "text/markdown": TEXT})
    numbered = {
        "number": {"type": "string", "pattern": r"^\d{1,2}$", "description": "The number of the sample, from 0"}
    }
    kept = Answer("The image", {"image/png": BINARY, "image/jpeg": BINARY})
    files = {"name": {"type": "string", "pattern": _NAME, "description": "The SHA-256 of the image"}}
    cameras = {"name": {"type": "string", "description": "The source, as the server was started with"}}
    moving = Answer("Motion JPEG, without an end", {"multipart/x-mixed-replace": BINARY})
    predicted = (409, 413, 422)
    indexes = {"name": {"type": "string", "description": "The index, as the server was started with"}}
    hit = {"id": {"type": "string", "pattern": r"^\d{1,16}$", "description": "The id of a hit"}}
    sought = dict.fromkeys(_IMAGES, BINARY) | {"multipart/form-data": FORM, json_body: found.SearchBody}
    holed = dict.fromkeys(_IMAGES, BINARY) | {"multipart/form-data": FORM, json_body: filled.FillBody}
    masks = {"mask": "An image of the same size, white where to fill"}
    routes = [
        _get("/healthz", v2.live, "Whether the process is alive", live, access="all"),
        _get("/readyz", v2.ready, "Whether it is ready", ready, access="all", answers=not_ready),
        _get("/metrics", app.metrics, "Prometheus metrics", Answer("Metrics", {"text/plain": TEXT})),
        _get("/openapi.json", app.document, "This document", Answer("OpenAPI 3.1", {json_body: dict[str, Any]})),
        _get("/v1/models", own.list_models, "The models that are served", _json(s.ModelList)),
        _get("/v1/models/{name}", own.show_model, "One model", _json(s.ModelShown)),
        _get("/v1/models/{name}/{kind}", own.page_of, "The model's report or card", page, paths=kinds),
        _get(
            "/v1/models/{name}/samples/{number}", own.sample, "A sample image of the model",
            Answer("The image", {"image/png": BINARY}), paths=numbered,
        ),
        _post(
            "/v1/models/{name}/predict", own.predict, "Predict an image", _json(s.Prediction), query=s.Options,
            body=_image(s.ImageBody, s.Options), refusals=predicted,
        ),
        _post(
            "/v1/models/{name}/inpaint", fill.fill, "Fill a part of an image",
            Answer("The image; x-eyewright-method says how it was filled", {"image/png": BINARY}),
            query=filled.FillOptions, body=Body(holed, form=filled.FillOptions, files=masks), refusals=predicted,
        ),
        _post(
            "/v1/feedback", own.feedback, "Send feedback", _json(s.Stored), status=201, query=s.MaskQuery,
            body=Body(
                {json_body: s.Feedback, "image/png": BINARY},
                required_one_of=("label", "correct", "objects", "classes", "values", "tags", "text"),
                most_bytes=_FEEDBACK_BYTES, most_image_bytes=_MASK_BYTES,
            ),
            refusals=(404, 409, 413, 422),
        ),
        _get("/v1/watch", own.watch, "The state of monitoring", _json(s.WatchShown), refusals=(404, 409)),
        _get("/v1/index", search.list_indexes, "The indexes", _json(found.IndexList), refusals=(409, 422)),
        _get(
            "/v1/index/{name}", search.show_index, "One index", _json(found.IndexShown), paths=indexes,
            refusals=(409, 422),
        ),
        _get(
            "/v1/index/{name}/images/{id}", search.thumbnail, "An indexed image, reduced",
            Answer("The image", {"image/jpeg": BINARY}), query=found.ThumbnailQuery, paths=indexes | hit,
            refusals=(409, 413, 422),
        ),
        _post(
            "/v1/search", search.search, "Find indexed images by words or by image", _json(found.Searched),
            query=found.SearchOptions,
            body=Body(sought, form=found.SearchOptions, required_one_of=("words", "image", "like"), required=False),
            refusals=(404, *predicted),
        ),
        _get("/v1/sources", sources.list_sources, "The live sources", _json(s.SourceList)),
        _get("/v1/sources/{name}", sources.show_source, "One live source", _json(s.SourceShown), paths=cameras),
        _get(
            "/v1/sources/{name}/live", sources.watch_source, "The newest frames of a live source", moving,
            paths=cameras,
        ),
        _get("/v1/images/{name}", own.image, "An image that was kept", kept, paths=files),
        _post("/v1/reload", app.reloaded, "Reload the models", _json(s.Reloaded), access="admin", refusals=(409,)),
        _post(
            "/predict/{name}", hub.predict, "Hugging Face's task JSON", _json(list[s.HubRow], "Rows"),
            query=s.HubOptions, body=_image(s.HubImageBody, s.HubOptions), refusals=predicted,
        ),
        _get("/v2", v2.server, "Open Inference V2: the server", _json(s.ServerAbout)),
        _get("/v2/health/live", v2.live, "V2: live", live, access="all"),
        _get("/v2/health/ready", v2.ready, "V2: ready", ready, access="all", answers=not_ready),
        _post("/v2/repository/index", v2.index, "V2: the models", _json(list[s.IndexRow], "The models")),
        _post(
            "/v2/repository/models/{name}/load", app.loaded, "V2: reload a model", _json(s.Answered),
            access="admin", refusals=(409,),
        ),
        _post(
            "/v2/repository/models/{name}/unload", app.unloaded, "V2: unload a model", _json(s.Answered),
            access="admin", refusals=(409,),
        ),
    ]  # fmt: skip
    model_not_ready = {503: _json(s.ModelReady, "Not ready")}
    inferred = Answer("Output tensors", {json_body: s.Inferred, "application/octet-stream": BINARY})
    for head in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        more: dict[str, Any] = {"paths": {"version": {"enum": ["1"], "description": "Always 1"}}}
        tensors = Body({json_body: s.InferCall, "application/octet-stream": BINARY})
        routes += [
            _get(head, v2.metadata, "V2: a model's tensors", _json(s.TensorModel), **more),
            _get(f"{head}/ready", v2.model_ready, "V2: ready", _json(s.ModelReady), answers=model_not_ready, **more),
            _get(f"{head}/config", v2.configuration, "V2: configuration", _json(s.TritonConfig), **more),
            _get(f"{head}/stats", v2.statistics, "V2: statistics", _json(s.TritonStats), **more),
            _post(f"{head}/infer", v2.infer, "V2: infer", inferred, body=tensors, refusals=predicted, **more),
        ]
    for head in ("", "/label-studio/{name}"):
        routes += [
            _get(
                f"{head}/health", label_studio.health, "Label Studio: health", _json(s.LabelStudioHealth), access="all"
            ),
            _post(
                f"{head}/setup", label_studio.setup, "Label Studio: set up", _json(s.LabelStudioVersion),
                body=Body({json_body: s.LabelStudioSetup}, most_bytes=_SETUP_BYTES),
            ),
            _post(
                f"{head}/predict", label_studio.predict, "Label Studio: predict tasks", _json(s.LabelStudioResults),
                body=Body({json_body: s.LabelStudioTasks}),
            ),
            _post(
                f"{head}/webhook", label_studio.webhook, "Label Studio: an event", _json(s.WebhookStored), status=201,
                query=s.WebhookQuery, body=Body({json_body: s.Event}, most_bytes=_WEBHOOK_BYTES), refusals=(422,),
            ),
        ]  # fmt: skip
    return routes
