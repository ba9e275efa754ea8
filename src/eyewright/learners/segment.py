"""Learning to tell every pixel's class."""

__all__ = ["LEARNER"]

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError
from eyewright.data.dataset import Dataset
from eyewright.data.scan import Scan
from eyewright.imaging.preparation import Preparation
from eyewright.metrics.masks import FOUND_IOU
from eyewright.metrics.points import choose_point, thresholds_of, unknown_point
from eyewright.nets.answers import MaskAnswers
from eyewright.nets.hub import HubBuilder
from eyewright.nets.hub_kinds import SEGMENTERS
from eyewright.nets.pixels import PixelNet
from eyewright.training.cache import build_array
from eyewright.training.defaults import published_preparation, resolve_scenes, usual_size
from eyewright.training.learner import Learner
from eyewright.training.loop import FitData
from eyewright.training.objectives.segment import IGNORE, class_balance, segmentation_objective
from eyewright.training.recipe import Recipe
from eyewright.training.scenes import SceneAugmentation, plan_scenes
from eyewright.training.soft_answers import DISTRIBUTIONS

_LARGEST, _SMALLEST = 384, 96
_STRONG = SceneAugmentation(
    zoom=0.35, shift=0.1, rotate_deg=10.0, paste=0.3, light=0.3, shade=0.3, colour=0.2, kind="masks"
)
# From this longer side on masks are learnt from parts of half the side.
_IN_PARTS = 256
# As in `tasks.segment`: these few pixels say how sure a class is.
_SURE_SHARE, _SURE_LEAST = 0.0005, 9


def check(dataset: Dataset) -> None:
    """Refuse masks of one class, of too many, or with only background in train.

    Raises:
        DatasetError: they are such masks.
    """
    if len(dataset.labels) < 2:
        raise DatasetError(
            f"expected at least 2 classes in masks, found {len(dataset.labels)}", fix="name the background too"
        )
    if len(dataset.labels) > 254:
        raise DatasetError(f"expected at most 254 classes, found {len(dataset.labels)}", fix="merge some")
    counts = dataset.train.counts()
    lacking = [n for n, k in counts.items() if not k]
    fore = {dataset.labels.names[i] for i in dataset.foreground}
    if len(set(lacking) & fore) == len(fore):
        raise DatasetError("no mask of train holds anything but background", fix="check the masks' values")


def preparation(dataset: Dataset, scan: Scan, recipe: Recipe, published: HubBuilder | None) -> Preparation:
    """Choose a size in which masks can be learnt, from those of the images."""
    if published is not None:
        return published_preparation(published, scan, recipe)
    sizes = scan.sizes_hw
    usual = int(np.ceil(float(np.median(sizes.max(1))) / 32)) * 32
    longer = recipe.imgsz or int(np.clip(usual, _SMALLEST, _LARGEST))
    grey = scan.is_grey()
    return Preparation(
        usual_size(sizes, longer), fit="letterbox", channels=1 if grey else 3, fill=0, steps=recipe.steps, version=2
    )


def resolve(recipe: Recipe, n_train: int, preparation: Preparation) -> Recipe:
    """Fill in what the recipe leaves open."""
    return resolve_scenes(
        recipe,
        n_train,
        preparation,
        model="outline_net",
        loss="dice_cross_entropy",
        batch=16 if max(preparation.size_hw) >= _IN_PARTS else 8,
        views=24_000,
    )


def targets(part: Dataset, sizes: Sequence[tuple[int, int]], preparation: Preparation, key: str) -> Any:
    """Return masks, uint8 (N, H, W): class ids, and 255 for what is ignored."""

    def fill(out: NDArray[np.uint8], i: int) -> None:
        out[i] = preparation.apply_labels(part.mask(i, sizes[i]), outside=IGNORE)

    return build_array((len(part), *preparation.size_hw), np.uint8, fill, key=key)


def learn(net: PixelNet, data: FitData, recipe: Recipe, dataset: Dataset, preparation: Preparation) -> "MaskLearning":
    """Return what the loop asks while a segmenter is trained."""
    return MaskLearning(net, data, recipe, dataset, preparation)


def answers(net: PixelNet, *, temperature: float = 1.0) -> MaskAnswers:
    """Return the net with probabilities at every pixel for outputs."""
    return MaskAnswers(net)


class MaskLearning:
    """How a segmenter is learnt."""

    main_metric = "miou"

    def __init__(
        self, net: PixelNet, data: FitData, recipe: Recipe, dataset: Dataset, preparation: Preparation
    ) -> None:
        self.names, self.fore = dataset.labels.names, list(dataset.foreground)
        plan = plan_scenes(recipe, _STRONG, grey=preparation.channels == 1, fill=preparation.fill)
        body: Any = net.body
        own = getattr(body, "objective", None)
        # A net with a loss of its own may know one size only.
        in_parts = recipe.augment in ("auto", "strong") and max(preparation.size_hw) >= _IN_PARTS and own is None
        if in_parts:
            height, width = (max(96, round(side / 2 / 32) * 32) for side in preparation.size_hw)
            size = (min(height, preparation.size_hw[0]), min(width, preparation.size_hw[1]))
            plan = replace(plan, crop_hw=size, foreground=tuple(self.fore), grain=8.0)
        self.augmentation = plan
        # Parts show rare classes as often as common ones already.
        weights = None if in_parts else class_balance(self._counts(data.train_targets))
        self.objective = own if own is not None else segmentation_objective(recipe, weights)

    def _counts(self, targets: Any) -> torch.Tensor:
        counts = np.zeros(256, np.int64)
        for start in range(0, len(targets), 64):
            counts += np.bincount(np.asarray(targets[start : start + 64]).ravel(), minlength=256)
        return torch.from_numpy(counts[: len(self.names)])

    def condense(self, outputs: torch.Tensor, targets: torch.Tensor) -> NDArray[np.float64]:
        """Return each image's pixels by true and found class, and in a last column each class's highest scores,
        float64 (n, C, C + 1)."""
        n_classes = len(self.names)
        sure, found = outputs.softmax(1).max(1)
        known = targets != IGNORE
        pairs = torch.where(known, targets.long() * n_classes + found, n_classes * n_classes)
        rows = torch.zeros(len(found), n_classes * n_classes + 1, dtype=torch.int64, device=found.device)
        rows.scatter_add_(1, pairs.flatten(1), torch.ones_like(pairs.flatten(1)))
        few = max(_SURE_LEAST, round(_SURE_SHARE * found[0].numel()))
        surest = [torch.where(found == c, sure, 0.0).flatten(1).topk(few).values.mean(1) for c in range(n_classes)]
        table = rows[:, :-1].double().view(-1, n_classes, n_classes)
        kept: NDArray[np.float64] = torch.cat([table, torch.stack(surest, 1)[..., None].double()], 2).cpu().numpy()
        return kept

    def measure(self, kept: NDArray[np.float64], targets: Any) -> Mapping[str, float]:
        table = kept[..., :-1].sum(0)
        right = np.diag(table)
        iou = right / np.maximum(table.sum(0) + table.sum(1) - right, 1)
        there = [i for i in self.fore if table[i].sum() > 0]
        accuracy = float(right.sum() / max(1, table.sum()))
        return {"miou": float(iou[there].mean()) if there else accuracy, "pixel_accuracy": accuracy}

    def conclude(
        self, kept: NDArray[np.float64], targets: Any, *, groups: NDArray[np.int64], rng: np.random.Generator
    ) -> dict[str, dict[str, Any]]:
        """Choose the score above which a class is accepted in an image, for the largest F1 of finding it.

        A class that was never found is always accepted.
        """
        tables, sureness = kept[..., :-1], kept[..., -1]
        right = np.einsum("nii->ni", tables)
        truth, found = tables.sum(2), tables.sum(1)
        hit = right / np.maximum(truth + found - right, 1) > FOUND_IOU
        points = []
        for c in range(len(self.names)):
            held = (truth[:, c] > 0).astype(np.int64)
            given = np.flatnonzero(found[:, c] > 0)
            if c in self.fore and held.any() and hit[given, c].any():
                points.append(choose_point(sureness[given, c], hit[given, c], given, held, groups=groups, rng=rng))
            else:
                points.append(unknown_point(0.0, held, groups=groups))
        return {
            "calibration": {"method": "none", "n": len(kept), "groups": len(np.unique(groups))},
            "thresholds": thresholds_of(self.names, points, "F1 of finding the class in an image", groups),
        }


LEARNER = Learner(
    task="segment",
    check=check,
    preparation=preparation,
    resolve=resolve,
    targets=targets,
    learn=learn,
    answers=answers,
    soft=DISTRIBUTIONS,
    hub=SEGMENTERS,
)
