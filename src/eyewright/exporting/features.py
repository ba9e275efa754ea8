"""The features of a bundle: what its net knows of an image before it decides on a class."""

__all__ = ["bundle_features", "with_features"]

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle import Bundle
from eyewright.bundle.contract import Contract
from eyewright.bundle.load import open_session
from eyewright.core.errors import BundleError

_WEIGHING = frozenset(
    {"Gemm", "MatMul", "Conv", "FusedGemm", "FusedMatMul", "FusedConv", "QGemm", "QLinearMatMul", "QLinearConv"}
)
_BATCH = 16


def bundle_features(bundle: Bundle, images: Iterable[Any]) -> NDArray[np.float32]:
    """Return a description of each image, float32 (N, D): what goes into the last layer that has weights.

    `images` are Pillow pictures. What is a map of places is averaged over them.

    Raises:
        BundleError: the net has no such layer.
    """
    data, name = with_features((bundle.folder / bundle.manifest.model).read_bytes())
    session = open_session(data)
    given = bundle.manifest.decoding.get("contract")
    contract = None if given is None else Contract.from_json(given)
    size = _BATCH if contract is None or contract.batched else 1
    parts: list[NDArray[np.float32]] = []
    batch: list[NDArray[np.uint8]] = []

    def flush() -> None:
        if batch:
            pixels = np.stack(batch)
            feed = pixels if contract is None else contract.feed(pixels)
            (found,) = session.run([name], {session.get_inputs()[0].name: np.ascontiguousarray(feed)})
            parts.append(_flat(found))
            batch.clear()

    for image in images:
        batch.append(bundle.preparation.apply(image)[0])
        if len(batch) == size:
            flush()
    flush()
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)


def with_features(model: bytes) -> tuple[bytes, str]:
    """Return an ONNX model that also gives what goes into its last layer with weights, and the name of that output.

    Raises:
        BundleError: the net has no such layer.
    """
    import onnx

    proto = onnx.load_from_string(model)
    constants = {tensor.name for tensor in proto.graph.initializer}
    last = next(
        (n for n in reversed(proto.graph.node) if n.op_type in _WEIGHING and n.input[0] not in constants),
        None,
    )
    if last is None:
        raise BundleError("the bundle's net has no layer with weights to take features from", fix="use another model")
    name: str = last.input[0]
    if name not in {o.name for o in proto.graph.output}:
        proto.graph.output.extend([onnx.ValueInfoProto(name=name)])
    return proto.SerializeToString(), name


def _flat(found: NDArray[Any]) -> NDArray[np.float32]:
    values = np.asarray(found, np.float32)
    if values.ndim == 4:
        values = values.mean((2, 3))
    elif values.ndim == 3:
        values = values.mean(1)
    return values.reshape(len(values), -1)
