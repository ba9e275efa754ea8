"""How numbers read off images are measured and reported: errors, ranges, a scatter of found against true values."""

__all__ = ["REPORTING", "NumberResults"]

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from eyewright.core.predictor import Predictor, decode_everything
from eyewright.core.report import Metric, Report
from eyewright.core.rng import generator
from eyewright.core.task import task_of
from eyewright.data.dataset import Dataset
from eyewright.data.targets.numbers import Numbers as Target
from eyewright.evaluation.blocks import Block, Cell, Chart, Gallery, Page, Shot, Span, Table
from eyewright.evaluation.charts import Mark, scatter_chart
from eyewright.evaluation.comparison import Comparison, compare_numbers
from eyewright.evaluation.novelty import Followed, Novelty, measure_novelty
from eyewright.evaluation.reporting import AuditView, Batch, Explain, Numbers, Pictures, Reporting
from eyewright.evaluation.together import count_groups, group_names
from eyewright.evaluation.units import say_metric, show_amount, show_interval, show_number
from eyewright.imaging.encode import data_uri
from eyewright.imaging.overlay import shrink
from eyewright.metrics.bootstrap import Resampling
from eyewright.metrics.regression import NumberErrors, errors_by_range, regression_metrics
from eyewright.tasks.item_scores import item_scores

if TYPE_CHECKING:
    from eyewright.tasks.regress import NumberPrediction

_SHOWN = 24
_EXPLAINED = 12
_SIDE = 320
_MOST_DOTS = 1000
_NOISE = 1e-4
"""Differences below this many deviations of the true values are rounding."""


@dataclass(frozen=True, eq=False)
class NumberResults:
    """Numbers found in images, float32 (N, C) in the order of `dataset.labels`; `reach` and `spread` (C,) as of the
    predictor: half the widths of its intervals, and the standard deviations of the values that it was trained on."""

    dataset: Dataset
    values: NDArray[np.float32]
    reach: NDArray[np.float64] | None = None
    spread: NDArray[np.float64] | None = None

    @property
    def unit(self) -> NDArray[np.float64]:
        """The standard deviation of each quantity, (C,): of the training values, or where the model does not know
        those, of the true values."""
        return np.maximum(self.true.std(0) if self.spread is None else self.spread, 1e-12)

    @property
    def true(self) -> NDArray[np.float64]:
        """The true numbers, (N, C)."""
        rows = [s.marked(Target).values for s in self.dataset.samples]
        return np.array(rows, np.float64).reshape(len(rows), len(self.dataset.labels))

    @property
    def each(self) -> NDArray[np.float64]:
        """How well each image went, (N,) in (0, 1]: 1 without error, a half at a standard deviation (`unit`)."""
        found: NDArray[np.float64] = 1 / (1 + (np.abs(self.values - self.true) / self.unit).mean(1))
        return found

    def joined(self, *others: "NumberResults") -> "NumberResults":
        """Return the results of the images of all of them, one after the other."""
        every = (self, *others)
        samples = [s for r in every for s in r.dataset.samples]
        values = np.concatenate([r.values for r in every])
        return NumberResults(self.dataset.with_samples(samples), values, self.reach, self.spread)

    def numbers(self) -> Numbers:
        """Return the metrics that two models are compared by."""
        measured = NumberErrors(self.true, self.values, unit=self.spread)
        return lambda weights: measured(weights)

    def followed(self) -> Followed:
        """Return the mean absolute error under weights of the images."""
        measured, task = NumberErrors(self.true, self.values, unit=self.spread), task_of(self.dataset.task)

        def interval(plan: Resampling, value: float, samples: NDArray[np.float64]) -> tuple[float, float]:
            return plan.interval(value, samples, kind="plain", bounds=(0.0, float("inf")))

        unit = task.unit(self.dataset.labels.names, "mae")
        return Followed(lambda weights: measured(weights)["mae"], interval, unit=unit)

    def answers(self) -> NDArray[np.float64]:
        """Return the numbers, (N, C)."""
        return self.values.astype(np.float64)

    def asked(self, metric: str) -> NDArray[np.bool_]:
        """Every image moves every metric."""
        return np.ones(len(self.dataset), bool)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield the true and found numbers of each image."""
        names = self.dataset.labels.names
        yield ("id", *(f"true {n}" for n in names), *names)
        for sample, true, found in zip(self.dataset.samples, self.true, self.values, strict=True):
            yield (sample.id, *(f"{v:.9g}" for v in true), *(f"{v:.9g}" for v in found))


def gather(predictor: Predictor, batch: Batch) -> NumberResults:
    """Return the numbers of a batch of images."""
    pixels, placements = predictor.preparation.batch(batch.images)
    found = cast("Sequence[NumberPrediction]", decode_everything(predictor, predictor.raw(pixels), placements))
    reach, spread = (getattr(predictor, k, None) for k in ("thresholds", "spread"))
    return NumberResults(batch.part, np.stack([p.values for p in found]), reach, spread)


def together(parts: Sequence[NumberResults], folds: int, dataset: Dataset) -> NumberResults:
    """Return the mean of each image's numbers over the nets that have not seen it, in the dataset's order.

    Each net has intervals of its own, so that their mean has none; errors are in the mean standard deviation of their
    training values.
    """
    place = {s.id: i for i, s in enumerate(dataset.samples)}
    values = np.zeros((len(place), parts[0].values.shape[1]))
    for part in parts:
        values[[place[s.id] for s in part.dataset.samples]] += part.values.astype(np.float64) * folds / len(parts)
    spreads = [part.spread for part in parts if part.spread is not None]
    spread = np.mean(spreads, 0) if len(spreads) == len(parts) else None
    return NumberResults(dataset.relabelled(parts[0].dataset.labels), values.astype(np.float32), spread=spread)


def measure(results: NumberResults, seed: int) -> dict[str, Metric]:
    """Return every metric with its interval."""
    rng, groups = generator(seed, "bootstrap"), group_names(results.dataset)
    found = regression_metrics(
        results.true, results.values, reach=results.reach, rng=rng, groups=groups, unit=results.spread
    )
    task, names = task_of(results.dataset.task), results.dataset.labels.names
    return {k: replace(m, unit=task.unit(names, k)) for k, m in found.items()}


def report(
    results: NumberResults, *, seed: int = 0, novelty: Novelty | None = None, temperature: float | None = None
) -> Report:
    """Return the report."""
    dataset, true, values = results.dataset, results.true, results.values.astype(np.float64)
    groups, names = group_names(dataset), dataset.labels.names
    rows, ranges = [], {}
    for k, name in enumerate(names):
        rng = generator(seed, "bootstrap")
        reach = None if results.reach is None else results.reach[k : k + 1]
        own = regression_metrics(true[:, k : k + 1], values[:, k : k + 1], reach=reach, rng=rng, groups=groups)
        unit = partial(task_of(dataset.task).unit, (name,))
        shown = {m: {"value": v.value, "low": v.low, "high": v.high, "unit": unit(m)} for m, v in own.items()}
        guess = float(np.abs(true[:, k] - np.median(true[:, k])).mean())
        rows.append({"label": name, "n": len(dataset), **shown, "guess": guess, "unit": unit("mae")})
        ranges[name] = errors_by_range(true[:, k], values[:, k], rng=generator(seed, "ranges"), groups=groups)
    kept = np.arange(0, len(dataset), max(1, -(-len(dataset) // _MOST_DOTS)))
    return Report(
        task=dataset.task,
        labels=names,
        n=len(dataset),
        metrics=measure(results, seed),
        per_class=tuple(rows),
        tables={
            "ranges": ranges,
            "scatter": {n: np.stack([true[kept, k], values[kept, k]], 1) for k, n in enumerate(names)},
            "together": count_groups(dataset, results.each),
            "novelty": measure_novelty(novelty, results, seed=seed),
        },
        items=tuple(list_items(results)),
    )


def list_items(results: NumberResults) -> list[dict[str, Any]]:
    """Return a row per image, the largest error first."""
    dataset, each, true = results.dataset, results.each, results.true
    names = dataset.labels.names

    # Predictions have as many decimals as the errors leave certain, the same for every image.
    errors = np.sqrt(np.mean((results.values - true) ** 2, axis=0)) if len(true) else np.zeros(len(names))

    def said(values: NDArray[Any]) -> str:
        pairs = zip(names, values, errors, strict=True)
        return ", ".join(f"{n} {show_amount(float(v), -float(e), float(e))}" for n, v, e in pairs)

    return [
        {
            "id": dataset.samples[i].id,
            "name": posixpath.basename(dataset.samples[i].id),
            "index": int(i),
            "true": ", ".join(f"{n} {float(v):.4g}" for n, v in zip(names, true[i], strict=True)),
            "predicted": said(results.values[i]),
            "worst": names[int(np.argmax(np.abs(results.values[i] - true[i]) / results.unit))],
            "score": float(each[i]),
        }
        for i in np.argsort(each, kind="stable")
    ]


def compare(a: NumberResults, b: NumberResults, seed: int) -> Comparison:
    """Compare two models on the same images; B may hold the numbers in another order."""
    order = a.dataset.labels.mapping_to(b.dataset.labels)
    ordered = b.values[:, order]
    # Two runtimes of one model differ in the last bits, which is no difference of models.
    near = np.abs(ordered - a.values) <= _NOISE * np.maximum(a.unit, np.abs(a.true).max(0, initial=0.0) * 1e-3)
    # Both are measured in the first one's standard deviations.
    same = NumberResults(a.dataset, np.where(near, a.values, ordered), spread=a.spread)
    return compare_numbers(a, same, a.each, same.each, seed=seed)


def changed(before: NumberResults, after: NumberResults) -> list[dict[str, Any]]:
    """Return the images whose numbers differ by more than a tenth of a standard deviation."""
    second = after.values[:, before.dataset.labels.mapping_to(after.dataset.labels)]
    apart = (np.abs(second - before.values) / before.unit).max(1)
    return [
        {
            "id": before.dataset.samples[i].id,
            "before": ", ".join(f"{v:.4g}" for v in before.values[i]),
            "after": ", ".join(f"{v:.4g}" for v in second[i]),
            "true": ", ".join(f"{v:.4g}" for v in before.true[i]),
        }
        for i in np.flatnonzero(apart > 0.1)
    ]


def summarise(report: Report) -> str:
    """Say how far off the model is, and how much better than a guess."""
    parts = []
    for row in report.per_class:
        mae, unit = row["mae"], row["unit"]
        off = say_metric("mae", mae["value"], mae["low"], mae["high"], unit)
        guess = show_number("mae", row["guess"], unit)
        parts.append(f"{row['label']}: off by {off} on average; always predicting the median would be off by {guess}.")
    coverage = report.metrics.get("coverage")
    if coverage is not None:
        held = say_metric("coverage", coverage.value, coverage.low, coverage.high)
        parts.append(f"The 90% prediction intervals hold the true value for {held} of the images.")
    else:
        parts.append("There are no prediction intervals: too few validation images were left for them.")
    return " ".join(parts)


def lay_out(report: Report, pictures: Pictures) -> Page:
    """Return the blocks of the page: the largest errors, a table, errors by range; scatter and residuals as charts."""
    shots = [
        Shot(
            [(pictures[i["id"]]["image"], i["name"])]
            + [(h, f"heatmap of {i['worst']}") for h in [pictures[i["id"]]["heat"]] if h],
            [
                [Span(i["predicted"], "bad")],
                [Span(f"true {i['true']}", "soft")],
                *(
                    [[Span(f"heat: {i['worst']}", "soft")]]
                    if len(report.labels) > 1 and pictures[i["id"]]["heat"]
                    else []
                ),
            ],
        )
        for i in report.items[:_SHOWN]
        if i["id"] in pictures
    ]
    blocks: list[Block] = [
        Gallery("Largest errors", "Predicted and true value.", shots, empty="No pictures."),
        _table(report),
        *(_ranges(name, rows) for name, rows in report.tables["ranges"].items()),
    ]
    charts = []
    for name, points in report.tables["scatter"].items():
        pairs = [(float(x), float(y)) for x, y in np.asarray(points)]
        dots = [Mark(x, y, "") for x, y in pairs]
        off = [Mark(x, y - x, "") for x, y in pairs]
        true, found = f"true {name}", f"found {name}"
        title = f"Predicted against true {name}"
        scatter = scatter_chart(dots, title=title, x_label=true, y_label=found, identity=True, width=380, height=280)
        residual = scatter_chart(
            off, title=f"Error of {name}", x_label=true, y_label="error", guides=(("y", 0.0),), width=380, height=280
        )
        charts.append(Chart(f"Predicted against true {name}", [Span("On the diagonal the value is right.")], scatter))
        charts.append(Chart(f"Error of {name}", [Span("Predicted minus true value.")], residual))
    return Page(blocks, charts, "Predicted and true values")


def _number(name: str, value: Mapping[str, Any]) -> Cell:
    if value["value"] is None:
        return Cell("–", "n")
    low, high = value["low"], value["high"]
    return Cell(show_number(name, value["value"], low=low, high=high), "n", show_interval(name, low, high))


def _signed(value: float, near: Mapping[str, Any]) -> str:
    """Return a mean error with the digits of the metric next to it."""
    return ("+" if value >= 0 else "") + show_amount(value, near["low"], near["high"])


def _table(report: Report) -> Table:
    every = ("mae", "rmse", "r2", "median_error", "coverage")
    keys = [k for k in every if all(k in r for r in report.per_class)]
    titles = [Cell(task_of(report.task).metric(k).title, "n") for k in keys]
    rows = [
        [Cell(r["label"]), *(_number(k, r[k]) for k in keys), Cell(show_number("mae", r["guess"]), "n")]
        for r in report.per_class
    ]
    return Table("Quantities", [Cell("quantity"), *titles, Cell("MAE of the median", "n")], rows)


def _ranges(name: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    header = [Cell("true value"), Cell("images", "n"), Cell("MAE", "n"), Cell("mean error", "n")]
    body = [
        [Cell(f"{r['from']:.4g} to {r['to']:.4g}"), Cell(f"{r['n']:,}", "n"), _number("mae", r["mae"]),
         Cell(_signed(r["bias"], r["mae"]), "n")]
        for r in rows
    ]  # fmt: skip
    return Table(f"Error by range of {name}", header, body)


def take_pictures(
    report: Report, dataset: Dataset, predictor_of: Callable[[str], Predictor]
) -> dict[str, dict[str, Any]]:
    """Return pictures of the images with the largest errors, by sample id."""
    return {
        i["id"]: {"image": data_uri(shrink(dataset.image(i["index"]), _SIDE)), "heat": ""}
        for i in report.items[:_SHOWN]
    }


def explain_errors(report: Report, dataset: Dataset, pictures: Pictures, explain: Explain) -> Pictures:
    """Return the pictures with heatmaps for the largest errors, each of the quantity that is furthest off."""
    worst = [i for i in report.items if i["id"] in pictures][:_EXPLAINED]
    images, labels = [dataset.image(i["index"]) for i in worst], [i["worst"] for i in worst]
    found = {
        one.source: data_uri(shrink(one.overlay(), _SIDE)) for one in explain(images, [i["id"] for i in worst], labels)
    }
    return {name: {**p, "heat": found.get(name, p["heat"])} for name, p in pictures.items()}


REPORTING = Reporting(
    gather=gather,
    stored=NumberResults,
    at_once=64,
    together=together,
    metrics=measure,
    report=report,
    items=list_items,
    image_scores=item_scores,
    compare=compare,
    changed=changed,
    replicates=1000,
    spread=("mae", "rmse", "r2", "median_error"),
    summary=summarise,
    page=lay_out,
    pictures=take_pictures,
    explained=explain_errors,
    audit=AuditView(
        caption=lambda dataset, index: dataset.samples[index].target.cell(dataset.labels.names),
        drawn=lambda dataset, index, size_hw, small: small,
        tiles=lambda dataset: (),
        charts=lambda dataset, scan: (),
    ),
)
"""How a model of numbers is measured and reported."""
