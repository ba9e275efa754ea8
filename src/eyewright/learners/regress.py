"""Learning to read numbers off images."""

__all__ = ["LEARNER"]

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from eyewright.core.errors import DatasetError
from eyewright.core.rng import generator
from eyewright.data.dataset import Dataset
from eyewright.data.scan import Scan
from eyewright.data.targets.numbers import Numbers
from eyewright.imaging.preparation import Preparation
from eyewright.metrics.conformal import least_for_coverage
from eyewright.metrics.points import group_numbers
from eyewright.metrics.regression import NumberErrors, conformal_reach
from eyewright.nets.hub import HubBuilder
from eyewright.nets.pixels import PixelNet
from eyewright.training.augment import plan_augmentation
from eyewright.training.defaults import choose_preparation, resolve_recipe
from eyewright.training.learner import Learner
from eyewright.training.loop import FitData
from eyewright.training.recipe import Recipe, unknown_loss
from eyewright.training.soft_answers import Parts, SoftAnswers

_LEVEL = 0.9
_LEAST_CHOOSING = 4
"""Validation images or groups below which no epoch can be chosen on them."""


class NumberAnswers(nn.Module):
    """The net's numbers (N, C), which are in the user's units already."""

    names: tuple[str, ...] = ("values",)

    def __init__(self, net: PixelNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.net(image)
        return found


def _table(part: Dataset) -> NDArray[np.float32]:
    values = np.array([s.marked(Numbers).values for s in part.samples], np.float32)
    return values.reshape(len(part.samples), len(part.labels))


def check(dataset: Dataset) -> None:
    """Refuse data without numbers, or with one that is the same for every training image.

    Raises:
        DatasetError: there are no numbers, or one never differs.
    """
    if not len(dataset.labels):
        raise DatasetError("expected a number for each image, found none", fix="list them in a CSV of path,value")
    values = _table(dataset.train)
    for k, name in enumerate(dataset.labels.names):
        if not len(values) or np.ptp(values[:, k]) == 0:
            raise DatasetError(f"{name} is the same for every training image", fix="check the column")


def outgoing(train: Dataset) -> dict[str, list[float]]:
    """Return mean and deviation of the training values, so that the net learns values around 0."""
    values = _table(train).astype(np.float64)
    return {"centre": values.mean(0).tolist(), "spread": np.maximum(values.std(0), 1e-12).tolist()}


def preparation(dataset: Dataset, scan: Scan, recipe: Recipe, published: HubBuilder | None) -> Preparation:
    """Choose how images become pixels from their sizes and colours."""
    return choose_preparation(scan, recipe, published)


def resolve(recipe: Recipe, n_train: int, preparation: Preparation) -> Recipe:
    """Fill in what the recipe leaves open; turning and mirroring an image may change its numbers, shifts do not."""
    augment = "light" if recipe.augment == "auto" else recipe.augment
    flip = "none" if recipe.flip == "auto" else recipe.flip
    given = replace(recipe, augment=augment, flip=flip, loss=recipe.loss or "huber")
    return resolve_recipe(given, n_train, preparation)


def targets(part: Dataset, sizes: Sequence[tuple[int, int]], preparation: Preparation, key: str) -> Any:
    """Return the numbers, float32 (N, C)."""
    return _table(part)


def answers(net: PixelNet, *, temperature: float = 1.0) -> NumberAnswers:
    """Return the net with its numbers for outputs."""
    return NumberAnswers(net)


def learn(net: PixelNet, data: FitData, recipe: Recipe, dataset: Dataset, preparation: Preparation) -> "NumberLearning":
    """Return what the loop asks while numbers are learnt."""
    choosing = choosing_half([s.group for s in dataset.samples if s.split == "val"], recipe.seed)
    if len(choosing) != len(data.val_targets):
        choosing = np.ones(len(data.val_targets), bool)
    return NumberLearning(net, data, recipe, dataset.labels.names, preparation, choosing)


def choosing_half(groups: Sequence[str | None], seed: int) -> NDArray[np.bool_]:
    """Return which validation images choose the epoch, bool (N,): a half of whole groups, or what intervals leave of
    few, so that the others are independent of that choice and prediction intervals may rest on them; all where there
    are too few.
    """
    ids = group_numbers(groups)
    names = np.unique(ids)
    held = max(least_for_coverage(_LEVEL), len(names) // 2)
    if len(names) - held < _LEAST_CHOOSING:
        return np.ones(len(ids), bool)
    order = generator(seed, "calibration").permutation(names)
    return np.asarray(np.isin(ids, order[held:]))


class NumberLearning:
    """How numbers are learnt: by errors in deviations of the training values.

    `choosing`, bool (N,), are the validation images that the epoch is chosen on; intervals rest on the others.
    """

    main_metric = "r2"

    def __init__(
        self,
        net: PixelNet,
        data: FitData,
        recipe: Recipe,
        names: tuple[str, ...],
        preparation: Preparation,
        choosing: NDArray[np.bool_],
    ) -> None:
        self.names, self.loss, self.delta = names, recipe.loss or "huber", recipe.huber_delta
        n_train = len(data.train_targets)
        self.choosing = choosing
        self.augmentation = plan_augmentation(recipe, grey=preparation.channels == 1, n_train=n_train)
        self.spread = net.spread.detach().cpu() if net.scaled else torch.ones(len(names))

    def objective(self, outputs: Tensor, targets: Tensor) -> Tensor:
        spread = self.spread.to(outputs.device)
        found, wanted = outputs / spread, targets / spread
        if self.loss == "mse":
            return functional.mse_loss(found, wanted)
        if self.loss == "mae":
            return functional.l1_loss(found, wanted)
        if self.loss != "huber":
            raise unknown_loss(self.loss)
        return functional.huber_loss(found, wanted, delta=self.delta)

    def condense(self, outputs: Tensor, targets: Any) -> NDArray[np.float32]:
        values: NDArray[np.float32] = outputs.cpu().numpy()
        return values

    def measure(self, kept: NDArray[np.float32], targets: Any) -> Mapping[str, float]:
        if len(kept) == len(self.choosing):
            kept, targets = kept[self.choosing], np.asarray(targets)[self.choosing]
        loss = float(self.objective(torch.from_numpy(kept), torch.from_numpy(np.asarray(targets))))
        unit = self.spread.numpy().astype(np.float64)
        found = NumberErrors(targets, kept, unit=unit)(np.ones((1, len(kept))))
        r2 = float(found["r2"][0])
        return {"loss": loss, "mae": float(found["mae"][0]), "r2": r2 if np.isfinite(r2) else -loss}

    def conclude(
        self, kept: NDArray[np.float32], targets: Any, *, groups: NDArray[np.int64], rng: np.random.Generator
    ) -> dict[str, dict[str, Any]]:
        """Find half the width of every quantity's prediction interval from the errors on the validation images that did
        not choose the epoch; none where they are too few, with the reason.
        """
        held = ~self.choosing if len(kept) == len(self.choosing) else np.zeros(len(kept), bool)
        errors = np.abs(kept.astype(np.float64) - targets)[held]
        n, n_groups = int(held.sum()), len(np.unique(groups[held]))
        reach = conformal_reach(errors, level=_LEVEL, groups=groups[held])
        if reach is None:
            least = least_for_coverage(_LEVEL) + _LEAST_CHOOSING
            every = len(np.unique(groups))
            what = "images" if every == len(kept) else "groups of images"
            reason = f"{every} validation {what} are too few for prediction intervals, which need {least}"
            return {"calibration": {"method": "none", "reason": reason, "n": 0}, "thresholds": {}}
        how = f"half the width of a {_LEVEL:.0%} prediction interval, split conformal on images that chose nothing"
        classes = {n_: {"threshold": float(r), "n": n} for n_, r in zip(self.names, reach, strict=True)}
        chosen_on = {"images": int(self.choosing.sum()), "groups": len(np.unique(groups[self.choosing]))}
        return {
            "chosen_on": chosen_on,
            "calibration": {"method": "conformal", "level": _LEVEL, "n": n, "groups": n_groups},
            "thresholds": {"method": how, "images": n, "groups": n_groups, "classes": classes},
        }


def _of_net(outputs: Any) -> Parts:
    return outputs, None


def _of_raw(raw: Mapping[str, NDArray[np.float32]], order: Tensor, size_hw: tuple[int, int]) -> Tensor:
    return torch.from_numpy(raw["values"])[:, order.cpu()]


def _apart(found: Parts, wanted: Parts, softness: float) -> Tensor:
    unit = wanted[0].std(0, correction=0).clamp(min=1e-6)
    return functional.huber_loss(found[0] / unit, wanted[0] / unit)


LEARNER = Learner(
    task="regress",
    check=check,
    preparation=preparation,
    resolve=resolve,
    targets=targets,
    learn=learn,
    answers=answers,
    outgoing=outgoing,
    soft=SoftAnswers(_of_net, _of_raw, _apart),
    students=("quick_net",),
)
