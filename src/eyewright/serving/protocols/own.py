"""Our own routes: everything an answer can carry, models, feedback, what the monitor sees."""

__all__ = ["feedback", "image_of", "list_models", "predict", "sample", "show_model"]

import asyncio
from typing import Any, TypeVar

import msgspec

from eyewright.evaluation.finishing import script_digests
from eyewright.serving.base64text import decode_base64
from eyewright.serving.exchange import HttpError, Request, Response, json_response, parse_json
from eyewright.serving.forms import read_form
from eyewright.serving.options import read_options
from eyewright.serving.parsing import parse_apart
from eyewright.serving.refusals import without_paths
from eyewright.serving.schemas import Feedback, HubImageBody, ImageBody, Options, Stored
from eyewright.serving.service import Service
from eyewright.serving.settings import Settings

_MOST_ID = 80

T = TypeVar("T", bound=msgspec.Struct)


async def predict(service: Service, request: Request, name: str) -> Response:
    """POST /v1/models/{name}/predict: an image as the body, as a form's file or as base64 in JSON."""
    model = service.model(name)
    data, options = await image_of(request, service.settings, ImageBody, Options)
    told = await service.predict(model, data, options)
    return Response(told.json(), headers=told.headers)


async def image_of(
    request: Request, settings: Settings, body: type[ImageBody | HubImageBody], options: type[T]
) -> tuple[bytes, T]:
    """Return the image a request carries, whatever form it came in, and the options next to it.

    The request's own body is dropped: it would be held twice while the request waits.

    Raises:
        HttpError: there is no image, there are several, or an unknown option.
        UsageError: an option out of its range.
    """
    # A body that is the image itself needs no parsing, and so no thread, which costs two switches.
    size = len(request.body) if _is_form(request) or _is_json(request) else 0
    data, texts, given = await parse_apart(size, _image_of, request, settings, body)
    return data, read_options(options, request.query, given, texts)


def _is_form(request: Request) -> bool:
    return request.media_type == "multipart/form-data"


def _is_json(request: Request) -> bool:
    return request.media_type == "application/json" or (not request.media_type and request.body[:1] == b"{")


def _image_of(
    request: Request, settings: Settings, body: type[ImageBody | HubImageBody] = ImageBody
) -> tuple[bytes, dict[str, str], dict[str, Any]]:
    """Return the image, a form's other fields, and the parameters of JSON."""
    texts: dict[str, str] = {}
    given: dict[str, Any] = {}
    if _is_form(request):
        texts, files = read_form(request, settings)
        if len(files) != 1:
            code, found = ("too_many_files", len(files)) if files else ("no_file", "none")
            raise HttpError(400, code, f"expected one file in the form, found {found}", fix="send it as -F file=@…")
        image = files[0][1]
    elif _is_json(request):
        content = parse_json(request.body, settings, type=body)
        images = [v for v in (content.inputs, content.image) if not isinstance(v, msgspec.UnsetType)]
        if len(images) != 1:
            raise HttpError(
                400, "inputs", f"expected one image as inputs, found {len(images) or 'none'}", fix="see /openapi.json"
            )
        image, given = decode_base64(images[0]), content.parameters or {}
    else:
        image = request.body
    request.body = b""
    return image, texts, given


async def list_models(service: Service, request: Request) -> Response:
    """GET /v1/models"""
    hidden = set(service.challengers.values())
    return json_response({"models": [m.description for n, m in service.models.items() if n not in hidden]})


async def show_model(service: Service, request: Request, name: str) -> Response:
    """GET /v1/models/{name}"""
    return json_response(service.model(name).description)


async def page_of(service: Service, request: Request, name: str, kind: str) -> Response:
    """GET /v1/models/{name}/report and /card"""
    found = service.model(name).page(kind)
    if found is None:
        raise HttpError(404, "page", "the bundle holds no such page", fix="export the run with its report")
    data, media_type = found
    # The report is one file with its own styles and pictures inside. Only the scripts of this version run, known by
    # their digests, in a sandbox without an origin: they reach neither the server nor what a browser keeps.
    named = " ".join(script_digests())
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {named}"
    own = f"{policy}; sandbox allow-popups allow-scripts"
    headers = [(b"content-security-policy", own.encode())] if kind == "report" else []
    return Response(data, media_type=media_type, headers=headers)


async def sample(service: Service, request: Request, name: str, number: str) -> Response:
    """GET /v1/models/{name}/samples/{number}, from 0"""
    images = service.model(name).samples
    if not (number.isascii() and number.isdigit() and len(number) <= 2 and int(number) < len(images)):
        raise HttpError(404, "sample", f"there are {len(images)} sample images", fix="count them from 0")
    return Response(images[int(number)], media_type="image/png")


async def feedback(service: Service, request: Request) -> Response:
    """POST /v1/feedback: {"prediction_id", "label" or "correct" or "objects" or "classes" or "tags" or "text",
    "comment",
    "new_classes"}; or a PNG of class ids as the body, the corrected mask of ?prediction_id=…"""
    if service.recorder is None:
        raise HttpError(
            404, "no_log", "the server keeps no log, so feedback cannot be stored", fix="start it without --no-log"
        )
    if request.media_type.startswith("image/"):
        prediction_id = request.query.get("prediction_id", "")
        _check_id(prediction_id)
        content: dict[str, Any] = {"objects": await _mask_of(service, request, prediction_id)}
    else:
        prediction_id, content = await parse_apart(len(request.body), _said, request, service.settings)
    if not await _in_thread(service.recorder.feedback, prediction_id, content):
        raise HttpError(404, "prediction", "no prediction of that id is in the log", fix="check prediction_id")
    kept = await _in_thread(service.recorder.image_kept, prediction_id)
    return json_response(Stored(True, kept), 201)


def _check_id(prediction_id: str) -> None:
    if len(prediction_id) > _MOST_ID:
        raise HttpError(404, "prediction", "no prediction of that id is in the log", fix="check prediction_id")


def _said(request: Request, settings: Settings) -> tuple[str, dict[str, Any]]:
    """Return whose prediction is judged and what is said of it; what that means is checked against its model.

    Raises:
        HttpError: it is not what `Feedback` is, or says nothing.
    """
    said = parse_json(request.body, settings, type=Feedback)
    content = {k: v for k, v in msgspec.to_builtins(said).items() if v is not None}
    if isinstance(content.get("objects"), list):
        content["objects"] = [{k: v for k, v in one.items() if v is not None} for one in content["objects"]]
    prediction_id = content.pop("prediction_id")
    if not {"label", "correct", "objects", "classes", "values", "tags", "text"} & set(content):
        raise HttpError(
            400, "feedback", "expected label, correct, objects, classes, values, tags or text", fix="say what is right"
        )
    return prediction_id, content


async def _mask_of(service: Service, request: Request, prediction_id: str) -> list[dict[str, Any]]:
    """Read a corrected mask in a worker, as any image is."""
    assert service.recorder is not None
    name = await _in_thread(service.recorder.model_of, prediction_id)
    if name is None or name not in service.models:
        raise HttpError(404, "prediction", "no prediction of that id by a served model is in the log", fix="check it")
    return await service.read_mask(service.models[name], request.body)


async def watch(service: Service, request: Request) -> Response:
    """GET /v1/watch: what the monitor sees, for the page's charts"""
    if service.recorder is None:
        raise HttpError(404, "no_log", "the server keeps no log", fix="start it without --no-log")
    found = await _in_thread(service.recorder.watch)
    return json_response({**found, "trouble": without_paths(found["trouble"])})


async def image(service: Service, request: Request, name: str) -> Response:
    """GET /v1/images/{name}: an image that was kept, by its SHA-256"""
    found = None if service.recorder is None else await _in_thread(service.recorder.image, name)
    if found is None:
        raise HttpError(404, "image", "no image of that name is kept", fix="see /v1/watch")
    return Response(found, media_type="image/png" if found.startswith(b"\x89PNG") else "image/jpeg")


async def _in_thread(call: Any, *arguments: Any) -> Any:
    return await asyncio.to_thread(call, *arguments)
