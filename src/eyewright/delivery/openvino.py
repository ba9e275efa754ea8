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
from eyewright.tasks.boxes import DEFAULT_IOU

# How OpenVINO's Model API is told to resize.
_RESIZE = {"stretch": "standard", "letterbox": "fit_to_window_letterbox", "crop": "crop"}
_YOLO, _BOXES = "YOLOv8", "detections"
# From x0, y0, x1, y1 to the centre's x and y, width, height.
_TO_CENTRES = ((0.5, 0, -1, 0), (0, 0.5, 0, -1), (0.5, 0, 1, 0), (0, 0.5, 0, 1))
# Pillow's weights of red, green and blue in grey, exact in float32.
_LUMA = (19595 / 65536, 38470 / 65536, 7471 / 65536)


def write_openvino(
    bundle: Bundle, model: bytes, out: Path, *, layers_of: Callable[[bytes, str], Sequence[str]] | None = None
) -> None:
    """Write `model.xml` and `model.bin` into the folder `out`, float32 and not compressed further.

    `layers_of(model, operator)` names the layers that hold an operator, for the message that one is lacking. `rt_info`
    holds what OpenVINO's Model API reads: the kind of model, labels, how images are resized. For it, too, a model of
    grey images takes RGB, from which it makes Pillow's grey, and boxes and their scores are one output, "detections",
    float32 (N, 4 + C, A), with boxes as x and y of the centre, width, height: what its YOLOv8 wrapper reads.

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
    if bundle.preparation.channels == 1:
        converted = _taking_rgb(converted)
    if task_of(bundle.task_name).foreign.get("openvino") == _YOLO:
        converted = _with_one_output(converted)
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
        "pad_value": str(bundle.preparation.fill),
        "reverse_input_channels": "False",
        "eyewright_task": task.name,
    }
    if "openvino" in task.foreign:
        info["model_type"] = task.foreign["openvino"]
    if [len(o.shape) for o in task.outputs if o.sums] == [1]:
        # The probabilities are the model's own; nothing is to be done to them.
        info |= {"output_raw_scores": "True", "topk": str(min(5, len(bundle.labels)))}
    if [len(o.shape) for o in task.outputs if o.sums] == [3]:
        # The Model API stretches a mask to the image, whatever the image's fit was, and does not name the background.
        info |= {"resize_type": "standard", "labels": " ".join(info["labels"].split(" ")[1:])}
    if task.foreign.get("openvino") == _YOLO:
        points = bundle.thresholds
        info |= {
            # One for all classes: the lowest, so that none of what we show is lost.
            "confidence_threshold": str(0.25 if points is None else round(float(points.min()), 6)),
            "iou_threshold": str(bundle.decoding.get("iou", DEFAULT_IOU)),
            "scale_values": "1.0",
        }
    return info


def _taking_rgb(model: Any) -> Any:
    """Return the model of grey images with an RGB input, uint8 (N, H, W, 3), of the same name."""
    from openvino import Model, PartialShape, Type, opset13

    (old,) = model.get_parameters()
    name = old.output(0).get_any_name()
    shape = old.get_partial_shape()
    new = opset13.parameter(PartialShape([*list(shape)[:3], 3]), Type.u8, name=name)
    # One plane at a time: a factor per channel after the resizing that the Model API puts before it is applied along
    # another axis by OpenVINO 2025.4.
    planes = opset13.split(opset13.convert(new, "f32"), opset13.constant(np.int64(3)), 3).outputs()
    light = opset13.constant(np.float32(0.5))
    for plane, weight in zip(planes, _LUMA, strict=True):
        light = opset13.add(light, opset13.multiply(plane, opset13.constant(np.float32(weight))))
    grey = opset13.convert(opset13.floor(light), "u8")
    for consumer in old.output(0).get_target_inputs():
        consumer.replace_source_output(grey.output(0))
    results = model.get_results()
    made = Model(results, [new], model.get_friendly_name())
    made.input(0).set_names({name})
    return made


def _with_one_output(model: Any) -> Any:
    """Join "boxes" and "scores" into "detections"."""
    from openvino import Model, opset13

    outputs = {o.get_any_name(): o.get_node().input_value(0) for o in model.outputs}
    boxes = opset13.matmul(outputs["boxes"], opset13.constant(np.array(_TO_CENTRES, np.float32)), False, False)
    joined = opset13.concat([boxes, outputs["scores"]], 2)
    turned = opset13.transpose(joined, opset13.constant(np.array([0, 2, 1])))
    result = opset13.result(turned)
    made = Model([result], model.get_parameters(), model.get_friendly_name())
    made.output(0).set_names({_BOXES})
    return made


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
        self._joined = any(_BOXES in output.get_names() for output in compiled.outputs)
        shapes = {i.get_any_name(): i.get_partial_shape() for i in compiled.inputs}
        self._channels = {n: s[3].get_length() for n, s in shapes.items() if len(s) == 4 and s[3].is_static}

    def run(self, names: Sequence[str], feeds: Mapping[str, NDArray[Any]], options: Any = None) -> list[NDArray[Any]]:
        """Return the outputs of these names."""
        self._request.infer({name: self._as_taken(name, pixels) for name, pixels in feeds.items()})
        if self._joined:
            found = np.swapaxes(np.array(self._request.get_tensor(_BOXES).data), 1, 2)
            halves = found[..., 2:4] / 2
            corners = np.concatenate([found[..., :2] - halves, found[..., :2] + halves], -1)
            named = {"boxes": corners, "scores": np.ascontiguousarray(found[..., 4:])}
            return [named[name] for name in names]
        return [np.array(self._request.get_tensor(name).data) for name in names]

    def _as_taken(self, name: str, pixels: NDArray[Any]) -> NDArray[Any]:
        """Repeat grey for a model that takes RGB: grey of equal channels is bit-identical to that grey."""
        wanted = self._channels.get(name)
        return np.repeat(pixels, 3, 3) if wanted == 3 and pixels.ndim == 4 and pixels.shape[3] == 1 else pixels


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
