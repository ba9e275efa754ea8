"""Classification: one label an image. What raw arrays mean, how good they are, how they look."""

__all__ = ["ClassPrediction", "Classify"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError, MissingExtraError
from eyewright.core.labels import LabelSpace
from eyewright.core.report import Metric
from eyewright.tasks.drawn import Drawn

if TYPE_CHECKING:
    from eyewright.imaging.preparation import Placement


@dataclass(frozen=True)
class ClassPrediction(Drawn):
    """What a classifier says of one image.

    `probabilities` is float32 (C,) in the order of `label_space`. `labels`, `label_ids` and `scores` hold the same,
    sorted from the most to the least likely. `accepted` are the labels whose score reaches the operating point of
    their class, float (C,) in `thresholds`, most likely first: none, one or several.

    >>> p = ClassPrediction(np.array([0.2, 0.8], np.float32), LabelSpace(("cat", "dog")))
    >>> p.top1, p.labels, round(float(p.scores[0]), 3)
    ('dog', ('dog', 'cat'), 0.8)
    """

    drawn_as: ClassVar[str] = "classify"

    probabilities: NDArray[np.float32]
    label_space: LabelSpace
    source: str = ""
    index: int = 0
    time_s: float | None = None
    image: NDArray[np.uint8] | None = None
    thresholds: NDArray[np.float64] | None = None

    @property
    def accepted(self) -> tuple[str, ...]:
        if self.thresholds is None:
            return (self.top1,)
        reached = self.probabilities >= self.thresholds
        return tuple(self.label_space.names[i] for i in self.label_ids if reached[i])

    @property
    def label_ids(self) -> NDArray[np.int64]:
        return np.argsort(-self.probabilities, kind="stable").astype(np.int64)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.label_space.names[i] for i in self.label_ids)

    @property
    def scores(self) -> NDArray[np.float32]:
        return self.probabilities[self.label_ids]

    @property
    def top1(self) -> str:
        return self.label_space.names[int(self.probabilities.argmax())]

    @property
    def confidence(self) -> float:
        return float(self.probabilities.max())

    def to_json(self, *, top: int | None = 5) -> dict[str, Any]:
        """Give the `top` labels and scores (all with None) in the command line's form."""
        ids = self.label_ids[:top]
        result: dict[str, Any] = {
            "source": self.source,
            "index": self.index,
            "labels": [self.label_space.names[i] for i in ids],
            "label_ids": ids.tolist(),
            "scores": [round(float(s), 6) for s in self.probabilities[ids]],
        }
        if self.thresholds is not None:
            result["accepted"] = list(self.accepted)
        return result if self.time_s is None else {**result, "time_s": self.time_s}

    def to_supervision(self) -> Any:
        """Return a `supervision.Classifications`.

        Raises:
            MissingExtraError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise MissingExtraError("supervision is not installed", fix="pip install supervision") from error
        return supervision.Classifications(class_id=self.label_ids, confidence=self.scores)


class Classify:
    """The task: raw array "probabilities", float32 (N, C), rows that sum to 1."""

    name = "classify"
    outputs = ("probabilities",)
    main_metric = "accuracy"

    def decode(
        self,
        raw: Mapping[str, NDArray[np.float32]],
        placements: Sequence["Placement"],
        labels: LabelSpace,
    ) -> list[ClassPrediction]:
        """Turn raw arrays into one prediction an image.

        Raises:
            BundleError: the arrays do not have the promised name, shape or range.
        """
        found = raw.get("probabilities")
        if found is None or found.shape != (len(placements), len(labels)):
            shape = None if found is None else found.shape
            raise BundleError(f"expected probabilities ({len(placements)}, {len(labels)}), found {shape}")
        if not np.isfinite(found).all() or (len(found) and np.abs(found.sum(1) - 1).max() > 1e-3):
            raise BundleError("expected probabilities that sum to 1, found others", fix="export the model again")
        return [ClassPrediction(row, labels) for row in found]

    def settle(
        self, prediction: ClassPrediction, thresholds: NDArray[np.float64] | None, conf: float | None = None
    ) -> ClassPrediction:
        """Give the prediction with the operating points that `accepted` goes by; `conf` is one for all classes."""
        if conf is not None:
            thresholds = np.full(len(prediction.label_space), conf)
        return replace(prediction, thresholds=thresholds)

    def score(
        self,
        predictions: Sequence[ClassPrediction],
        targets: Sequence[int],
        *,
        rng: np.random.Generator,
        groups: NDArray[Any] | None = None,
    ) -> dict[str, Metric]:
        """Measure predictions against true class ids; every metric with its interval."""
        from eyewright.metrics.bootstrap import classification_metrics

        scores = np.stack([p.probabilities for p in predictions]) if predictions else np.zeros((0, 1), np.float32)
        return classification_metrics(np.asarray(targets, np.int64), scores, rng=rng, groups=groups)

    def draw(self, image: NDArray[np.uint8], prediction: ClassPrediction) -> NDArray[np.uint8]:
        """Give the image, uint8 (H, W, 3), with a caption strip of label and score below it."""
        from eyewright.imaging.overlay import caption

        return caption(image, f"{prediction.top1}  {prediction.confidence:.1%}")
