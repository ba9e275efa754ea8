"""The report on a classifier of clips: that of a classifier, and whether the order of frames matters to it."""

__all__ = ["REPORTING", "VideoResults"]

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from eyewright.core.predictor import Predictor, predict_everything
from eyewright.core.report import Metric, Report
from eyewright.core.rng import generator
from eyewright.data.dataset import Dataset
from eyewright.evaluation.blocks import Block, Cell, Page, Table
from eyewright.evaluation.comparison import Comparison
from eyewright.evaluation.novelty import Followed, Novelty, measure_novelty
from eyewright.evaluation.reporting import Batch, Explain, Numbers, Pictures, Reporting
from eyewright.evaluation.together import group_names
from eyewright.evaluation.units import show_interval, show_number
from eyewright.imaging.clips import cut_strip
from eyewright.metrics.bootstrap import resample, share_interval
from eyewright.metrics.groups import clusters_of, flip_p_value
from eyewright.tasks.class_report import REPORTING as CLASSES
from eyewright.tasks.class_results import ClassResults, average_cuts, gather_classes

if TYPE_CHECKING:
    from eyewright.tasks.classify import ClassPrediction

_SEED = 0
_ALPHA = 0.05
_ORDERS: Mapping[str, str] = {"shuffled": "frames in random order", "reversed": "frames in reverse order"}


@dataclass(frozen=True, eq=False)
class VideoResults:
    """Results on clips as they are, and each clip's probabilities (N, C) with its frames in another order.

    `orders` is empty where no report asks for it: it costs two further predictions a clip.
    """

    classes: ClassResults
    orders: Mapping[str, NDArray[np.float32]]

    @property
    def dataset(self) -> Dataset:
        """The clips, in the predictor's classes."""
        return self.classes.dataset

    @property
    def looks(self) -> tuple[tuple[float, float], ...]:
        """How each clip looks, for slices."""
        return self.classes.looks

    def joined(self, *others: "VideoResults") -> "VideoResults":
        """Return the results of the clips of all of them, one after the other."""
        every = (self, *others)
        names = [k for k in self.orders if all(k in r.orders for r in every)]
        orders = {k: np.concatenate([r.orders[k] for r in every]) for k in names}
        return VideoResults(self.classes.joined(*(r.classes for r in others)), orders)

    def numbers(self) -> Numbers:
        """Return the metrics that two models are compared by."""
        return self.classes.numbers()

    def followed(self) -> Followed:
        """Return accuracy under weights of the clips."""
        return self.classes.followed()

    def answers(self) -> NDArray[np.float64]:
        """Return 1 for the class that each clip is given, (N, C)."""
        return self.classes.answers()

    def asked(self, metric: str) -> NDArray[np.bool_]:
        """Return which clips a metric can be moved by, (N,)."""
        return self.classes.asked(metric)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield each clip's label, the class it is given, and every probability."""
        yield from self.classes.rows()

    def order_test(self) -> dict[str, Any] | None:
        """Return how many clips are right with their frames in another order, and whether that is fewer than before.

        `p_value` is two-sided: the signs of the differences of clips, or of their groups, are flipped.
        """
        if not self.orders:
            return None
        targets, right, groups = self.classes.targets, self.classes.right, group_names(self.dataset)
        clusters = clusters_of(groups)
        plan = resample(len(targets), replicates=100, rng=generator(_SEED, "order"), groups=groups)
        found: dict[str, Any] = {"as_is": float(right.mean())}
        for name, scores in self.orders.items():
            other = scores.argmax(1) == targets
            fell = right.astype(np.float64) - other
            sums = fell if clusters is None else clusters.sums(fell)
            low, high = share_interval(other, np.ones(len(other), bool), plan.clusters)
            found[name] = {
                "accuracy": float(other.mean()),
                "low": low,
                "high": high,
                "p_value": float(flip_p_value(sums, rng=generator(_SEED, "flips"))),
            }
        return found


def gather(predictor: Predictor, batch: Batch) -> VideoResults:
    """Return the probabilities of a batch of clips, with frames in their order, shuffled and reversed."""
    classes = gather_classes(predictor, batch)
    if not batch.looks or math.isnan(batch.looks[0][0]):
        return VideoResults(classes, {})
    frames = predictor.preparation.clip.frames
    orders: dict[str, NDArray[np.float32]] = {}
    for name in _ORDERS:
        images = [_reordered(image, frames, name, row) for image, row in zip(batch.arrays, batch.rows, strict=True)]
        found = cast("Sequence[ClassPrediction]", predict_everything(predictor, images))
        orders[name] = np.stack([p.probabilities for p in found])
    return VideoResults(classes, orders)


def _reordered(strip: NDArray[np.uint8], frames: int, how: str, row: int) -> NDArray[np.uint8]:
    order = np.arange(frames)[::-1] if how == "reversed" else generator(_SEED, "shuffle", str(row)).permutation(frames)
    return np.ascontiguousarray(cut_strip(strip, frames)[order]).reshape(strip.shape)


def report(
    results: VideoResults, *, seed: int = 0, novelty: Novelty | None = None, temperature: float | None = None
) -> Report:
    """Return the report of a classifier, with the order test."""
    found = CLASSES.report(results.classes, seed=seed, temperature=temperature)
    own = {"novelty": measure_novelty(novelty, results, seed=seed), "order": results.order_test()}
    return replace(found, tables={**found.tables, **own})


def summarise(report: Report) -> str:
    """Say how many clips are right, and whether the model goes by the order of frames."""
    own = (say_order(report.tables.get("order")), say_baseline(report.tables.get("baseline")))
    return " ".join([CLASSES.summary(report), *filter(None, own)]).strip().replace(" images", " clips")


def say_order(order: Mapping[str, Any] | None) -> str:
    """Say whether accuracy falls when frames change their order.

    >>> say_order({"as_is": 0.9, "shuffled": {"accuracy": 0.5, "p_value": 0.001}})
    'With frames in random order accuracy falls from 90.0% to 50.0%: the model uses their order.'
    """
    if not order or "shuffled" not in order:
        return ""
    shuffled, whole = order["shuffled"], order["as_is"]
    change = f"from {whole:.1%} to {shuffled['accuracy']:.1%}"
    if shuffled["p_value"] <= _ALPHA and shuffled["accuracy"] < whole:
        return f"With frames in random order accuracy falls {change}: the model uses their order."
    return (
        f"With frames in random order accuracy goes {change}, which is not significant: the model is "
        "not shown to use the order of frames."
    )


def say_baseline(compared: Mapping[str, Any] | None) -> str:
    """Say whether a model that sees the order of frames does better than one that cannot.

    >>> one = {"value": -0.02, "low": -0.05, "high": 0.01}
    >>> say_baseline({"baseline": "mean_net", "better": "neither", "value": {"baseline": 0.8, "model": 0.78},
    ...     "metric": "accuracy", "differences": {"accuracy": one}, "n": 90, "p_value": 0.5})[:76]
    'mean_net, which cannot see the order of frames, reaches 80.0% on the same cl'
    """
    if not compared:
        return ""
    difference = compared["differences"][compared["metric"]]
    bounds = f"{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}"
    seen = (
        f"{compared['baseline']}, which cannot see the order of frames, reaches {compared['value']['baseline']:.1%} "
        f"on the same clips: a difference of {100 * difference['value']:+.1f} points [{bounds}]"
    )
    verdict = {
        "a": f". The order of frames does not help here: use --model {compared['baseline']}.",
        "b": ". The order of frames and the motion between them help by that much here.",
        "neither": ", which is not significant: the order of frames is not shown to help here.",
    }
    return seen + verdict[compared["better"]]


def lay_out(report: Report, pictures: Pictures) -> Page:
    """Return the blocks of a classifier's page, with tables of the order test and of the order-blind baseline."""
    page = CLASSES.page(report, pictures)
    order, compared = report.tables.get("order"), report.tables.get("baseline")
    blocks: list[Block] = list(page.blocks)
    if order:
        blocks.append(_order_table(order))
    if compared:
        blocks.append(_baseline_table(compared))
    return replace(page, blocks=blocks)


def _baseline_table(compared: Mapping[str, Any]) -> Table:
    difference = compared["differences"][compared["metric"]]
    bounds = f"[{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}]"
    rows = [
        (
            Cell(compared[who]),
            Cell(show_number("rate", compared["value"][who])),
            Cell(f"{compared['epochs'][who]:,}", "n"),
            Cell(f"{compared[alone]:,}", "n"),
        )
        for who, alone in (("model", "only_b"), ("baseline", "only_a"))
    ]
    change = Cell(f"{100 * difference['value']:+.1f} points", bounds=bounds)
    rows.append((Cell("difference"), change, Cell("", "n"), Cell(f"p = {compared['p_value']:.2g}", "n")))
    return Table(
        "Baseline that cannot see the order of frames",
        (Cell("model"), Cell("accuracy [95% interval]"), Cell("epochs", "n"), Cell("right alone", "n")),
        rows,
        lead=f"{say_baseline(compared)} The baseline starts from the frame features of the model and is trained for "
        "less time; the difference is paired, over the same clips.",
    )


def _order_table(order: Mapping[str, Any]) -> Table:
    rows = [(Cell("frames in their order"), Cell(show_number("rate", order["as_is"])), Cell(""))]
    for name, said in _ORDERS.items():
        if name in order:
            one = order[name]
            bounds = show_interval("rate", one["low"], one["high"])
            cell = Cell(show_number("rate", one["accuracy"]), bounds=bounds)
            rows.append((Cell(said), cell, Cell(f"{one['p_value']:.2g}", "n")))
    return Table(
        "Order of frames",
        (Cell("clips"), Cell("accuracy [95% interval]"), Cell("p", "n")),
        rows,
        lead=f"{say_order(order)} p compares with frames in their order.",
    )


def _metrics(results: VideoResults, seed: int) -> Mapping[str, Metric]:
    return CLASSES.metrics(results.classes, seed)


def _items(results: VideoResults) -> Sequence[Mapping[str, Any]]:
    return CLASSES.items(results.classes)


def _compare(a: VideoResults, b: VideoResults, seed: int) -> Comparison:
    return CLASSES.compare(a.classes, b.classes, seed)


def _changed(before: VideoResults, after: VideoResults) -> list[dict[str, Any]]:
    return CLASSES.changed(before.classes, after.classes)


def _together(parts: Sequence[VideoResults], folds: int, dataset: Dataset) -> VideoResults:
    return VideoResults(average_cuts([p.classes for p in parts], folds, dataset), {})


def _unexplained(report: Report, dataset: Dataset, pictures: Pictures, explain: Explain) -> Pictures:
    # A heatmap over a strip of 32 frames cannot be read at the size of these pictures; `explain` draws it large.
    return pictures


REPORTING: Reporting[VideoResults] = Reporting(
    gather=gather,
    at_once=16,
    together=_together,
    metrics=_metrics,
    report=report,
    items=_items,
    image_scores=CLASSES.image_scores,
    compare=_compare,
    changed=_changed,
    replicates=CLASSES.replicates,
    spread=CLASSES.spread,
    summary=summarise,
    page=lay_out,
    pictures=CLASSES.pictures,
    explained=_unexplained,
    audit=CLASSES.audit,
)
"""How a classifier of clips is measured and reported."""
