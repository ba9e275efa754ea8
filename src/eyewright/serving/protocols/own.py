"""Our own routes: everything an answer can carry, models, feedback, what the monitor sees."""

__all__ = ["feedback", "image_of", "list_models", "predict", "show_model"]

import asyncio
from typing import Any

import msgspec

from eyewright.core.errors import UsageError
from eyewright.serving.base64text import decode_base64
from eyewright.serving.exchange import HttpError, Request, Response, json_response, parse_json
from eyewright.serving.forms import read_form
from eyewright.serving.refusals import without_paths
from eyewright.serving.service import OPTIONS, Service, check_names, read_options
from eyewright.serving.settings import Settings

_MOST_TEXT = 2000
_MOST_LABEL = 200
_MOST_ID = 80
_FEEDBACK = ("prediction_id", "label", "correct", "comment", "objects", "classes", "new_classes")
_LARGE = 2**18


async def predict(service: Service, request: Request, name: str) -> Response:
    """POST /v1/models/{name}/predict: an image as the body, as a form's file or as base64 in JSON."""
    model = service.model(name)
    data, more = await image_of(request, service.settings)
    told = await service.predict(model, data, read_options({**more, **request.query}, known=OPTIONS))
    return Response(told.json(), headers=told.headers)


class _ImageBody(msgspec.Struct, forbid_unknown_fields=True):
    """An image in JSON; the text is a view of the body."""

    inputs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    image: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    parameters: dict[str, Any] | None = None


async def image_of(request: Request, settings: Settings) -> tuple[bytes, dict[str, Any]]:
    """Return the image a request carries and the options beside it, whatever form it came in.

    The request's own body is dropped: it would be held twice while the request waits.

    Raises:
        HttpError: there is no image, or there are several.
    """
    if len(request.body) > _LARGE:
        return await asyncio.to_thread(_image_of, request, settings)
    return _image_of(request, settings)


def _image_of(request: Request, settings: Settings) -> tuple[bytes, dict[str, Any]]:
    more: dict[str, Any] = {}
    if request.media_type == "multipart/form-data":
        fields, files = read_form(request, settings)
        if len(files) != 1:
            code, found = ("too_many_files", len(files)) if files else ("no_file", "none")
            raise HttpError(400, code, f"expected one file in the form, found {found}", fix="send it as -F file=@…")
        image, more = files[0], dict(fields)
    elif request.media_type == "application/json" or (not request.media_type and request.body[:1] == b"{"):
        content = parse_json(request.body, settings, type=_ImageBody)
        given = [v for v in (content.inputs, content.image) if not isinstance(v, msgspec.UnsetType)]
        if len(given) != 1:
            raise HttpError(
                400, "inputs", f"expected one image as inputs, found {len(given) or 'none'}", fix="see /openapi.json"
            )
        image, more = decode_base64(given[0]), content.parameters or {}
    else:
        image = request.body
    request.body = b""
    return image, more


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
    # The report is one file with its own styles and pictures inside, and no script: it may show itself, and no more.
    own = b"default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox allow-popups"
    headers = [(b"content-security-policy", own)] if kind == "report" else []
    return Response(data, media_type=media_type, headers=headers)


async def feedback(service: Service, request: Request) -> Response:
    """POST /v1/feedback: {"prediction_id", "label" or "correct" or "objects" or "classes", "comment", "new_classes"};
    or a PNG of class ids as the body, the corrected mask of ?prediction_id=…"""
    if service.recorder is None:
        raise HttpError(
            404, "no_log", "the server keeps no log, so feedback has nowhere to go", fix="start it with one"
        )
    if request.media_type.startswith("image/"):
        prediction_id = request.query.get("prediction_id", "")
        _check_id(prediction_id)
        content: dict[str, Any] = {"objects": await _mask_of(service, request, prediction_id)}
    else:
        content = request.json(service.settings)
        if not isinstance(content, dict) or not isinstance(content.get("prediction_id"), str):
            raise HttpError(400, "feedback", "expected prediction_id and label or correct", fix="see /openapi.json")
        check_names(content, _FEEDBACK)
        prediction_id = content.pop("prediction_id")
        _check_id(prediction_id)
        for key, kind in (("label", str), ("correct", bool), ("comment", str), ("objects", list)):
            value = content.get(key)
            if value is not None and not isinstance(value, kind):
                raise UsageError(f"expected {key} as {kind.__name__}, found {type(value).__name__}", fix="change it")
        content = {k: v[:_MOST_TEXT] if isinstance(v, str) else v for k, v in content.items() if v is not None}
        if not {"label", "correct", "objects", "classes"} & set(content):
            raise HttpError(400, "feedback", "expected label, correct or objects, found none", fix="say what is right")
        if isinstance(content.get("objects"), list):
            _check_objects(content["objects"])
    if not await _in_thread(service.recorder.feedback, prediction_id, content):
        raise HttpError(404, "prediction", "no prediction of that id is in the log", fix="check prediction_id")
    kept = await _in_thread(service.recorder.image_kept, prediction_id)
    return json_response({"stored": True, "image_kept": kept}, 201)


def _check_id(prediction_id: str) -> None:
    if len(prediction_id) > _MOST_ID:
        raise HttpError(404, "prediction", "no prediction of that id is in the log", fix="check prediction_id")


def _check_objects(rows: list[Any]) -> None:
    """Check the size of what is said of objects; what it means is checked against the model's classes."""
    if len(rows) > _MOST_TEXT:
        raise UsageError(f"expected at most {_MOST_TEXT} objects, found {len(rows)}", fix="send fewer")
    for row in rows:
        label = row.get("label") if isinstance(row, dict) else None
        if not isinstance(label, str) or len(label) > _MOST_LABEL:
            raise UsageError("expected objects as {label, box_xyxy: [x0, y0, x1, y1]}", fix="change it")


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
        raise HttpError(404, "no_log", "the server keeps no log", fix="start it with one")
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
