"""The executorch target: the net lowered to XNNPACK, for phones and boards that run PyTorch's small runtime."""

__all__ = ["FILE", "executorch_session", "write_executorch"]

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eyewright.core.errors import BundleError, MissingExtraError, RefusedError, UsageError
from eyewright.core.files import write_bytes
from eyewright.core.task import task_of
from eyewright.nets.pixels import PixelNet
from eyewright.training.learner import learner_of

FILE = "model.pte"
"""What a target's program is called."""


def write_executorch(
    net: PixelNet, out: Path, *, task: str, temperature: float, size_hw: tuple[int, int], channels: int
) -> None:
    """Write `model.pte` into the folder `out`: uint8 (1, H, W, C) in, the task's arrays out, one image at a time.

    Layers that XNNPACK knows are computed by it, all others by ExecuTorch's portable kernels.

    Raises:
        UsageError: the net predicts masks.
        RefusedError: it has an operation that cannot be lowered.
        MissingExtraError: ExecuTorch is not installed.
    """
    if any(o.sums and len(o.shape) > 1 for o in task_of(task).outputs):
        # With 1.5.1: aten::amax refuses maps as XNNPACK lays them, and a softmax over moved axes gives other numbers.
        raise UsageError(
            "the executorch target is not supported for masks: ExecuTorch computes different probabilities from torch",
            fix="export to onnx, openvino or torch",
            code="target_task",
        )
    model = learner_of(task).answers(net, temperature=temperature).eval()
    example = torch.zeros(1, *size_hw, channels, dtype=torch.uint8)
    with _quietly():
        try:
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower
        except ImportError as error:
            raise _missing() from error
        try:
            with torch.no_grad():
                program = torch.export.export(model, (example,))
                lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
            content = bytes(lowered.buffer)
        except Exception as error:  # lowering raises many types of its own
            reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            raise RefusedError(
                f"the net cannot be lowered for ExecuTorch: {reason}", fix="export to onnx", code="target_operator"
            ) from error
    write_bytes(out / FILE, content)


def executorch_session(data: Mapping[str, bytes]) -> "ExecutorchSession":
    """Open a target's program by ExecuTorch's own runtime.

    Raises:
        BundleError: it cannot be opened.
        MissingExtraError: ExecuTorch is not installed.
    """
    with _quietly():
        try:
            from executorch.runtime import Runtime, Verification
        except ImportError as error:
            raise _missing() from error
        try:
            program = Runtime.get().load_program(data[FILE], verification=Verification.InternalConsistency)
            method = program.load_method("forward")
        except Exception as error:  # the runtime raises what its C++ throws
            raise BundleError(f"ExecuTorch cannot open the program: {error}", fix="export it again") from error
    if method is None:
        raise BundleError("the program holds nothing to run", fix="export it again")
    return ExecutorchSession(method, program)


class ExecutorchSession:
    """A lowered program, run as ONNX Runtime's session is, one image after another."""

    def __init__(self, method: Any, program: Any) -> None:
        # The method reads from the program's memory.
        self._method, self._program = method, program
        self._has_run = False

    def run(self, names: Sequence[str], feeds: Mapping[str, NDArray[Any]], options: Any = None) -> list[NDArray[Any]]:
        """Return the outputs, in the order of the task."""
        (pixels,) = feeds.values()
        rows = [self._one(pixels[i : i + 1]) for i in range(len(pixels))]
        return [np.concatenate(parts) for parts in zip(*rows, strict=True)]

    def _one(self, image: NDArray[Any]) -> list[NDArray[Any]]:
        # The first time it asks about the processor, aloud.
        with contextlib.nullcontext() if self._has_run else _quietly():
            found = self._method.execute([torch.from_numpy(np.ascontiguousarray(image))])
        self._has_run = True
        # The runtime writes the next image's answers to the same place.
        return [part.numpy().copy() for part in found]


def _missing() -> MissingExtraError:
    return MissingExtraError(
        "the executorch target needs ExecuTorch, which is not installed", fix="pip install 'eyewright[executorch]'"
    )


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep from the user what the lowering warns of and what the runtime's C++ writes about the processor."""
    sys.stdout.flush()
    sys.stderr.flush()
    held = [os.dup(fd) for fd in (1, 2)]
    nothing = os.open(os.devnull, os.O_WRONLY)
    before = logging.root.manager.disable
    try:
        for fd in (1, 2):
            os.dup2(nothing, fd)
        # What its C++ writes goes to Python's streams, which need not be the descriptors.
        streams = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
        logging.disable(logging.WARNING)
        with streams[0], streams[1], warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        sys.stdout.flush()
        sys.stderr.flush()
        for fd, own in zip((1, 2), held, strict=True):
            os.dup2(own, fd)
            os.close(own)
        os.close(nothing)
