"""Learning to tag: each tag is a question of its own, and what is not annotated is not trained on."""

__all__ = ["LEARNER"]

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from eyewright.core.errors import DatasetError
from eyewright.data.dataset import Dataset
from eyewright.data.scan import Scan
from eyewright.data.targets.tags import Tags
from eyewright.imaging.preparation import Preparation
from eyewright.metrics.calibration import too_few_to_calibrate
from eyewright.metrics.points import thresholds_of
from eyewright.metrics.tagging import TagNumbers, fit_tag_temperature, tag_points
from eyewright.nets.hub import HubBuilder
from eyewright.nets.hub_kinds import CLASSIFIERS
from eyewright.nets.pixels import PixelNet
from eyewright.training.augment import plan_augmentation
from eyewright.training.defaults import choose_preparation, resolve_recipe
from eyewright.training.learner import Learner
from eyewright.training.loop import FitData
from eyewright.training.recipe import Recipe, unknown_loss
from eyewright.training.soft_answers import Parts, SoftAnswers

_ASSUMED = 0.1
"""What is learnt of a tag that is only assumed to be absent (label smoothing, Cole et al. 2021, "Multi-label learning
from single positive labels")."""

_FOCUS = 2.0
_MOST_WEIGHT = 20.0


class TagAnswers(nn.Module):
    """Logits to the probability of each tag, (N, C), softened by a temperature."""

    names: tuple[str, ...] = ("probabilities",)

    def __init__(self, net: PixelNet, temperature: float) -> None:
        super().__init__()
        self.net, self.temperature = net, temperature

    def forward(self, image: Tensor) -> Tensor:
        return torch.sigmoid(self.net(image) / self.temperature)


def _table(part: Dataset) -> NDArray[np.float32]:
    """Return 1 for a tag that an image has, 0 or `_ASSUMED` for one it has not, NaN if that is not known, (N, C)."""
    n = len(part.labels)
    table = np.zeros((len(part.samples), n), np.float32)
    for row, sample in zip(table, part.samples, strict=True):
        row[:] = sample.marked(Tags).values(n)
        row[list(sample.marked(Tags).assumed)] = _ASSUMED
    return table


def _truth(targets: Any) -> NDArray[np.float64]:
    """Return targets of `_table` as 1, 0 and NaN."""
    table = np.asarray(targets, np.float64)
    return np.where(np.isnan(table), np.nan, table > 0.5)


def check(dataset: Dataset) -> None:
    """Refuse data without tags, with a tag that no training image has, or in which nothing can be distinguished.

    Raises:
        DatasetError: the data is like that.
    """
    if not len(dataset.labels):
        raise DatasetError("expected tags of images, found none", fix="list them in a CSV of path,tags")
    true = _truth(_table(dataset.train))
    for k, name in enumerate(dataset.labels.names):
        if not (true[:, k] == 1).any():
            raise DatasetError(
                f"tag {name!r} has no image to train on", fix=f"add images with it to train, or pass --ignore {name!r}"
            )
    if not (true == 0).any():
        raise DatasetError(
            "every training image has every tag: there is nothing to distinguish", fix="add images without them"
        )


def preparation(dataset: Dataset, scan: Scan, recipe: Recipe, published: HubBuilder | None) -> Preparation:
    """Choose how images become pixels from their sizes and colours."""
    return choose_preparation(scan, recipe, published)


def resolve(recipe: Recipe, n_train: int, preparation: Preparation) -> Recipe:
    """Fill in what the recipe leaves open."""
    return resolve_recipe(replace(recipe, loss=recipe.loss or "binary_cross_entropy"), n_train, preparation)


def targets(part: Dataset, sizes: Sequence[tuple[int, int]], preparation: Preparation, key: str) -> Any:
    """Return the tags, float32 (N, C)."""
    return _table(part)


def answers(net: PixelNet, *, temperature: float = 1.0) -> TagAnswers:
    """Return the net with the probabilities of tags for outputs, softened by the temperature."""
    return TagAnswers(net, temperature)


def learn(net: PixelNet, data: FitData, recipe: Recipe, dataset: Dataset, preparation: Preparation) -> "TagLearning":
    """Return what the loop asks while tags are learnt."""
    return TagLearning(data, recipe, dataset.labels.names, preparation)


class TagLearning:
    """How tags are learnt: binary cross-entropy or focal loss over what is judged.

    With `class_weights` an image that has a tag counts as much as all that have it not do for each that has it, at
    most 20 times.
    """

    main_metric = "map"

    def __init__(self, data: FitData, recipe: Recipe, names: tuple[str, ...], preparation: Preparation) -> None:
        self.names = names
        train: Any = data.train_targets
        self.augmentation = plan_augmentation(recipe, grey=preparation.channels == 1, n_train=len(train))
        self.smoothing, self.loss = recipe.label_smoothing or 0.0, recipe.loss or "binary_cross_entropy"
        true = _truth(train)
        # The same for every batch, so that the loss of a batch is the mean of its parts, wherever it is cut.
        self.judged = max(float((~np.isnan(true)).mean()), 1e-6)
        has, lacks = (true == 1).sum(0), (true == 0).sum(0)
        weights = np.clip(lacks / np.maximum(has, 1), 1 / _MOST_WEIGHT, _MOST_WEIGHT)
        self.weights = torch.tensor(weights, dtype=torch.float32) if recipe.class_weights else None

    def objective(self, outputs: Tensor, targets: Tensor) -> Tensor:
        judged = ~torch.isnan(targets)
        wanted = torch.nan_to_num(targets) * (1 - self.smoothing) + self.smoothing / 2
        weights = None if self.weights is None else self.weights.to(outputs.device)
        each = functional.binary_cross_entropy_with_logits(outputs, wanted, pos_weight=weights, reduction="none")
        if self.loss not in ("binary_cross_entropy", "focal"):
            raise unknown_loss(self.loss)
        if self.loss == "focal":
            # How far off the answer is (Lin et al. 2017).
            each = each * (outputs.sigmoid() - wanted).abs() ** _FOCUS
        return (each * judged).mean() / self.judged

    def condense(self, outputs: Tensor, targets: Any) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = outputs.float().cpu().numpy()
        return logits

    def measure(self, kept: NDArray[np.float32], targets: Any) -> Mapping[str, float]:
        true = _truth(targets)
        judged, z = ~np.isnan(true), kept.astype(np.float64)
        loss = float((np.logaddexp(0, z) - np.nan_to_num(true) * z)[judged].mean()) if judged.any() else 0.0
        found = {k: float(v[0]) for k, v in TagNumbers(true, _sigmoid(z))(np.ones((1, len(z)))).items()}
        # Where validation holds no tag that can be distinguished, the loss decides.
        ranked = found["map"] if np.isfinite(found["map"]) else 1 / (1 + loss)
        return {"loss": loss, "map": ranked}

    def conclude(
        self, kept: NDArray[np.float32], targets: Any, *, groups: NDArray[np.int64], rng: np.random.Generator
    ) -> dict[str, dict[str, Any]]:
        """Fit the temperature and every tag's operating point."""
        true = _truth(targets)
        reason = too_few_to_calibrate(groups)
        temperature = 1.0 if reason else fit_tag_temperature(kept, true)
        ones, z = np.ones((1, len(kept))), kept.astype(np.float64)
        before, after = _sigmoid(z), _sigmoid(z / temperature)
        errors = {
            f"ece_{when}": float(np.nan_to_num(TagNumbers(true, p)(ones)["ece"][0]))
            for when, p in (("before", before), ("after", after))
        }
        points = tag_points(true, after, groups=groups, rng=rng)
        rests_on = {"n": len(kept), "groups": len(np.unique(groups))}
        fitted: dict[str, Any] = {"method": "temperature", "temperature": temperature}
        return {
            "calibration": {**({"method": "none", "reason": reason} if reason else fitted), **rests_on, **errors},
            "thresholds": thresholds_of(self.names, points, "F1 of the tag", groups),
        }


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
    return found


def mean_of_tags(logits: Iterable[Tensor], count: int) -> Tensor:
    """Return the logit of the mean of sigmoid(logits)."""
    total: Any = 0
    for own in logits:
        total = total + torch.sigmoid(own)
    mean: Tensor = total / count
    return torch.log(mean + 1e-12) - torch.log(1 - mean + 1e-12)


def _of_net(outputs: Any) -> Parts:
    return outputs, None


def _of_raw(raw: Mapping[str, NDArray[np.float32]], order: Tensor, size_hw: tuple[int, int]) -> Tensor:
    return torch.logit(torch.from_numpy(raw["probabilities"])[:, order.cpu()].clamp(1e-6, 1 - 1e-6))


def _apart(found: Parts, wanted: Parts, softness: float) -> Tensor:
    """Return the divergence of the softened answers to each question."""
    soft = (wanted[0] / softness).sigmoid()
    own = functional.binary_cross_entropy_with_logits(found[0] / softness, soft)
    least = functional.binary_cross_entropy(soft, soft)
    return (own - least) * softness**2


LEARNER = Learner(
    task="tag",
    check=check,
    preparation=preparation,
    resolve=resolve,
    targets=targets,
    learn=learn,
    answers=answers,
    soft=SoftAnswers(_of_net, _of_raw, _apart),
    hub=CLASSIFIERS,
    students=("quick_net",),
    mean=mean_of_tags,
)
