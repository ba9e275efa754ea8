"""A task as one value: what a model of it answers, how that is read, measured and said; found by its name."""

__all__ = [
    "OBJECT_FILES",
    "Agreement",
    "Explained",
    "Feedback",
    "Limits",
    "MetricInfo",
    "Output",
    "Raw",
    "Task",
    "Words",
    "is_task",
    "metric_named",
    "option_names",
    "task_names",
    "task_of",
]

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError, spelling_hint
from eyewright.core.installed import installed
from eyewright.core.prediction import Decode, JoinViews, Prediction, Score, Settle

if TYPE_CHECKING:
    from eyewright.core.inputs import Example
    from eyewright.core.predictor import Answers, Predictor

Raw = Mapping[str, NDArray[np.float32]]

_TRACKING = (
    "tracking is not trained: train a detector with --task detect, then run eyewright track BUNDLE VIDEO; files of "
    "tracks go with evaluate, compare and convert --task track"
)
_OTHER_WAYS = MappingProxyType(dict.fromkeys(("track", "tracking", "tracks", "mot"), _TRACKING))
"""What to do instead of a task that is done without training."""

_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "attack": "attack",
        "iou": "--iou",
        "tile": "--tile",
        "certify": "certify",
        "coco": "--save coco",
        "yolo": "--save yolo",
        "crops": "--save crops",
        "review": "--review",
        "classes": "--classes",
        "conf": "--conf",
        "coverage": "coverage",
        "ensemble": "--ensemble",
        "federate": "federate",
        "frames": "--frames or --span",
        "harden": "--step",
        "import": "importing a model",
        "label_check": "--labels",
        "mask": "a mask as feedback",
        "miss_rate": "--miss-rate",
        "mixing": "--mixup or --cutmix",
        "private": "--private",
        "sets": "a set of labels",
        "top": "--top",
        "generated": "--add-generated",
        "gradients": "an explanation by gradients",
        "unlabelled": "--unlabelled",
        "web": "the web target",
    }
)
"""What a task may or may not support, and how a person asked for it."""

OBJECT_FILES = frozenset({"coco", "crops", "review", "yolo"})
"""The options that write objects with boxes for other tools."""

_VERBS: Mapping[str, str] = MappingProxyType(
    {
        "compress": "compress",
        "explain": "explain",
        "folds": "--folds",
        "predict": "predict",
        "serve": "serve",
        "teacher": "--teacher",
        "tune": "--tune",
    }
)
"""What every task supports unless it says that it does not (`Task.refuses`), and how a person asks for it."""

_TOOLS: Mapping[str, str] = MappingProxyType({"hub": "Hugging Face's task JSON", "label-studio": "Label Studio"})
"""Other tools that a task may have a counterpart in, as a person calls them."""


@dataclass(frozen=True)
class Output:
    """A named array that a model of the task answers, float32.

    `shape` are the axes after the batch: a number, or the name of a size; "C" is the number of classes. `sums` tells
    that the values sum to 1 over the first of them.
    """

    name: str
    shape: tuple[str | int, ...]
    sums: bool = False

    def expected(self, n_classes: int) -> tuple[int | None, ...]:
        """Return the sizes of the axes after the batch; None where any size is right.

        >>> Output("scores", ("A", "C")).expected(3)
        (None, 3)
        """
        return tuple(n_classes if s == "C" else s if isinstance(s, int) else None for s in self.shape)


@dataclass(frozen=True)
class MetricInfo:
    """A metric of the task: its key in reports, what a person calls it, and what it means in a few words.

    `tile` shows it at the top of the report, `paired` lets a budget name it (`compress --max-drop`), `counts` tells
    that it is a fraction of images, whose interval has a width even where no image differs. `bounds` are its least and
    largest value; what is from 0 to 1 is shown in per cent. `kind` is how its interval is found (`metrics.groups`): a
    "share" of images, another number from 0 to 1 ("bounded"), or "plain". A `rate` is shown in per cent although it may
    pass 1, as error rates do.
    """

    name: str
    title: str
    hint: str
    higher_is_better: bool = True
    tile: bool = True
    paired: bool = False
    counts: bool = False
    bounds: tuple[float, float] = (0.0, 1.0)
    kind: Literal["share", "bounded", "plain"] = "bounded"
    rate: bool = False

    @property
    def in_percent(self) -> bool:
        """Whether values are shown in per cent."""
        return self.rate or self.bounds == (0.0, 1.0)

    def show(self, value: float) -> str:
        """Return a value in per cent or with four digits.

        >>> MetricInfo("accuracy", "accuracy", "").show(0.9976), metric_named("kappa").show(0.9976)
        ('99.8%', '0.9976')
        """
        return f"{value:.1%}" if self.in_percent else f"{value:.4g}"


@dataclass(frozen=True)
class Words:
    """The task in plain English, for cards, reports and messages.

    `noun` ("classification"), `does` and `gives` (sentences of the model card), `usage` (Python that reads a
    prediction), `limits`, `counted` (what is counted a class: "image" or "object"), `score` (what a number of the
    model's is called: "a probability"), `wins` (images that one of two models does better), `label` (what a label is
    called, one and many). `names_labels` is false where there is one label that says nothing to a person.
    """

    noun: str
    does: str
    gives: str
    usage: str
    limits: str
    counted: str
    score: str
    wins: str
    label: tuple[str, str] = ("class", "classes")
    names_labels: bool = True

    def count(self, n: int) -> str:
        """Say how many labels there are: "1 class", "2 values"."""
        return f"{n:,} {self.label[n != 1]}"


class Explained(Protocol):
    """A question to a model's raw answers: how much of one class, object or region is there in each of N images?

    `box` is x0, y0, x1, y1 in prepared pixels where an object is explained. `cells` is how many windows a side hide
    parts of the image: more where what is explained is smaller than the image. `shown` is what was predicted, in words,
    where a score from 0 to 1 does not say it; else empty.
    """

    @property
    def label(self) -> int: ...

    @property
    def box(self) -> NDArray[np.float64] | None: ...

    @property
    def cells(self) -> int: ...

    @property
    def shown(self) -> str: ...

    def __call__(self, raw: Raw) -> NDArray[np.float64]:
        """Return a score in [0, 1] for each image, (N,)."""
        ...


class Limits(NamedTuple):
    """How far two runtimes of one model may be apart at a precision: a probability or score, and the least IoU of two
    boxes that are one."""

    tolerance: float
    same_iou: float


@dataclass(frozen=True)
class Agreement:
    """How far the answers of two models are apart: the largest difference of a score, the number of answers that
    differ, and the number of objects that were compared (0 where answers are no objects). `amounts` are the largest
    differences of answers that have a unit, by the name of what is answered."""

    worst: float
    changed: int
    objects: int = 0
    amounts: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def joined(self, other: "Agreement") -> "Agreement":
        """Return what holds of both batches together; a difference that is not a number stays one."""
        names = {*self.amounts, *other.amounts}
        # Python's max() would drop a NaN, so that a model that answers NaN would pass.
        amounts = {n: float(np.maximum(self.amounts.get(n, 0.0), other.amounts.get(n, 0.0))) for n in sorted(names)}
        counts = self.changed + other.changed, self.objects + other.objects
        return Agreement(float(np.maximum(self.worst, other.worst)), *counts, amounts)


@dataclass(frozen=True)
class Feedback:
    """What people may say of a prediction, and how what is said or predicted becomes something to learn from.

    Args:
        says: what feedback may hold in addition to `correct`: keys of `tasks.feedback`.
        places: how an object in feedback may be placed: "box_xyxy", "segmentation"; none where there are no objects.
        corrected: a `tasks.corrections.Correction` to a target.
        taught: `(prediction, ids, keep)` to the target it would be if it were right; class k of the prediction is
            `ids[k]`, and `keep` stores class ids of pixels, uint8 (H, W), and returns the target that reads them.
        layout: the format that images with such targets are written in.
        whole: whether `values` must name every label, since nothing is learnt from some of them.
        letters: whether the labels are the characters that `text` may hold.
    """

    says: tuple[str, ...]
    places: tuple[str, ...]
    corrected: Callable[[Any], Any]
    taught: Callable[[Any, NDArray[np.int64], Callable[[NDArray[np.uint8]], Any]], Any]
    layout: str
    whole: bool = False
    letters: bool = False


@dataclass(frozen=True)
class Task:
    """All that the rest of Eyewright needs to know of a task, as values and functions of numpy arrays.

    A new task is one such value; nothing else asks for its name.

    Args:
        outputs: the arrays that a model returns, in order.
        metrics: the main one first.
        options: what it supports of `_OPTIONS`; anything else is refused by `require`.
        refuses: what it does not support of `_VERBS`, which others do.
        losses: the names of the losses it can be trained with, the usual one first.
        columns: the keys of `Report.per_class` rows that a table shows.
        foreign: what other tools call it, by tool: "hub", "openvino", "label-studio" (several: joined by spaces). A
            tool that is left out has no counterpart; it is refused by `require_foreign`.
        contracts: layouts of the outputs of a foreign model that can be read (see `bundle.contract`).
        decode: `(raw, placements, labels, *, iou, least, most)` to one prediction per image in source pixels; an option
            that means nothing to the task is ignored.
        settle: `(prediction, thresholds, conf)` to what is shown to a person.
        score: `(predictions, targets, *, rng, groups)` to metrics with intervals.
        limits: precision to the `Limits` of the parity check.
        agree: `(ours, theirs, limits)`, two `Answers`, to an `Agreement`.
        views: `(predictor, image, flip, tile, overlap, iou)` to one prediction joined from several views.
        explained: `(raw, prediction, placement, label)` of one image to what can be explained of it, most important
            first; `label` limits it to one class.
        summary: numbers per prediction, (N, C), to one number (N,) whose drift is tested, and what it is called; to one
            a label, (N, C), where they must not be joined to one, such as amounts in several units.
        labelled: the same numbers to how much of each class was predicted, (N, C).
        example: arrays of 12 images of 16x24 pixels and 3 classes, and what is true of them, for `testing.check_task`.
        reference: what these numbers are called in a bundle's reference.npz.
        reads: what a row of its data is: "image", or "clip" (the frames of a video over time).
        target: where the `data.targets.target.TargetKind` lies that it learns from, "module:NAME".
        needs: what of its targets must be there, of what they may have or not: "outlines" of objects.
        learner: where the `training.learner.Learner` lies, "module:NAME", opened only to train; "" where nothing is.
        net: what its nets return: "vector" (one number per class), "pixels" (one number per class and pixel), "boxes",
            "boxes and masks", or "classes a step"; nets of the catalogue that return the same can be trained for it.
        reporting: where the `evaluation.reporting.Reporting` lies, "module:NAME", opened only to measure; "" where
            nothing is.
        counted: the class ids of all marks of one image to those that a dataset counts.
        feedback: what feedback may contain, and what is learnt from it.
        followed: the metric that is followed over the distance to the training images; it takes many resamples.
        points: the least and largest value of a number that is found a class on validation images (`settle`).
        chosen: the metric that epochs and trials are chosen by, whose larger values are better; empty: the main one.
        spelled: `(name, names of the labels)` to the label that a person means by a name, such as a quantity without
            its unit; the name itself if it is none of them.
        unit: `(names of the labels, metric)` to the unit of a metric, empty where it has none.
        spellings: other names of metrics that users of this field type.
        inputs: where the `core.inputs.InputPreparation` of each input lies, by the input's name, "module:NAME".
        optional: inputs that only some models of the task take, such as the mask of one that fills holes.
        tried_on: `(image, number, preparation)` to the example that a model with further inputs is tried on in place of
            an image of a dataset.
        whole: `(predictor, examples)` to one prediction each, where a model is run several times per example, as on the
            tiles of an image; None where it is run once.
        one_class: whether it also learns from images of one class; those that lie in no folder of a class are one then.
        least_seen: from how many images, each counted as often as it is seen, a net must learn before its measures
            say what is wrong with it; 0 where nothing is said.
        asked: class ids of images to what a model that takes no image is run on in their place; None where it takes
            the images.
    """

    name: str
    words: Words
    outputs: tuple[Output, ...]
    metrics: tuple[MetricInfo, ...]
    options: frozenset[str]
    losses: tuple[str, ...]
    columns: tuple[str, ...]
    foreign: Mapping[str, str]
    contracts: tuple[str, ...]
    decode: Decode
    settle: Settle
    score: Score
    limits: Mapping[str, Limits]
    agree: "Callable[[Answers, Answers, Limits], Agreement]"
    views: JoinViews
    explained: Callable[[Raw, Prediction, Any, int | None], Sequence[Explained]]
    summary: Callable[[NDArray[Any]], tuple[str, NDArray[Any]]]
    labelled: Callable[[NDArray[Any]], NDArray[Any]]
    example: Callable[[np.random.Generator], tuple[Raw, Sequence[Any]]]
    reference: str
    feedback: Feedback
    followed: str
    target: str
    learner: str
    net: str
    counted: Callable[[Sequence[int]], Iterable[int]]
    reads: Literal["image", "clip"] = "image"
    needs: frozenset[str] = frozenset()
    reporting: str = ""
    points: tuple[float, float] = (0.0, 1.0)
    chosen: str = ""
    spelled: Callable[[str, Sequence[str]], str] = lambda name, names: name
    unit: Callable[[Sequence[str], str], str] = lambda names, metric: ""
    spellings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    inputs: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType({"image": "eyewright.imaging.preparation:Preparation"})
    )
    whole: "Callable[[Predictor, Sequence[Example]], Sequence[Prediction]] | None" = None
    refuses: frozenset[str] = frozenset()
    asked: "Callable[[Sequence[int]], Sequence[Example]] | None" = None
    optional: frozenset[str] = frozenset()
    tried_on: "Callable[[NDArray[np.uint8], int, Any], Example] | None" = None
    one_class: bool = False
    least_seen: int = 0

    @property
    def main_metric(self) -> str:
        """The key of the metric that models are chosen and compared by."""
        return self.metrics[0].name

    @property
    def chosen_by(self) -> str:
        """The key of the metric that epochs and trials are chosen by."""
        return self.chosen or self.main_metric

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the arrays that a model returns, in order."""
        return tuple(o.name for o in self.outputs)

    def metric(self, name: str) -> MetricInfo:
        """Return what is known of one metric; of one that the task does not list, its key alone."""
        return next((m for m in self.metrics if m.name == name), MetricInfo(name, name, "", tile=False))

    def metric_rows(self, metrics: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> list[tuple[str, str]]:
        """Return the title and the value, interval and n of measured metrics, for a table; `names` are the labels."""
        rows = []
        for info in self.metrics:
            m = metrics.get(info.name) or {}
            if m.get("value") is not None:
                ends = "" if m.get("low") is None else f" [{info.show(m['low'])}, {info.show(m['high'])}]"
                value = f"{info.show(m['value'])} {self.unit(names, info.name)}".strip()
                rows.append((info.title, f"{value}{ends} n={m.get('n', 0):,}"))
        return rows

    def label_id(self, name: str, names: Sequence[str]) -> int:
        """Return the position in `names` of the label that a person calls `name`.

        Raises:
            UsageError: it is none of them; a near spelling is suggested.
        """
        found = self.spelled(name, names)
        if found not in names:
            raise UsageError(f"unknown {self.words.label[0]} {name!r}", fix=spelling_hint(name, names))
        return list(names).index(found)

    def require_foreign(self, tool: str) -> str:
        """Return what another tool calls the task; a tool that has no counterpart of it is refused.

        Raises:
            UsageError: the tool has none.
        """
        if tool not in self.foreign:
            supported = [task_of(n).words.noun for n in task_names() if tool in task_of(n).foreign]
            raise UsageError(
                f"{_TOOLS.get(tool, tool)} is not supported for {self.words.noun}; "
                f"it is supported for {', '.join(supported)}",
                fix="use POST /v1/models/NAME/predict",
            )
        return self.foreign[tool]

    def require(self, option: str) -> None:
        """Refuse an option that the task does not support: the one place where that is said.

        Raises:
            UsageError: the task does not support it.
        """
        if option in _VERBS:
            if option in self.refuses:
                asked = _VERBS[option]
                raise UsageError(f"{asked} is not supported for {self.words.noun}", fix="see eyewright models")
            return
        if option not in self.options:
            asked = _OPTIONS[option]
            nouns = dict.fromkeys(task_of(n).words.noun for n in task_names() if option in task_of(n).options)
            only = f"; it is supported for {_listed(list(nouns))}" if nouns else ""
            raise UsageError(f"{asked} is not supported for {self.words.noun}{only}", fix=f"leave {asked} out")


def _listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them.

    >>> _listed(["detection", "segmentation", "tagging"]), _listed(["tagging"])
    ('detection, segmentation and tagging', 'tagging')
    """
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def option_names() -> Mapping[str, str]:
    """Return what a task may support or not, and how a person asks for it.

    >>> option_names()["tile"]
    '--tile'
    """
    return _OPTIONS


def task_names() -> tuple[str, ...]:
    """Return the names of all tasks, those that are built in first."""
    own = [name for name in _table() if name not in installed("eyewright.tasks")]
    return (*own, *(name for name in _table() if name not in own))


@cache
def task_of(name: str) -> Task:
    """Return the task of this name; its file is imported only now.

    Raises:
        UsageError: there is no such task; a near spelling is suggested.
    """
    place = _built_in().get(name) or _table().get(name)
    if place is None:
        fix = _OTHER_WAYS.get(name.lower()) or spelling_hint(name, list(_table()))
        raise UsageError(f"unknown task {name!r}", fix=fix)
    module, _, attribute = place.partition(":")
    found: Task = getattr(import_module(module), attribute)
    return found


@cache
def metric_named(name: str) -> MetricInfo:
    """Return what is known of a metric by its key alone, whichever task lists it; of one that none lists, the key.

    >>> metric_named("ap").title, metric_named("kappa").bounds
    ('AP50:95', (-1.0, 1.0))
    """
    listed = (m for task in task_names() for m in task_of(task).metrics if m.name == name)
    return next(listed, MetricInfo(name, name, "", tile=False))


def is_task(name: str) -> bool:
    """Return whether there is a task of this name; only for one that is not built in are other packages asked.

    >>> is_task("classify"), is_task("juggle")
    (True, False)
    """
    return name in _built_in() or name in _table()


def _built_in() -> Mapping[str, str]:
    own: Mapping[str, str] = import_module("eyewright.tasks").TASKS
    return own


@cache
def _table() -> Mapping[str, str]:
    return {**{name: entry.value for name, entry in installed("eyewright.tasks").items()}, **_built_in()}
