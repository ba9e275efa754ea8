"""A net's attention weights as an ONNX model of their own in its bundle, so that they are read without torch."""

__all__ = ["export_attention"]

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyewright.bundle.session import open_session
from eyewright.core.errors import ParityError, RefusedError, UsageError
from eyewright.nets.attention import hidden_width
from eyewright.nets.pixels import PixelNet

_OPSET = 20
_MOST = 1e-5


class _Weights(nn.Module):
    """Prepared pixels, uint8 (N, H, W, C), to attention weights, float32 (N, layers, heads, T, T)."""

    def __init__(self, net: PixelNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        body: Any = self.net.body
        return torch.stack(body.attentions(self.net.scale(image)), 1)


def export_attention(net: PixelNet, path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write an ONNX model that gives the attention weights of a net, checked on `pixels`, uint8 (N, H, W, C).

    Raises:
        UsageError: the net has no attention over the whole image.
        RefusedError: it cannot be exported.
        ParityError: the exported model's weights differ by more than 1e-5.
    """
    body: Any = net.body
    grid = getattr(body, "grid_hw", (0, 0))
    if grid == (0, 0) or not hasattr(body, "attentions"):
        raise UsageError("expected a net with attention over the whole image", fix="leave out --with-attention")
    model = _Weights(net).eval()
    loud = logging.getLogger("torch.onnx")
    level = loud.level
    loud.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model, (torch.zeros(2, *pixels.shape[1:], dtype=torch.uint8),), dynamo=True, opset_version=_OPSET,
                input_names=["image"], output_names=["attention"],
                dynamic_shapes={"image": {0: torch.export.Dim.DYNAMIC}}, verbose=False,
            )  # fmt: skip
    except Exception as error:  # the exporter raises many types of its own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RefusedError(
            f"the attention cannot be exported to ONNX: {reason}", fix="leave out --with-attention", code="export"
        ) from error
    finally:
        loud.setLevel(level)
    assert program is not None
    proto: Any = program.model_proto
    # The exporter notes the source lines it came from: they name this machine's folders.
    for holder in (proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        holder.doc_string = ""
        del holder.metadata_props[:]
    width = hidden_width(body)
    kind = body.model.config.model_type if hasattr(body, "model") else "vit"
    for key, value in (("grid_hw", f"{grid[0]},{grid[1]}"), ("width", str(int(width))), ("model_type", kind)):
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    content = proto.SerializeToString()
    (found,) = open_session(content).run(["attention"], {"image": pixels})
    with torch.inference_mode():
        expected = model(torch.from_numpy(np.array(pixels))).numpy()
    difference = float(np.abs(found - expected).max())
    if not difference <= _MOST:
        raise ParityError(
            f"the exported attention differs by {difference:.2g}, expected at most {_MOST:g}",
            fix="leave out --with-attention",
        )
    path.write_bytes(content)
