"""The seam between the one training loop and the tasks."""

__all__ = ["Learnt", "Subject", "thresholds_of", "usual_size"]

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from eyewright.data.dataset import Dataset
from eyewright.data.scan import Scan
from eyewright.imaging.preparation import Preparation
from eyewright.metrics.points import OperatingPoint
from eyewright.nets.pixels import PixelNet
from eyewright.training.loop import FitData
from eyewright.training.recipe import Recipe

_STEP = 32


class Learnt(Protocol):
    """How one dataset is learnt: made by a `Subject` for a net."""

    main_metric: str
    augmentation: Any

    def objective(self, outputs: Any, targets: Any) -> torch.Tensor:
        """Give the loss of a batch."""
        ...

    def condense(self, outputs: Any, targets: Any) -> Any:
        """Give what is kept of a validation batch, an array with a row an image."""
        ...

    def measure(self, kept: Any, targets: Any) -> Mapping[str, float]:
        """Give the validation numbers from what was kept of all batches."""
        ...

    def conclude(
        self, kept: Any, targets: Any, *, groups: NDArray[np.int64], rng: np.random.Generator
    ) -> dict[str, dict[str, Any]]:
        """Return "calibration" and "thresholds", both found on the validation images with the best weights.

        `groups` are the numbers of the images' groups, int64 (N,): what belongs together is resampled together.
        """
        ...


class Subject(Protocol):
    """What a task means to training."""

    def check(self, dataset: Dataset) -> None:
        """Refuse data that cannot be learnt from.

        Raises:
            DatasetError: no class, or one without anything to learn from.
        """
        ...

    def preparation(self, dataset: Dataset, scan: Scan, recipe: Recipe, published: Any) -> Preparation:
        """Choose how images become pixels."""
        ...

    def resolve(self, recipe: Recipe, n_train: int, preparation: Preparation) -> Recipe:
        """Fill in what the recipe leaves open."""
        ...

    def targets(self, part: Dataset, sizes: Sequence[tuple[int, int]], preparation: Preparation, key: str) -> Any:
        """Give the targets of a part of the data, whose images have these sizes; `key` names it for the cache."""
        ...

    def learn(self, net: PixelNet, data: FitData, recipe: Recipe, dataset: Dataset, preparation: Preparation) -> Learnt:
        """Make what the loop asks during training."""
        ...


def thresholds_of(
    names: Sequence[str], points: Sequence[OperatingPoint], method: str, groups: NDArray[np.int64]
) -> dict[str, Any]:
    """Return "thresholds" as `run.json` and `bundle.json` hold them: each class's point, and what they rest on."""
    how = f"{method}, chosen on validation images by the bootstrap over groups and lowered where few hold the class"
    return {
        "method": how,
        "images": len(groups),
        "groups": len(np.unique(groups)),
        "classes": {name: asdict(point) for name, point in zip(names, points, strict=True)},
    }


def usual_size(sizes_hw: NDArray[np.int64], longer: int) -> tuple[int, int]:
    """Give a size in steps of 32 whose longer side is `longer`: of the images' shape where they are alike, else square.

    >>> usual_size(np.array([[480, 640], [480, 640]]), 320), usual_size(np.array([[480, 640], [640, 480]]), 320)
    ((256, 320), (320, 320))
    """
    longer = max(_STEP, round(longer / _STEP) * _STEP)
    aspect = sizes_hw[:, 1] / sizes_hw[:, 0]
    low, high = np.quantile(aspect, [0.05, 0.95])
    if high > low * 1.3:
        return longer, longer
    usual = float(np.median(aspect))
    shorter = max(_STEP, int(np.ceil(longer * min(usual, 1 / usual) / _STEP - 0.01)) * _STEP)
    return (shorter, longer) if usual >= 1 else (longer, shorter)
