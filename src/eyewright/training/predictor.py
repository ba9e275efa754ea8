"""A trained net as a Predictor: the same seam that a bundle has."""

__all__ = ["TorchPredictor", "choose_device"]

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.labels import LabelSpace
from eyewright.core.predictor import predict_everything
from eyewright.core.task import task_of
from eyewright.imaging.preparation import Preparation
from eyewright.nets.pixels import PixelNet
from eyewright.training.learner import learner_of

_BATCH = 256
_MOST_PIXELS = 4_000_000


class TorchPredictor:
    """Run a `PixelNet` on images or prepared pixels."""

    def __init__(
        self,
        net: PixelNet,
        *,
        labels: LabelSpace,
        preparation: Preparation,
        task_name: str = "classify",
        temperature: float = 1.0,
        thresholds: NDArray[np.float64] | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.device = device or torch.device("cpu")
        self.net = net.to(device=self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.labels = labels
        self.task_name = task_name
        self.temperature = temperature
        self.thresholds = thresholds
        self._preparation = preparation
        learner = learner_of(task_name)
        self._answers = learner.answers(self.net, temperature=temperature).eval()
        self.decoding: Mapping[str, Any] = learner.decoding(net)

    @property
    def preparation(self) -> Preparation:
        return self._preparation

    def raw(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Return the task's arrays for prepared pixels, uint8 (N, H, W, C), such as "probabilities" (N, classes)."""
        parts = []
        size = max(1, min(_BATCH, _MOST_PIXELS // int(np.prod(pixels.shape[1:3]))))
        # No images give no rows, whose shape one blank image tells.
        given = pixels if len(pixels) else np.zeros((1, *pixels.shape[1:]), np.uint8)
        with torch.inference_mode():
            for start in range(0, len(given), size):
                batch = torch.from_numpy(np.ascontiguousarray(given[start : start + size])).to(self.device)
                found = self._answers(batch)
                parts.append([t.cpu().numpy() for t in (found if isinstance(found, tuple) else (found,))])
        names = task_of(self.task_name).output_names
        return {name: np.concatenate([p[k] for p in parts])[: len(pixels)] for k, name in enumerate(names)}

    def predict_images(self, images: Sequence[NDArray[np.uint8]]) -> Sequence[Any]:
        """Return one prediction an image, uint8 (H, W, 3) RGB of any size."""
        task = task_of(self.task_name)
        least = None if self.thresholds is None else float(self.thresholds.min())
        return [task.settle(p, self.thresholds) for p in predict_everything(self, images, least=least)]


def choose_device(name: str) -> torch.device:
    """Return the device for `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        UsageError: an unknown name, or a device that this machine does not have.
    """
    if name in ("auto", "cuda") and torch.cuda.is_available() and "LOCAL_RANK" in os.environ:
        # Each of torchrun's processes has a GPU of its own.
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}", fix="use auto, cpu, cuda, cuda:0 or mps") from None
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise UsageError(f"this machine has no {name!r}", fix="use --device cpu")
    return device
