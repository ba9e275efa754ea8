"""Our own routes: everything an answer can carry, models, feedback, what the monitor sees."""

__all__ = ["feedback", "image_of", "list_models", "predict", "show_model"]

import base64
import binascii
from typing import Any

from eyewright.serving.exchange import HttpError, Request, Response, json_response
from eyewright.serving.forms import read_form
from eyewright.serving.service import Service, read_options
from eyewright.serving.settings import Settings


async def predict(service: Service, request: Request, name: str) -> Response:
    """POST /v1/models/{name}/predict: an image as the body, as a form's file or as base64 in JSON."""
    model = service.model(name)
    data, more = image_of(request, service.settings)
    told = await service.predict(model, data, read_options({**more, **request.query}))
    return Response(told.json(), headers=told.headers)


def image_of(request: Request, settings: Settings) -> tuple[bytes, dict[str, Any]]:
    """Give the image a request carries and the options beside it, whatever form it came in.

    Raises:
        HttpError: there is none.
    """
    if request.media_type == "multipart/form-data":
        fields, files = read_form(request, settings)
        if not files:
            raise HttpError(400, "no_file", "expected a file in the form, found none", fix="send it as -F file=@…")
        return files[0], dict(fields)
    if request.media_type == "application/json" or (not request.media_type and request.body[:1] == b"{"):
        content = request.json(settings)
        if not isinstance(content, dict):
            raise HttpError(400, "json", "expected a JSON object with inputs, found another", fix="see /openapi.json")
        given = content.get("inputs", content.get("image"))
        more = content.get("parameters", {})
        if not isinstance(given, str) or not isinstance(more, dict):
            raise HttpError(400, "inputs", "expected inputs as base64 text, found none", fix="see /openapi.json")
        return decode_base64(given), more
    return request.body, {}


def decode_base64(text: str) -> bytes:
    """Read base64 with or without the head of a data address.

    Raises:
        HttpError: it is not base64; an address is never fetched.
    """
    if text.startswith(("http://", "https://", "ftp://", "file:")):
        raise HttpError(
            400, "address_given", "expected an image, found an address; addresses are not fetched", fix="send the bytes"
        )
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise HttpError(400, "base64", "the image is not base64", fix="encode the file's bytes") from None


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
        prediction_id = request.query.get("prediction_id", "")[:80]
        content: Any = {"objects": await _mask_of(service, request, prediction_id)}
    else:
        content = request.json(service.settings)
        if not isinstance(content, dict) or not isinstance(content.get("prediction_id"), str):
            raise HttpError(400, "feedback", "expected prediction_id and label or correct", fix="see /openapi.json")
        prediction_id = content["prediction_id"][:80]
    if not await _in_thread(service.recorder.feedback, prediction_id, content):
        raise HttpError(404, "prediction", "no prediction of that id is in the log", fix="check prediction_id")
    return json_response({"stored": True}, 201)


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
    return json_response(await _in_thread(service.recorder.watch))


async def image(service: Service, request: Request, name: str) -> Response:
    """GET /v1/images/{name}: an image that was kept, by its SHA-256"""
    found = None if service.recorder is None else await _in_thread(service.recorder.image, name)
    if found is None:
        raise HttpError(404, "image", "no image of that name is kept", fix="see /v1/watch")
    return Response(found, media_type="image/png" if found.startswith(b"\x89PNG") else "image/jpeg")


async def _in_thread(call: Any, *arguments: Any) -> Any:
    import asyncio

    return await asyncio.to_thread(call, *arguments)
