"""How tags are measured and reported: what is kept of predictions, two models compared, slices, co-occurrence."""

__all__ = ["REPORTING", "TagResults"]

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from eyewright.core.predictor import Predictor, decode_everything
from eyewright.core.report import Metric, Report
from eyewright.core.rng import generator
from eyewright.data.dataset import Dataset
from eyewright.data.targets.tags import Tags
from eyewright.evaluation.comparison import Comparison, compare_numbers
from eyewright.evaluation.novelty import Followed, Novelty, measure_novelty
from eyewright.evaluation.reporting import Batch, Numbers, Reporting
from eyewright.evaluation.slices import SMALLEST_SLICE, thirds
from eyewright.evaluation.together import count_groups, group_names
from eyewright.metrics import calibration_bins, precision_recall_curve
from eyewright.metrics.bootstrap import Resampling
from eyewright.metrics.tagging import TagNumbers, measure_tags
from eyewright.tasks.item_scores import item_scores
from eyewright.tasks.tag_page import AUDIT, explain_worst, lay_out, summarise, take_pictures

if TYPE_CHECKING:
    from eyewright.tasks.tag import TagPrediction

_POINT = 0.5
_CURVE_POINTS = 200
_MOST_CURVES = 60
_MOST_PAIRS = 200
_MOST_VALUES = 20


@dataclass(frozen=True, eq=False)
class TagResults:
    """Probabilities of tags, float32 (N, C) in the order of `dataset.labels`, the operating points (C,), and how the
    images look."""

    dataset: Dataset
    scores: NDArray[np.float32]
    points: NDArray[np.float64]
    looks: tuple[tuple[float, float], ...]

    @property
    def true(self) -> NDArray[np.float64]:
        """The true tags, (N, C): 1, 0, and NaN where it is not annotated."""
        n = len(self.dataset.labels)
        return np.array([s.marked(Tags).values(n) for s in self.dataset.samples], np.float64).reshape(-1, n)

    @property
    def found(self) -> NDArray[np.bool_]:
        """The tags that reach their operating point, bool (N, C)."""
        found: NDArray[np.bool_] = self.scores >= self.points
        return found

    @property
    def each(self) -> NDArray[np.float64]:
        """How well each image went, (N,) in (0, 1]: the geometric mean of what the right value of a tag was given."""
        true, p = self.true, np.clip(self.scores.astype(np.float64), 1e-6, 1 - 1e-6)
        judged = ~np.isnan(true)
        given = np.where(judged, np.log(np.where(true == 1, p, 1 - p)), 0.0)
        mean: NDArray[np.float64] = np.exp(given.sum(1) / np.maximum(judged.sum(1), 1))
        return mean

    def joined(self, *others: "TagResults") -> "TagResults":
        """Return the results of the images of all of them; of several models at the mean of their operating points."""
        every = (self, *others)
        same = all((r.points == self.points).all() for r in others)
        return TagResults(
            self.dataset.with_samples(s for r in every for s in r.dataset.samples),
            np.concatenate([r.scores for r in every]),
            self.points if same else np.mean([r.points for r in every], 0),
            tuple(look for r in every for look in r.looks),
        )

    def numbers(self) -> Numbers:
        """Return the metrics that two models are compared by."""
        return partial(TagNumbers(self.true, self.scores, self.points).__call__)

    def followed(self) -> Followed:
        """Return F1 of all tags together under weights of the images."""
        measured = TagNumbers(self.true, self.scores, self.points)
        right, both = (measured.found & measured.positive).sum(1), (measured.found.sum(1) + measured.positive.sum(1))

        def f1(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            with np.errstate(invalid="ignore", divide="ignore"):
                found: NDArray[np.float64] = 2 * (weights @ right) / (weights @ both)
            return found

        def interval(plan: Resampling, value: float, samples: NDArray[np.float64]) -> tuple[float, float]:
            return plan.bounded(value, samples)

        return Followed(f1, interval)

    def answers(self) -> NDArray[np.float64]:
        """Return 1 for each tag that an image is given, (N, C)."""
        return self.found.astype(np.float64)

    def asked(self, metric: str) -> NDArray[np.bool_]:
        """Return which images a metric can be moved by, (N,): all."""
        return np.ones(len(self.dataset), bool)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield each image's true tags as split.csv says them, those it is given, and every probability."""
        names = self.dataset.labels.names
        yield ("id", "tags", "predicted", *(f"p:{n}" for n in names))
        for sample, found, row in zip(self.dataset.samples, self.found, self.scores, strict=True):
            yield (sample.id, sample.target.cell(names), _listed(names, found, "|"), *(f"{p:.6f}" for p in row))


def _listed(names: Sequence[str], which: NDArray[np.bool_], between: str = ", ") -> str:
    return between.join(names[k] for k in np.flatnonzero(which).tolist())


def gather(predictor: Predictor, batch: Batch) -> TagResults:
    """Return the probabilities of a batch of images."""
    pixels, placements = predictor.preparation.batch(batch.images)
    found = cast("Sequence[TagPrediction]", decode_everything(predictor, predictor.raw(pixels), placements))
    points = getattr(predictor, "thresholds", None)
    own = np.full(len(batch.part.labels), _POINT) if points is None else np.asarray(points, np.float64)
    return TagResults(batch.part, np.stack([p.probabilities for p in found]), own, batch.looks)


def together(parts: Sequence[TagResults], folds: int, dataset: Dataset) -> TagResults:
    """Return the mean of each image's probabilities over the nets that have not seen it, in the dataset's order."""
    place = {s.id: i for i, s in enumerate(dataset.samples)}
    scores = np.zeros((len(place), parts[0].scores.shape[1]))
    looks: list[tuple[float, float]] = [(0.0, 0.0)] * len(place)
    for part in parts:
        rows = [place[s.id] for s in part.dataset.samples]
        scores[rows] += part.scores.astype(np.float64) * folds / len(parts)
        for row, look in zip(rows, part.looks, strict=True):
            looks[row] = look
    points = np.mean([p.points for p in parts], 0)
    return TagResults(
        dataset.relabelled(parts[0].dataset.labels), scores.clip(0, 1).astype(np.float32), points, tuple(looks)
    )


def _measured(results: TagResults, seed: int) -> tuple[dict[str, Metric], list[dict[str, Any]]]:
    rng, groups = generator(seed, "bootstrap"), group_names(results.dataset)
    return measure_tags(results.true, results.scores, results.points, rng=rng, groups=groups)


def measure(results: TagResults, seed: int) -> dict[str, Metric]:
    """Return every metric with its interval."""
    return _measured(results, seed)[0]


def report(
    results: TagResults, *, seed: int = 0, novelty: Novelty | None = None, temperature: float | None = None
) -> Report:
    """Return the report."""
    dataset, names = results.dataset, results.dataset.labels.names
    metrics, rows = _measured(results, seed)
    points = results.points.tolist()
    known = [r["prevalence"] for r in rows if r["average_precision"]["value"] is not None]
    judged = ~np.isnan(results.true)
    return Report(
        task=dataset.task,
        labels=names,
        n=len(dataset),
        metrics=metrics,
        per_class=tuple({"label": n, **r, "threshold": t} for n, r, t in zip(names, rows, points, strict=True)),
        tables={
            "guess": float(np.mean(known)) if known else None,
            "assumed": sum(len(s.marked(Tags).assumed) for s in dataset.samples),
            "curves": _curves(results, rows),
            "pairs": _pairs(results),
            "reliability": calibration_bins(
                results.scores[judged].astype(np.float64), results.true[judged].astype(bool)
            ),
            "slices": _slices(results),
            "together": count_groups(dataset, results.each),
            "novelty": measure_novelty(novelty, results, seed=seed),
        },
        items=tuple(list_items(results)),
    )


def _curves(results: TagResults, rows: Sequence[Mapping[str, Any]]) -> dict[int, NDArray[np.float64]]:
    """Return precision over recall of the tags that are hardest to find, at most 60."""
    known = [k for k, r in enumerate(rows) if r["average_precision"]["value"] is not None]
    known = sorted(known, key=lambda k: rows[k]["average_precision"]["value"])[:_MOST_CURVES]
    true, curves = results.true, {}
    for k in sorted(known):
        judged = ~np.isnan(true[:, k])
        precision, recall, _ = precision_recall_curve(true[judged, k] == 1, results.scores[judged, k])
        points = np.stack([np.r_[0.0, recall], np.r_[precision[:1], precision]], 1)
        chosen = np.unique(np.linspace(0, len(points) - 1, _CURVE_POINTS).round().astype(int))
        curves[k] = np.round(points[chosen], 5)
    return curves


def _pairs(results: TagResults) -> list[dict[str, Any]]:
    """Return how often two tags are there together, found together, and would be by chance; the most frequent first."""
    names, true = results.dataset.labels.names, results.true
    judged = ~np.isnan(true)
    has, found = (true == 1).astype(np.float64), (results.found & judged).astype(np.float64)
    both, said, seen = has.T @ has, found.T @ found, judged.T.astype(np.float64) @ judged
    each = has.sum(0) / np.maximum(judged.sum(0), 1)
    pairs = [(a, b) for a in range(len(names)) for b in range(a + 1, len(names)) if both[a, b] or said[a, b]]
    pairs = sorted(pairs, key=lambda p: (-both[p], -abs(both[p] - said[p])))[:_MOST_PAIRS]
    return [
        {
            "tags": [names[a], names[b]],
            "judged": int(seen[a, b]),
            "there": int(both[a, b]),
            "found": int(said[a, b]),
            "chance": float(each[a] * each[b] * seen[a, b]),
        }
        for a, b in pairs
    ]


def _slices(results: TagResults) -> list[dict[str, Any]]:
    """Return F1 by size, brightness, folder and metadata, of slices of 10 images or more, the weakest first."""
    sides, brightness = (np.array([look[k] for look in results.looks]) for k in (0, 1))
    slices = [("longer side", text, member) for text, member in thirds(sides, "px")]
    slices += [("brightness", text, member) for text, member in thirds(brightness, "")]
    samples = results.dataset.samples
    columns = {"folder": [posixpath.dirname(s.id) for s in samples]}
    columns |= {c: [s.meta.get(c, "") for s in samples] for c in sorted({k for s in samples for k in s.meta})}
    for name, column in columns.items():
        distinct = sorted(set(column) - {""})
        if 1 < len(distinct) <= _MOST_VALUES:
            slices += [(name, value, np.array([v == value for v in column])) for value in distinct]
    f1 = results.followed().number
    rows = []
    for name, text, member in slices:
        if SMALLEST_SLICE <= member.sum() < len(member):
            value, rest = f1(np.stack([member, ~member]).astype(np.float64))
            if np.isfinite(value) and np.isfinite(rest):
                rows.append({"slice": name, "value": text, "n": int(member.sum()), "f1": float(value),
                             "rest": float(rest)})  # fmt: skip
    return sorted(rows, key=lambda r: r["f1"])


def list_items(results: TagResults) -> list[dict[str, Any]]:
    """Return a row per image, the worst first: the tags it has, those that were missed, and those found wrongly."""
    dataset, each, true, found = results.dataset, results.each, results.true, results.found
    names, judged = results.dataset.labels.names, ~np.isnan(results.true)
    return [
        {
            "id": dataset.samples[i].id,
            "name": posixpath.basename(dataset.samples[i].id),
            "index": int(i),
            "true": _listed(names, true[i] == 1),
            "predicted": _listed(names, found[i]),
            "missed": _scored(names, results.scores[i], (true[i] == 1) & ~found[i]),
            "wrong": _scored(names, results.scores[i], (true[i] == 0) & found[i]),
            "unjudged": _listed(names, ~judged[i]),
            "right": bool(((found[i] == (true[i] == 1)) | ~judged[i]).all()),
            "score": float(each[i]),
        }
        for i in np.argsort(each, kind="stable")
    ]


def _scored(names: Sequence[str], scores: NDArray[np.float32], which: NDArray[np.bool_]) -> list[list[Any]]:
    return [[names[k], float(scores[k])] for k in np.flatnonzero(which).tolist()]


def _in_order(results: TagResults, of: TagResults) -> TagResults:
    """Return results with their tags in the order of another model's."""
    order = of.dataset.labels.mapping_to(results.dataset.labels)
    return TagResults(of.dataset, results.scores[:, order], results.points[order], results.looks)


def compare(a: TagResults, b: TagResults, seed: int) -> Comparison:
    """Compare two models on the same images; B may hold the tags in another order."""
    same = _in_order(b, a)
    return compare_numbers(a, same, a.each, same.each, seed=seed)


def changed(before: TagResults, after: TagResults) -> list[dict[str, Any]]:
    """Return the images that are given other tags."""
    names, second = before.dataset.labels.names, _in_order(after, before)
    rows = np.flatnonzero((before.found != second.found).any(1))
    return [
        {
            "id": before.dataset.samples[i].id,
            "before": _listed(names, before.found[i]) or "no tag",
            "after": _listed(names, second.found[i]) or "no tag",
            "true": _listed(names, before.true[i] == 1) or "no tag",
        }
        for i in rows
    ]


REPORTING = Reporting(
    gather=gather,
    stored=TagResults,
    at_once=64,
    together=together,
    metrics=measure,
    report=report,
    items=list_items,
    image_scores=item_scores,
    compare=compare,
    changed=changed,
    replicates=400,
    spread=("map", "f1_macro", "f1_micro", "exact_match"),
    summary=summarise,
    page=lay_out,
    pictures=take_pictures,
    explained=explain_worst,
    audit=AUDIT,
)
"""How a tagger is measured and reported."""
