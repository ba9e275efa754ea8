"""Classification: one label per image. What raw arrays mean, how good they are, how they look."""

__all__ = ["TASK", "ClassPrediction", "ClassTarget"]

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError
from eyewright.core.labels import LabelSpace
from eyewright.core.predictor import Answers, Predictor, predict_everything
from eyewright.core.report import Metric
from eyewright.core.task import Agreement, Explained, Feedback, Limits, MetricInfo, Output, Raw, Task, Words
from eyewright.data.targets.label import Label
from eyewright.imaging.overlay import caption, caption_rows
from eyewright.metrics.bootstrap import classification_metrics
from eyewright.tasks.arrays import array_of
from eyewright.tasks.drawn import Drawn, import_supervision, kept_image
from eyewright.tasks.tiling import mirrored

if TYPE_CHECKING:
    from eyewright.data.targets.label import Label
    from eyewright.imaging.preparation import Placement
    from eyewright.tasks.corrections import Correction


@dataclass(frozen=True, repr=False)
class ClassPrediction(Drawn):
    """What a classifier says of one image or clip.

    `probabilities` is float32 (C,) in the order of `label_space`. `labels`, `label_ids` and `scores` hold the same,
    sorted from the most to the least likely. `accepted` are the labels whose score reaches the operating point of
    their class, float (C,) in `thresholds`, most likely first: none, one or several. `start_s` and `end_s` are those of
    a window of a longer video.

    >>> p = ClassPrediction(np.array([0.2, 0.8], np.float32), LabelSpace(("cat", "dog")))
    >>> p.top1, p.labels, round(float(p.scores[0]), 3)
    ('dog', ('dog', 'cat'), 0.8)
    """

    probabilities: NDArray[np.float32]
    label_space: LabelSpace
    source: str = ""
    index: int = 0
    time_s: float | None = None
    image: NDArray[np.uint8] | None = kept_image()
    thresholds: NDArray[np.float64] | None = None
    start_s: float | None = None
    end_s: float | None = None

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
        """The probability of the most likely label."""
        return float(self.probabilities.max())

    def numbers(self) -> NDArray[np.float32]:
        """Return the prediction in C numbers, float32 (C,), as drift is tested on: the probabilities."""
        return np.asarray(self.probabilities, np.float32)

    def drawn_on(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image, uint8 (H, W, 3), with a caption strip of label and score below it."""
        return caption(image, f"{self.top1}  {self.confidence:.1%}")

    def strip_rows(self, size_hw: tuple[int, int]) -> int:
        return caption_rows(size_hw)

    def line(self, *, top: int | None = None) -> str:
        """Say in a line what was predicted: the `top` (default 3) most likely labels."""
        few = slice(top or 3)
        return "  ".join(f"{n} {s:.1%}" for n, s in zip(self.labels[few], self.scores[few], strict=True))

    def headline(self) -> tuple[str, float]:
        """Return the label and score that a log files the prediction under."""
        return self.top1, self.confidence

    def to_hub(self, *, top: int | None = None) -> list[dict[str, Any]]:
        """Return the prediction as Hugging Face's pipeline of this task answers."""
        few = slice(top or 5)
        return [{"label": n, "score": float(s)} for n, s in zip(self.labels[few], self.scores[few], strict=True)]

    def to_json(self, *, top: int | None = 5) -> dict[str, Any]:
        """Return the `top` labels and scores (all with None) in the command line's form."""
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
        if self.start_s is not None and self.end_s is not None:
            result |= {"start_s": round(self.start_s, 3), "end_s": round(self.end_s, 3)}
        return result if self.time_s is None else {**result, "time_s": self.time_s}

    def to_supervision(self) -> Any:
        """Return a `supervision.Classifications`.

        Raises:
            MissingExtraError: supervision is not installed.
        """
        return import_supervision().Classifications(class_id=self.label_ids, confidence=self.scores)


def decode(
    raw: Raw,
    placements: Sequence["Placement"],
    labels: LabelSpace,
    *,
    iou: float | None = None,
    least: float | None = None,
    most: int | None = None,
) -> list[ClassPrediction]:
    """Return one prediction per image from "probabilities", float32 (N, C), rows that sum to 1.

    Raises:
        BundleError: the array does not have the promised name, shape or range.
    """
    found = array_of(raw, "probabilities", len(placements), len(labels))
    if not np.isfinite(found).all() or (len(found) and np.abs(found.sum(1) - 1).max() > 1e-3):
        raise BundleError("expected probabilities that sum to 1, found others", fix="export the model again")
    return [ClassPrediction(row, labels) for row in found]


def settle(
    prediction: ClassPrediction, thresholds: NDArray[np.float64] | None, conf: float | None = None
) -> ClassPrediction:
    """Return the prediction with the operating points that `accepted` goes by; `conf` is one for all classes."""
    if conf is not None:
        thresholds = np.full(len(prediction.label_space), conf)
    return replace(prediction, thresholds=thresholds)


def score(
    predictions: Sequence[ClassPrediction],
    targets: Sequence[int],
    *,
    rng: np.random.Generator,
    groups: NDArray[Any] | None = None,
) -> dict[str, Metric]:
    """Measure predictions against true class ids; every metric with its interval."""
    scores = np.stack([p.probabilities for p in predictions]) if predictions else np.zeros((0, 1), np.float32)
    return classification_metrics(np.asarray(targets, np.int64), scores, rng=rng, groups=groups)


def agree(ours: Answers, theirs: Answers, limits: Limits) -> Agreement:
    """Compare the probabilities of two models for the same images: the largest difference, and other top labels.

    Two classes that are level to the last bits may change places; that is no other decision.
    """
    a, b = ours.raw["probabilities"], theirs.raw["probabilities"]
    rows = np.flatnonzero(a.argmax(1) != b.argmax(1))
    gap = a[rows, a[rows].argmax(1)] - a[rows, b[rows].argmax(1)]
    margin = _LEVEL if limits.tolerance <= LIMITS["float32"].tolerance else limits.tolerance
    return Agreement(float(np.abs(a - b).max(initial=0.0)), int((gap > margin).sum()))


def join_views(
    predictor: Predictor, image: NDArray[np.uint8], *, flip: bool, tile: int | None, overlap: float, iou: float | None
) -> ClassPrediction:
    """Return the mean of the probabilities for an image and its mirror."""
    views = [image, mirrored(image)] if flip else [image]
    both = cast(Sequence[ClassPrediction], predict_everything(predictor, views))
    mean = sum(p.probabilities for p in both) / np.float32(len(both))
    return replace(both[0], probabilities=np.asarray(mean, np.float32))


@dataclass(frozen=True)
class ClassTarget:
    """The probability of a class."""

    label: int

    @property
    def box(self) -> None:
        return None

    shown = ""

    @property
    def cells(self) -> int:
        return 8

    def __call__(self, raw: Raw) -> NDArray[np.float64]:
        return raw["probabilities"][:, self.label].astype(np.float64)


def explained(raw: Raw, prediction: Any, placement: Any, label: int | None) -> Sequence[Explained]:
    """Return the top class, or the one that is asked for."""
    return [ClassTarget(int(raw["probabilities"][0].argmax()) if label is None else label)]


def summary(answers: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """Return how confident each of (N, C) answers is, (N,)."""
    return "confidence", np.asarray(answers.max(1))


def labelled(answers: NDArray[Any]) -> NDArray[Any]:
    """Return the class that each of (N, C) answers gives, as 1 in its column."""
    hot = np.zeros_like(answers)
    hot[np.arange(len(answers)), answers.argmax(1)] = 1
    return hot


def counted(marks: Sequence[int]) -> Iterable[int]:
    """Return what a dataset counts: an image for each class that it shows."""
    return set(marks)


def example(rng: np.random.Generator) -> tuple[Raw, Sequence[Any]]:
    """Return probabilities of 12 images, and class ids."""
    raw = rng.random((12, 3)).astype(np.float32)
    return {"probabilities": raw / raw.sum(1, keepdims=True)}, [0, 1, 2] * 4


_LEVEL = 1e-6
LIMITS = MappingProxyType({"float32": Limits(1e-4, 0.99), "float16": Limits(0.02, 0.95), "int8": Limits(0.05, 0.9)})


def corrected(said: "Correction") -> "Label":
    from eyewright.tasks.corrections import corrected_label

    return corrected_label(said)


def taught(prediction: ClassPrediction, ids: NDArray[np.int64], keep: object) -> "Label":
    return Label(ids[int(prediction.probabilities.argmax())])


TASK = Task(
    name="classify",
    words=Words(
        noun="classification",
        does="Assigns each image one of",
        gives="probabilities in the order of `config.json`",
        usage="top1",
        limits="It knows only these classes and returns one of them for every image, even for one that shows none "
        "of them.",
        counted="image",
        score="a probability",
        wins="right alone",
    ),
    outputs=(Output("probabilities", ("C",), sums=True),),
    metrics=(
        MetricInfo(
            "accuracy",
            "accuracy",
            "fraction of images that are predicted correctly",
            paired=True,
            counts=True,
            kind="share",
        ),
        MetricInfo(
            "balanced_accuracy",
            "balanced accuracy",
            "mean recall over the classes",
            paired=True,
            counts=True,
            kind="share",
        ),
        MetricInfo(
            "f1_macro",
            "F1, macro",
            "harmonic mean of precision and recall, mean over classes",
            paired=True,
            counts=True,
            kind="share",
        ),
        MetricInfo("worst_class_recall", "recall of the weakest class", "", tile=False, paired=True, counts=True),
        MetricInfo("auc", "AUC", "how well scores rank the classes, 50% is chance"),
        MetricInfo(
            "kappa",
            "Cohen's kappa",
            "agreement beyond chance",
            paired=True,
            counts=True,
            bounds=(-1.0, 1.0),
            kind="plain",
        ),
        MetricInfo(
            "ece",
            "calibration error",
            "mean gap between confidence and accuracy, 0% is best",
            False,
            paired=True,
            kind="plain",
        ),
        MetricInfo(
            "log_loss", "log loss", "", False, tile=False, paired=True, bounds=(0.0, float("inf")), kind="plain"
        ),
        MetricInfo("brier", "Brier score", "", False, tile=False, paired=True, bounds=(0.0, 2.0), kind="plain"),
    ),
    options=frozenset(
        {
            "attack",
            "certify",
            "conf",
            "coverage",
            "sets",
            "ensemble",
            "federate",
            "generated",
            "gradients",
            "harden",
            "import",
            "label_check",
            "mixing",
            "private",
            "review",
            "top",
            "unlabelled",
            "web",
        }
    ),
    losses=("cross_entropy", "binary_cross_entropy", "mse", "huber", "focal"),
    columns=("precision", "recall", "f1"),
    foreign=MappingProxyType(
        {
            "hub": "image-classification",
            "openvino": "Classification",
            "transformers.js": "image-classification",
            "problem_type": "single_label_classification",
            "label-studio": "Choices",
        }
    ),
    contracts=("probabilities",),
    decode=decode,
    settle=settle,
    score=score,
    limits=LIMITS,
    agree=agree,
    views=join_views,
    explained=explained,
    summary=summary,
    labelled=labelled,
    example=example,
    reference="probabilities",
    target="eyewright.data.targets.label:LABEL",
    feedback=Feedback(("label",), (), corrected, taught, "imagefolder"),
    net="vector",
    learner="eyewright.learners.classify:LEARNER",
    reporting="eyewright.tasks.class_report:REPORTING",
    counted=counted,
    followed="accuracy",
    spellings=MappingProxyType({"f1": "f1_macro"}),
)
"""One label per image."""
