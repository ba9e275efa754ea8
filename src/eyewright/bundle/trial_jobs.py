"""What the process of a first run is asked to do: open a model and run it, or check a whole bundle."""

__all__ = ["check_bundle", "open_model", "prepare", "run_model"]

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eyewright.bundle.load import read_and_test
from eyewright.bundle.session import first_line, open_session
from eyewright.core.errors import BundleError

Answer = tuple[dict[str, Any], list[bytes]]
_held: list[Any] = []


def prepare(request: Mapping[str, Any]) -> None:
    """Import the runtime, whose time is not the model's."""
    import onnxruntime  # noqa: F401


def check_bundle(request: Mapping[str, Any], payload: bytes) -> Answer:
    """Open the bundle in "folder" and run its golden pairs; it must be the one with this "digest"."""
    read_and_test(Path(request["folder"]), digest=request["digest"], threads=request["threads"])
    return {}, []


def open_model(request: Mapping[str, Any], payload: bytes) -> Answer:
    """Open an ONNX model; return what it takes and gives."""
    session = open_session(payload)
    _held[:] = [session]
    return {
        "inputs": [[v.name, v.type, list(v.shape)] for v in session.get_inputs()],
        "outputs": [[v.name, v.type, list(v.shape)] for v in session.get_outputs()],
    }, []


def run_model(request: Mapping[str, Any], payload: bytes) -> Answer:
    """Run the opened model once."""
    feeds, at = {}, 0
    for name, code, shape in request["feeds"]:
        dtype = np.dtype(code)
        count = int(np.prod(shape, dtype=np.int64))
        feeds[name] = np.frombuffer(payload, dtype, count, at).reshape(shape)
        at += count * dtype.itemsize
    try:
        found = _held[0].run(request["names"], feeds)
    except Exception as error:  # ONNX Runtime raises many types of its own, none of them documented
        raise BundleError(f"the model cannot be run: {first_line(error)}", fix="use another model") from error
    if any(not isinstance(a, np.ndarray) or a.dtype.kind not in "biuf" for a in found):
        raise BundleError("expected arrays of numbers from the model, found something else", fix="use another model")
    arrays = [np.ascontiguousarray(a) for a in found]
    return {"arrays": [[a.dtype.str, list(a.shape)] for a in arrays]}, [a.tobytes() for a in arrays]
