"""A trained net as a Predictor: the same seam that a bundle has."""

__all__ = ["TorchPredictor", "choose_device"]

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from eyewright.bundle.judge import Judge
from eyewright.core.errors import UsageError
from eyewright.core.inputs import (
    IMAGE,
    Example,
    Given,
    Inputs,
    blank_inputs,
    count_rows,
    largest_area,
    name_inputs,
    slice_rows,
)
from eyewright.core.labels import LabelSpace
from eyewright.core.prediction import Prediction
from eyewright.core.predictor import predict_everything
from eyewright.core.task import task_of
from eyewright.imaging.preparation import Preparation, image_preparation
from eyewright.nets.pixels import PixelNet, memory_format_of
from eyewright.training.learner import learner_of

_BATCH = 256
_TEXTS = 64
_MOST_PIXELS = 4_000_000


class TorchPredictor:
    """Run a net on examples or prepared arrays; `preparation` is that of its image, or of each of its inputs by name.

    The net is called with one tensor for each input, in their order.
    """

    takes_prepared: ClassVar[bool] = True
    """`predict_images` also takes images that were prepared while they were decoded."""

    def __init__(
        self,
        net: PixelNet,
        *,
        labels: LabelSpace,
        preparation: Preparation | Inputs,
        task_name: str = "classify",
        temperature: float = 1.0,
        thresholds: NDArray[np.float64] | None = None,
        device: torch.device | None = None,
        judge: Judge | None = None,
    ) -> None:
        self.device = device or torch.device("cpu")
        self.net = net.to(device=self.device, memory_format=memory_format_of(net)).eval()  # type: ignore[call-overload]
        self.labels = labels
        self.task_name = task_name
        self.temperature = temperature
        self.thresholds = thresholds
        # Measures what a generator draws.
        self.judge = judge
        self.inputs: Inputs = preparation if isinstance(preparation, Mapping) else {IMAGE: preparation}
        learner = learner_of(task_name)
        self._answers = learner.answers(self.net, temperature=temperature).eval()
        self.decoding: Mapping[str, Any] = learner.decoding(net)
        # Standard deviations of what was learnt, by which errors in several units are measured.
        self.spread = net.spread.cpu().numpy().astype(np.float64) if net.scaled else None

    @property
    def preparation(self) -> Preparation:
        """How the image of a model is prepared that takes nothing else.

        Raises:
            UsageError: the model takes something else.
        """
        return image_preparation(self.inputs)

    def raw(self, given: Given) -> dict[str, NDArray[np.float32]]:
        """Return the task's arrays, such as "probabilities" (N, classes), for prepared arrays by input name; for a
        model that takes one image, the pixels alone will do, uint8 (N, H, W, C).

        Raises:
            UsageError: other inputs, or arrays of another shape or type.
        """
        parts = []
        size = max(1, min(_BATCH, _MOST_PIXELS // largest_area(self.inputs)))
        named = name_inputs(self.inputs, given)
        n = count_rows(named)
        # No examples give no rows, whose shape one blank example tells.
        fed = named if n else blank_inputs(self.inputs)
        with torch.inference_mode():
            for start in range(0, max(1, n), size):
                batch = slice_rows(fed, start, start + size)
                found = self._answers(
                    *(torch.from_numpy(np.ascontiguousarray(batch[name])).to(self.device) for name in self.inputs)
                )
                parts.append([t.cpu().numpy() for t in (found if isinstance(found, tuple) else (found,))])
        names = task_of(self.task_name).output_names
        arrays = {name: np.concatenate([p[k] for p in parts]) for k, name in enumerate(names)}
        return {name: array[:n] for name, array in arrays.items()} if named else arrays

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors of texts, float32 (N, D), in the space of the images' embeddings.

        Raises:
            UsageError: the model reads images only, or a text is empty.
        """
        make = learner_of(self.task_name).text
        if make is None:
            raise UsageError(f"texts are not supported for {task_of(self.task_name).words.noun}", fix="pass images")
        side = make(self.net)
        parts = [np.zeros((0, 1), np.float32)] if not texts else []
        with torch.inference_mode():
            for start in range(0, len(texts), _TEXTS):
                given, _ = side.preparation.batch(texts[start : start + _TEXTS])
                parts.append(side.module(torch.from_numpy(given).to(self.device)).cpu().numpy())
        return np.concatenate(parts)

    def predict_images(self, images: Sequence[Example]) -> Sequence[Prediction]:
        """Return one prediction per image, uint8 (H, W, 3) RGB of any size; of other inputs one per example: a mapping
        with a value for each."""
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
