"""How restored images are measured and reported: against the clean image, the input, and a classical baseline."""

__all__ = ["REPORTING", "RestoreResults"]

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.predictor import Predictor
from eyewright.core.report import Metric, Report
from eyewright.core.rng import generator
from eyewright.data.dataset import Dataset
from eyewright.data.targets.picture import Picture
from eyewright.evaluation.comparison import Comparison, compare_numbers
from eyewright.evaluation.novelty import Followed, Novelty, measure_novelty
from eyewright.evaluation.reporting import AuditView, Batch, Numbers, Reporting
from eyewright.evaluation.together import count_groups, group_names
from eyewright.imaging.tiles import TileCut
from eyewright.metrics.bootstrap import Resampling
from eyewright.metrics.restoration import HIGHEST_PSNR, mean_metrics, weighted_means
from eyewright.tasks.item_scores import item_scores
from eyewright.tasks.restore import UNITS
from eyewright.tasks.restore_page import explain_errors, find_faults, lay_out, summarise, take_pictures
from eyewright.tasks.restore_trials import COLUMNS, baseline_of, measured, tile_of, try_image

_SAME_DB = 0.01
_FEW = 3


@dataclass(frozen=True, eq=False)
class RestoreResults:
    """What was measured of each image: `values` float64 (N, 7) in the order of `COLUMNS`, the noise that was put in or
    measured, `sigma` (N,) in levels, and how much was changed, (N,); `degrade` is what the net undoes."""

    dataset: Dataset
    values: NDArray[np.float64]
    sigma: NDArray[np.float64]
    changed: NDArray[np.float64]
    degrade: str

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one number of every image, (N,)."""
        return self.values[:, COLUMNS.index(name)]

    @property
    def named(self) -> dict[str, NDArray[np.float64]]:
        """Every number that is known for all images, (N,) by name."""
        named = zip(COLUMNS, self.values.T, strict=True)
        return {name: own for name, own in named if np.isfinite(own).all()}

    def joined(self, *others: "RestoreResults") -> "RestoreResults":
        """Return the results of the images of all of them, one after the other."""
        every = (self, *others)
        samples = [s for r in every for s in r.dataset.samples]
        return RestoreResults(
            self.dataset.with_samples(samples),
            np.concatenate([r.values for r in every]),
            np.concatenate([r.sigma for r in every]),
            np.concatenate([r.changed for r in every]),
            self.degrade,
        )

    def numbers(self) -> Numbers:
        """Return the metrics that two models are compared by."""
        named = self.named
        return lambda weights: weighted_means(named, weights)

    def followed(self) -> Followed:
        """Return the mean PSNR under weights of the images."""
        own = {"psnr": self.column("psnr")}

        def interval(plan: Resampling, value: float, samples: NDArray[np.float64]) -> tuple[float, float]:
            return plan.interval(value, samples, kind="plain")

        return Followed(lambda weights: weighted_means(own, weights)["psnr"], interval, unit="dB")

    def answers(self) -> NDArray[np.float64]:
        """Return how much each image was changed, (N, 1)."""
        return self.changed[:, None]

    def asked(self, metric: str) -> NDArray[np.bool_]:
        """Every image moves every metric."""
        return np.ones(len(self.dataset), bool)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield the numbers of each image."""
        yield ("id", *COLUMNS, "sigma", "changed")
        for k, sample in enumerate(self.dataset.samples):
            cells = (*self.values[k], self.sigma[k], self.changed[k])
            yield (sample.id, *("" if np.isnan(v) else f"{v:.6g}" for v in cells))


def gather(predictor: Predictor, batch: Batch) -> RestoreResults:
    """Return what is measured of a batch of images."""
    part = batch.part
    tried = [try_image(predictor, part, k, image) for k, image in enumerate(batch.arrays)]
    values = [measured(t, image) for t, image in zip(tried, batch.arrays, strict=True)]
    return RestoreResults(
        part,
        np.array(values, np.float64).reshape(-1, len(COLUMNS)),
        np.array([t.sigma for t in tried], np.float64),
        np.array([t.changed for t in tried], np.float64),
        tile_of(predictor).degrade,
    )


def together(parts: Sequence[RestoreResults], folds: int, dataset: Dataset) -> RestoreResults:
    """Return the mean of each image's numbers over the nets that have not seen it, in the dataset's order."""
    place = {s.id: i for i, s in enumerate(dataset.samples)}
    rows = np.zeros((len(place), len(COLUMNS) + 2))
    for part in parts:
        own = np.column_stack([part.values, part.sigma, part.changed])
        rows[[place[s.id] for s in part.dataset.samples]] += own * folds / len(parts)
    return RestoreResults(dataset, rows[:, :-2], rows[:, -2], rows[:, -1], parts[0].degrade)


def measure(results: RestoreResults, seed: int) -> dict[str, Metric]:
    """Return every metric with its interval."""
    rng, groups = generator(seed, "bootstrap"), group_names(results.dataset)
    return mean_metrics(results.named, rng=rng, groups=groups, units=UNITS)


def report(
    results: RestoreResults, *, seed: int = 0, novelty: Novelty | None = None, temperature: float | None = None
) -> Report:
    """Return the report."""
    dataset, metrics = results.dataset, measure(results, seed)
    shown = {k: {"value": m.value, "low": m.low, "high": m.high, "unit": m.unit} for k, m in metrics.items()}
    return Report(
        task=dataset.task,
        labels=dataset.labels.names,
        n=len(dataset),
        metrics=metrics,
        per_class=({"label": dataset.labels.names[0], "n": len(dataset), **shown},),
        tables={
            "degrade": results.degrade,
            "baseline": baseline_of(TileCut(0, results.degrade)),
            "levels": _by_level(results, seed),
            "each": {k: results.column(k) for k in ("psnr_input", "psnr")},
            "together": count_groups(dataset, results.column("psnr")),
            "novelty": measure_novelty(novelty, results, seed=seed),
        },
        items=tuple(list_items(results)),
    )


def _by_level(results: RestoreResults, seed: int) -> list[dict[str, Any]]:
    """Return the numbers by thirds of the noise's level; nothing where it is the same in all images."""
    sigma = results.sigma
    if len(sigma) < 3 * _FEW or np.ptp(sigma) < 1:
        return []
    edges = np.quantile(sigma, [0, 1 / 3, 2 / 3, 1])
    rows = []
    for k in range(3):
        of = (sigma >= edges[k]) & ((sigma < edges[k + 1]) if k < 2 else (sigma <= edges[3]))
        own = {name: values[of] for name, values in results.named.items()}
        found = mean_metrics(own, rng=generator(seed, "levels"), units=UNITS, replicates=500)
        rows.append({"from": float(edges[k]), "to": float(edges[k + 1]), "n": int(of.sum()), **found})
    return rows


def list_items(results: RestoreResults) -> list[dict[str, Any]]:
    """Return a row per image, the one that gained least over the baseline first."""
    gain, dataset = results.column("baseline_gain"), results.dataset
    return [
        {
            "id": dataset.samples[i].id,
            "name": posixpath.basename(dataset.samples[i].id),
            "index": int(i),
            "gain": float(gain[i]),
            "psnr": float(results.column("psnr")[i]),
            "sigma": float(results.sigma[i]),
            "score": float(results.column("psnr")[i] / HIGHEST_PSNR),
        }
        for i in np.argsort(gain, kind="stable")
    ]


def image_scores(items: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Return how well each image went, (N,) by its index."""
    return item_scores(items, lambda item: min(1.0, max(0.0, item["score"])))


def compare(a: RestoreResults, b: RestoreResults, seed: int) -> Comparison:
    """Compare two models on the same images, degraded in the same way.

    Raises:
        UsageError: they undo different things.
    """
    if a.degrade != b.degrade:
        raise UsageError(
            f"expected two models that undo the same, found {a.degrade!r} and {b.degrade!r}",
            fix="compare models that were trained with the same --degrade",
        )
    near = np.abs(b.values - a.values) <= np.where(np.array(COLUMNS) == "ssim", 1e-4, _SAME_DB)
    same = RestoreResults(a.dataset, np.where(near, a.values, b.values), b.sigma, b.changed, b.degrade)
    return compare_numbers(a, same, a.column("psnr"), same.column("psnr"), seed=seed)


def changed(before: RestoreResults, after: RestoreResults) -> list[dict[str, Any]]:
    """Return the images whose PSNR differs by more than 0.1 dB."""
    first, second = before.column("psnr"), after.column("psnr")
    return [
        {"id": before.dataset.samples[i].id, "before": f"{first[i]:.2f} dB", "after": f"{second[i]:.2f} dB"}
        for i in np.flatnonzero(np.abs(first - second) > 0.1)
    ]


REPORTING = Reporting(
    gather=gather,
    at_once=8,
    together=together,
    metrics=measure,
    report=report,
    items=list_items,
    image_scores=image_scores,
    compare=compare,
    changed=changed,
    replicates=1000,
    spread=("baseline_gain", "psnr", "ssim"),
    summary=summarise,
    page=lay_out,
    pictures=take_pictures,
    explained=explain_errors,
    audit=AuditView(
        caption=lambda dataset, index: "pair" if dataset.samples[index].marked(Picture).clean else "",
        drawn=lambda dataset, index, size_hw, small: small,
        tiles=lambda dataset: (),
        charts=lambda dataset, scan: (),
    ),
    findings=find_faults,
)
"""How a model that restores images is measured and reported."""
