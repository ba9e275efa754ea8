"""What the rest of Eyewright asks of a prediction, whatever the task."""

__all__ = ["Decode", "JoinViews", "Prediction", "Score", "Settle", "settle_nothing"]

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from eyewright.core.labels import LabelSpace
from eyewright.core.report import Metric

if TYPE_CHECKING:
    from eyewright.core.predictor import Predictor


class Prediction(Protocol):
    """What a model predicts of one example: a frozen dataclass, so that `dataclasses.replace` returns it with another
    `source`, such as the path it was read from.

    `index` is its place in what was predicted, `time_s` that of a frame in its video; `image` is uint8 (H, W, 3) where
    it was kept. What else it holds depends on the task, such as `ClassPrediction.probabilities`.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def label_space(self) -> LabelSpace: ...

    @property
    def source(self) -> str: ...

    @property
    def index(self) -> int: ...

    @property
    def time_s(self) -> float | None: ...

    @property
    def image(self) -> NDArray[np.uint8] | None: ...

    @property
    def confidence(self) -> float | None:
        """The lowest score that the prediction rests on, from 0 to 1; None where nothing was found, or has a score."""
        ...

    def numbers(self) -> NDArray[np.float32]:
        """Return the prediction in C numbers, float32 (C,), as drift is tested on."""
        ...

    def headline(self) -> tuple[str, float]:
        """Return the label and score that a log files the prediction under; "" and 0 where nothing was found."""
        ...

    def line(self, *, top: int | None = None) -> str:
        """Say in a line what was predicted; of what is sorted by score the `top`, where a task supports that."""
        ...

    def drawn_on(self, image: NDArray[np.uint8], /) -> NDArray[np.uint8]:
        """Return an image, uint8 (H, W, 3), with the prediction drawn on it."""
        ...

    def plot(self) -> NDArray[np.uint8]:
        """Return the kept image with the prediction drawn on it, uint8 (H, W, 3)."""
        ...

    def save(self, path: str | Path, /) -> Path:
        """Write `plot` to a file."""
        ...

    def to_json(self, *, top: int | None = ...) -> dict[str, Any]:
        """Return the prediction in the command line's form; of what is sorted by score the `top`, all with None."""
        ...

    def to_hub(self, *, top: int | None = None) -> list[dict[str, Any]]:
        """Return the prediction as Hugging Face's pipeline of this task answers."""
        ...


class Decode(Protocol):
    """Raw arrays to one prediction per example, in source pixels; an option that means nothing to a task is ignored."""

    def __call__(
        self,
        raw: Mapping[str, NDArray[np.float32]],
        placements: Sequence[Any],
        labels: LabelSpace,
        /,
        *,
        iou: float | None = None,
        least: float | None = None,
        most: int | None = None,
    ) -> Sequence[Prediction]: ...


class Settle(Protocol):
    """A prediction to what is shown to a person: what reaches its operating point, or `conf` for all classes."""

    def __call__(
        self, prediction: Any, thresholds: NDArray[np.float64] | None, conf: float | None = None, /
    ) -> Prediction: ...


_P = TypeVar("_P")


def settle_nothing(prediction: _P, thresholds: NDArray[np.float64] | None, conf: float | None = None) -> _P:
    """Return the prediction itself: the `Settle` of tasks in whose predictions nothing is accepted by its score."""
    return prediction


class Score(Protocol):
    """Predictions and what is true to metrics, every one with its interval."""

    def __call__(
        self,
        predictions: Sequence[Any],
        targets: Sequence[Any],
        /,
        *,
        rng: np.random.Generator,
        groups: NDArray[Any] | None = None,
    ) -> Mapping[str, Metric]: ...


class JoinViews(Protocol):
    """An image to one prediction, joined from its tiles, the whole, and with `flip` their mirrors."""

    def __call__(
        self,
        predictor: "Predictor",
        image: NDArray[np.uint8],
        /,
        *,
        flip: bool,
        tile: int | None,
        overlap: float,
        iou: float | None,
    ) -> Prediction: ...
