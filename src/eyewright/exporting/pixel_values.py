"""The model that Hugging Face's pipelines call: float `pixel_values` in, `logits` out, around the bundle's own."""

__all__ = ["with_pixel_values"]

from typing import TYPE_CHECKING

import numpy as np

from eyewright.core.errors import RefusedError

if TYPE_CHECKING:
    import onnx

# Pillow's weights of red, green and blue in grey, exact in float32.
_LUMA = (19595 / 65536, 38470 / 65536, 7471 / 65536)
_LEAST = 1e-30


def with_pixel_values(model: bytes, *, channels: int, fitting: tuple[str, str, int] | None = None) -> bytes:
    """Return the ONNX model with the input `pixel_values`, float32 (N, 3, H, W) in [0, 1], and the output `logits`.

    Inside, pixels become uint8 (N, H, W, C) again, with 1 channel Pillow's grey, and `logits` are the logarithms of the
    bundle's probabilities: their softmax gives these back, calibration included. With `fitting`
    ("stretch" or "letterbox", the filter "bilinear" or "bicubic", the fill of 0-255) images of any size come in and are
    resized inside, antialiased: within a level of Pillow, whose resizing the client's is not.

    Raises:
        RefusedError: the model has not one image as input and "probabilities" as output.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    proto = onnx.load_from_string(model)
    graph = proto.graph
    outputs = [o.name for o in graph.output]
    if len(graph.input) != 1 or "probabilities" not in outputs:
        raise RefusedError(
            f"expected a model of one image with probabilities, found {len(graph.input)} inputs, {', '.join(outputs)}",
            fix="export a classifier",
            code="target_task",
        )
    (image,) = graph.input
    dims = image.type.tensor_type.shape.dim
    batch, height, width = dims[0].dim_param or "N", dims[1].dim_value, dims[2].dim_value

    def constant(name: str, value: object) -> str:
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), f"pixel_values/{name}"))
        return f"pixel_values/{name}"

    def node(kind: str, inputs: list[str], output: str, **attributes: object) -> "onnx.NodeProto":
        made = helper.make_node(kind, inputs, [output], name=f"pixel_values/{kind}_{output}")
        made.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
        return made

    first = [
        node("Mul", ["pixel_values", constant("levels", 255)], "pixel_values/scaled"),
        node("Round", ["pixel_values/scaled"], "pixel_values/rounded"),
        node("Clip", ["pixel_values/rounded", constant("black", 0), constant("white", 255)], "pixel_values/clipped"),
        node("Transpose", ["pixel_values/clipped"], "pixel_values/turned", perm=[0, 2, 3, 1]),
    ]
    last = "pixel_values/turned"
    size: list[str | int] = [height, width]
    if fitting is not None:
        size = ["height", "width"]
        resizing = _resizing(height, width, *fitting)
        graph.initializer.extend(resizing.initializer)
        first[0].input[0] = "pixel_values/fit/fitted"
        first = [*resizing.node, *first]
    if channels == 1:
        weights = constant("luma", np.array(_LUMA).reshape(3, 1))
        first += [
            node("MatMul", [last, weights], "pixel_values/light"),
            node("Add", ["pixel_values/light", constant("half", 0.5)], "pixel_values/lifted"),
            node("Floor", ["pixel_values/lifted"], "pixel_values/grey"),
        ]
        last = "pixel_values/grey"
    first.append(node("Cast", [last], image.name, to=TensorProto.UINT8))
    classes = next(o for o in graph.output if o.name == "probabilities").type.tensor_type.shape.dim[1].dim_value
    end = [
        node("Cast", ["probabilities"], "pixel_values/wide", to=TensorProto.FLOAT),
        node("Max", ["pixel_values/wide", constant("least", _LEAST)], "pixel_values/positive"),
        node("Log", ["pixel_values/positive"], "logits"),
    ]
    body = list(graph.node)
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend([*first, *body, *end])
    graph.input.append(helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [batch, 3, *size]))
    graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, classes]))
    onnx.checker.check_model(proto, full_check=True)
    made: bytes = proto.SerializeToString()
    return made


def _resizing(height: int, width: int, fit: str, filter: str, fill: int) -> "onnx.GraphProto":
    """Return what brings `pixel_values` of any size to height x width, whole or stretched."""
    import onnx

    mode = {"bilinear": "linear", "bicubic": "cubic"}[filter]
    letterbox = """
        sides = Cast<to = 1>(found)
        scales = Div(target, sides)
        scale = ReduceMin<keepdims = 1>(scales)
        scaled = Mul(sides, scale)
        rounded = Round(scaled)
        least = Max(rounded, one)
        inner = Cast<to = 7>(least)
    """
    stretch = """
        inner = Identity(whole)
    """
    text = f"""
    fit (float[N, 3, H, W] pixel_values) => (float[N, 3, {height}, {width}] fitted)
    <int64[1] two = {{2}}, int64[2] whole = {{{height}, {width}}}, int64[2] front = {{0, 0}}, int64[1] mids = {{2}},
     int64[1] ends = {{4}}, int64[1] start = {{0}}, float fill = {{{fill / 255!r}}},
     float[2] target = {{{height}.0, {width}.0}}, float[1] one = {{1.0}}>
    {{
        shape = Shape(pixel_values)
        outer = Slice(shape, start, mids)
        found = Slice(shape, mids, ends)
        {letterbox if fit == "letterbox" else stretch}
        sizes = Concat<axis = 0>(outer, inner)
        resized = Resize<mode = "{mode}", antialias = 1, cubic_coeff_a = -0.5>(pixel_values, , , sizes)
        left_over = Sub(whole, inner)
        before = Div(left_over, two)
        after = Sub(left_over, before)
        pads = Concat<axis = 0>(front, before, front, after)
        fitted = Pad(resized, pads, fill)
    }}
    """
    graph = onnx.parser.parse_graph(text)
    for node in graph.node:
        node.input[:] = [n if n in ("", "pixel_values") else f"pixel_values/fit/{n}" for n in node.input]
        node.output[:] = [f"pixel_values/fit/{n}" for n in node.output]
        node.name = f"{node.output[0]}_"
    for value in graph.initializer:
        value.name = f"pixel_values/fit/{value.name}"
    return graph
