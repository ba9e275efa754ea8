"""Learning to classify."""

__all__ = ["LEARNER"]

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError
from eyewright.data.dataset import Dataset
from eyewright.data.scan import Scan
from eyewright.imaging.preparation import Preparation
from eyewright.metrics.calibration import fit_confidence
from eyewright.nets.answers import ClassAnswers
from eyewright.nets.hub import HubBuilder
from eyewright.nets.hub_kinds import CLASSIFIERS
from eyewright.nets.pixels import PixelNet
from eyewright.training.augment import plan_augmentation
from eyewright.training.defaults import choose_preparation, resolve_recipe
from eyewright.training.learner import Learner
from eyewright.training.loop import FitData
from eyewright.training.objectives.classify import classification_objective
from eyewright.training.recipe import Recipe
from eyewright.training.soft_answers import DISTRIBUTIONS


def check(dataset: Dataset) -> None:
    """Refuse data with one class, or with a class that no training image is of.

    Raises:
        DatasetError: there is one class, or one without training images.
    """
    if len(dataset.labels) < 2:
        only = f": {dataset.labels.names[0]!r}" if len(dataset.labels) else ""
        raise DatasetError(
            f"expected at least 2 classes, found {len(dataset.labels)}{only}", fix="add a folder of another class"
        )
    seen = set(dataset.train.targets.tolist())
    lacking = [n for i, n in enumerate(dataset.labels.names) if i not in seen]
    if lacking:
        raise DatasetError(
            f"class {lacking[0]!r} has no image to train on", fix="add images of it to train, or remove the class"
        )


def preparation(dataset: Dataset, scan: Scan, recipe: Recipe, published: HubBuilder | None) -> Preparation:
    """Choose how images become pixels from their sizes and colours."""
    return choose_preparation(scan, recipe, published)


def targets(part: Dataset, sizes: Sequence[tuple[int, int]], preparation: Preparation, key: str) -> Any:
    """Return class ids, int64 (N,)."""
    return part.targets


def answers(net: PixelNet, *, temperature: float = 1.0) -> ClassAnswers:
    """Return the net with probabilities for outputs, softened by the temperature."""
    return ClassAnswers(net, temperature)


def learn(net: PixelNet, data: FitData, recipe: Recipe, dataset: Dataset, preparation: Preparation) -> "ClassLearning":
    """Return what the loop asks while a classifier is trained."""
    return ClassLearning(data, recipe, dataset.labels.names, preparation)


class ClassLearning:
    """How a classifier is learnt."""

    main_metric = "accuracy"

    def __init__(self, data: FitData, recipe: Recipe, names: tuple[str, ...], preparation: Preparation) -> None:
        self.names = names
        n_train = len(data.train_targets)
        self.augmentation = plan_augmentation(recipe, grey=preparation.channels == 1, n_train=n_train)
        targets: Any = data.train_targets
        weights = _class_weights(np.asarray(targets), len(names)) if recipe.class_weights else None
        self.objective = classification_objective(recipe, weights)

    def condense(self, outputs: torch.Tensor, targets: Any) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = outputs.cpu().numpy()
        return logits

    def measure(self, kept: NDArray[np.float32], targets: Any) -> Mapping[str, float]:
        top = kept.max(1, keepdims=True)
        log_sum = np.log(np.exp(kept - top).sum(1)) + top[:, 0]
        loss = float((log_sum - kept[np.arange(len(targets)), targets]).mean())
        return {"loss": loss, "accuracy": float((kept.argmax(1) == targets).mean())}

    def conclude(
        self, kept: NDArray[np.float32], targets: Any, *, groups: NDArray[np.int64], rng: np.random.Generator
    ) -> dict[str, dict[str, Any]]:
        """Fit the temperature and every class's operating point."""
        return fit_confidence(kept, targets, self.names, groups=groups, rng=rng)


def _class_weights(targets: NDArray[np.int64], n_classes: int) -> torch.Tensor:
    counts = np.maximum(np.bincount(targets, minlength=n_classes), 1)
    return torch.tensor(len(targets) / (n_classes * counts), dtype=torch.float32)


LEARNER = Learner(
    task="classify",
    check=check,
    preparation=preparation,
    resolve=resolve_recipe,
    targets=targets,
    learn=learn,
    answers=answers,
    soft=DISTRIBUTIONS,
    hub=CLASSIFIERS,
    students=("quick_net",),
)
