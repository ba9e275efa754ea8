"""Learning to classify clips."""

__all__ = ["LEARNER", "ClipAugmentation"]

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eyewright.core.errors import UsageError
from eyewright.data.dataset import Dataset
from eyewright.data.scan import Scan
from eyewright.imaging.preparation import Preparation
from eyewright.imaging.sampling import ClipSampling
from eyewright.learners.classify import LEARNER as CLASSIFY
from eyewright.learners.classify import ClassLearning
from eyewright.nets.clips import share_encoder
from eyewright.nets.hub import HubBuilder
from eyewright.nets.hub_kinds import CLIP_CLASSIFIERS
from eyewright.nets.pixels import PixelNet
from eyewright.training.augment import Augmentation, augment_batch
from eyewright.training.defaults import resolve_recipe
from eyewright.training.learner import Baseline
from eyewright.training.loop import FitData
from eyewright.training.optimisers import default_lr
from eyewright.training.recipe import Recipe

_SIDE = 64
_STEP = 8
_TUNED_BATCH = 8
_SHOWN = 14_000
# Mirrored, an action is the same, unless its very name is a direction.
_DIRECTION = re.compile(r"left|right|clockwise|east|west", re.IGNORECASE)
_LOOKED_AT, _CHROMA = 16, 12


@dataclass(frozen=True)
class ClipAugmentation:
    """What may be done to a training clip: the same to all of its frames, and to their times.

    `frames` is how many a strip holds. At the start and at the end up to the share `cut` of the clip is left out, and
    the times of the frames are drawn around even ones; a frame may then come twice, and their order stays.
    """

    frames: int
    plan: Augmentation
    cut: float = 0.12

    def apply(self, pixels: Tensor, targets: Any, *, rng: torch.Generator, progress: float = 0.0) -> tuple[Tensor, Any]:
        """Return an augmented batch of strips, uint8 (N, T * H, W, C), with its class ids, which stay."""
        n, height, width, channels = pixels.shape
        clips = pixels.view(n, self.frames, height // self.frames, width, channels)
        if self.cut:
            rows = torch.arange(n, device=pixels.device)[:, None]
            clips = clips[rows, self._times(n, rng).to(pixels.device)]
        # As channels of one image, all frames are moved, turned and lit alike.
        stacked = clips.permute(0, 2, 3, 1, 4).reshape(n, height // self.frames, width, self.frames * channels)
        done = augment_batch(stacked, self.plan, rng=rng)
        unstacked = done.reshape(n, height // self.frames, width, self.frames, channels).permute(0, 3, 1, 2, 4)
        return unstacked.reshape(n, height, width, channels), targets

    def _times(self, n: int, rng: torch.Generator) -> Tensor:
        last = self.frames - 1
        start = torch.rand(n, 1, generator=rng) * self.cut * last
        end = last - torch.rand(n, 1, generator=rng) * self.cut * last
        even = start + (end - start) * torch.linspace(0, 1, self.frames)
        drawn = even + (torch.rand(n, self.frames, generator=rng) - 0.5) * (end - start) / self.frames
        return drawn.sort(1).values.round().long().clamp_(0, last)

    def describe(self) -> str:
        """Say it in a few words, for the console and the report."""
        return f"times, {self.plan.describe()}" if self.cut else self.plan.describe()


def preparation(dataset: Dataset, scan: Scan, recipe: Recipe, published: HubBuilder | None) -> Preparation:
    """Choose how clips become pixels: frames whose shorter side is 64 pixels, or `imgsz`, in the usual shape."""
    if published is not None:
        return _published_preparation(recipe, published)
    sizes = scan.sizes_hw
    usual = float(np.median(np.log(sizes[:, 1] / sizes[:, 0])))
    short = recipe.imgsz or int(min(_SIDE, np.median(sizes.min(1))))
    if short < 16:
        raise UsageError(f"expected imgsz of 16 or more for clips, found {short}", fix="raise --imgsz")
    long = max(short, round(float(short * np.exp(abs(usual))) / _STEP) * _STEP)
    height, width = (short, long) if usual >= 0 else (long, short)
    usual_sampling = ClipSampling()
    sampling = ClipSampling(recipe.frames or usual_sampling.frames, max(usual_sampling.side, long), recipe.span)
    return Preparation(
        (height * sampling.frames, width),
        channels=1 if _is_grey(dataset) else 3,
        steps=recipe.steps,
        clip=sampling,
    )


def _published_preparation(recipe: Recipe, published: HubBuilder) -> Preparation:
    """Return a checkpoint's own preparation of frames, for as many of them as it takes."""
    published.check()
    published.check_frames(recipe.frames)
    own = published.preparation
    assert own.clip is not None
    height, width = own.frame().size_hw
    if recipe.imgsz not in (None, min(height, width)):
        raise UsageError(
            f"expected no imgsz with {recipe.model!r}, which takes {width}x{height}, found {recipe.imgsz}",
            fix="leave --imgsz out",
        )
    return replace(own, steps=recipe.steps, clip=replace(own.clip, span_s=recipe.span))


def _is_grey(dataset: Dataset) -> bool:
    # Videos are stored in colour even where a camera gave grey; a few levels of chroma are the codec's.
    for i in np.linspace(0, len(dataset) - 1, min(_LOOKED_AT, len(dataset))).round().astype(int):
        small = np.asarray(dataset.picture(int(i)).reduce(4)).astype(np.int16)
        if np.quantile(small.max(-1) - small.min(-1), 0.99) > _CHROMA:
            return False
    return True


def resolve(recipe: Recipe, n_train: int, preparation: Preparation) -> Recipe:
    """Fill in what the recipe leaves open: model, size, epochs, batch, optimiser and its rate."""
    assert preparation.clip is not None
    model = "gru_net" if recipe.model == "auto" else recipe.model
    epochs = recipe.epochs
    if epochs is None and recipe.budget_s is None:
        epochs = int(np.clip(round(_SHOWN / max(n_train, 1)), 8, 120))
    if model.startswith("hf:"):
        return _tuned(recipe, n_train, preparation)
    optimizer = recipe.optimizer or "adamw"
    loss = recipe.loss or "cross_entropy"
    smoothing = recipe.label_smoothing
    return replace(
        recipe,
        model=model,
        frames=preparation.clip.frames,
        span=preparation.clip.span_s,
        preview=recipe.preview or 0.0,
        optimizer=optimizer,
        freeze=recipe.freeze or 0.0,
        layer_decay=recipe.layer_decay if recipe.layer_decay is not None else 1.0,
        imgsz=min(preparation.size_hw[0] // preparation.clip.frames, preparation.size_hw[1]),
        epochs=epochs,
        batch=min(recipe.batch or 16, max(1, n_train)),
        lr=recipe.lr if recipe.lr is not None else _rate(optimizer),
        weight_decay=recipe.weight_decay,
        label_smoothing=smoothing if smoothing is not None else (0.1 if loss == "cross_entropy" else 0.0),
        loss=loss,
        ema=recipe.ema if recipe.ema is not None else 0.99,
        clip_norm=recipe.clip_norm or 2.0,
        dropout=recipe.dropout or 0.3,
    )


def _tuned(recipe: Recipe, n_train: int, preparation: Preparation) -> Recipe:
    """Fill in what a recipe for a published net leaves open: as for images, and in smaller batches."""
    clip = preparation.clip
    assert clip is not None
    found = resolve_recipe(recipe, n_train, preparation)
    side = min(preparation.size_hw[0] // clip.frames, preparation.size_hw[1])
    batch = min(recipe.batch or _TUNED_BATCH, max(1, n_train))
    return replace(found, frames=clip.frames, span=clip.span_s, imgsz=side, batch=batch)


def _rate(optimizer: str) -> float:
    return 2e-3 if optimizer == "adamw" else default_lr(optimizer)


class ClipLearning(ClassLearning):
    """How a classifier of clips is learnt: as one of images, with the same change for all frames of a clip."""

    def __init__(self, data: FitData, recipe: Recipe, names: tuple[str, ...], preparation: Preparation) -> None:
        super().__init__(data, recipe, names, preparation)
        assert preparation.clip is not None
        plan: Any = self.augmentation
        if recipe.flip == "auto" and recipe.augment != "none":
            plan = replace(plan, flip=not any(_DIRECTION.search(name) for name in names))
        cut = 0.0 if recipe.augment == "none" else 0.12
        self.augmentation: Any = ClipAugmentation(preparation.clip.frames, plan, cut)


def learn(net: PixelNet, data: FitData, recipe: Recipe, dataset: Dataset, preparation: Preparation) -> ClipLearning:
    """Return what the loop asks while a classifier of clips is trained."""
    return ClipLearning(data, recipe, dataset.labels.names, preparation)


def baseline(recipe: Recipe) -> Baseline | None:
    """Return the net that is blind to the order of frames, for those of the catalogue that are not."""
    if recipe.model not in ("auto", "gru_net", "lstm_net", "gru_stream_net", "lstm_stream_net", "clip_former"):
        return None
    return Baseline("mean_net", lambda trained, new: share_encoder(trained.body, new.body), "see the order of frames")


LEARNER = replace(
    CLASSIFY,
    task="video",
    preparation=preparation,
    resolve=resolve,
    learn=learn,
    hub=CLIP_CLASSIFIERS,
    baseline=baseline,
    students=("mean_net",),
)
