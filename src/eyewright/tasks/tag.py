"""Tagging: any number of tags per image. What raw arrays mean and how they look."""

__all__ = ["TASK", "TagPrediction"]

from collections.abc import Callable, Iterable, Sequence
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
from eyewright.data.targets.tags import Tags
from eyewright.imaging.overlay import caption, caption_rows
from eyewright.tasks.arrays import array_of
from eyewright.tasks.classify import ClassTarget
from eyewright.tasks.drawn import Drawn, kept_image
from eyewright.tasks.tiling import mirrored

if TYPE_CHECKING:
    from eyewright.data.targets.tags import Tags
    from eyewright.imaging.preparation import Placement
    from eyewright.tasks.corrections import Correction

_POINT = 0.5


@dataclass(frozen=True, repr=False)
class TagPrediction(Drawn):
    """Which tags a model sees in one image.

    `probabilities` is float32 (C,) in the order of `label_space`, of each tag by itself. `labels`, `label_ids` and
    `scores` hold the same, sorted from the most to the least likely. `present` are the tags whose probability reaches
    their operating point, float (C,) in `thresholds`, most likely first: none, one or several.

    >>> p = TagPrediction(np.array([0.2, 0.9, 0.7], np.float32), LabelSpace(("cat", "dog", "grass")))
    >>> p.present, p.line()
    (('dog', 'grass'), 'dog 90.0%  grass 70.0%')
    """

    probabilities: NDArray[np.float32]
    label_space: LabelSpace
    source: str = ""
    index: int = 0
    time_s: float | None = None
    image: NDArray[np.uint8] | None = kept_image()
    thresholds: NDArray[np.float64] | None = None

    @property
    def reached(self) -> NDArray[np.bool_]:
        """Which tags reach their operating point, bool (C,)."""
        found: NDArray[np.bool_] = self.probabilities >= (_POINT if self.thresholds is None else self.thresholds)
        return found

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
    def present(self) -> tuple[str, ...]:
        reached = self.reached
        return tuple(self.label_space.names[i] for i in self.label_ids if reached[i])

    @property
    def confidence(self) -> float:
        """The lowest probability of what is said of a tag: that of one which is present, 1 minus that of another."""
        return float(np.where(self.reached, self.probabilities, 1 - self.probabilities).min())

    def numbers(self) -> NDArray[np.float32]:
        """Return the probability of each tag, float32 (C,), as drift is tested on."""
        return np.asarray(self.probabilities, np.float32)

    def drawn_on(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image, uint8 (H, W, 3), with a caption strip of the tags below it."""
        return caption(image, self.line())

    def strip_rows(self, size_hw: tuple[int, int]) -> int:
        return caption_rows(size_hw)

    def line(self, *, top: int | None = None) -> str:
        """Say in a line which tags are there; where none is, which was the likeliest."""
        reached = self.reached
        said = [f"{self.label_space.names[i]} {self.probabilities[i]:.1%}" for i in self.label_ids if reached[i]][:top]
        return "  ".join(said) or f"no tag (likeliest: {self.labels[0]} {self.scores[0]:.1%})"

    def headline(self) -> tuple[str, float]:
        """Return the tags that a log files the prediction under, and the score of the first; "" and 0 without any."""
        present = self.present
        return ("|".join(present), float(self.scores[0])) if present else ("", 0.0)

    def to_hub(self, *, top: int | None = None) -> list[dict[str, Any]]:
        """Return the tags as Hugging Face's pipeline of image classification answers."""
        few = slice(top or 5)
        return [{"label": n, "score": float(s)} for n, s in zip(self.labels[few], self.scores[few], strict=True)]

    def to_json(self, *, top: int | None = None) -> dict[str, Any]:
        """Return the `top` tags (all by default) with their scores, most likely first, and those that are present."""
        ids = self.label_ids[:top]
        result: dict[str, Any] = {
            "source": self.source,
            "index": self.index,
            "labels": [self.label_space.names[i] for i in ids],
            "label_ids": ids.tolist(),
            "scores": [round(float(s), 6) for s in self.probabilities[ids]],
            "present": list(self.present),
        }
        return result if self.time_s is None else {**result, "time_s": self.time_s}


def decode(
    raw: Raw,
    placements: Sequence["Placement"],
    labels: LabelSpace,
    *,
    iou: float | None = None,
    least: float | None = None,
    most: int | None = None,
) -> list[TagPrediction]:
    """Return one prediction per image from "probabilities", float32 (N, C), each from 0 to 1.

    Raises:
        BundleError: the array does not have the promised name, shape or range.
    """
    found = array_of(raw, "probabilities", len(placements), len(labels))
    if not ((found >= -1e-6) & (found <= 1 + 1e-6)).all():
        raise BundleError("expected probabilities from 0 to 1, found others", fix="export the model again")
    return [TagPrediction(row, labels) for row in found]


def settle(
    prediction: TagPrediction, thresholds: NDArray[np.float64] | None, conf: float | None = None
) -> TagPrediction:
    """Return the prediction with the operating points that `present` goes by; `conf` is one for all tags."""
    if conf is not None:
        thresholds = np.full(len(prediction.label_space), conf)
    return replace(prediction, thresholds=thresholds)


def score(
    predictions: Sequence[TagPrediction],
    targets: Sequence[Any],
    *,
    rng: np.random.Generator,
    groups: NDArray[Any] | None = None,
) -> dict[str, Metric]:
    """Measure predictions against true tags, a row (C,) of 1, 0 and NaN per image; every metric with its interval."""
    from eyewright.metrics.tagging import measure_tags

    if not predictions:
        return {}
    scores = np.stack([p.probabilities for p in predictions])
    true = np.stack([np.asarray(t, np.float64) for t in targets])
    return measure_tags(true, scores, predictions[0].thresholds, rng=rng, groups=groups)[0]


def agree(ours: Answers, theirs: Answers, limits: Limits) -> Agreement:
    """Compare the probabilities of two models for the same images: the largest difference, and images for which a tag
    is on the other side of its operating point by more than rounding.
    """
    a, b = ours.raw["probabilities"], theirs.raw["probabilities"]
    points = getattr(ours.predictor, "thresholds", None)
    points = np.float64(_POINT) if points is None else points
    margin = _LEVEL if limits.tolerance <= LIMITS["float32"].tolerance else limits.tolerance
    moved = ((a >= points) != (b >= points)) & (np.abs(a - b) > margin)
    return Agreement(float(np.abs(a - b).max(initial=0.0)), int(moved.any(1).sum()))


def join_views(
    predictor: Predictor, image: NDArray[np.uint8], *, flip: bool, tile: int | None, overlap: float, iou: float | None
) -> TagPrediction:
    """Return the mean of the probabilities for an image and its mirror."""
    views = [image, mirrored(image)] if flip else [image]
    both = cast(Sequence[TagPrediction], predict_everything(predictor, views))
    mean = sum(p.probabilities for p in both) / np.float32(len(both))
    return replace(both[0], probabilities=np.asarray(mean, np.float32))


def explained(raw: Raw, prediction: Any, placement: Any, label: int | None) -> Sequence[Explained]:
    """Return the present tags, sorted by confidence, or the most likely if none is; or the one that is asked for."""
    if label is not None:
        return [ClassTarget(label)]
    ids = prediction.label_ids
    return [ClassTarget(int(k)) for k in ids if prediction.reached[k]] or [ClassTarget(int(ids[0]))]


def summary(answers: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """Return how many tags are expected in each of (N, C) answers, (N,)."""
    return "tags", np.asarray(answers.sum(1))


def labelled(answers: NDArray[Any]) -> NDArray[Any]:
    """Return 1 for the tags that are likelier than not in (N, C) answers."""
    return (answers >= _POINT).astype(answers.dtype)


def counted(marks: Sequence[int]) -> Iterable[int]:
    """Return what a dataset counts: an image for each tag that it has."""
    return set(marks)


def example(rng: np.random.Generator) -> tuple[Raw, Sequence[Any]]:
    """Return probabilities of 12 images, and true tags, some of which are not annotated."""
    true = np.array([[1, 0, 1], [0, 1, np.nan], [1, 1, 0], [0, 0, 1]] * 3, np.float32)
    return {"probabilities": rng.random((12, 3)).astype(np.float32)}, list(true)


_LEVEL = 1e-6
LIMITS = MappingProxyType({"float32": Limits(1e-4, 0.99), "float16": Limits(0.02, 0.95), "int8": Limits(0.05, 0.9)})


def corrected(said: "Correction") -> "Tags":
    """Return the tags that were said to be there, or those of a prediction that was called right.

    What nothing was said of is not judged.

    Raises:
        NotUsableError: nothing says what is right.
    """
    own = said.content.get("tags")
    if not own:
        said.expect_right()
        found, ids = said.again()
        return taught(found, ids, said.keep)
    judged = {said.names.index(n): has for n, has in own.items() if n in said.names}
    present = frozenset(k for k, has in judged.items() if has)
    return Tags(present, frozenset(range(len(said.names))) - frozenset(judged))


def taught(prediction: TagPrediction, ids: NDArray[np.int64], keep: Callable[..., Any]) -> "Tags":
    """Return the tags that are present as those of the image."""
    return Tags(frozenset(int(ids[k]) for k in np.flatnonzero(prediction.reached)))


TASK = Task(
    name="tag",
    words=Words(
        noun="tagging",
        does="Assigns each image any number of",
        gives="an independent probability for each tag, in the order of `config.json`",
        usage="present",
        limits="It knows only these tags, and does not tell where in the image they are.",
        counted="image",
        score="a probability",
        wins="better tagged",
        label=("tag", "tags"),
    ),
    outputs=(Output("probabilities", ("C",)),),
    metrics=(
        MetricInfo("map", "mAP", "mean over the tags of average precision", paired=True),
        MetricInfo("f1_macro", "F1, macro", "at the operating points, mean over the tags", paired=True),
        MetricInfo("f1_micro", "F1, micro", "at the operating points, all tags of all images together", paired=True),
        MetricInfo(
            "exact_match", "exact match", "fraction of images whose tags are all correct", paired=True, counts=True,
            kind="share",
        ),
        MetricInfo("ece", "calibration error", "mean gap between probability and frequency, 0% is best", False,
                   paired=True, kind="plain"),
    ),
    options=frozenset({"attack", "conf", "ensemble", "gradients", "harden", "import", "mixing", "review", "top"})
    | {"unlabelled"},
    losses=("binary_cross_entropy", "focal"),
    columns=("average_precision", "precision", "recall", "f1"),
    foreign=MappingProxyType(
        {
            "hub": "image-classification",
            "problem_type": "multi_label_classification",
            "label-studio": "Choices:multiple",
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
    target="eyewright.data.targets.tags:TAGS",
    feedback=Feedback(("tags",), (), corrected, taught, "csv"),
    net="vector",
    learner="eyewright.learners.tag:LEARNER",
    reporting="eyewright.tasks.tag_report:REPORTING",
    counted=counted,
    followed="f1_micro",
)  # fmt: skip
"""Any number of tags per image."""
