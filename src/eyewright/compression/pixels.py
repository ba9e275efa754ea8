"""Raw pixels are 8-bit numbers already: let the first layer compute on them, and scale its weights instead."""

__all__ = ["SHIFTED", "Opened", "straight_from_pixels", "without_float_pixels"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

SHIFTED = "pixels_from_their_mean"
"""The tensor of a model from `straight_from_pixels` that its first layer takes: pixels less a whole number."""

_LEVELS = 255
# They hand pixels on as they are.
_MOVING = ("Transpose", "Cast")


@dataclass(frozen=True)
class Opened:
    """A model whose first layer sees pixels less `middle`, a whole number."""

    model: bytes
    middle: int


def straight_from_pixels(model: bytes) -> Opened | None:
    """Move the scaling of uint8 pixels into the weights of the first convolution, if the model begins with one.

    The number that is taken from the pixels is their mean over all channels, since a convolution pads with zeros:
    around the border, and only there, a channel whose mean is another is padded slightly off. None where what
    comes before the first layer is more than a scale and a shift a channel.
    """
    import onnx
    from onnx import numpy_helper

    proto = onnx.load_from_string(model)
    graph = proto.graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    if len(graph.input) != 1 or graph.input[0].type.tensor_type.elem_type != onnx.TensorProto.UINT8:
        return None
    found = _scaling(graph, constants)
    if found is None:
        return None
    chain, layer, scale, shift = found
    weight = constants[layer.input[1]].astype(np.float64)
    bias = constants[layer.input[2]].astype(np.float64) if len(layer.input) > 2 else np.zeros(len(weight))
    middle = int(np.clip(np.round((-shift / scale).mean()), 0, _LEVELS))
    bias = bias + weight.sum((2, 3)) @ (scale * middle + shift)
    weight = weight * scale[None, :, None, None]
    tensor = graph.input[0].name
    for node in chain:
        if node.op_type in _MOVING:
            node.input[0] = tensor
            tensor = node.output[0]
        else:
            graph.node.remove(node)
    own = [f"{layer.input[1]}{end}" for end in ("_of_pixels", "_from_pixels")]
    arrays = (weight.astype(np.float32), bias.astype(np.float32), np.float32(middle))
    for array, name in zip(arrays, (*own, f"{SHIFTED}_mean"), strict=True):
        graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    del layer.input[:]
    layer.input.extend([SHIFTED, *own])
    at = next(i for i, node in enumerate(graph.node) if node.output == layer.output)
    graph.node.insert(at, onnx.helper.make_node("Sub", [tensor, f"{SHIFTED}_mean"], [SHIFTED], name=SHIFTED))
    _drop_unused(graph)
    return Opened(proto.SerializeToString(), middle)


def _scaling(graph: Any, constants: Mapping[str, Any]) -> tuple[list[Any], Any, Any, Any] | None:
    """Return what stands between the pixels and the first convolution, that layer, and scale and shift a channel."""
    scale, shift = np.ones(1), np.zeros(1)
    name: str = graph.input[0].name
    chain: list[Any] = []
    while True:
        takers = [n for n in graph.node if name in n.input]
        if len(takers) != 1 or takers[0].input[0] != name:
            return None
        node = takers[0]
        if node.op_type == "Conv":
            break
        if node.op_type in ("Sub", "Add", "Mul", "Div") and node.input[1] in constants:
            value = constants[node.input[1]].astype(np.float64).ravel()
            if node.op_type in ("Sub", "Add"):
                shift = shift + (value if node.op_type == "Add" else -value)
            else:
                factor = value if node.op_type == "Mul" else 1 / value
                scale, shift = scale * factor, shift * factor
        elif node.op_type not in _MOVING:
            return None
        chain.append(node)
        name = node.output[0]
    weight = constants.get(node.input[1])
    if weight is None or weight.ndim != 4 or [n.op_type for n in chain].count("Cast") != 1:
        return None
    inward = weight.shape[1]
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    if groups != 1 or scale.size not in (1, inward) or shift.size not in (1, inward) or not scale.all():
        return None
    return chain, node, np.broadcast_to(scale, (inward,)), np.broadcast_to(shift, (inward,))


def without_float_pixels(model: bytes) -> bytes:
    """Let the first layer of a rounded model take the pixels themselves: as 8-bit numbers they are exact.

    `model` is what became of one from `straight_from_pixels`, whose `SHIFTED` was given a unit of one.
    """
    import onnx

    proto = onnx.load_from_string(model)
    graph = proto.graph
    made = {o: n for n in graph.node for o in n.output}
    rounding = next((n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == SHIFTED), None)
    if rounding is None:
        # The layer was left in float.
        return model
    gone = [rounding, made[SHIFTED]]
    tensor = made[SHIFTED].input[0]
    # The channels are moved as 8-bit numbers too, wherever the cast stood.
    while tensor in made:
        node = made[tensor]
        if node.op_type == "Cast":
            gone.append(node)
            _rename(graph, tensor, node.input[0])
        tensor = node.input[0]
    _rename(graph, rounding.output[0], made[SHIFTED].input[0])
    for node in gone:
        graph.node.remove(node)
    _drop_unused(graph)
    content: bytes = proto.SerializeToString()
    return content


def _rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        for k, name in enumerate(node.input):
            if name == old:
                node.input[k] = new


def _drop_unused(graph: Any) -> None:
    used = {i for n in graph.node for i in n.input} | {o.name for o in graph.output}
    for one in list(graph.initializer):
        if one.name not in used:
            graph.initializer.remove(one)
    # Types of tensors in between are no longer what they were.
    del graph.value_info[:]
