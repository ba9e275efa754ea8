"""OpenVINO: the bundle's model as Intel's intermediate representation, and that run on Intel's runtime."""

__all__ = ["import_openvino", "openvino_session", "write_openvino"]

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.load import Bundle
from eyewright.bundle.onnx_scan import refuse_outside_data
from eyewright.core.errors import BundleError, MissingExtraError, RefusedError
from eyewright.core.files import write_bytes
from eyewright.core.task import task_of

# How OpenVINO's Model API is told to resize.
_RESIZE = {"stretch": "standard", "letterbox": "fit_to_window_letterbox"}


def write_openvino(
    bundle: Bundle, model: bytes, out: Path, *, layers_of: Callable[[bytes, str], Sequence[str]] | None = None
) -> None:
    """Write `model.xml` and `model.bin` into the folder `out`, float32 and not compressed further.

    `layers_of(model, operator)` names the layers that hold an operator, for the message that one is lacking. `rt_info`
    holds what OpenVINO's Model API reads: the kind of model, labels, how images are resized.

    Raises:
        RefusedError: the model holds an operation that OpenVINO does not have.
        MissingExtraError: OpenVINO is not installed.
    """
    ov = import_openvino()
    refuse_outside_data(model)
    try:
        converted = ov.Core().read_model(model=model)
    except Exception as error:
        named = re.search(r"for operations?: ([\w.-]+)", str(error))
        if named is None:
            raise RefusedError(f"OpenVINO cannot read the model: {_reason(error)}", fix="use onnx") from error
        # OpenVINO writes the opset behind the name.
        operator = re.sub(r"-\d+$", "", named[1])
        where = ", ".join((layers_of or _nowhere)(model, operator)[:3])
        raise RefusedError(
            f"OpenVINO lacks the operator {operator!r}{f' of the layer {where}' if where else ''}",
            fix="run the bundle with ONNX Runtime, or change the net",
            code="target_operator",
        ) from error
    for name, value in _model_info(bundle).items():
        converted.set_rt_info(value, ["model_info", name])
    ov.save_model(converted, str(out / "model.xml"), compress_to_fp16=False)
    # The pictures of a graph name the folder that they were made in; the file must not.
    write_bytes(out / "model.xml", (out / "model.xml").read_bytes())


def _model_info(bundle: Bundle) -> dict[str, Any]:
    task = task_of(bundle.task_name)
    info: dict[str, Any] = {
        # A label is one word to the Model API.
        "labels": " ".join(n.replace(" ", "_") for n in bundle.labels.names),
        "resize_type": _RESIZE.get(bundle.preparation.fit, "standard"),
        "reverse_input_channels": "False",
        "eyewright_task": task.name,
    }
    if "openvino" in task.foreign:
        info["model_type"] = task.foreign["openvino"]
    if [len(o.shape) for o in task.outputs if o.sums] == [1]:
        # The probabilities are the model's own; nothing is to be done to them.
        info |= {"output_raw_scores": "True", "topk": str(min(5, len(bundle.labels)))}
    return info


def openvino_session(data: Mapping[str, bytes], *, threads: int | None = None) -> "OpenVinoSession":
    """Open a target's model on this machine's processor.

    Raises:
        BundleError: OpenVINO cannot open it.
        MissingExtraError: OpenVINO is not installed.
    """
    ov = import_openvino()
    if not data["model.xml"].lstrip().startswith(b"<"):
        # OpenVINO goes by the content: a model in another format may name files of its own.
        raise BundleError("expected model.xml as XML, found another format", fix="export it again")
    core = ov.Core()
    # In bfloat16, which some processors would choose, answers are others.
    options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    try:
        # Weights are given as a tensor: nothing is read from disk once its digest has been checked.
        weights = ov.Tensor(np.frombuffer(data["model.bin"], np.uint8))
        model = core.read_model(model=data["model.xml"], weights=weights)
        return OpenVinoSession(core.compile_model(model, "CPU", options), weights)
    except Exception as error:
        raise BundleError(f"OpenVINO cannot open the model: {_reason(error)}", fix="export it again") from error


class OpenVinoSession:
    """A compiled model, run as ONNX Runtime's session is."""

    def __init__(self, compiled: Any, held: Any) -> None:
        self._compiled, self._held = compiled, held
        self._request = compiled.create_infer_request()

    def run(self, names: Sequence[str], feeds: Mapping[str, NDArray[Any]], options: Any = None) -> list[NDArray[Any]]:
        """Give the outputs of these names."""
        self._request.infer(dict(feeds))
        return [np.array(self._request.get_tensor(name).data) for name in names]


def import_openvino() -> Any:
    """Import OpenVINO.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError(
            "the openvino target needs OpenVINO, which is not installed", fix="pip install 'eyewright[openvino]'"
        ) from error
    return openvino


def _nowhere(model: bytes, operator: str) -> Sequence[str]:
    return ()


def _reason(error: Exception) -> str:
    """Find in an error of many lines the one that names what is lacking."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "not supported" in line.lower() or "unable" in line.lower()]
    return (named or lines or [type(error).__name__])[0][:300]
