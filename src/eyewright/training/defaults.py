"""What is chosen from the data when the user names nothing; every choice is written into the resolved recipe."""

__all__ = ["choose_preparation", "resolve_recipe"]

from dataclasses import replace
from typing import Any

import numpy as np

from eyewright.core.errors import UsageError
from eyewright.data.dataset import Dataset
from eyewright.data.scan import Scan
from eyewright.imaging.preparation import Preparation
from eyewright.training.recipe import Recipe

_SMALL = 64


def choose_preparation(scan: Scan, recipe: Recipe, published: Any = None) -> Preparation:
    """Choose how images become pixels; a `published` net brings its own way, from which nothing departs.

    Images whose usual shorter side is 24-64 pixels keep that size, smaller ones are enlarged to 24, larger ones are
    reduced to 96, or to 128 from 200 pixels on. Grey stays one channel. Images of one shape are stretched to the
    square, mixed shapes are letterboxed so that nothing is cut off or bent.

    Raises:
        UsageError: the recipe asks for another size than the published net's.
    """
    if published is not None:
        published.check()
        own: Preparation = published.preparation
        if recipe.imgsz not in (None, min(own.size_hw)):
            raise UsageError(
                f"expected no imgsz with {recipe.model!r}, which takes {own.size_hw[1]}x{own.size_hw[0]}, "
                f"found {recipe.imgsz}",
                fix="leave --imgsz out",
            )
        return own
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
    """Fill in what the recipe leaves open: model, size, epochs, batch, optimiser and its rates, smoothing.

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
    tuned = model.startswith("hf:")
    if epochs is None and recipe.budget_s is None:
        usual = 6 if tuned else 50 if side <= _SMALL else 24
        epochs = int(np.clip(round(usual * (1000 / max(n_train, 1)) ** 0.4), min(8, usual), usual * 2))
    smoothing = recipe.label_smoothing
    if smoothing is None:
        smoothing = 0.1 if recipe.loss == "cross_entropy" else 0.0
    # Powers of two near a twentieth of the data: enough updates an epoch on small sets, full cores on large ones.
    batch = recipe.batch or int(2 ** np.clip(round(np.log2(max(n_train, 1) / 20)), 3, 8))
    optimizer = recipe.optimizer or ("adamw" if tuned else "muon")
    # A net that has learnt already is changed slowly, the lower layers least, and first gets a head worth following.
    rate = 3e-4 if tuned and optimizer == "adamw" else default_lr(optimizer)
    return replace(
        recipe,
        model=model,
        optimizer=optimizer,
        freeze=recipe.freeze if recipe.freeze is not None else 0.1 if tuned else 0.0,
        layer_decay=recipe.layer_decay if recipe.layer_decay is not None else 0.8 if tuned else 1.0,
        imgsz=side,
        epochs=epochs,
        batch=min(batch, 32 if tuned and recipe.batch is None else n_train, max(1, n_train)),
        lr=recipe.lr if recipe.lr is not None else rate,
        label_smoothing=smoothing,
    )
