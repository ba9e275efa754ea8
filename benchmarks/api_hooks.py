"""Hooks of schemathesis for `benchmarks/api.py`: what a JSON Schema cannot say of a request that is accepted.

They are read in schemathesis' own environment. Only requests that are meant to be valid are changed: an image in
base64 is an image, an option fits the task of the model and the other options, a tensor has as many values as its shape
says, feedback is on a prediction that was made and of labels that its model knows, what is to be filled is said in one
way and lies inside the image. Everything else stays as schemathesis generates it.
"""

import base64
import json
import os
import struct
import urllib.request
import zlib
from typing import Any

import schemathesis
from hypothesis import strategies as st


def _png(side: int, value: int) -> bytes:
    return _png_of([bytes([value] * side)] * side)


def _png_of(lines: list[bytes]) -> bytes:
    """Return a square grey image of these rows."""
    side, rows = len(lines), b"".join(b"\0" + line for line in lines)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


ADDRESS = os.environ["EYEWRIGHT_ADDRESS"]
IMAGES = [_png(side, value) for side, value in ((8, 0), (32, 128), (50, 255))]
# White in a box, and as large as the second image.
MASK = _png_of([bytes([0] * 10 + [255 * (8 < row < 14)] * 12 + [0] * 10) for row in range(32)])
TEXTS = [base64.b64encode(i).decode() for i in IMAGES]
PLACES = "".join(
    f'<{kind} name="{kind}" toName="image"/>' for kind in ("Choices", "RectangleLabels", "BrushLabels", "Text")
)
CONFIG = f'<View><Image name="image" value="$image"/>{PLACES}</View>'


def _ask(path: str, body: bytes | None = None, token: str = "EYEWRIGHT_TOKEN") -> Any:
    request = urllib.request.Request(ADDRESS + path, body, {"Authorization": f"Bearer {os.environ[token]}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


MODELS = {m["name"]: m for m in _ask("/v1/models")["models"]}
FIRST = next(iter(MODELS.values()))
MADE = {n: _ask(f"/v1/models/{n}/predict", IMAGES[1])["prediction_id"] for n in MODELS}
OUTPUTS = {n: [o["name"] for o in _ask(f"/v2/models/{n}")["outputs"]] for n in MODELS}

schemathesis.openapi.format("binary", st.sampled_from(IMAGES))
schemathesis.openapi.format("image-base64", st.sampled_from([*TEXTS, "data:image/png;base64," + TEXTS[0]]))
schemathesis.openapi.format("label-studio-config", st.sampled_from(["", CONFIG]))


def _fit(options: Any, model: dict[str, Any]) -> None:
    """Leave out what a model of this task refuses."""
    if not isinstance(options, dict):
        return
    if model["task"] not in ("detect", "instance"):
        options.pop("iou", None)
    if model["task"] != "classify":
        options.pop("coverage", None)
    elif "coverage" in options and options["coverage"] is not None:
        # In a query it is text.
        options["coverage"] = min(float(options["coverage"]), 0.5)
    if options.get("coverage") is None:
        # Both say how sets of a coverage are formed.
        options.pop("coverage_by", None)
        options.pop("sets", None)
    if isinstance(options.get("label"), str):
        options["label"] = model["labels"][0]


def _form(case: Any, kwargs: Any, model: dict[str, Any]) -> None:
    options = {k: v for k, v in case.body.items() if k != "file"}
    _fit(options, model)
    kwargs["data"] = {k: json.dumps(v) if isinstance(v, bool) else v for k, v in options.items()}
    kwargs["files"] = [("file", ("image.png", IMAGES[1]))]


def _fill(case: Any, kwargs: Any) -> None:
    """Say where to fill in one way, inside the image, and by a method that every model has."""
    fields = dict(case.body) if isinstance(case.body, dict) else {}
    where = "box" if "mask" not in fields else "mask"
    nested = fields.pop("parameters", None) if case.media_type == "application/json" else None
    given = {
        **(case.query or {}),
        **(nested or {}),
        **{k: v for k, v in fields.items() if k not in ("image", "file", "mask")},
    }
    options = {k: v for k, v in given.items() if v is not None and k not in ("box", "feather")}
    if options.get("method") == "net":
        options["method"] = "ns"
    # A hole that grows over the whole image is refused.
    options = {**options, **({"grow": min(int(options["grow"]), 2)} if "grow" in options else {})}
    if where == "box":
        options["box"] = "3,4,12,5"
    case.query = {}
    if case.media_type == "application/json":
        mask = {"mask": base64.b64encode(MASK).decode()} if where == "mask" else {}
        case.body = {"image": TEXTS[1], **mask, "parameters": options}
    elif case.media_type == "multipart/form-data":
        kwargs["data"] = {k: str(v) for k, v in options.items()}
        kwargs["files"] = [("file", ("image.png", IMAGES[1]))]
        kwargs["files"] += [("mask", ("mask.png", MASK))] if where == "mask" else []
    else:
        case.query = options
        kwargs["data"] = IMAGES[1]


def _infer(case: Any, model: dict[str, Any]) -> None:
    body = case.body if isinstance(case.body, dict) else {}
    inputs = [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [TEXTS[0]]}]
    known = OUTPUTS[model["name"]]
    outputs = [{"name": known[k % len(known)]} for k, _ in enumerate(body.get("outputs") or [])]
    kept = {k: v for k, v in body.items() if k not in ("inputs", "outputs")}
    if isinstance(kept.get("parameters"), dict):
        kept["parameters"] = {
            k: v for k, v in kept["parameters"].items() if k not in ("conf", "iou", "top", "coverage")
        }
    whole = {**kept, "inputs": inputs, **({"outputs": outputs} if "outputs" in body else {})}
    case.body = json.dumps(whole).encode() if case.media_type == "application/octet-stream" else whole


def _feedback(case: Any, kwargs: Any) -> None:
    if case.media_type == "image/png":
        # Not through the case, as for an image that is predicted.
        masks = [n for n, m in MODELS.items() if m["task"] == "segment"]
        case.query = {"prediction_id": MADE[masks[0]] if masks else "none"}
        kwargs["data"] = _png(32, 0)
        return
    said = {"classify": {"label": FIRST["labels"][0]}, "segment": {"classes": {FIRST["labels"][0]: True}}}
    about = said.get(FIRST["task"], {"objects": [{"label": FIRST["labels"][0], "box_xyxy": [1, 1, 9, 9]}]})
    kept = {k: v for k, v in case.body.items() if k == "comment"}
    case.body = {"prediction_id": MADE[FIRST["name"]], **kept, **about}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    model = MODELS.get((case.path_parameters or {}).get("name", FIRST["name"]), FIRST)
    path = case.operation.path
    if path.endswith("/infer"):
        _infer(case, model)
    elif path == "/v1/feedback":
        _feedback(case, kwargs)
    elif path == "/v1/models/{name}/inpaint":
        _fill(case, kwargs)
    elif path == "/v1/search" and case.media_type == "application/json":
        # What is sought is in the body or in the query, not in both.
        case.query = {}
    elif path in ("/v1/models/{name}/predict", "/predict/{name}"):
        _fit(case.query, model)
        if isinstance(case.body, dict) and "file" in case.body:
            _form(case, kwargs, model)
            return
        _fit(case.body.get("parameters") if isinstance(case.body, dict) else None, model)
        if not isinstance(case.body, dict):
            # Not through the case: schemathesis takes a case whose bytes were changed for one that is not valid.
            kwargs["data"] = IMAGES[len(case.id) % len(IMAGES)]


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Bring back a model that was unloaded: the other operations are asked about every model."""
    if case.operation.path.endswith("/unload") and response.status_code == 200:
        _ask("/v1/reload", b"", "EYEWRIGHT_ADMIN_TOKEN")
