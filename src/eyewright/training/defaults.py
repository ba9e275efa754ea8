"""What is chosen from the data when the user names nothing; every choice is written into the resolved recipe."""

__all__ = ["choose_preparation", "resolve_recipe"]

from dataclasses import replace

import numpy as np

from eyewright.data.dataset import Dataset
from eyewright.data.scan import Scan
from eyewright.imaging.preparation import Preparation
from eyewright.training.recipe import Recipe

_SMALL = 64


def choose_preparation(scan: Scan, recipe: Recipe) -> Preparation:
    """Choose how images become pixels.

    Images whose usual shorter side is 24-64 pixels keep that size, smaller ones are enlarged to 24, larger ones are
    reduced to 96, or to 128 from 200 pixels on. Grey stays one channel. Images of one shape are stretched to the
    square, mixed shapes are letterboxed so that nothing is cut off or bent.
    """
    sizes = scan.sizes_hw
    side = recipe.imgsz or _usual_side(sizes)
    aspect = sizes[:, 1] / sizes[:, 0]
    low, high = np.quantile(aspect, [0.05, 0.95])
    return Preparation(
        (side, side),
        fit="stretch" if high <= low * 1.1 else "letterbox",
        channels=1 if scan.is_grey() else 3,
        fill=0 if scan.is_grey() else 114,
    )


def _usual_side(sizes: np.ndarray) -> int:
    usual = float(np.median(sizes.min(1)))
    if usual <= 24:
        return 24
    if usual <= _SMALL:
        return int(round(usual / 2) * 2)
    return 96 if usual < 200 else 128


def resolve_recipe(recipe: Recipe, dataset: Dataset, preparation: Preparation) -> Recipe:
    """Fill in what the recipe leaves open: model, image size, epochs, batch, learning rate, smoothing.

    Epochs shrink with the number of training images (about its power 0.4), so that small sets are seen often enough
    and large ones end in minutes.
    """
    from eyewright.training.optimisers import default_lr

    n_train = sum(s.split == "train" for s in dataset.samples)
    side = min(preparation.size_hw)
    model = recipe.model
    if model == "auto":
        model = "quick_net" if side <= _SMALL else "photo_net"
    epochs = recipe.epochs
    if epochs is None and recipe.budget_s is None:
        usual = 50 if side <= _SMALL else 24
        epochs = int(np.clip(round(usual * (1000 / max(n_train, 1)) ** 0.4), 8, usual * 2))
    smoothing = recipe.label_smoothing
    if smoothing is None:
        smoothing = 0.1 if recipe.loss == "cross_entropy" else 0.0
    # Powers of two near a twentieth of the data: enough updates an epoch on small sets, full cores on large ones.
    batch = recipe.batch or int(2 ** np.clip(round(np.log2(max(n_train, 1) / 20)), 3, 8))
    return replace(
        recipe,
        model=model,
        imgsz=side,
        epochs=epochs,
        batch=min(batch, max(1, n_train)),
        lr=recipe.lr if recipe.lr is not None else default_lr(recipe.optimizer),
        label_smoothing=smoothing,
    )
