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
from eyewright.imaging.preparation import Preparation
from eyewright.nets.pixels import PixelNet
from eyewright.tasks import TASKS

_BATCH = 256


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
        device: torch.device | None = None,
    ) -> None:
        self.device = device or torch.device("cpu")
        self.net = net.to(device=self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.labels = labels
        self.task_name = task_name
        self.temperature = temperature
        self._preparation = preparation

    @property
    def preparation(self) -> Preparation:
        return self._preparation

    def raw(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Give the task's arrays for prepared pixels, uint8 (N, H, W, C): "probabilities", float32 (N, classes)."""
        parts = []
        with torch.inference_mode():
            for start in range(0, len(pixels), _BATCH):
                batch = torch.from_numpy(np.ascontiguousarray(pixels[start : start + _BATCH])).to(self.device)
                parts.append(torch.softmax(self.net(batch) / self.temperature, 1).cpu().numpy())
        empty = np.zeros((0, len(self.labels)), np.float32)
        return {"probabilities": np.concatenate(parts) if parts else empty}

    def predict_images(self, images: Sequence[NDArray[np.uint8]]) -> Sequence[Any]:
        """Give one prediction an image, uint8 (H, W, 3) RGB of any size."""
        pixels, placements = self._preparation.batch(images)
        raw: Mapping[str, NDArray[np.float32]] = self.raw(pixels)
        return TASKS[self.task_name].decode(raw, placements, self.labels)


def choose_device(name: str) -> torch.device:
    """Give the device for `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

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
