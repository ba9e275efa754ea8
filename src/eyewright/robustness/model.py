"""A model as an attacker without its weights sees it: images in, scores out."""

__all__ = [
    "ScoreModel",
    "Scores",
    "Victim",
    "answers_one_class",
    "ask_in_parts",
    "is_right",
    "log_scores",
    "margins",
    "to_grid",
]

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.predictor import Predictor
from eyewright.core.task import Task, task_of

_AT_ONCE = 512

Scores = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""Images float32 (N, H, W, C) in [0, 1] to scores (N, C), the largest of which is the prediction."""


class Victim(Protocol):
    """What every attack may ask of a model."""

    @property
    def on_grid(self) -> bool:
        """Whether the model only takes whole 8-bit values."""
        ...

    def scores(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return scores (N, C) for float32 (N, H, W, C) in [0, 1]."""
        ...


def to_grid(changed: NDArray[Any], images: NDArray[Any]) -> NDArray[np.float32]:
    """Return changed images with whole 8-bit values, rounded towards the originals, so that no bound is passed.

    The originals, float (N, H, W, C) in [0, 1], hold whole 8-bit values already.

    >>> to_grid(np.array([0.0235, 0.5]), np.array([0.0, 1.0])) * 255
    array([  5., 128.], dtype=float32)
    """
    steps = np.rint(images.astype(np.float64) * 255)
    # Within a thousandth of a step a value counts as on the grid: bounds such as 8/255 are not exact in binary.
    moved = np.trunc((changed.astype(np.float64) * 255 - steps) * (1 + 1e-9) + np.sign(changed - images) * 1e-3)
    found: NDArray[np.float32] = (np.clip(steps + moved, 0, 255) / 255).astype(np.float32)
    return found


def answers_one_class(task: Task) -> bool:
    """Return whether a task's answer is one distribution over the classes: what attacks that change a class need."""
    first = task.outputs[0]
    return first.sums and first.shape == ("C",)


class ScoreModel:
    """Any predictor whose answer is one distribution over the classes, asked for whole 8-bit values.

    Raises:
        UsageError: the task has other answers.
    """

    on_grid = True

    def __init__(self, predictor: Predictor) -> None:
        task = task_of(predictor.task_name)
        if not answers_one_class(task):
            raise UsageError(
                f"expected a model of one class per image, found one for {task.words.noun}", fix="attack its run"
            )
        self.predictor, self._name = predictor, task.outputs[0].name
        self.queries = 0

    def scores(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return log probabilities (N, C)."""
        return log_scores(self.probabilities(np.rint(images * np.float32(255)).astype(np.uint8)))

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return probabilities (N, C) for uint8 (N, H, W, C)."""
        self.queries += len(pixels)
        return np.asarray(self.predictor.raw(pixels)[self._name], np.float32)


def margins(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how far the score of each image's own class is above the best other one, (N,)."""
    rows = np.arange(len(scores))
    others = scores.copy()
    others[rows, labels] = -np.inf
    found: NDArray[np.float64] = scores[rows, labels] - others.max(1, initial=-np.inf)
    return found


def is_right(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which images are predicted right, (N,): their own class is above all others.

    A tie is not right: a model that answers the same for all classes has refused. Neither is what is no number.

    >>> is_right(np.array([[0.6, 0.4], [0.5, 0.5], [np.nan, 0.2]]), np.array([0, 0, 0])).tolist()
    [True, False, False]
    """
    found: NDArray[np.bool_] = margins(scores, labels) > 0
    return found


def log_scores(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return log probabilities that are finite."""
    found: NDArray[np.float64] = np.log(np.maximum(probabilities.astype(np.float64), 1e-30))
    return found


def ask_in_parts(scores: Scores, images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the scores of any number of images, asked for 512 at a time."""
    if not len(images):
        return np.zeros((0, 1))
    return np.concatenate([scores(images[i : i + _AT_ONCE]) for i in range(0, len(images), _AT_ONCE)])
