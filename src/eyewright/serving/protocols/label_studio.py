"""Label Studio's ML backend: people label with the model's help. Coordinates are percents of the image.

Images come as data addresses, or from a folder that the server was given (`--label-studio-files`), in which they are
looked up by name. An address is never fetched for a client.
"""

__all__ = ["Files", "health", "predict", "setup", "webhook"]

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.parsers import expat

import msgspec

from eyewright.core.errors import EyewrightError, UsageError
from eyewright.core.task import task_of
from eyewright.imaging.rasters import decode_counts, parse_counts
from eyewright.serving.base64text import decode_base64
from eyewright.serving.brush import brush_rle
from eyewright.serving.exchange import HttpError, Request, Response, json_response, parse_json
from eyewright.serving.models import Model
from eyewright.serving.parsing import parse_apart
from eyewright.serving.protocols.annotations import feedback_of
from eyewright.serving.refusals import without_paths
from eyewright.serving.schemas import (
    LabelStudioHealth,
    LabelStudioSetup,
    LabelStudioTasks,
    LabelStudioVersion,
    Options,
    WebhookStored,
)
from eyewright.serving.service import Service

_MOST_FILES = 1_000_000
_MOST_QUERY = 32
_SEVERAL = "Choices:multiple"


class Files:
    """The images of a folder by their relative name: what is not in the table is not opened."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._names: dict[str, Path] = {}

    def find(self, address: str) -> Path | None:
        """Return the file that an address of Label Studio's means: /data/local-files/?d=NAME or /data/upload/…/NAME."""
        if self.folder is None:
            return None
        try:
            parts = urlsplit(address)
            named = parse_qs(parts.query, max_num_fields=_MOST_QUERY).get("d", [""])[0]
        except ValueError:
            return None
        name = named or unquote(parts.path).removeprefix("/data/").removeprefix("upload/")
        if name not in self._names:
            # Files that came since; looked up by name, links left out.
            self._names = _listed(self.folder)
        return self._names.get(name)


def _said(kind: str) -> str:
    tag, _, choice = kind.partition(":")
    return f'{tag} choice="{choice}"' if choice else tag


def _tags(model: Model) -> Sequence[str]:
    """Return the control tags that hold answers of the model's task, the best one first.

    Raises:
        UsageError: Label Studio has none for the task.
    """
    return task_of(model.task).require_foreign("label-studio").split()


def _listed(folder: Path) -> dict[str, Path]:
    names: dict[str, Path] = {}
    for place, _, files in os.walk(folder):
        for file in files:
            path = Path(place, file)
            if not path.is_symlink() and len(names) < _MOST_FILES:
                names[path.relative_to(folder).as_posix()] = path
    return names


async def health(service: Service, request: Request, name: str | None = None) -> Response:
    """GET /health"""
    _model(service, name)
    return json_response(LabelStudioHealth("UP", "eyewright"))


async def setup(service: Service, request: Request, name: str | None = None) -> Response:
    """POST /setup: the labelling configuration must have a place for what the model finds."""
    model = _model(service, name)
    _tags(model)
    content = await parse_apart(len(request.body), parse_json, request.body, service.settings, type=LabelStudioSetup)
    schema = content.schema or content.label_config or ""
    if schema.strip():
        await parse_apart(len(schema), _place_of, schema, model)
    return json_response(LabelStudioVersion(_version_of(model)))


async def webhook(service: Service, request: Request, name: str | None = None) -> Response:
    """POST /webhook: an annotation that was made becomes feedback, if it answers a prediction of ours.

    A label that the model does not know is refused, unless the webhook's address declares it: ?new_classes=NAME,NAME
    """
    _model(service, name)
    content = await parse_apart(len(request.body), _object, request, service)
    stored = 0
    if service.recorder is not None and content.get("action") in ("ANNOTATION_CREATED", "ANNOTATION_UPDATED"):
        declared = [n for n in request.query.get("new_classes", "").split(",") if n]
        for prediction_id, kept in await asyncio.to_thread(feedback_of, content, service.task_of, service.labels_of):
            more = {"new_classes": declared} if declared else {}
            stored += await asyncio.to_thread(service.recorder.feedback, prediction_id, {**kept, **more})
    return json_response(WebhookStored("ok", stored), 201)


async def predict(service: Service, request: Request, name: str | None = None) -> Response:
    """POST /predict: results for tasks, in percent of the image, in the form the configuration asks for."""
    model = _model(service, name)
    _tags(model)
    content = await parse_apart(len(request.body), parse_json, request.body, service.settings, type=LabelStudioTasks)
    schema = content.label_config or ""
    place = await parse_apart(len(schema), _place_of, schema, model) if schema.strip() else None
    rows = await asyncio.gather(*(_answer(service, model, task.data, place) for task in content.tasks))
    return json_response({"results": rows})


async def _answer(
    service: Service, model: Model, data: Mapping[str, Any], place: tuple[str, str, str, str] | None
) -> dict[str, Any]:
    """Answer one task; what cannot be answered says so and leaves the other tasks alone."""
    version = _version_of(model)
    try:
        kind, from_name, to_name, value = place or (_tags(model)[0], "label", "image", "image")
        told = await service.predict(model, await _image(service, data, value), Options())
    except EyewrightError as error:
        return {"result": [], "score": 0.0, "model_version": version, "error": without_paths(error.message)}
    found = msgspec.json.decode(told.answer.prediction)
    seen = told.answer.seen
    assert seen is not None
    height, width = seen.size_hw
    about = {"from_name": from_name, "to_name": to_name, "original_width": width, "original_height": height}
    rows = list(_results(kind, found, (height, width), about, told.id))
    return {"result": rows, "score": seen.score, "model_version": version}


def _results(
    kind: str, found: Mapping[str, Any], size_hw: tuple[int, int], about: Mapping[str, Any], prediction_id: str
) -> list[dict[str, Any]]:
    height, width = size_hw
    if kind == _SEVERAL:
        labels = found["present"]
        if not labels:
            return []
        value = {"choices": labels}
        score = found["scores"][found["labels"].index(labels[0])]
        return [{**about, "id": prediction_id, "type": "choices", "value": value, "score": score}]
    if kind == "Choices":
        labels = found.get("accepted") or found["labels"][:1]
        score = found["scores"][found["labels"].index(labels[0])]
        value = {"choices": labels[:1]}
        return [{**about, "id": prediction_id, "type": "choices", "value": value, "score": score}]
    rows = []
    if kind == "RectangleLabels":
        for k, (label, score, box) in enumerate(
            zip(found["labels"], found["scores"], found["boxes_xyxy"], strict=True)
        ):
            value = {
                "x": 100 * box[0] / width,
                "y": 100 * box[1] / height,
                "width": 100 * (box[2] - box[0]) / width,
                "height": 100 * (box[3] - box[1]) / height,
                "rotation": 0,
                "rectanglelabels": [label],
            }
            row = {**about, "image_rotation": 0, "type": "rectanglelabels", "value": value, "score": score}
            rows.append({**row, "id": f"{prediction_id}.{k}"})
        return rows
    for k, (label, score, mask) in enumerate(
        zip(found["labels"], found["scores"], found["segmentations"], strict=True)
    ):
        if label.lower().strip("_") == "background":
            continue
        pixels = decode_counts(parse_counts(mask["counts"]), size_hw)
        value = {"format": "rle", "rle": brush_rle(pixels), "brushlabels": [label]}
        row = {**about, "image_rotation": 0, "type": "brushlabels", "value": value, "score": score}
        rows.append({**row, "id": f"{prediction_id}.{k}"})
    return rows


async def _image(service: Service, data: Mapping[str, Any], key: str) -> bytes:
    address = data.get(key)
    if address is None:
        address = next((v for v in data.values() if isinstance(v, str)), None)
    if not isinstance(address, str):
        raise UsageError("the task holds no image", fix=f"expected data.{key}")
    if address.startswith("data:"):
        return await parse_apart(len(address), decode_base64, address)
    path = await asyncio.to_thread(service.files.find, address)
    if path is None:
        raise UsageError(
            "the image is not among the server's files, and addresses are not fetched",
            fix="start with --label-studio-files DIR",
        )
    return await asyncio.to_thread(_read, path, service.settings.body_bytes)


def _read(path: Path, most: int) -> bytes:
    """Return the content of a file of the server's folder.

    Raises:
        UsageError: it cannot be read any more, or is too large.
    """
    try:
        if path.stat().st_size > most:
            raise UsageError("the image's file is too large", fix="shrink it")
        return path.read_bytes()
    except OSError:
        raise UsageError("the image's file cannot be read", fix="check the server's files") from None


def _object(request: Request, service: Service) -> dict[str, Any]:
    content = request.json(service.settings)
    if not isinstance(content, dict):
        raise HttpError(400, "json", "expected a JSON object, found another", fix="see Label Studio's ML backend")
    return content


def _model(service: Service, name: str | None) -> Model:
    return service.default if name is None else service.model(name)


def _version_of(model: Model) -> str:
    return f"{model.name}-{model.digest[:12]}"


def _place_of(schema: str, model: Model) -> tuple[str, str, str, str]:
    """Return kind, from_name, to_name and the image's key for this model in a labelling configuration.

    Raises:
        UsageError: it has no place for what the model finds, or is not XML.
    """
    if len(schema) > 200_000 or "<!DOCTYPE" in schema or "<!ENTITY" in schema:
        raise UsageError("the labelling configuration is too long or declares entities", fix="simplify it")
    found: list[tuple[str, dict[str, str]]] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda tag, attributes: found.append((tag, attributes))
    try:
        parser.Parse(schema, True)
    except expat.ExpatError as error:
        raise UsageError(f"the labelling configuration is not XML: {error}", fix="check it") from None
    images = {a.get("name", ""): a.get("value", "$image").lstrip("$") for tag, a in found if tag == "Image"}
    for kind in _tags(model):
        wanted, _, choice = kind.partition(":")
        for tag, attributes in found:
            if tag == wanted and choice in ("", attributes.get("choice")) and attributes.get("toName") in images:
                return kind, attributes.get("name", ""), attributes["toName"], images[attributes["toName"]]
    raise UsageError(
        f"the labelling configuration has no {' or '.join(map(_said, _tags(model)))} over an Image for {model.task!r}",
        fix="add one",
    )
