"""A net of clips as a second ONNX model for streams: one frame and a state in, probabilities and the next state out."""

__all__ = ["export_stream", "streams"]

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyewright.bundle.session import open_session
from eyewright.bundle.streams import STATES, Carried
from eyewright.core.errors import ParityError, RefusedError
from eyewright.imaging.clips import cut_strip
from eyewright.nets.clips import ClipNet, RunningPlanes
from eyewright.nets.pixels import PixelNet

_OPSET = 20
_MOST = 1e-4


def streams(net: PixelNet) -> bool:
    """Return whether a net needs each frame of a stream once: its planes do not look ahead."""
    return isinstance(net.body, ClipNet) and isinstance(net.body.planes, RunningPlanes)


class _Step(nn.Module):
    """The next frame, uint8 (1, H, W, C), with the state, to probabilities (1, classes) and the next state.

    The state is the mean picture, the last two frames, the number of frames until now, and the features of the last
    `frames` frames, over which the head runs. All are zeros before the first frame, whose features then fill the whole.
    """

    def __init__(self, net: PixelNet, temperature: float) -> None:
        super().__init__()
        self.net, self.temperature = net, temperature

    def forward(
        self, frame: Tensor, still: Tensor, before: Tensor, seen: Tensor, features: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        body: Any = self.net.body
        planes, still, before = body.planes.step(self.net.scale(frame), still, before, seen)
        new = body.encoder(planes)[:, None]
        first = (seen < 0.5).to(new.dtype)
        features = torch.cat([first * new + (1 - first) * features[:, 1:], new], 1)
        probabilities = torch.softmax(body.join(features) / self.temperature, 1)
        return probabilities, still, before, seen + 1, features


def export_stream(net: PixelNet, path: Path, *, temperature: float, strips: NDArray[np.uint8]) -> float:
    """Write the model for streams; return how far it is from the net on prepared `strips`, uint8 (N, T * H, W, C).

    Raises:
        RefusedError: it cannot be exported.
        ParityError: frame by frame it gives other probabilities than the net gives for whole strips.
    """
    body: Any = net.body
    frames, channels = int(body.frames), strips.shape[3]
    height, width = strips.shape[1] // frames, strips.shape[2]
    model = _Step(net, temperature).eval()
    with torch.inference_mode():
        a_feature = body.encoder(torch.zeros(1, 3 * channels, height, width)).shape[1]
    examples = (
        torch.zeros(1, height, width, channels, dtype=torch.uint8),
        torch.zeros(1, channels, height, width),
        torch.zeros(1, 2, channels, height, width),
        torch.ones(1),
        torch.zeros(1, frames, a_feature),
    )
    loud = logging.getLogger("torch.onnx")
    level = loud.level
    loud.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model, examples, dynamo=True, opset_version=_OPSET, input_names=["frame", *STATES],
                output_names=["probabilities", *(f"next_{s}" for s in STATES)], verbose=False,
            )  # fmt: skip
    except Exception as error:  # the exporter raises many types of its own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RefusedError(
            f"the model for streams cannot be exported to ONNX: {reason}", fix="change the net", code="export"
        ) from error
    finally:
        loud.setLevel(level)
    assert program is not None
    proto: Any = program.model_proto
    proto.producer_name = "eyewright"
    # The exporter notes the source lines it came from: they name this machine's folders.
    for holder in (proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        holder.doc_string = ""
        del holder.metadata_props[:]
    content = proto.SerializeToString()
    difference = _difference(net, temperature, Carried(open_session(content)), strips)
    if not difference <= _MOST:
        raise ParityError(
            f"frame by frame the model for streams differs by up to {difference:.3g} from the net on whole clips "
            f"(allowed {_MOST:g})",
            fix="nothing was exported; check the net's operations",
        )
    path.write_bytes(content)
    return difference


def _difference(net: PixelNet, temperature: float, carried: Carried, strips: NDArray[np.uint8]) -> float:
    body: Any = net.body
    worst = 0.0
    for strip in strips:
        carried.begin()
        for frame in cut_strip(strip, int(body.frames)):
            found = carried.push(frame)
        with torch.inference_mode():
            whole = torch.softmax(net(torch.from_numpy(strip[None].copy())) / temperature, 1).numpy()
        worst = max(worst, float(np.abs(found - whole).max()))
    return worst
