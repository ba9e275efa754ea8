"""A task of an image and a text, as a package of somebody's would add it: how like an image is each of two classes that
the text asks for. The text is read by a preparation of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from eyewright.bundle.golden import golden_arrays
from eyewright.bundle.manifest import Manifest, write_manifest
from eyewright.bundle.session import open_session
from eyewright.bundle.verify import digest_folder
from eyewright.core import task as tasks
from eyewright.core.labels import LabelSpace
from eyewright.core.task import task_of
from eyewright.imaging.preparation import Preparation


@dataclass(frozen=True)
class TextPreparation:
    """The first `length` letters of a text as code points, 0 behind its end, int64."""

    kind: ClassVar[str] = "text"
    length: int = 4

    @property
    def dtype(self) -> str:
        return "int64"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)

    @property
    def contract(self) -> dict[str, Any]:
        return {}

    @property
    def words(self) -> str:
        return "letters"

    def batch(self, values: Any) -> tuple[NDArray[np.int64], Any]:
        rows = [[ord(c) for c in v[: self.length]] + [0] * (self.length - len(v)) for v in values]
        return np.array(rows, np.int64).reshape(-1, self.length), [len(v) for v in values]

    def pack(self, value: str) -> NDArray[np.uint8]:
        return np.frombuffer(value.encode(), np.uint8)

    def unlike(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
        return "" if len(shape) == 1 and dtype == np.uint8 else "is not a text"

    def unpack(self, array: NDArray[np.uint8]) -> str:
        return array.tobytes().decode()

    def to_json(self) -> dict[str, Any]:
        return {"length": self.length}

    @classmethod
    def from_json(cls, data: Any) -> "TextPreparation":
        return cls(**data)


IMAGE, TEXT = "eyewright.imaging.preparation:Preparation", f"{__name__}:TextPreparation"
PAIR = replace(task_of("classify"), name="pair", inputs=MappingProxyType({"image": IMAGE, "text": TEXT}))
NOTHING = replace(task_of("classify"), name="nothing", inputs=MappingProxyType({}))

INPUTS = {"image": Preparation((4, 4)), "text": TextPreparation()}


@contextmanager
def installed() -> Iterator[None]:
    """Add both tasks for a while, as the package that holds this file would."""
    table = {**tasks._table(), "pair": f"{__name__}:PAIR", "nothing": f"{__name__}:NOTHING"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "_table", lambda: table)
        tasks.task_of.cache_clear()
        yield
    tasks.task_of.cache_clear()


def pair_model() -> bytes:
    """Return an ONNX model: softmax over the mean red of the image and the mean letter of the text, over 100."""
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "over"], ["red"], keepdims=0),
        helper.make_node("Cast", ["text"], ["letters"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["letters", "along"], ["letter"], keepdims=0),
        helper.make_node("Unsqueeze", ["red", "last"], ["one"]),
        helper.make_node("Unsqueeze", ["letter", "last"], ["two"]),
        helper.make_node("Concat", ["one", "two"], ["both"], axis=1),
        helper.make_node("Div", ["both", "hundred"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    values = [
        helper.make_tensor("over", TensorProto.INT64, [3], [1, 2, 3]),
        helper.make_tensor("along", TensorProto.INT64, [1], [1]),
        helper.make_tensor("last", TensorProto.INT64, [1], [1]),
        helper.make_tensor("hundred", TensorProto.FLOAT, [], [100.0]),
    ]
    graph = helper.make_graph(
        nodes,
        "pair",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 4, 4, 3]),
            helper.make_tensor_value_info("text", TensorProto.INT64, ["N", 4]),
        ],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2])],
        values,
    )
    return _serialised(graph)


def nothing_model() -> bytes:
    """Return an ONNX model without inputs, which answers one row."""
    value = helper.make_tensor("value", TensorProto.FLOAT, [1, 2], [0.25, 0.75])
    node = helper.make_node("Constant", [], ["probabilities"], value=value)
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 2])
    return _serialised(helper.make_graph([node], "nothing", [], [output]))


def _serialised(graph: onnx.GraphProto) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


def write_bundle(folder: Path, task: str, model: bytes, inputs: Any, examples: list[Any]) -> Path:
    """Write a sealed bundle around an ONNX model with two classes."""
    (folder / "onnx").mkdir(parents=True)
    (folder / "onnx" / "model.onnx").write_bytes(model)
    arrays = golden_arrays(inputs, examples)
    feeds = {name: arrays[f"prepared_{name}"] for name in inputs}
    (found,) = open_session(model).run(["probabilities"], feeds)
    np.savez_compressed(folder / "golden.npz", allow_pickle=False, **arrays, probabilities=found)
    taken = [
        {"name": name, "dtype": one.dtype, "shape": ["N", *one.shape], **one.contract} for name, one in inputs.items()
    ]
    manifest = Manifest(
        name="pairs",
        task=task,
        labels=LabelSpace(("cat", "dog")),
        inputs=inputs,
        tensors={
            "inputs": taken,
            "outputs": [{"name": "probabilities", "dtype": "float32", "shape": ["N", 2]}],
        },
        files={},
        calibration={"method": "none"},
        provenance={"exported": "2026-01-01T00:00:00Z", "model": "pair"},
    )
    write_manifest(folder, replace(manifest, files=digest_folder(folder)))
    return folder


def examples() -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [{"image": rng.integers(0, 256, (5, 6, 3)).astype(np.uint8), "text": t} for t in ("cat", "a longer text")]
