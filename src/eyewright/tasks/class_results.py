"""What is kept of a classifier's predictions, and two classifiers compared on the same images."""

__all__ = ["ClassResults", "average_cuts", "compare_classes", "compare_scores", "gather_classes"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from eyewright.core.predictor import Predictor, predict_everything
from eyewright.core.rng import generator
from eyewright.core.task import task_of
from eyewright.data.dataset import Dataset
from eyewright.evaluation.comparison import Comparison
from eyewright.evaluation.novelty import Followed
from eyewright.evaluation.reporting import Batch, Numbers
from eyewright.evaluation.together import group_names
from eyewright.metrics import classification_metrics, mcnemar_exact, paired_differences
from eyewright.metrics.bootstrap import ClassNumbers, Resampling
from eyewright.metrics.groups import clusters_of, flip_p_value

if TYPE_CHECKING:
    from eyewright.tasks.classify import ClassPrediction


@dataclass(frozen=True, eq=False)
class ClassResults:
    """Probabilities of images, float32 (N, C) in the order of `dataset.labels`, and how the images look."""

    dataset: Dataset
    scores: NDArray[np.float32]
    looks: tuple[tuple[float, float], ...]

    @property
    def targets(self) -> NDArray[np.int64]:
        """The true class ids, int64 (N,)."""
        return self.dataset.targets

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which images are classified correctly, bool (N,)."""
        right: NDArray[np.bool_] = self.scores.argmax(1) == self.targets
        return right

    def joined(self, *others: "ClassResults") -> "ClassResults":
        """Return the results of the images of all of them, one after the other."""
        every = (self, *others)
        samples = [s for r in every for s in r.dataset.samples]
        looks = tuple(look for r in every for look in r.looks)
        return ClassResults(self.dataset.with_samples(samples), np.concatenate([r.scores for r in every]), looks)

    def numbers(self) -> Numbers:
        """Return the metrics that two models are compared by."""
        targets, own = self.targets, ClassNumbers(self.targets, self.scores)
        paired = [m.name for m in task_of(self.dataset.task).metrics if m.paired]

        def numbers(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
            every = own(weights)
            found = {k: every[k] for k in paired if k in every}
            recalls = []
            for c in range(self.scores.shape[1]):
                of = targets == c
                total = weights[:, of].sum(1)
                with np.errstate(invalid="ignore", divide="ignore"):
                    recalls.append((weights[:, of] @ own.right[of]) / total)
            with np.errstate(invalid="ignore"):
                found["worst_class_recall"] = np.nanmin(np.where(np.isfinite(recalls), recalls, np.inf), 0)
            return found

        return numbers

    def followed(self) -> Followed:
        """Return accuracy under weights of the images."""
        right = self.right

        def accuracy(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            share: NDArray[np.float64] = (weights @ right) / np.maximum(weights.sum(1), 1e-12)
            return share

        return Followed(accuracy, _share, hits=right)

    def answers(self) -> NDArray[np.float64]:
        """Return 1 for the class that each image is given, (N, C)."""
        hot: NDArray[np.float64] = np.eye(self.scores.shape[1])[self.scores.argmax(1)]
        return hot

    def asked(self, metric: str) -> NDArray[np.bool_]:
        """Return which images a metric can be moved by, (N,): all, or those of the rarest class."""
        if metric != "worst_class_recall":
            return np.ones(len(self.dataset), bool)
        ids, counts = np.unique(self.targets, return_counts=True)
        asked: NDArray[np.bool_] = self.targets == ids[counts.argmin()]
        return asked

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield each image's label, the class it is given, and every probability."""
        names = self.dataset.labels.names
        yield ("id", "label", "predicted", *(f"p:{n}" for n in names))
        scores = self.scores.astype(np.float64)
        for sample, row in zip(self.dataset.samples, scores / scores.sum(1, keepdims=True), strict=True):
            answer = names[int(row.argmax())]
            yield (sample.id, sample.target.text(names), answer, *(f"{p:.6f}" for p in row))


def _share(plan: Resampling, value: float, samples: NDArray[np.float64]) -> tuple[float, float]:
    return plan.interval(value, samples, kind="share")


def gather_classes(predictor: Predictor, batch: Batch) -> ClassResults:
    """Return the probabilities of a batch of images."""
    found = cast("Sequence[ClassPrediction]", predict_everything(predictor, batch.images))
    return ClassResults(batch.part, np.stack([p.probabilities for p in found]), batch.looks)


def average_cuts(parts: Sequence[ClassResults], folds: int, dataset: Dataset) -> ClassResults:
    """Return the mean of each image's probabilities over the nets that have not seen it, in the dataset's order."""
    place = {s.id: i for i, s in enumerate(dataset.samples)}
    scores = np.zeros((len(place), parts[0].scores.shape[1]))
    looks: list[tuple[float, float]] = [(0.0, 0.0)] * len(place)
    for part in parts:
        rows = [place[s.id] for s in part.dataset.samples]
        scores[rows] += part.scores.astype(np.float64) * folds / len(parts)
        for row, look in zip(rows, part.looks, strict=True):
            looks[row] = look
    mean = (scores / scores.sum(1, keepdims=True)).astype(np.float32)
    return ClassResults(dataset.relabelled(parts[0].dataset.labels), mean, tuple(looks))


def compare_classes(a: ClassResults, b: ClassResults, seed: int) -> Comparison:
    """Compare two classifiers on the same images; B may hold the classes in another order."""
    order = a.dataset.labels.mapping_to(b.dataset.labels)
    return compare_scores(
        a.targets, a.scores, b.scores[:, order], task=a.dataset.task, seed=seed, groups=group_names(a.dataset)
    )


def compare_scores(
    targets: NDArray[np.int64],
    scores_a: NDArray[np.floating[Any]],
    scores_b: NDArray[np.floating[Any]],
    *,
    task: str = "classify",
    seed: int = 0,
    groups: NDArray[Any] | None = None,
) -> Comparison:
    """Compare two sets of scores, float (N, C), for the same images; `targets` is int (N,), `groups` names (N,)."""
    right_a, right_b = scores_a.argmax(1) == targets, scores_b.argmax(1) == targets
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    clusters = clusters_of(groups)
    if clusters is None:
        p_value = mcnemar_exact(only_a, only_b)
    else:
        differences = clusters.sums(right_b.astype(np.float64) - right_a)
        p_value = flip_p_value(differences, rng=generator(seed, "flips"))
    return Comparison(
        a=classification_metrics(targets, scores_a, rng=generator(seed, "bootstrap"), groups=groups),
        b=classification_metrics(targets, scores_b, rng=generator(seed, "bootstrap"), groups=groups),
        differences=paired_differences(targets, scores_a, scores_b, rng=generator(seed, "paired"), groups=groups),
        only_a=only_a,
        only_b=only_b,
        p_value=p_value,
        n=len(targets),
        task=task,
        lead=float(only_b - only_a),
        groups=None if clusters is None else clusters.count,
    )
