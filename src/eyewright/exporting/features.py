"""The features of a bundle: what its net knows of an image before it decides on a class."""

__all__ = ["Features", "FeatureReader", "bundle_features", "with_features"]

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle import Bundle
from eyewright.bundle.contract import Contract
from eyewright.bundle.session import open_session
from eyewright.core.errors import BundleError

_WEIGHING = frozenset(
    {"Gemm", "MatMul", "Conv", "FusedGemm", "FusedMatMul", "FusedConv", "QGemm", "QLinearMatMul", "QLinearConv"}
)
_BATCH = 16
# Wider than this is no description but the image again.
_WIDEST = 4096


@dataclass(frozen=True, eq=False)
class Features:
    """What a net knows of images before it decides: the name of the `tensor`, and its `values`, float32 (N, D)."""

    tensor: str
    values: NDArray[np.float32]


class FeatureReader:
    """Reads what goes into the last layer with weights of an ONNX model, from prepared pixels, batch by batch.

    `take` is called with each batch, `found` returns what was read: None for a model whose last such layer
    takes a map of places, several inputs or more than 4,096 numbers, and so has no one vector per image.
    """

    def __init__(self, model: bytes) -> None:
        self._parts: list[NDArray[np.float32]] | None = None
        try:
            data, self._tensor = with_features(model)
        except BundleError:
            return
        self._session = open_session(data)
        if len(self._session.get_inputs()) == 1:
            self._parts = []

    def take(self, pixels: NDArray[np.uint8]) -> None:
        """Read the features of prepared images, uint8 (N, H, W, C)."""
        if self._parts is None:
            return
        feed = {self._session.get_inputs()[0].name: np.ascontiguousarray(pixels)}
        values = np.asarray(self._session.run([self._tensor], feed)[0], np.float32)
        if values.ndim != 2 or len(values) != len(pixels) or values.shape[1] > _WIDEST:
            self._parts = None
        else:
            self._parts.append(values)

    def found(self) -> Features | None:
        """Return the features of all images that were read."""
        return Features(self._tensor, np.concatenate(self._parts)) if self._parts else None


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
