"""Tracing writes what a net does whole; where it may have seen the examples alone, the newer exporter is asked."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from eyewright.core.errors import RefusedError
from eyewright.exporting import onnx_model
from eyewright.exporting.onnx_model import export_module


class _Named(nn.Module):
    names = ("y",)


class Plain(_Named):
    """A layer, and constants of which some are computed from others."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("std", torch.tensor([0.2, 0.3, 0.4]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.gelu(self.layer(x / self.std.reciprocal().exp()))


class BranchOnSize(Plain):
    """What tracing takes for the whole is one of two branches."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 2 if x.shape[0] == 2 else super().forward(x)


class BranchOnValue(Plain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * float(x.sum())


class OfSizes(Plain):
    """Positions that are computed from the number of examples."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + torch.arange(x.shape[0])[:, None]


class Asked(Exception):
    """The newer exporter was asked."""


def _never(*_: object) -> None:
    raise Asked


def test_a_plain_net_is_traced_and_answers_as_it_does_for_every_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_model, "_by_dynamo", _never)
    net, path = Plain().eval(), tmp_path / "m.onnx"
    export_module(net, path, {"x": torch.zeros(2, 3)}, metadata={"a": "b"}, traced=False)
    proto = onnx.load(path)
    # Constants, and what is computed from them, are initialisers, as rewriting passes expect.
    assert {n.op_type for n in proto.graph.node} == {"Div", "Gemm", "Gelu"}
    assert proto.opset_import[0].version == onnx_model.OPSET
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    for n in (1, 2, 5):
        x = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
        (found,) = session.run(None, {"x": x})
        assert np.allclose(found, net(torch.from_numpy(x)).detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("kind", [BranchOnSize, BranchOnValue, OfSizes])
def test_what_tracing_may_have_seen_in_part_is_left_to_the_newer_exporter(
    kind: type[Plain], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_model, "_by_dynamo", _never)
    with pytest.raises(RefusedError, match="Asked"):
        export_module(kind().eval(), tmp_path / "m.onnx", {"x": torch.ones(2, 3)}, metadata={}, traced=False)
