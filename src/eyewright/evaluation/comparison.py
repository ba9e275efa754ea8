"""Is B better than A, and is the difference more than chance?"""

__all__ = ["Comparison", "compare_predictors", "compare_scores"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError
from eyewright.core.predictor import Predictor
from eyewright.core.progress import track_progress
from eyewright.core.report import Metric
from eyewright.core.rng import generator
from eyewright.core.task import task_of
from eyewright.data.dataset import Dataset
from eyewright.evaluation.together import group_names
from eyewright.metrics import classification_metrics, mcnemar_exact, paired_differences
from eyewright.metrics.groups import clusters_of, flip_p_value

_CHUNK = 64
_LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images.

    `differences` are B minus A with paired bootstrap intervals; `only_a` and `only_b` count the images that one model
    alone got right; `p_value` is McNemar's exact test on them. Of boxes and masks they count the images that one model
    does better, and `p_value` is that of the paired bootstrap. Where images come in `groups`, the p-value is that of a
    sign-flip test over groups; of boxes and masks that of the t interval, with up to 200 groups. `better` is "a", "b"
    or "neither".
    """

    a: Mapping[str, Metric]
    b: Mapping[str, Metric]
    differences: Mapping[str, Metric]
    only_a: int
    only_b: int
    p_value: float
    n: int
    task: str = "classify"
    groups: int | None = None

    @property
    def better(self) -> str:
        if self.p_value >= _LEVEL:
            return "neither"
        if self.task != "classify":
            return "b" if (self.differences[task_of(self.task).main_metric].value or 0.0) > 0 else "a"
        return "b" if self.only_b > self.only_a else "a"

    def __str__(self) -> str:
        name = task_of(self.task).main_metric
        d = self.differences[name]
        together = "" if self.groups is None else f" in {self.groups} group{'s' * (self.groups != 1)}"
        alone = task_of(self.task).words.wins
        seen = (
            f"{name} {self.a[name].value or 0:.4f} → {self.b[name].value or 0:.4f}, difference {d.value or 0:+.4f} "
            f"[{d.low or 0:+.4f}, {d.high or 0:+.4f}] on {self.n} images{together}; "
            f"{alone}: A {self.only_a}, B {self.only_b}; p = {self.p_value:.3g}"
        )
        verdict = {
            "a": "A is better, by more than chance",
            "b": "B is better, by more than chance",
            "neither": "no difference beyond chance",
        }
        return f"{verdict[self.better]}: {seen}"

    def to_json(self) -> dict[str, Any]:
        """Return the verdict and the counts behind it."""
        return {
            "better": self.better,
            "p_value": self.p_value,
            "only_a": self.only_a,
            "only_b": self.only_b,
            "n": self.n,
            "groups": self.groups,
            "differences": {k: {"value": m.value, "low": m.low, "high": m.high} for k, m in self.differences.items()},
        }


def compare_predictors(
    a: Predictor, b: Predictor, dataset: Dataset, *, seed: int = 0, quiet: bool = False
) -> Comparison:
    """Measure two models on every image of `dataset`, each through its own preparation.

    Both must know the dataset's classes; they may hold them in another order.

    Raises:
        DatasetError: the dataset is empty, or the models do not have the same classes.
    """
    if not len(dataset):
        raise DatasetError("expected images to compare on, found none", fix="check the dataset")
    if set(a.labels.names) != set(b.labels.names):
        raise DatasetError("expected two models of the same classes, found others", fix="compare models of one task")
    if a.task_name != b.task_name:
        raise DatasetError(f"expected two models of one task, found {a.task_name} and {b.task_name}")
    if dataset.task != "classify":
        from eyewright.evaluation.scene_comparison import compare_scenes

        return Comparison(**compare_scenes(a, b, dataset, seed=seed, quiet=quiet), task=dataset.task)
    targets = dataset.labels.mapping_to(a.labels)[dataset.targets]
    order = a.labels.mapping_to(b.labels)
    left, right = [], []
    with track_progress("comparing", len(dataset), quiet=quiet) as advance:
        for start in range(0, len(dataset), _CHUNK):
            images = [dataset.image(i) for i in range(start, min(start + _CHUNK, len(dataset)))]
            left.append(_scores(a, images))
            right.append(_scores(b, images)[:, order])
            advance(len(images), "")
    return compare_scores(targets, np.concatenate(left), np.concatenate(right), seed=seed, groups=group_names(dataset))


def compare_scores(
    targets: NDArray[np.int64],
    scores_a: NDArray[np.floating[Any]],
    scores_b: NDArray[np.floating[Any]],
    *,
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
        groups=None if clusters is None else clusters.count,
    )


def _scores(predictor: Predictor, images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    return np.stack([p.probabilities for p in predictor.predict_images(images)])
