"""How generated images are measured and reported: against real images, in features of a classifier of the real ones."""

__all__ = ["REPORTING", "GenerateResults"]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eyewright.core.drawing import CLASS, NOISE
from eyewright.core.errors import UsageError
from eyewright.core.inputs import prepare
from eyewright.core.labels import LabelSpace
from eyewright.core.predictor import Predictor, inputs_of
from eyewright.core.report import Metric, Report
from eyewright.core.rng import generator
from eyewright.data.dataset import Dataset
from eyewright.evaluation.comparison import Comparison, compare_numbers
from eyewright.evaluation.novelty import Followed, Novelty
from eyewright.evaluation.reporting import AuditView, Batch, Numbers, Reporting
from eyewright.metrics.bootstrap import Resampling, rate_metric
from eyewright.metrics.generation import (
    CopyTest,
    Neighbourhoods,
    copy_test,
    frechet_distance,
    measure_features,
    neighbourhoods,
)
from eyewright.tasks.generate_page import explain_errors, find_faults, lay_out, summarise, take_pictures
from eyewright.tasks.item_scores import item_scores

_LEAST = 12
_REPLICATES = 100


class Judge(Protocol):
    """What measures generated images (`bundle.judge.Judge`)."""

    @property
    def labels(self) -> LabelSpace: ...

    @property
    def digest(self) -> str: ...

    @property
    def accuracy(self) -> Mapping[str, float]: ...

    @property
    def axes(self) -> NDArray[np.float64]: ...

    @property
    def train(self) -> NDArray[np.float32]: ...

    @property
    def held_out(self) -> NDArray[np.float32]: ...

    def prepared(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return real images as the generator learnt them, uint8 (N, H, W, C)."""
        ...

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return features (N, D) and class ids (N,)."""
        ...


@dataclass(frozen=True, eq=False)
class GenerateResults:
    """What is kept of real images and of one generated for each, of its class: features of both (N, D) and the class
    that the judge sees in the generated one, (N,)."""

    dataset: Dataset
    real: NDArray[np.float32]
    generated: NDArray[np.float32]
    seen: NDArray[np.int64]
    judge: Judge

    def joined(self, *others: "GenerateResults") -> "GenerateResults":
        """Return the results of the images of all of them, one after the other."""
        every = (self, *others)
        samples = [s for r in every for s in r.dataset.samples]
        return GenerateResults(
            self.dataset.with_samples(samples),
            np.concatenate([r.real for r in every]),
            np.concatenate([r.generated for r in every]),
            np.concatenate([r.seen for r in every]),
            self.judge,
        )

    @cached_property
    def near(self) -> Neighbourhoods:
        """Who lies in whose neighbourhood."""
        return neighbourhoods(self.real, self.generated, k=min(5, len(self.real) - 1))

    @cached_property
    def copied(self) -> CopyTest:
        """How near generated images come to training images."""
        return copy_test(self.judge.train, self.judge.held_out, self.generated)

    @cached_property
    def agrees(self) -> NDArray[np.bool_]:
        """Whether the judge sees the class that was asked for, (N,)."""
        return np.asarray(self.seen == self.dataset.targets)

    @property
    def _each(self) -> dict[str, NDArray[np.float64]]:
        near = self.near
        own = {
            "coverage": near.covered,
            "label_agreement": self.agrees,
            "copies": self.copied.near,
            "precision": near.precise,
            "recall": near.recalled,
        }
        return {k: np.asarray(v, np.float64) for k, v in own.items()}

    def numbers(self) -> Numbers:
        """Return the metrics that two models are compared by."""
        each = self._each
        return lambda weights: {k: weights @ v / weights.sum(1) for k, v in each.items()}

    def followed(self) -> Followed:
        """Return the label agreement under weights of the images: unlike coverage, it is a mean over them."""
        right = np.asarray(self.agrees, np.float64)

        def interval(plan: Resampling, value: float, samples: NDArray[np.float64]) -> tuple[float, float]:
            return plan.interval(value, samples)

        return Followed(lambda w: w @ right / w.sum(1), interval, hits=self.agrees)

    def answers(self) -> NDArray[np.float64]:
        """Return the class that the judge sees in each image, as 1 in its column, (N, C); of one class it also sees
        images that are turned, which are of none."""
        found: NDArray[np.float64] = (self.seen[:, None] == np.arange(len(self.dataset.labels))).astype(np.float64)
        return found

    def asked(self, metric: str) -> NDArray[np.bool_]:
        """Every image moves every metric."""
        return np.ones(len(self.dataset), bool)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield what is known of the image that was generated for each real one."""
        yield ("id", "seed", "asked", "seen", "covered", "nearest_training", "copy")
        names, said = self.dataset.labels.names, self.judge.labels.names
        for k, sample in enumerate(self.dataset.samples):
            told = (names[int(sample.target)], said[self.seen[k]])  # type: ignore[call-overload]
            flags = (str(int(self.near.covered[k])), f"{self.copied.distance[k]:.6g}", str(int(self.copied.near[k])))
            yield (sample.id, str(k), *told, *flags)


def judge_of(predictor: Predictor) -> Judge:
    """Return what measures the images of a generator.

    Raises:
        UsageError: the model has none.
    """
    found = getattr(predictor, "judge", None)
    if found is None:
        raise UsageError("the generator has no judge: its images cannot be measured", fix="train it again")
    judge: Judge = found
    return judge


def gather(predictor: Predictor, batch: Batch) -> GenerateResults:
    """Return what is measured of a batch of real images, and of one image generated for each: of its class, by its row
    as the seed."""
    judge, part = judge_of(predictor), batch.part
    real, _ = judge(judge.prepared(batch.arrays))
    asked = [{NOISE: int(row), CLASS: int(label)} for row, label in zip(batch.rows, part.targets, strict=True)]
    drawn = np.asarray(predictor.raw(prepare(inputs_of(predictor), asked)[0])["image"])
    generated, seen = judge(np.clip(np.rint(drawn), 0, 255).astype(np.uint8))
    return GenerateResults(part, real, generated, seen, judge)


def together(parts: Sequence[GenerateResults], folds: int, dataset: Dataset) -> GenerateResults:
    """Refuse: features of the judges of several folds are not comparable.

    Raises:
        UsageError: always.
    """
    raise UsageError("--folds is not supported for generation, whose judges differ", fix="leave --folds out")


def measure(results: GenerateResults, seed: int) -> dict[str, Metric]:
    """Return every metric with its interval, and what real training images reach in place of generated ones.

    Raises:
        UsageError: too few images.
    """
    n = len(results.dataset)
    if n < _LEAST:
        raise UsageError(f"expected {_LEAST} images or more to measure a generator on, found {n}", fix="add images")
    rng = generator(seed, "bootstrap")
    found, _ = measure_features(results.real, results.generated, rng=rng, replicates=_REPLICATES)
    found = {
        "coverage": found["coverage"],
        "fid": found["fid"],
        "label_agreement": rate_metric(results.agrees),
        "copies": rate_metric(results.copied.near),
        **{k: found[k] for k in ("precision", "recall", "density", "kid")},
    }
    others = real_sample(results, rng)
    if len(others) > 5:
        floor = neighbourhoods(results.real, others)
        found["fid_floor"] = Metric(frechet_distance(results.real, others).value, n=len(others))
        found["coverage_floor"] = rate_metric(floor.covered)
    return found


def real_sample(results: GenerateResults, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return features of as many training images as there are generated ones, or all."""
    train = results.judge.train
    return train[rng.permutation(len(train))[: len(results.generated)]]


def report(
    results: GenerateResults, *, seed: int = 0, novelty: Novelty | None = None, temperature: float | None = None
) -> Report:
    """Return the report."""
    dataset, metrics = results.dataset, measure(results, seed)
    targets = dataset.targets
    rows = []
    for i, name in enumerate(dataset.labels.names):
        own = targets == i
        shown = {
            "coverage": rate_metric(results.near.covered[own]),
            "label_agreement": rate_metric(results.agrees[own]),
        }
        told = {k: {"value": m.value, "low": m.low, "high": m.high} for k, m in shown.items()}
        rows.append({"label": name, "n": int(own.sum()), **told})
    dropped = frechet_distance(results.real, results.generated).dropped
    judge = results.judge
    return Report(
        task=dataset.task,
        labels=dataset.labels.names,
        n=len(dataset),
        metrics=metrics,
        per_class=tuple(rows),
        tables={
            "judge": {"digest": judge.digest, "accuracy": dict(judge.accuracy), "features": judge.axes.shape[1]},
            "dropped_features": dropped,
            "copy_limit": results.copied.limit,
            "training_images": len(judge.train),
        },
        items=tuple(list_items(results)),
    )


def list_items(results: GenerateResults) -> list[dict[str, Any]]:
    """Return a row per generated image, the nearest to a training image first."""
    names = results.dataset.labels.names
    distance = results.copied.distance
    return [
        {
            "id": results.dataset.samples[i].id,
            "index": int(i),
            "seed": int(i),
            "label": names[int(results.dataset.targets[i])],
            "seen": results.judge.labels.names[int(results.seen[i])],
            "copy": bool(results.copied.near[i]),
            "distance": float(distance[i]),
            "score": float(results.near.covered[i]),
        }
        for i in np.argsort(distance, kind="stable")
    ]


def compare(a: GenerateResults, b: GenerateResults, seed: int) -> Comparison:
    """Compare two generators on the same real images.

    Raises:
        UsageError: they are measured in features of two judges.
    """
    if a.judge.digest != b.judge.digest:
        raise UsageError(
            f"the two generators have other judges, {a.judge.digest[:12]} and {b.judge.digest[:12]}: numbers in other "
            "features are not comparable",
            fix="train both with the same data, --seed and --imgsz, or copy the folder judge of one run to the other",
        )
    first, second = (np.asarray(r.near.covered, np.float64) for r in (a, replace(b, dataset=a.dataset)))
    return compare_numbers(a, b, first, second, seed=seed)


def changed(before: GenerateResults, after: GenerateResults) -> list[dict[str, Any]]:
    """Return the images in which the judge sees another class."""
    names = before.judge.labels.names
    return [
        {
            "id": before.dataset.samples[i].id,
            "before": names[int(before.seen[i])],
            "after": names[int(after.seen[i])],
        }
        for i in np.flatnonzero(before.seen != after.seen)
    ]


REPORTING = Reporting(
    gather=gather,
    at_once=250,
    together=together,
    metrics=measure,
    report=report,
    items=list_items,
    image_scores=item_scores,
    compare=compare,
    changed=changed,
    replicates=200,
    spread=("coverage", "fid", "label_agreement"),
    summary=summarise,
    page=lay_out,
    pictures=take_pictures,
    explained=explain_errors,
    audit=AuditView(
        caption=lambda dataset, index: dataset.labels.names[int(dataset.targets[index])],
        drawn=lambda dataset, index, size_hw, small: small,
        tiles=lambda dataset: (),
        charts=lambda dataset, scan: (),
    ),
    findings=find_faults,
)
"""How a model that draws images is measured and reported."""
