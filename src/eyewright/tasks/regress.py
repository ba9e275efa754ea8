"""Regression: one or several numbers per image, in the units of the data. What raw arrays mean and how they look."""

__all__ = ["TASK", "NumberPrediction"]

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
from eyewright.data.targets.numbers import NUMBERS, Numbers, quantity_named, quantity_of, short_names
from eyewright.imaging.overlay import caption, caption_rows
from eyewright.tasks.arrays import array_of
from eyewright.tasks.corrections import NotUsableError
from eyewright.tasks.drawn import Drawn, kept_image
from eyewright.tasks.tiling import mirrored

if TYPE_CHECKING:
    from eyewright.data.targets.numbers import Numbers, Quantity
    from eyewright.imaging.preparation import Placement
    from eyewright.tasks.corrections import Correction


@dataclass(frozen=True, repr=False)
class NumberPrediction(Drawn):
    """What a model reads off one image.

    `values` is float32 (C,) in the user's units and the order of `label_space`, which names the quantities, such as
    "weight [g]". `reach` (C,) is half the width of the prediction intervals, found on validation images.

    >>> p = NumberPrediction(np.array([12.5], np.float32), LabelSpace(("weight [g]",)), reach=np.array([0.5]))
    >>> p.line(), p.to_json()["values"]["weight"]["interval"]
    ('weight [g] 12.5 [12, 13]', [12.0, 13.0])
    """

    values: NDArray[np.float32]
    label_space: LabelSpace
    source: str = ""
    index: int = 0
    time_s: float | None = None
    image: NDArray[np.uint8] | None = kept_image()
    reach: NDArray[np.float64] | None = None

    @property
    def quantities(self) -> "tuple[Quantity, ...]":
        """What each number is of, with its unit."""
        return tuple(quantity_of(name) for name in self.label_space.names)

    def numbers(self) -> NDArray[np.float32]:
        """Return the values, float32 (C,), as drift is tested on."""
        return np.asarray(self.values, np.float32)

    def drawn_on(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image, uint8 (H, W, 3), with a caption strip of the values below it."""
        return caption(image, self.line())

    def strip_rows(self, size_hw: tuple[int, int]) -> int:
        return caption_rows(size_hw)

    def line(self, *, top: int | None = None) -> str:
        """Say in a line what was predicted: each value, with its interval where there is one."""
        parts = []
        for k, name in enumerate(self.label_space.names):
            value = float(self.values[k])
            reach = "" if self.reach is None else f" [{value - self.reach[k]:.4g}, {value + self.reach[k]:.4g}]"
            parts.append(f"{name} {value:.4g}{reach}")
        return "  ".join(parts)

    def headline(self) -> tuple[str, float]:
        """Return the names and values that a log files the prediction under, and the first value."""
        pairs = zip(self.label_space.names, self.values, strict=True)
        return "; ".join(f"{n}={float(v):.9g}" for n, v in pairs), float(self.values[0])

    def to_hub(self, *, top: int | None = None) -> list[dict[str, Any]]:
        """Return the values in the form of Hugging Face's pipelines, which have none for regression of images."""
        return [{"label": n, "score": float(v)} for n, v in zip(self.label_space.names, self.values, strict=True)]

    def to_json(self, *, top: int | None = None) -> dict[str, Any]:
        """Return every value by its name, with its unit and its interval where there is one."""
        values = {}
        # Intervals are missing where too few validation images were left for them; bundle.json has the numbers.
        missing = "none: too few validation images (calibration in bundle.json)"
        keys = short_names(self.label_space.names)
        for k, quantity in enumerate(self.quantities):
            value = float(self.values[k])
            row: dict[str, Any] = {"value": _told(value), "unit": quantity.unit}
            row["interval"] = (
                None
                if self.reach is None
                else [_told(value - float(self.reach[k])), _told(value + float(self.reach[k]))]
            )
            values[keys[k]] = row
        result: dict[str, Any] = {"source": self.source, "index": self.index, "values": values}
        if self.reach is None:
            result["intervals"] = missing
        return result if self.time_s is None else {**result, "time_s": self.time_s}


def _told(value: float) -> float:
    """Return a number with the nine digits that a float32 has at most: in metres a micrometre is not 0."""
    return float(f"{value:.9g}")


def decode(
    raw: Raw,
    placements: Sequence["Placement"],
    labels: LabelSpace,
    *,
    iou: float | None = None,
    least: float | None = None,
    most: int | None = None,
) -> list[NumberPrediction]:
    """Return one prediction per image from "values", float32 (N, C), in the user's units.

    Raises:
        BundleError: the array does not have the promised name or shape, or is not finite.
    """
    found = array_of(raw, "values", len(placements), len(labels))
    if not np.isfinite(found).all():
        raise BundleError("expected finite values, found others", fix="export the model again")
    return [NumberPrediction(row, labels) for row in found]


def settle(
    prediction: NumberPrediction, thresholds: NDArray[np.float64] | None, conf: float | None = None
) -> NumberPrediction:
    """Return the prediction with its intervals: `thresholds` (C,) are half their widths; `conf` means nothing here."""
    return replace(prediction, reach=thresholds)


def score(
    predictions: Sequence[NumberPrediction],
    targets: Sequence[Any],
    *,
    rng: np.random.Generator,
    groups: NDArray[Any] | None = None,
) -> dict[str, Metric]:
    """Measure predictions against true values, a row (C,) an image; every metric with its interval."""
    from eyewright.metrics.regression import regression_metrics

    if not predictions:
        return {}
    found = np.stack([p.values for p in predictions])
    reach = predictions[0].reach
    true = np.stack([np.asarray(t, np.float64) for t in targets])
    return regression_metrics(true, found, reach=reach, rng=rng, groups=groups)


def agree(ours: Answers, theirs: Answers, limits: Limits) -> Agreement:
    """Compare the values of two models for the same images, in deviations of our values over the images.

    A value is changed that is further apart than the limit.
    """
    a, b = (np.asarray(x.raw["values"], np.float64) for x in (ours, theirs))
    unit = np.maximum(a.std(0), 1e-3 * np.maximum(np.abs(a).max(0, initial=0.0), 1e-9)) if len(a) else 1.0
    apart = np.abs(a - b) / unit
    most = np.abs(a - b).max(0, initial=0.0)
    names = ours.predictor.labels.names
    changed = int((apart > limits.tolerance).any(1).sum()) if len(a) else 0
    return Agreement(
        float(apart.max(initial=0.0)), changed, amounts=dict(zip(names, (float(m) for m in most), strict=True))
    )


def join_views(
    predictor: Predictor, image: NDArray[np.uint8], *, flip: bool, tile: int | None, overlap: float, iou: float | None
) -> NumberPrediction:
    """Return the mean of the values for an image and its mirror."""
    views = [image, mirrored(image)] if flip else [image]
    both = cast(Sequence[NumberPrediction], predict_everything(predictor, views))
    mean = sum(p.values for p in both) / np.float32(len(both))
    return replace(both[0], values=np.asarray(mean, np.float32))


@dataclass(frozen=True)
class NumberTarget:
    """How close a value stays to what it was: 1 where it is the same, towards 0 the further it moves.

    `scale` is the distance at which half is left: a tenth of the value, since one image tells no deviation.
    """

    label: int
    value: float
    scale: float
    shown: str

    @property
    def box(self) -> None:
        return None

    @property
    def cells(self) -> int:
        return 8

    def __call__(self, raw: Raw) -> NDArray[np.float64]:
        found = raw["values"][:, self.label].astype(np.float64)
        return 1 / (1 + np.abs(found - self.value) / self.scale)


def explained(raw: Raw, prediction: Any, placement: Any, label: int | None) -> Sequence[Explained]:
    """Return every value, or the one that is asked for."""
    values = [float(v) for v in raw["values"][0]]
    asked = range(len(values)) if label is None else (label,)
    return [NumberTarget(k, values[k], max(0.1 * abs(values[k]), 1e-6), f"{values[k]:.4g}") for k in asked]


def summary(answers: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """Return the value of each of (N, C) answers, (N,); of several quantities, whose units differ, each by itself."""
    return "value", np.asarray(answers[:, 0] if answers.shape[1] == 1 else answers)


def unit_of(names: Sequence[str], metric: str) -> str:
    """Return the unit of an error: that of the quantity, or of several the standard deviation of training values."""
    if metric not in ("mae", "rmse", "median_error") or not names:
        return ""
    return quantity_of(names[0]).unit if len(names) == 1 else "SD"


def labelled(answers: NDArray[Any]) -> NDArray[Any]:
    """Return 1 for each quantity, (N, C): every image has a value of each; how they move is told by `summary`."""
    return np.ones_like(answers)


def counted(marks: Sequence[int]) -> Iterable[int]:
    """Return what a dataset counts: a number of each quantity."""
    return marks


def example(rng: np.random.Generator) -> tuple[Raw, Sequence[Any]]:
    """Return values of 12 images, and true values."""
    true = rng.normal(10.0, 3.0, (12, 3))
    return {"values": (true + rng.normal(0.0, 0.5, true.shape)).astype(np.float32)}, list(true)


def corrected(said: "Correction") -> "Numbers":
    """Return the numbers that were said, or those of a prediction that was called right.

    Raises:
        NotUsableError: neither is there, or a number is missing.
    """
    quantities = tuple(quantity_of(name) for name in said.names)
    values = said.content.get("values")
    if values is not None:
        if set(values) != set(said.names):
            raise NotUsableError(f"it does not say all of {', '.join(said.names)}")
        return Numbers(tuple(float(values[name]) for name in said.names), quantities)
    kept = NUMBERS.of_cell(said.predicted, said.names) if said.right else None
    if not isinstance(kept, Numbers) or len(kept) != len(quantities):
        raise NotUsableError("it says that the prediction is wrong, and not what is right")
    return kept


def taught(prediction: NumberPrediction, ids: NDArray[np.int64], keep: Callable[..., Any]) -> "Numbers":
    """Return the predicted values as the numbers of the image."""
    order = [int(i) for i in np.argsort(ids)]
    return Numbers(tuple(float(prediction.values[i]) for i in order), tuple(prediction.quantities[i] for i in order))


def spelled(name: str, names: Sequence[str]) -> str:
    """Return the quantity that is meant by a name with or without its unit."""
    return quantity_named(name, names)


_FREE = (float("-inf"), float("inf"))
_ERROR = (0.0, float("inf"))

TASK = Task(
    name="regress",
    words=Words(
        noun="regression",
        does="Predicts from each image",
        gives="values in the order of `config.json`, in the units of the training data",
        usage="values",
        limits="It returns numbers for every image, even for one that does not show what is measured, and rarely "
        "beyond the range of the values in its training data.",
        counted="image",
        score="standard deviations of a value",
        wins="closer alone",
        label=("quantity", "quantities"),
    ),
    outputs=(Output("values", ("C",)),),
    metrics=(
        MetricInfo(
            "mae",
            "MAE",
            "mean absolute error; of several quantities in standard deviations (SD) of the training values",
            False,
            paired=True,
            bounds=_ERROR,
            kind="plain",
        ),
        MetricInfo(
            "rmse",
            "RMSE",
            "root of the mean squared error, in the same unit",
            False,
            paired=True,
            bounds=_ERROR,
            kind="plain",
        ),
        MetricInfo(
            "r2",
            "R²",
            "fraction of the variance that is explained; 0: no better than the mean",
            paired=True,
            bounds=(float("-inf"), 1.0),
            kind="plain",
        ),
        MetricInfo(
            "median_error",
            "median error",
            "half of the errors are below it",
            False,
            paired=True,
            bounds=_ERROR,
            kind="plain",
        ),
        MetricInfo("coverage", "coverage", "true values inside their 90% prediction interval", kind="share"),
    ),
    options=frozenset({"attack"}),
    losses=("huber", "mse", "mae"),
    columns=("mae", "rmse", "r2"),
    foreign=MappingProxyType({"problem_type": "regression", "label-studio": "Number"}),
    contracts=(),
    decode=decode,
    settle=settle,
    score=score,
    limits=MappingProxyType({"float32": Limits(1e-3, 0.99), "float16": Limits(0.02, 0.95), "int8": Limits(0.1, 0.9)}),
    agree=agree,
    views=join_views,
    explained=explained,
    summary=summary,
    labelled=labelled,
    example=example,
    reference="values",
    target="eyewright.data.targets.numbers:NUMBERS",
    feedback=Feedback(("values",), (), corrected, taught, "csv", whole=True),
    net="vector",
    learner="eyewright.learners.regress:LEARNER",
    reporting="eyewright.tasks.regress_report:REPORTING",
    counted=counted,
    followed="mae",
    points=(0.0, 1e300),
    chosen="r2",
    spelled=spelled,
    unit=unit_of,
)
"""One or several numbers per image."""
