"""What is chosen from the data when the user names nothing; every choice is written into the resolved recipe."""

__all__ = ["choose_preparation", "published_preparation", "resolve_recipe", "resolve_scenes", "usual_size"]

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.data.scan import Scan
from eyewright.imaging.preparation import Preparation
from eyewright.training.recipe import Recipe

if TYPE_CHECKING:
    from eyewright.nets.hub import HubBuilder

_SMALL = 64
_LARGE = 10_000
_STEP = 32
# Images of 32x32 pixels that photo_net learns from in a second: 350 a core were measured without bfloat16; two cores,
# a third off for what they share.
_PHOTO_NET_SPEED = 450.0
# Of 3,500 CIFAR-10 images quick_net learns no more after 50 epochs (67 %, also after 220); photo_net is as good after
# 12, and reaches 74 % after 50 (benchmarks/README.md).
_PHOTO_NET_EPOCHS = 15
# The whitened stem of quick_net amplifies fine detail, where attacks work. MNIST at eps 0.3, 8 and 9 minutes of
# `--step adversarial`, PGD on 512 validation images: quick_net 86.3 % (clean 96.6 %), conv_net 95.7 % (98.6 %).
_ATTACKED = ("adversarial", "trades", "fast")


def choose_preparation(scan: Scan, recipe: Recipe, published: "HubBuilder | None" = None) -> Preparation:
    """Choose how images become pixels; a `published` net brings its own way, from which nothing departs.

    Images whose usual shorter side is 24-64 pixels keep that size, smaller ones are enlarged to 24, larger ones are
    reduced to 96, or to 128 from 200 pixels on. Grey stays one channel. Images of one shape are stretched to the
    square, mixed shapes are letterboxed so that nothing is cut off or bent.

    Raises:
        UsageError: the recipe asks for another size than the published net's.
    """
    if published is not None:
        published.check()
        own = published.preparation
        if recipe.imgsz not in (None, min(own.size_hw)):
            raise UsageError(
                f"expected no imgsz with {recipe.model!r}, which takes {own.size_hw[1]}x{own.size_hw[0]}, "
                f"found {recipe.imgsz}",
                fix="leave --imgsz out",
            )
        return replace(own, steps=recipe.steps)
    sizes = scan.sizes_hw
    side = recipe.imgsz or _usual_side(sizes)
    aspect = sizes[:, 1] / sizes[:, 0]
    low, high = np.quantile(aspect, [0.05, 0.95])
    return Preparation(
        (side, side),
        fit="stretch" if high <= low * 1.1 else "letterbox",
        channels=1 if scan.is_grey() else 3,
        fill=0 if scan.is_grey() else 114,
        steps=recipe.steps,
        version=2,
    )


def _usual_side(sizes: np.ndarray) -> int:
    usual = float(np.median(sizes.min(1)))
    if usual <= 24:
        return 24
    if usual <= _SMALL:
        return int(round(usual / 2) * 2)
    return 96 if usual < 200 else 128


def resolve_recipe(recipe: Recipe, n_train: int, preparation: Preparation) -> Recipe:
    """Fill in what the recipe leaves open: model, size, epochs, batch, optimiser and its rates, smoothing.

    Epochs shrink with the number of training images (by its power 0.55), so that small sets are seen often enough and
    large ones end in minutes; large ones bear a larger rate meanwhile. A budget that is long for its images buys a
    larger net, because a small one stops improving.
    """
    from eyewright.training.optimisers import default_lr

    side = min(preparation.size_hw)
    model = recipe.model
    if model == "auto":
        model = _small_net(recipe, n_train, side) if side <= _SMALL else "photo_net"
    epochs = recipe.epochs
    tuned = model.startswith("hf:")
    if epochs is None and recipe.budget_s is None:
        # Photographs differ in more ways than drawings do, and large ones cost more to look at.
        small = 64 if preparation.channels == 3 else 50
        usual = 6 if tuned else small if side <= _SMALL else 24
        epochs = int(np.clip(round(usual * (1000 / max(n_train, 1)) ** 0.55), 4, usual * 2))
    smoothing = recipe.label_smoothing
    loss = recipe.loss or "cross_entropy"
    if smoothing is None:
        smoothing = 0.1 if loss == "cross_entropy" else 0.0
    # Powers of two near a twentieth of the data: enough updates an epoch on small sets. Of the same images, batches of
    # 64 teach more than batches of 256, and cost little more where a batch is enough to fill the cores.
    batch = recipe.batch or int(2 ** np.clip(round(np.log2(max(n_train, 1) / 20)), 3, 6))
    optimizer = recipe.optimizer or ("adamw" if tuned else "muon")
    # A net that has learnt already is changed slowly, the lower layers least, and first gets a head worth following.
    rate = 3e-4 if tuned and optimizer == "adamw" else default_lr(optimizer)
    if optimizer == "muon" and n_train >= _LARGE:
        rate *= 2
    return replace(
        recipe,
        model=model,
        preview=_preview(recipe, n_train, tuned),
        optimizer=optimizer,
        freeze=recipe.freeze if recipe.freeze is not None else 0.1 if tuned else 0.0,
        layer_decay=recipe.layer_decay if recipe.layer_decay is not None else 0.8 if tuned else 1.0,
        imgsz=side,
        epochs=epochs,
        batch=min(batch, 32 if tuned and recipe.batch is None else n_train, max(1, n_train)),
        lr=recipe.lr if recipe.lr is not None else rate,
        label_smoothing=smoothing,
        loss=loss,
        ema=recipe.ema if recipe.ema is not None else 0.99,
    )


def _small_net(recipe: Recipe, n_train: int, side: int) -> str:
    if recipe.step in _ATTACKED:
        return "conv_net"
    return "photo_net" if _has_time(recipe, n_train, side) else "quick_net"


def _has_time(recipe: Recipe, n_train: int, side: int) -> bool:
    """Return whether the budget is long enough for the larger net to see every small image often enough."""
    if recipe.budget_s is None:
        return False
    seen = recipe.budget_s * _PHOTO_NET_SPEED * (32 / side) ** 2
    return seen >= _PHOTO_NET_EPOCHS * n_train


def resolve_scenes(
    recipe: Recipe, n_train: int, preparation: Preparation, *, model: str, loss: str, batch: int, views: int
) -> Recipe:
    """Fill in what a recipe for boxes or masks leaves open; `views` is how many images about 200 are shown as in all.

    More images are shown more often in all, by the power 0.25 of their number, and each of them less often.
    """
    from eyewright.training.optimisers import default_lr

    name = model if recipe.model == "auto" else recipe.model
    tuned = name.startswith("hf:")
    epochs = recipe.epochs
    if epochs is None and recipe.budget_s is None:
        shown = (views / 6 if tuned else views) * (max(n_train, 1) / 200) ** 0.25
        epochs = int(np.clip(round(shown / max(n_train, 1)), 4, 400))
    optimizer = recipe.optimizer or ("adamw" if tuned else "muon")
    rate = 1e-4 if tuned and optimizer == "adamw" else default_lr(optimizer)
    return replace(
        recipe,
        model=name,
        preview=recipe.preview or 0.0,
        optimizer=optimizer,
        freeze=recipe.freeze or 0.0,
        layer_decay=recipe.layer_decay if recipe.layer_decay is not None else 1.0,
        imgsz=max(preparation.size_hw),
        epochs=epochs,
        batch=min(recipe.batch or (4 if tuned else batch), max(1, n_train)),
        lr=recipe.lr if recipe.lr is not None else rate,
        label_smoothing=0.0,
        loss=recipe.loss or loss,
        ema=recipe.ema if recipe.ema is not None else 0.998,
        # One batch of a crowd of objects must not throw the rest.
        clip_norm=recipe.clip_norm or (0.1 if tuned else 0.0),
    )


def _preview(recipe: Recipe, n_train: int, tuned: bool) -> float:
    """An epoch of few images is a preview in itself, and so is the head of a net that has learnt already."""
    if recipe.preview is not None:
        return recipe.preview
    suits = n_train >= _LARGE and recipe.budget_s is None and not tuned and recipe.optimizer != "gd"
    return 0.45 if suits else 0.0


def published_preparation(published: "HubBuilder", scan: Scan, recipe: Recipe) -> Preparation:
    """Return a checkpoint's own preparation; where it takes any size, one of the size that it gives the usual image.

    Then `imgsz` may choose a smaller one: the longer side.
    """
    published.check()
    if not published.has_size:
        sizes = scan.sizes_hw
        usual = (int(np.median(sizes[:, 0])), int(np.median(sizes[:, 1])))
        chosen = usual_size(sizes, recipe.imgsz or max(published.usual_edges(usual)))
        return Preparation(chosen, fit="letterbox", fill=114, steps=recipe.steps)
    own = published.preparation
    if recipe.imgsz not in (None, max(own.size_hw)):
        raise UsageError(
            f"expected no imgsz with {recipe.model!r}, which takes {own.size_hw[1]}x{own.size_hw[0]}, "
            f"found {recipe.imgsz}",
            fix="leave --imgsz out",
        )
    return replace(own, steps=recipe.steps)


def usual_size(sizes_hw: NDArray[np.int64], longer: int) -> tuple[int, int]:
    """Return a size in steps of 32 whose longer side is `longer`: of the shape of the images where they all have the
    same, else square.

    >>> usual_size(np.array([[480, 640], [480, 640]]), 320), usual_size(np.array([[480, 640], [640, 480]]), 320)
    ((256, 320), (320, 320))
    """
    longer = max(_STEP, round(longer / _STEP) * _STEP)
    aspect = sizes_hw[:, 1] / sizes_hw[:, 0]
    low, high = np.quantile(aspect, [0.05, 0.95])
    if high > low * 1.3:
        return longer, longer
    usual = float(np.median(aspect))
    shorter = max(_STEP, int(np.ceil(longer * min(usual, 1 / usual) / _STEP - 0.01)) * _STEP)
    return (shorter, longer) if usual >= 1 else (longer, shorter)
