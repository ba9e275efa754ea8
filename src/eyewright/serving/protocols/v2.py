"""Open Inference Protocol V2 over HTTP with the binary tensor extension and the repository index, as KServe and Triton
define them: `tritonclient.http` and `kserve` speak to it unchanged.

A model takes its inputs by name, as they are prepared; one that takes one image takes "image": UINT8 [N, H, W, C], or
BYTES [N], each an image file. It gives its raw tensors; for files also "prediction", BYTES [N]: JSON of the answer in
source pixels.
"""

__all__ = ["index", "infer", "live", "metadata", "ready", "server"]

import asyncio
import json
import math
import struct
from collections.abc import Mapping, Sequence
from importlib.metadata import version as metadata_version
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.inputs import only_image
from eyewright.core.errors import UsageError
from eyewright.core.inputs import say_inputs
from eyewright.serving.base64text import decode_base64
from eyewright.serving.exchange import HttpError, Request, Response, json_response, parse_json
from eyewright.serving.jsontext import check_json
from eyewright.serving.messages import Array
from eyewright.serving.models import Model
from eyewright.serving.options import read_options
from eyewright.serving.parsing import parse_apart
from eyewright.serving.protocols.v2_tensors import DTYPES, MOST_EXAMPLES, read_tensors
from eyewright.serving.refusals import whole_number
from eyewright.serving.schemas import (
    MOST_DIMENSIONS as _MOST_DIMENSIONS,
)
from eyewright.serving.schemas import (
    MOST_TEXT as _MOST_TEXT,
)
from eyewright.serving.schemas import (
    IndexRow,
    InferCall,
    InferInput,
    Live,
    ModelReady,
    Options,
    Ready,
    ServerAbout,
    TritonStat,
    TritonStats,
)
from eyewright.serving.service import Service, Told

EXTENSIONS = ("binary_tensor_data", "classification", "model_repository", "statistics")
_MOST_VALUES = 2_000_000
_MOST_INPUTS = 64


def _version() -> str:
    return metadata_version("eyewright")


async def server(service: Service, request: Request) -> Response:
    """GET /v2"""
    return json_response(ServerAbout("eyewright", _version(), list(EXTENSIONS)))


async def live(service: Service, request: Request) -> Response:
    """GET /v2/health/live"""
    return json_response(Live(True))


async def ready(service: Service, request: Request) -> Response:
    """GET /v2/health/ready: whether every model has passed its self-test in a worker that stands."""
    return json_response(Ready(service.ready), 200 if service.ready else 503)


async def model_ready(service: Service, request: Request, name: str, version: str = "1") -> Response:
    """GET /v2/models/{name}/ready"""
    _versioned(service, name, version)
    return json_response(ModelReady(name, service.ready), 200 if service.ready else 503)


async def metadata(service: Service, request: Request, name: str, version: str = "1") -> Response:
    """GET /v2/models/{name}"""
    model = _versioned(service, name, version)
    outputs = [
        {"name": o["name"], "datatype": "FP32", "shape": [_known(v) for v in o["shape"]]}
        for o in model.manifest.tensors["outputs"]
    ]
    inputs = model.manifest.inputs
    taken = [{"name": k, "datatype": DTYPES[one.dtype], "shape": [-1, *one.shape]} for k, one in inputs.items()]
    files = only_image(inputs)
    said = [{"name": "prediction", "datatype": "BYTES", "shape": [-1]}] if files else []
    encoded = {"encoded_input": "image as BYTES [N]"} if files else {}
    return json_response(
        {
            "name": name,
            "versions": ["1"],
            "platform": "eyewright_onnxruntime",
            "inputs": taken,
            "outputs": [*outputs, *said],
            "parameters": {"digest": model.digest, "task": model.task, **encoded},
        }
    )


async def configuration(service: Service, request: Request, name: str, version: str = "1") -> Response:
    """GET /v2/models/{name}/config: as much of Triton's as is true here."""
    model = _versioned(service, name, version)
    m = model.manifest
    return json_response(
        {
            "name": name,
            "platform": "eyewright_onnxruntime",
            "backend": "eyewright",
            "max_batch_size": MOST_EXAMPLES,
            "input": [
                {"name": k, "data_type": f"TYPE_{DTYPES[one.dtype]}", "dims": list(one.shape)}
                for k, one in m.inputs.items()
            ],
            "output": [
                {"name": o["name"], "data_type": "TYPE_FP32", "dims": [_known(v) for v in o["shape"][1:]]}
                for o in m.tensors["outputs"]
            ],
            "dynamic_batching": {"preferred_batch_size": [service.settings.max_batch]},
        }
    )


async def statistics(service: Service, request: Request, name: str, version: str = "1") -> Response:
    """GET /v2/models/{name}/stats"""
    _versioned(service, name, version)
    return json_response(TritonStats([TritonStat(name, "1", service.crew.answered)]))


async def index(service: Service, request: Request) -> Response:
    """POST /v2/repository/index"""
    hidden = set(service.challengers.values())
    rows = [
        IndexRow(n, "1", "READY" if service.ready else "UNAVAILABLE", "") for n in service.models if n not in hidden
    ]
    return Response(msgspec.json.encode(rows))


async def infer(service: Service, request: Request, name: str, version: str = "1") -> Response:
    """POST /v2/models/{name}/infer"""
    model = _versioned(service, name, version)
    content, rows = await parse_apart(len(request.body), _split, request, service)
    taken = [str(row.get("name")) for row in rows]
    known = list(model.manifest.inputs)
    if sorted(taken) != sorted(known):
        wanted_names = ", ".join(map(repr, known)) or "nothing"
        count = {0: "no", 1: "one"}.get(len(known), str(len(known)))
        raise UsageError(
            f"expected {count} input{'s' * (len(known) != 1)} called {wanted_names}, found {say_inputs(taken)}",
            fix="send inputs: [{name: …, shape: …, datatype: …, data: …}] as GET /v2/models/NAME says",
        )
    wanted = _wanted(content, model)
    parameters = content.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise UsageError("expected parameters as an object", fix="change it")
    for row in rows:
        _check_shape(row.get("shape"))
    asked = read_options(Options, {}, {k: v for k, v in parameters.items() if k in ("conf", "iou", "top", "coverage")})
    headers: list[tuple[bytes, bytes]] = []
    size = len(request.body)
    if only_image(model.manifest.inputs) and rows[0].get("datatype") == "BYTES":
        files = await parse_apart(size, _strings, request, service, rows[0])
        arrays, headers = await _from_files(service, model, files, asked)
    else:
        tensors = await parse_apart(size, read_tensors, rows, model.manifest.inputs)
        arrays = await _from_tensors(service, model, tensors, wanted)
    return _answer(content, model, arrays, wanted, headers)


def _versioned(service: Service, name: str, version: str) -> Model:
    model = service.model(name)
    if version != "1":
        raise HttpError(404, "version", f"model {name!r} has version 1 only", fix="leave the version out")
    return model


def _known(value: Any) -> int:
    return value if isinstance(value, int) else -1


def _small(given: msgspec.Struct, names: Sequence[str]) -> dict[str, Any]:
    """Return the fields of those names as plain values."""
    found = {}
    for name in names:
        raw = getattr(given, name)
        if isinstance(raw, msgspec.UnsetType):
            continue
        if len(memoryview(raw)) > _MOST_TEXT:
            raise UsageError(f"expected {name} of at most {_MOST_TEXT} bytes, found more", fix="shorten it")
        try:
            found[name] = msgspec.json.decode(raw)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise HttpError(400, "json", f"{name} is not JSON: {str(error)[:100]}", fix="check it") from None
    return found


def _split(request: Request, service: Service) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the JSON of a request and its inputs, each with its part of the binary tensors behind, if it has one."""
    body, said = request.body, request.headers.get("inference-header-content-length")
    end = len(body)
    if said is not None:
        length = whole_number(said)
        if length is None or length > len(body):
            raise HttpError(
                400, "header_length", "Inference-Header-Content-Length is not the length of the JSON", fix="correct it"
            )
        end = length
    text = body if end == len(body) else body[:end]
    call = parse_json(text, service.settings, type=InferCall, values=_MOST_VALUES)
    try:
        given = msgspec.json.decode(
            call.inputs, type=Annotated[list[InferInput], msgspec.Meta(max_length=_MOST_INPUTS)]
        )
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise UsageError(
            "expected inputs, each with a name, a shape and a datatype", fix="send inputs: [{name: 'image', …}]"
        ) from None
    rows, left = [], memoryview(body)[end:]
    for k, one in enumerate(given):
        row = _small(one, ("name", "shape", "datatype", "parameters"))
        row["data"], row["binary"] = one.data, None
        size = _binary_size(row)
        if size is not None:
            # What is behind the last one must be all of it.
            if size > len(left) or (k == len(given) - 1 and size != len(left)):
                raise UsageError(f"expected {size} bytes of tensor, found {len(left)}", fix="send as many as it says")
            row["binary"], left = left[:size], left[size:]
        rows.append(row)
    return _small(call, ("outputs", "parameters", "id")), rows


def _binary_size(row: Mapping[str, Any]) -> int | None:
    parameters = row.get("parameters") or {}
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise UsageError(f"expected binary_data_size in bytes, found {str(size)[:20]}", fix="change it")
    return size


def _check_shape(shape: Any) -> None:
    whole = isinstance(shape, list) and all(type(v) is int and 0 <= v < 2**31 for v in shape)
    if not whole or len(shape) > _MOST_DIMENSIONS:
        raise UsageError(f"expected shape as whole numbers, at most {_MOST_DIMENSIONS}", fix="change it")


def _strings(request: Request, service: Service, given: Mapping[str, Any]) -> list[bytes]:
    """Return the image files of a BYTES tensor."""
    n = math.prod(given["shape"])
    if not 1 <= n <= MOST_EXAMPLES:
        raise UsageError(f"expected 1 to {MOST_EXAMPLES} images, found {str(n)[:20]}", fix="send fewer at once")
    data = given["binary"]
    files = []
    if data is None:
        check_json(request.body, service.settings, values=16 * MOST_EXAMPLES)
        files = [decode_base64(t) for t in _texts(given["data"])]
    else:
        at = 0
        while at < len(data) and len(files) <= n:
            if at + 4 > len(data):
                break
            (length,) = struct.unpack_from("<I", data, at)
            if at + 4 + length > len(data):
                break
            files.append(bytes(data[at + 4 : at + 4 + length]))
            at += 4 + length
        if at != len(data):
            raise UsageError("the BYTES tensor is malformed", fix="write each length in 4 bytes before its file")
    if len(files) != n:
        raise UsageError(f"expected {n} images as the shape says, found {len(files)}", fix="change one of them")
    return files


def _texts(raw: msgspec.Raw | msgspec.UnsetType) -> list[msgspec.Raw]:
    """Return the texts of an array, in order, however the array is nested."""
    wrong = UsageError("expected data as base64 texts", fix="send the files as base64, or as binary tensors")
    if isinstance(raw, msgspec.UnsetType):
        raise wrong
    found = [raw]
    for _ in range(_MOST_DIMENSIONS):
        if found and all(memoryview(one)[0] == 34 for one in found):
            return found
        try:
            found = [text for one in found for text in msgspec.json.decode(one, type=list[msgspec.Raw])]
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise wrong from None
    raise wrong


def _wanted(content: Mapping[str, Any], model: Model) -> dict[str, dict[str, Any]]:
    """Return the outputs that are asked for, with their parameters; none means all."""
    asked = content.get("outputs")
    if not asked:
        return {}
    known = {o["name"] for o in model.manifest.tensors["outputs"]} | {"prediction"}
    result: dict[str, dict[str, Any]] = {}
    if not isinstance(asked, list) or len(asked) > 32:
        raise UsageError("expected outputs as a list", fix="change it")
    for row in asked:
        name = row.get("name") if isinstance(row, dict) else None
        if not isinstance(name, str) or name not in known:
            raise UsageError(f"expected outputs among {sorted(known)}, found {str(name)[:60]!r}", fix="change it")
        parameters = row.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise UsageError("expected parameters as an object", fix="change it")
        result[name] = parameters
    return result


async def _from_files(
    service: Service, model: Model, files: Sequence[bytes], asked: Options
) -> tuple[dict[str, Any], list[tuple[bytes, bytes]]]:
    wants = ("prediction", "raw")
    told: list[Told] = await asyncio.gather(*(service.predict(model, f, asked, wants=wants) for f in files))
    arrays: dict[str, Any] = {}
    for o in model.manifest.tensors["outputs"]:
        arrays[o["name"]] = np.concatenate([_array(t.answer.raw[o["name"]]) for t in told])
    arrays["prediction"] = [t.json() for t in told]
    return arrays, told[0].headers if len(told) == 1 else []


async def _from_tensors(
    service: Service, model: Model, tensors: dict[str, Array], wanted: Mapping[str, Any]
) -> dict[str, Any]:
    if "prediction" in wanted:
        raise UsageError("prediction needs an image file, found prepared pixels", fix="send it as BYTES")
    answer = await service.predict_tensors(model, tensors)
    return {name: _array(array) for name, array in answer.raw.items()}


def _array(array: Array) -> NDArray[Any]:
    return np.frombuffer(array.data, np.dtype(array.dtype)).reshape(array.shape)


def _answer(
    content: Mapping[str, Any],
    model: Model,
    arrays: Mapping[str, Any],
    wanted: Mapping[str, Mapping[str, Any]],
    headers: list[tuple[bytes, bytes]],
) -> Response:
    parameters = content.get("parameters") or {}
    all_binary = bool(parameters.get("binary_data_output", False))
    outputs, tail = [], []
    for name in wanted or arrays:
        value, options = arrays[name], wanted.get(name, {})
        binary = bool(options.get("binary_data", all_binary))
        top = options.get("classification")
        if isinstance(top, int) and not isinstance(top, bool) and top > 0 and not isinstance(value, list):
            value = _classified(value, top, model.manifest.labels.names)
        if isinstance(value, np.ndarray) and value.dtype.kind != "O":
            data = np.ascontiguousarray(value)
            row: dict[str, Any] = {"name": name, "datatype": DTYPES[str(data.dtype)], "shape": list(data.shape)}
            packed = data.tobytes() if binary else b""
            plain: Any = data.ravel().tolist()
        else:
            rows = [bytes(v) for v in (value.ravel() if isinstance(value, np.ndarray) else value)]
            shape = list(value.shape) if isinstance(value, np.ndarray) else [len(rows)]
            row = {"name": name, "datatype": "BYTES", "shape": shape}
            packed = b"".join(struct.pack("<I", len(r)) + r for r in rows) if binary else b""
            plain = [r.decode("utf-8") for r in rows]
        if binary:
            row["parameters"] = {"binary_data_size": len(packed)}
            tail.append(packed)
        else:
            row["data"] = plain
        outputs.append(row)
    told: dict[str, Any] = {"model_name": model.name, "model_version": "1", "outputs": outputs}
    told["parameters"] = {"digest": model.digest}
    if isinstance(content.get("id"), str):
        told["id"] = content["id"][:200]
    head = msgspec.json.encode(told) if not _has_surrogates(told.get("id", "")) else json.dumps(told).encode()
    if not tail:
        return Response(head, headers=headers)
    length = (b"inference-header-content-length", str(len(head)).encode())
    return Response(head + b"".join(tail), media_type="application/octet-stream", headers=[*headers, length])


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text)


def _classified(values: NDArray[Any], top: int, names: Sequence[str]) -> NDArray[Any]:
    """Return the `top` classes of each row as Triton writes them: "score:index:label"."""
    if values.ndim != 2 or values.shape[1] != len(names):
        raise UsageError("expected classification of an output with one number per class", fix="ask for it as it is")
    order = np.argsort(-values, axis=1, kind="stable")[:, :top]
    rows = [[f"{values[i, k]:f}:{k}:{names[k]}".encode() for k in row] for i, row in enumerate(order)]
    out = np.empty(order.shape, object)
    out[:] = rows
    return out
