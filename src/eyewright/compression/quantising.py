"""Fewer bits for a model's numbers: static and dynamic INT8, half precision, 8-bit weights.

ONNX Runtime's quantiser does the arithmetic. What ranges the activations get, which layers stay as they are and what
comes of it is found here, by measurement.
"""

__all__ = [
    "QUANTISED",
    "Calibrated",
    "First",
    "calibrate",
    "quantise_dynamic",
    "quantise_static",
    "quantise_weights",
    "quantisable_layers",
    "to_half",
]

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eyewright.compression.pixels import SHIFTED, straight_from_pixels, without_float_pixels
from eyewright.compression.ranges import Seen, choose_ranges, watch_tensors
from eyewright.core.errors import RefusedError

QUANTISED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""The operations whose numbers become 8 bits: those that cost."""

First = Literal["float", "rounded", "pixels"]
"""What becomes of the layer that sees the image."""

# These only hand numbers on; without them every Conv would go to float and back.
_PASSING = (
    "Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Mul", "Pad",
    "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
_AT_ONCE = 8
# Input channels up to which a layer that sees the image is left in float.
_THIN = 4


@dataclass(frozen=True)
class Calibrated:
    """A float model made ready, and what was seen of its tensors on calibration images."""

    model: bytes
    seen: Mapping[str, Seen]


def calibrate(model: bytes, pixels: NDArray[np.uint8], *, feed: Any = None) -> Calibrated:
    """Fold what can be folded in a float model, and watch its tensors on `pixels`, uint8 (N, H, W, C).

    `feed` turns pixels into the model's input where that is another than ours.

    Raises:
        RefusedError: the model cannot be read by ONNX Runtime's quantiser.
    """
    import onnx

    with _quietly(), tempfile.TemporaryDirectory() as folder:
        from onnxruntime.quantization.shape_inference import quant_pre_process

        first, ready = Path(folder, "model.onnx"), Path(folder, "ready.onnx")
        first.write_bytes(model)
        try:
            quant_pre_process(str(first), str(ready), skip_symbolic_shape=True)
        except Exception as error:  # the preprocessor raises types of several libraries
            raise RefusedError(f"the model cannot be quantised: {_line(error)}", fix="keep it in float32") from error
        prepared = ready.read_bytes()
    graph = onnx.load_from_string(prepared).graph
    constant = {i.name for i in graph.initializer}
    # A layer may give an answer itself, as that of a net's prototypes does.
    known = (*graph.value_info, *graph.output)
    floats = {v.name for v in known if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    touched = _rounded_nodes(graph, first=True)
    tensors = {t for n in touched for t in (*n.input, *n.output) if t in floats and t not in constant}
    name = graph.input[0].name
    give = feed or np.ascontiguousarray
    feeds = [{name: give(pixels[i : i + _AT_ONCE])} for i in range(0, len(pixels), _AT_ONCE)]
    return Calibrated(prepared, watch_tensors(prepared, sorted(tensors), feeds))


def quantisable_layers(model: bytes) -> tuple[str, ...]:
    """Name the layers whose weights would become 8 bits, in the order in which they are computed."""
    import onnx

    graph = onnx.load_from_string(model).graph
    constant = {i.name for i in graph.initializer}
    layers = [n for n in _rounded_nodes(graph) if n.op_type in QUANTISED]
    return tuple(n.name for n in layers if any(i in constant for i in n.input[1:2]))


def _rounded_nodes(graph: Any, *, first: bool = False, keep: Collection[str] = ()) -> list[Any]:
    """Return the nodes that compute in 8 bits: the layers that cost, and what only hands numbers on between them.

    What comes before the first layer scales pixels, what comes after the last makes answers of them; both lose most
    and gain nothing. A layer that sees the image itself is among them only with `first`: with three channels it fills
    no register, and is mostly slower in 8 bits. Those in `keep` never are.
    """
    shapes = {i.name: tuple(i.dims) for i in graph.initializer}
    behind: set[str] = set()
    sees_image = {i.name for i in graph.input}
    floating: set[str] = set()
    for node in graph.node:
        if node.op_type in QUANTISED:
            own = shapes.get(node.input[1], ()) if len(node.input) > 1 else ()
            thin = not first and node.op_type == "Conv" and len(own) == 4 and own[1] <= _THIN
            if node.name in keep or (thin and any(i in sees_image for i in node.input)):
                floating.add(node.name)
                continue
            behind.update(node.output)
        elif any(i in behind for i in node.input):
            behind.update(node.output)
        elif any(i in sees_image for i in node.input):
            sees_image.update(node.output)
    ahead: set[str] = set()
    kept = []
    for node in reversed(graph.node):
        costs = node.op_type in QUANTISED and node.name not in floating
        between = any(i in behind for i in node.input) and any(o in ahead for o in node.output)
        if costs or (node.op_type in _PASSING and between):
            kept.append(node)
        if costs or any(o in ahead for o in node.output):
            ahead.update(node.input)
    return kept[::-1]


def quantise_static(
    found: Calibrated, *, method: str = "minmax", keep: Collection[str] = (), first: First = "float"
) -> bytes:
    """Return the model with 8-bit weights, one scale per channel, and 8-bit activations, in QDQ form.

    `keep` are layers that stay in float; the `first` one, which sees the image, does too unless it is to be "rounded"
    as the others are, or to take the raw "pixels". Weights use 7 of the 8 bits: without VNNI, sums of two
    products of full 8-bit numbers can overflow in the processor, and the answers would depend on the machine.

    Raises:
        RefusedError: ONNX Runtime's quantiser cannot do it, or no convolution can take the raw pixels.
    """
    import onnx

    ranges = choose_ranges(found.seen, method)
    opened = straight_from_pixels(found.model) if first == "pixels" else None
    if opened is not None:
        # A unit of one and a whole number for its zero: the codes of this tensor are the pixels themselves.
        ranges[SHIFTED] = (-float(opened.middle), float(255 - opened.middle))
    elif first == "pixels":
        raise RefusedError("no first layer of this model can take raw pixels", fix="quantise it like the other layers")
    proto = onnx.load_from_string(found.model if opened is None else opened.model)
    with _quietly(), tempfile.TemporaryDirectory() as folder:
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType
        from onnxruntime.quantization import quantize_static as by_runtime
        from onnxruntime.quantization.calibrate import TensorData, TensorsData, save_tensors_data

        limits = {
            name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in ranges.items()
        }
        cache, out = Path(folder, "ranges.json"), Path(folder, "model.onnx")
        save_tensors_data(TensorsData(CalibrationMethod.MinMax, limits), cache)
        rounded = {n.name for n in _rounded_nodes(proto.graph, first=first != "float", keep=keep)}
        passing = [n.name for n in proto.graph.node if n.name not in rounded]
        try:
            by_runtime(
                proto,
                str(out),
                None,
                calibration_cache_path=str(cache),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=[*QUANTISED, *_PASSING],
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=sorted(passing),
            )
        except Exception as error:  # the quantiser raises whatever its parts raise
            raise RefusedError(f"the model cannot be quantised: {_line(error)}", fix="keep it in float32") from error
        # What stays in float is stored in 8 bits all the same, unless somebody asked for it as it is.
        content = out.read_bytes() if opened is None else without_float_pixels(out.read_bytes())
        return quantise_weights(content, keep=keep)


def quantise_dynamic(model: bytes) -> bytes:
    """Return the model with 8-bit matrices whose activations are quantised at run time: for transformers and dense
    nets.

    Raises:
        RefusedError: ONNX Runtime's quantiser cannot do it, or the model has no matrix.
    """
    import onnx

    proto = onnx.load_from_string(model)
    # The preprocessor turns matrices and leaves what it knew of their shapes.
    del proto.graph.value_info[:]
    if not any(n.op_type in ("MatMul", "Gemm") for n in proto.graph.node):
        raise RefusedError("the model has no matrix whose activations could be quantised", fix="use int8")
    with _quietly(), tempfile.TemporaryDirectory() as folder:
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization import quantize_dynamic as by_runtime

        out = Path(folder, "model.onnx")
        try:
            by_runtime(
                proto,
                str(out),
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
            )
        except Exception as error:  # as above
            raise RefusedError(f"the model cannot be quantised: {_line(error)}", fix="keep it in float32") from error
        return _cleaned(out.read_bytes())


def to_half(model: bytes) -> bytes:
    """Return the model in half precision (float16) with its inputs and outputs as they were.

    Raises:
        RefusedError: an operation cannot be converted.
    """
    import onnx

    with _quietly():
        from onnxruntime.transformers.float16 import convert_float_to_float16

        try:
            proto = convert_float_to_float16(
                onnx.load_from_string(model), keep_io_types=True, op_block_list=["Resize", "Softmax"]
            )
        except Exception as error:  # as above
            raise RefusedError(
                f"the model cannot be converted to half precision: {_line(error)}", fix="keep float32"
            ) from error
    # The converter casts an input once for every blocked operation that takes it, each time under the same name.
    made: set[str] = set()
    for node in list(proto.graph.node):
        if made & set(node.output):
            proto.graph.node.remove(node)
        made.update(node.output)
    return _cleaned(proto.SerializeToString())


def quantise_weights(model: bytes, *, keep: Collection[str] = ()) -> bytes:
    """Return the model with its weights stored in 8 bits, one scale per channel; it computes in float32 as before.

    What is stored is a quarter; memory and latency are those of float32. Layers in `keep` are left alone.
    """
    import onnx
    from onnx import numpy_helper

    proto = onnx.load_from_string(model)
    graph = proto.graph
    held = {i.name: i for i in graph.initializer}
    nodes = list(graph.node)
    replaced: dict[str, str] = {}
    added: list[Any] = []
    for node in nodes:
        if node.op_type not in QUANTISED or len(node.input) < 2 or node.input[1] not in held or node.name in keep:
            continue
        name = node.input[1]
        if name not in replaced:
            weights = numpy_helper.to_array(held[name])
            if weights.dtype != np.float32 or weights.ndim < 2:
                continue
            axis = _channel_axis(node, weights.ndim)
            other = tuple(i for i in range(weights.ndim) if i != axis)
            scale = np.maximum(np.abs(weights).max(other) / 127, 1e-12).astype(np.float32)
            shape = [1] * weights.ndim
            shape[axis] = -1
            codes = np.clip(np.round(weights / scale.reshape(shape)), -127, 127).astype(np.int8)
            graph.initializer.remove(held[name])
            graph.initializer.append(numpy_helper.from_array(codes, f"{name}_8bit"))
            graph.initializer.append(numpy_helper.from_array(scale.reshape(shape), f"{name}_scale"))
            replaced[name] = f"{name}_wide"
            # Not DequantizeLinear, which ONNX Runtime does again for every image; this it folds when it loads.
            cast = onnx.helper.make_node("Cast", [f"{name}_8bit"], [f"{name}_codes"], to=onnx.TensorProto.FLOAT)
            widen = onnx.helper.make_node("Mul", [f"{name}_codes", f"{name}_scale"], [replaced[name]])
            added += [cast, widen]
        node.input[1] = replaced[name]
    del graph.node[:]
    graph.node.extend([*added, *nodes])
    return _cleaned(proto.SerializeToString())


def _channel_axis(node: Any, ndim: int) -> int:
    """Return the axis of a weight along which its outputs lie."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    turned = node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if turned else ndim - 1


def _cleaned(model: bytes) -> bytes:
    """Check a model, and leave out what names this machine or only its author needed."""
    import onnx
    from onnxruntime.quantization.onnx_model import ONNXModel

    holder = ONNXModel(onnx.load_from_string(model))
    # Converters add nodes wherever it suits them.
    holder.topological_sort()
    proto = holder.model
    proto.producer_name, proto.producer_version = "eyewright", ""
    del proto.graph.value_info[:]
    for part in (proto.graph, *proto.graph.node):
        part.doc_string = ""
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise RefusedError(f"the converted model is not valid: {_line(error)}", fix="keep it in float32") from error
    content: bytes = proto.SerializeToString()
    return content


def _line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep what the quantiser prints and logs from the user: what matters of it is said by us."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
