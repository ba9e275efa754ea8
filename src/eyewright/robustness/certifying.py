"""Certify a model on a dataset: accuracies that no attack within a radius can lower."""

__all__ = ["Certificate", "Smoothed", "certify_predictor", "parse_sigma"]

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BudgetError, DatasetError, UsageError
from eyewright.core.jsonable import to_jsonable
from eyewright.core.predictor import Predictor
from eyewright.core.progress import track_progress
from eyewright.core.report import Metric
from eyewright.core.rng import generator
from eyewright.core.task import task_of
from eyewright.data.dataset import Dataset
from eyewright.evaluation.units import say_rate
from eyewright.metrics.binomial import fewest_samples
from eyewright.metrics.points import group_numbers
from eyewright.robustness.evaluating import pixels_of, white_of
from eyewright.robustness.model import ScoreModel
from eyewright.robustness.report import measure
from eyewright.robustness.smoothing import ABSTAINED, certify_images, largest_radius
from eyewright.robustness.threat import show_eps

_RADII = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
_PART = 1


@dataclass(frozen=True)
class Smoothed:
    """What smoothing with one sigma certifies: `certified` maps an l2 radius to the accuracy that no change within it
    can lower. Images on which the model `abstained` are in every denominator, and count as not certified."""

    sigma: float
    accuracy: Metric
    abstained: int
    certified: Mapping[float, Metric]

    def to_json(self) -> dict[str, Any]:
        certified = {f"{r:g}": to_jsonable(m) for r, m in self.certified.items()}
        return {
            "sigma": self.sigma,
            "accuracy": to_jsonable(self.accuracy),
            "abstained": self.abstained,
            "certified": certified,
        }


@dataclass(frozen=True)
class Certificate:
    """What was proved: by smoothing for each sigma (l2), by interval bounds for each eps (linf, by its text)."""

    task: str
    n: int
    n0: int
    samples: int
    alpha: float
    smoothed: tuple[Smoothed, ...]
    bounded: Mapping[str, Metric] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def metrics(self) -> dict[str, Metric]:
        """Return the certified accuracies by name: "certified_l2_0.5", with several sigmas "…_sigma_0.25"."""
        several = len(self.smoothed) > 1
        found = {
            f"certified_l2_{r:g}" + (f"_sigma_{s.sigma:g}" if several else ""): m
            for s in self.smoothed
            for r, m in s.certified.items()
        }
        return {**found, **{f"certified_linf_{name}": m for name, m in self.bounded.items()}}

    def sentence(self) -> str:
        """Say the result in one plain sentence."""
        if not self.smoothed:
            name, m = next(iter(self.bounded.items()))
            return f"No change of every pixel by up to {name} lowers the accuracy below {say_rate(m)}."
        s = self.smoothed[0]
        some = [r for r, m in s.certified.items() if r > 0]
        if not some:
            return f"Nothing is certified: the smoothed model abstains on {s.abstained:,} of {self.n:,} images."
        radius = some[len(some) // 2]
        return (
            f"Under noise of sigma {s.sigma:g} no change of up to {radius:g} in Euclidean distance (pixels 0 to 1) "
            f"lowers the smoothed accuracy below {say_rate(s.certified[radius])}; each certificate is wrong with a "
            f"probability of at most {self.alpha:g}."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the certificate as plain JSON types."""
        return {
            "task": self.task,
            "n": self.n,
            "n0": self.n0,
            "samples": self.samples,
            "alpha": self.alpha,
            "sentence": self.sentence(),
            "smoothing": [s.to_json() for s in self.smoothed],
            "interval_bounds": {k: to_jsonable(m) for k, m in self.bounded.items()},
            "model": dict(self.model),
            "data": self.data,
            "warnings": list(self.warnings),
            "seconds": round(self.seconds, 1),
        }


def parse_sigma(text: str) -> tuple[float, ...]:
    """Read one or several standard deviations.

    >>> parse_sigma("0.5,0.25")
    (0.25, 0.5)

    Raises:
        UsageError: a text that is not a list of numbers above 0.
    """
    found = set()
    for part in text.split(","):
        try:
            value = float(part)
        except ValueError:
            value = -1.0
        if not 0 < value < 100:
            raise UsageError(f"expected a sigma above 0 such as 0.25, found {part.strip()!r}", fix="change --sigma")
        found.add(value)
    return tuple(sorted(found))


def certify_predictor(
    predictor: Predictor,
    dataset: Dataset,
    *,
    sigmas: tuple[float, ...] = (0.25,),
    n0: int = 100,
    samples: int = 10_000,
    alpha: float = 0.001,
    eps: tuple[float, ...] = (),
    n: int = 500,
    seed: int = 0,
    deadline: float | None = None,
    model: Mapping[str, Any] | None = None,
    quiet: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> Certificate:
    """Return what smoothing certifies on `n` images of a dataset, drawn by `seed`, and for `eps` what interval bounds
    of the net prove.

    With `deadline`, a value of `time.monotonic`, the certificate is about the images that were done until then.

    Raises:
        UsageError: the task has no certificates, or the net no interval bounds.
        DatasetError: no image.
        BudgetError: the deadline passed before the first images were certified.
    """
    started = time.monotonic()
    task_of(predictor.task_name).require("certify")
    if not 0 < alpha < 1:
        raise UsageError(f"expected alpha in (0, 1), found {alpha:g}", fix="change --alpha")
    dataset = dataset.relabelled(predictor.labels)
    if not len(dataset):
        raise DatasetError("expected images to certify, found none", fix="check the dataset")
    rows = generator(seed, "certified").permutation(len(dataset))[:n]
    pixels, labels = pixels_of(predictor, dataset, rows), np.asarray(dataset.targets, np.int64)[rows]
    groups = group_numbers([dataset.samples[int(i)].group for i in rows])
    warnings = []
    if samples < fewest_samples(alpha):
        warnings.append(
            f"{samples} samples at alpha {alpha:g} cannot certify anything, even where all of them agree: "
            f"use {fewest_samples(alpha)} samples or more."
        )
    bounded = _bounded(predictor, pixels, labels, groups, eps)
    classes, radii = _smoothed(predictor, pixels, sigmas, n0, samples, alpha, seed, deadline, quiet)
    done = classes.shape[1]
    if not done:
        raise BudgetError(
            "the budget ended before an image was certified", fix="give a larger --budget, or a smaller --samples",
            details={"certified": 0},
        )  # fmt: skip
    if done < len(rows):
        warnings.append(f"The budget ended after {done:,} of {len(rows):,} images.")
    found = []
    for sigma, own, radius in zip(sigmas, classes, radii, strict=True):
        right = own == labels[:done]
        most = largest_radius(samples, sigma, alpha)
        levels = [r for r in _RADII if r == 0 or r < most]
        found.append(
            Smoothed(
                sigma,
                measure(right, groups[:done]),
                int((own == ABSTAINED).sum()),
                {r: measure(right & (radius >= r), groups[:done]) for r in levels},
            )
        )
        say(f"sigma {sigma:g}: {found[-1].accuracy}")
    return Certificate(
        task=predictor.task_name,
        n=done,
        n0=n0,
        samples=samples,
        alpha=alpha,
        smoothed=tuple(found),
        bounded=bounded,
        model=dict(model or {}),
        data=dataset.describe(),
        warnings=tuple(warnings),
        seconds=time.monotonic() - started,
    )


def _smoothed(
    predictor: Predictor,
    pixels: NDArray[np.uint8],
    sigmas: tuple[float, ...],
    n0: int,
    samples: int,
    alpha: float,
    seed: int,
    deadline: float | None,
    quiet: bool,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return classes and radii, (sigmas, images), of as many images as the deadline allows."""
    model = ScoreModel(predictor)
    classes: list[NDArray[np.int64]] = []
    radii: list[NDArray[np.float64]] = []
    with track_progress("certifying", len(pixels), quiet=quiet) as advance:
        for start in range(0, len(pixels), _PART):
            if deadline is not None and time.monotonic() >= deadline:
                break
            rows = np.arange(start, min(start + _PART, len(pixels)))
            each = [
                certify_images(
                    model.probabilities,
                    pixels[rows],
                    sigma=s,
                    n0=n0,
                    samples=samples,
                    alpha=alpha,
                    seed=seed,
                    rows=rows,
                )
                for s in sigmas
            ]
            classes.append(np.stack([c for c, _ in each]))
            radii.append(np.stack([r for _, r in each]))
            advance(len(rows), "")
    if not classes:
        return np.zeros((len(sigmas), 0), np.int64), np.zeros((len(sigmas), 0))
    return np.concatenate(classes, 1), np.concatenate(radii, 1)


def _bounded(
    predictor: Predictor,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    eps: tuple[float, ...],
) -> dict[str, Metric]:
    if not eps:
        return {}
    white = white_of(predictor)
    if white is None:
        raise UsageError(
            "expected a run for interval bounds (--eps), found a bundle", fix="pass the run, or omit --eps"
        )
    from eyewright.robustness.bounds import bounded_right, unsupported

    if lacking := unsupported(white.net):
        raise UsageError(
            f"expected a net of convolutions, dense layers and pools for interval bounds (--eps), found {lacking}",
            fix="train conv_net or mlp, or omit --eps",
        )
    return {show_eps(e): measure(bounded_right(white.net, pixels, labels, e), groups) for e in eps}
