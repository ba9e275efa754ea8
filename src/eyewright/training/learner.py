"""The seam between the one training loop and the tasks: how each is learnt, found by the task's name."""

__all__ = ["Baseline", "Learner", "Learning", "TextSide", "learner_of"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.inputs import Inputs
from eyewright.core.task import task_of
from eyewright.core.tokens import TextInput
from eyewright.data.dataset import Dataset
from eyewright.data.scan import Scan
from eyewright.imaging.preparation import Preparation
from eyewright.nets.ensemble import MeanOf, mean_of_distributions
from eyewright.nets.hub import HubBuilder
from eyewright.nets.hub_kinds import HubKind
from eyewright.nets.pixels import PixelNet
from eyewright.training.loop import Augmenter, FitData
from eyewright.training.recipe import Recipe
from eyewright.training.soft_answers import SoftAnswers
from eyewright.training.steps import Step, plain_step


class Learning(Protocol):
    """How one dataset is learnt: made by a `Learner` for a net."""

    main_metric: str

    @property
    def augmentation(self) -> Augmenter:
        """What may be done to a training image."""
        ...

    def objective(self, outputs: Any, targets: Any) -> torch.Tensor:
        """Return the loss of a batch."""
        ...

    def condense(self, outputs: Any, targets: Any) -> Any:
        """Return what is kept of a validation batch, an array with one row per image."""
        ...

    def measure(self, kept: Any, targets: Any) -> Mapping[str, float]:
        """Return the validation numbers from what was kept of all batches."""
        ...

    def conclude(
        self, kept: Any, targets: Any, *, groups: NDArray[np.int64], rng: np.random.Generator
    ) -> dict[str, dict[str, Any]]:
        """Return "calibration" and "thresholds", both found on the validation images with the best weights, and where
        only some of them chose the epoch "chosen_on": "images" and "groups".

        `groups` are the numbers of the images' groups, int64 (N,): what belongs together is resampled together.
        """
        ...


class Targets(Protocol):
    """Makes the targets of a part of the data, whose images have these sizes; `key` names them for the cache."""

    def __call__(self, part: Dataset, sizes: Sequence[tuple[int, int]], preparation: Preparation, key: str) -> Any: ...


class AnswersOf(Protocol):
    """Makes the module that answers as a bundle does, uint8 (N, H, W, C) to the task's arrays in their order."""

    def __call__(self, net: PixelNet, *, temperature: float = 1.0) -> torch.nn.Module: ...


@dataclass(frozen=True)
class Baseline:
    """A simpler net that a trained one is compared with, of the same data and preparation.

    `model` is its name in the catalogue; `start(trained, new)` copies the weights that both have. `lacks` completes the
    sentence "it cannot ...". It is trained for `epochs`, by default for a quarter of the net's, and of a budget it gets
    the share `time`.
    """

    model: str
    start: Callable[[PixelNet, PixelNet], None]
    lacks: str
    epochs: int | None = None
    time: float = 0.2


@dataclass(frozen=True)
class TextSide:
    """How a net embeds texts: their preparation, the module from prepared texts to vectors (N, D) in the space of its
    images, and what turns a dot product into a logit."""

    preparation: TextInput
    module: torch.nn.Module
    scale: float
    bias: float


@dataclass(frozen=True)
class Learner:
    """What a task means to training: the torch half of `core.task.Task`, as values and functions.

    Args:
        task: the name of the task.
        check: `(dataset)` refuses data that cannot be learnt from: no class, or one without anything to learn from.
        preparation: `(dataset, scan, recipe, published)` to how images become pixels.
        resolve: `(recipe, n_train, preparation)` to the recipe with everything chosen.
        targets: the targets of a part of the data.
        learn: `(net, data, recipe, dataset, preparation)` to what the loop asks during training.
        answers: the net as a bundle will answer.
        soft: how a teacher's answers are learnt.
        hub: which published models do the task; None where none can be read.
        decoding: `(net)` to what decoding must know in addition to the arrays, as `Predictor.decoding` holds it.
        outgoing: `(training images)` to "centre" and "spread" of the net's outputs, as `nets.PixelNet` takes them, so
            that what is learnt has mean 0 and deviation 1; none where answers have no unit.
        baseline: `(recipe)` to the simpler net that the trained one is compared with in its report, if there is one.
        fed: `(data, recipe, dataset, preparation)` to what the loop is fed, where that is not what was prepared.
        students: nets of the catalogue that compression tries instead of the one that was trained.
        text: `(net)` to how it embeds texts, a second graph of its bundle; None where it reads images only.
        step: `(net)` to how a batch of it is learnt from, where that is not a plain update.
        inputs: `(net, preparation of the images)` to what a trained net takes, where that is not an image.
        judge: the task of the classifier that measures what a generator draws; empty where answers are compared with
            what is true of an image.
        mean: the mean answer of several nets, as logits (`nets.ensemble`); of softmax over the classes by default.
    """

    task: str
    check: Callable[[Dataset], None]
    preparation: Callable[[Dataset, Scan, Recipe, HubBuilder | None], Preparation]
    resolve: Callable[[Recipe, int, Preparation], Recipe]
    targets: Targets
    learn: Callable[[PixelNet, FitData, Recipe, Dataset, Preparation], Learning]
    answers: AnswersOf
    soft: SoftAnswers
    hub: HubKind | None = None
    decoding: Callable[[PixelNet], dict[str, Any]] = lambda net: {}
    outgoing: Callable[[Dataset], dict[str, list[float]]] = lambda train: {}
    baseline: Callable[[Recipe], Baseline | None] = lambda recipe: None
    fed: Callable[[FitData, Recipe, Dataset, Preparation], FitData] = lambda data, recipe, dataset, preparation: data
    students: tuple[str, ...] = ()
    text: Callable[[PixelNet], TextSide] | None = None
    step: Callable[[PixelNet], Step] = lambda net: plain_step
    inputs: Callable[[PixelNet, Preparation], Preparation | Inputs] = lambda net, preparation: preparation
    judge: str = ""
    mean: MeanOf = mean_of_distributions


@cache
def learner_of(task: str) -> Learner:
    """Return how a task is learnt; its file is imported only now.

    Raises:
        UsageError: there is no such task, or it cannot be trained.
    """
    place = task_of(task).learner
    if not place:
        raise UsageError(f"training is not supported for {task_of(task).words.noun}", fix="use another task")
    module, _, attribute = place.partition(":")
    found: Learner = getattr(import_module(module), attribute)
    return found
