"""Learning to draw images: a generator against a discriminator, or the velocity of a rectified flow."""

__all__ = ["LEARNER", "draw_levels"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from eyewright.core.drawing import CLASS, NOISE, ClassInput, NoiseInput
from eyewright.core.errors import DatasetError, RefusedError, UsageError
from eyewright.core.inputs import Inputs
from eyewright.core.rng import generator
from eyewright.data.dataset import Dataset
from eyewright.data.scan import Scan
from eyewright.imaging.preparation import Preparation
from eyewright.metrics.generation import frechet_distance, neighbourhoods
from eyewright.nets.generators import SIZES
from eyewright.nets.hub import HubBuilder
from eyewright.nets.pixels import PixelNet
from eyewright.training.augment import Augmentation
from eyewright.training.learner import Learner
from eyewright.training.loop import FitData
from eyewright.training.recipe import Recipe, unknown_loss
from eyewright.training.soft_answers import Parts, SoftAnswers
from eyewright.training.steps import Step, alternating_step, plain_step

_LEAST, _FEW = 20, 500
_VALIDATED, _FEATURES = 1000, 32
# Images that make an epoch at least, where there are fewer.
_VIEWS = 6400
_LEAST_EPOCHS = 4
_AT_ONCE = 250
_R1_EVERY, _R1_WEIGHT = 16, 1.0
_ADAPTED_BELOW = 10_000


class GenerateAnswers(nn.Module):
    """The image of noise and a class, uint8 (N, H, W, C): what a bundle runs, without the discriminator."""

    names: tuple[str, ...] = ("image",)

    def __init__(self, net: PixelNet) -> None:
        super().__init__()
        self.body: Any = net.body

    def forward(self, noise: Tensor, classes: Tensor) -> Tensor:
        drawn: Tensor = self.body.draw(noise, classes, steps=self.body.steps_of_drawing)
        return in_levels(drawn)


def draw_levels(
    body: Any,
    noise: NDArray[np.float32],
    classes: NDArray[np.int64],
    *,
    steps: int | None = None,
    guidance: float | None = None,
) -> NDArray[np.uint8]:
    """Return images that a net draws, uint8 (N, H, W, C), by other steps or guidance than it is exported with."""
    device = next(body.parameters()).device
    scale = None if guidance is None else torch.full((len(noise),), float(guidance), device=device)
    with torch.inference_mode():
        given = torch.from_numpy(noise).to(device), torch.from_numpy(classes).to(device)
        drawn = body.draw(*given, steps=steps or body.steps_of_drawing, guidance=scale)
        return in_levels(drawn).cpu().numpy()


def in_levels(drawn: Tensor) -> Tensor:
    """Return images, float32 (N, C, H, W) in [-1, 1], as uint8 (N, H, W, C)."""
    return ((drawn.permute(0, 2, 3, 1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def check(dataset: Dataset) -> None:
    """Refuse fewer than 20 training images, and a class without one.

    Raises:
        DatasetError: there are too few images, or a class has none.
    """
    train = dataset.train
    if len(train) < _LEAST:
        raise DatasetError(
            f"expected at least {_LEAST} training images to generate more, found {len(train)}: fewer are only copied",
            fix="add images",
        )
    seen = set(train.targets.tolist())
    lacking = [n for i, n in enumerate(dataset.labels.names) if i not in seen]
    if lacking:
        raise DatasetError(f"class {lacking[0]!r} has no image to train on", fix="add images, or remove the class")


def preparation(dataset: Dataset, scan: Scan, recipe: Recipe, published: HubBuilder | None) -> Preparation:
    """Return square images of 32, 64 or 128 pixels, grey ones with one channel: cut to a square, or where they are
    smaller put on a border of their size, so that small drawings are not blurred.

    Raises:
        UsageError: another size, or processing steps.
    """
    if recipe.steps:
        raise UsageError("expected no --steps for generation", fix="process the images first")
    usual = int(np.median(scan.sizes_hw.max(1)))
    side = recipe.imgsz or (32 if usual <= 48 else 64)
    if side not in SIZES:
        raise UsageError(f"expected --imgsz of 32, 64 or 128 to generate, found {side}", fix="change --imgsz")
    return Preparation((side, side), fit="crop", channels=1 if scan.is_grey() else 3)


def resolve(recipe: Recipe, n_train: int, preparation: Preparation) -> Recipe:
    """Fill in what the recipe leaves open.

    Raises:
        UsageError: an option that the two alternating updates do not have.
    """
    if recipe.accumulate > 1:
        raise UsageError("expected no accumulate for generation", fix="leave it out")
    epochs = recipe.epochs
    if epochs is None and recipe.budget_s is None:
        epochs = int(np.clip(round(600_000 / max(n_train, _VIEWS)), _LEAST_EPOCHS, 100))
    model = _USUAL if recipe.model == "auto" else recipe.model
    return replace(
        recipe,
        model=model,
        preview=recipe.preview or 0.0,
        optimizer=recipe.optimizer or "adamw",
        freeze=recipe.freeze or 0.0,
        layer_decay=recipe.layer_decay if recipe.layer_decay is not None else 1.0,
        imgsz=max(preparation.size_hw),
        epochs=epochs,
        batch=min(recipe.batch or 64, max(1, n_train)),
        lr=recipe.lr if recipe.lr is not None else _RATES.get(model, 1e-3),
        warmup=min(recipe.warmup, 0.02),
        label_smoothing=0.0,
        loss="mse" if model == "flow_net" else recipe.loss,
        ema=recipe.ema if recipe.ema is not None else 0.998,
    )


_USUAL = "flow_net"
_RATES: Mapping[str, float] = {"gan_net": 1e-3, "flow_net": 2e-3}


def targets(part: Dataset, sizes: Sequence[tuple[int, int]], preparation: Preparation, key: str) -> Any:
    """Return class ids, int64 (N,)."""
    return part.targets


@dataclass(frozen=True)
class _Views:
    """Every row of an array several times, as if there were so many."""

    rows: Any
    times: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.rows.shape[1:])

    def __len__(self) -> int:
        return len(self.rows) * self.times

    def __getitem__(self, at: Any) -> Any:
        return self.rows[np.asarray(at) % len(self.rows)]


def fed(data: FitData, recipe: Recipe, dataset: Dataset, preparation: Preparation) -> FitData:
    """Return training images as often as makes an epoch, and at most 1,000 validation images: drawing as many as there
    are at every epoch would cost more than the epoch."""
    times = max(1, -(-_VIEWS // len(data.train_targets)))
    some = np.unique(np.linspace(0, len(data.val_pixels) - 1, _VALIDATED).round().astype(int))
    pixels = np.asarray(data.val_pixels)[some]
    return FitData(
        data.train_pixels if times == 1 else _Views(data.train_pixels, times),  # type: ignore[arg-type]
        data.train_targets if times == 1 else _Views(data.train_targets, times),
        pixels,
        np.asarray(data.val_targets)[some],
        data.train_ids * times,
    )


@dataclass(frozen=True)
class Mirrored:
    """Images mirrored left-right half of the time, where that is asked for; nothing else may leak into what is drawn.
    `strength` says what the discriminator sees in addition."""

    plan: Augmentation
    adapts: bool

    def describe(self) -> str:
        """Say what is done, in a few words."""
        own = self.plan.describe()
        return "shift, light and cut in front of the discriminator, as it overfits" if self.adapts else own

    def apply(self, pixels: Tensor, targets: Any, *, rng: torch.Generator, progress: float = 0.0) -> tuple[Tensor, Any]:
        """Return the batch, mirrored or not, with its class ids."""
        return self.plan.apply(pixels, targets, rng=rng)


def learn(net: PixelNet, data: FitData, recipe: Recipe, dataset: Dataset, preparation: Preparation) -> Any:
    """Return what the loop asks while a generator is trained."""
    return GenerateLearning(net, data, recipe, len(dataset.labels))


class GenerateLearning:
    """How images are learnt to be drawn.

    A GAN's discriminator learns by softplus(fake) + softplus(-real) with the penalty R1 (Mescheder et al. 2018) at
    every 16th update, its generator by softplus(-fake); "relativistic" compares pairs (Jolicoeur-Martineau 2019). A
    flow learns by the mean squared error of the velocity. The best epoch covers most of the validation images, in the
    principal components of their pixels: the classifier that measures the result has no part in training.
    """

    main_metric = "pixel_coverage"

    def __init__(self, net: PixelNet, data: FitData, recipe: Recipe, n_classes: int) -> None:
        self.loss, self.seed = recipe.loss or "softplus", recipe.seed
        body: Any = net.body
        adapts = hasattr(body, "adapts") and recipe.augment != "none"
        if hasattr(body, "adapts"):
            body.adapts = adapts
        flip = Augmentation(flip=recipe.flip in ("horizontal", "both"), upside_down=recipe.flip == "both")
        self.augmentation: Any = Mirrored(flip, adapts)
        pixels = np.asarray(data.val_pixels, np.float64).reshape(len(data.val_pixels), -1) / 255
        self.centre = pixels.mean(0)
        self.axes = np.linalg.svd(pixels - self.centre, full_matrices=False)[2][:_FEATURES].T
        self.real = (pixels - self.centre) @ self.axes
        self.given = 0

    def objective(self, outputs: Any, targets: Any) -> Tensor:
        """Return the loss of one of two nets, or of the velocities that a flow finds."""
        if len(outputs) == 2:
            found, true = outputs
            return functional.mse_loss(found.float(), true.float())
        name, body, images = outputs
        noise = torch.randn(len(images), *body.noise_shape, device=images.device)
        if name == "discriminator":
            with torch.no_grad():
                fake = body.draw(noise, targets)
            return self._against(body, images, fake.float(), targets)
        fake = body.draw(noise, targets)
        said = body.judged(fake, targets).float()
        if self.loss == "relativistic":
            with torch.no_grad():
                real = body.judged(images, targets).float()
            return functional.softplus(real - said).mean()
        return functional.softplus(-said).mean()

    def _against(self, body: Any, images: Tensor, fake: Tensor, classes: Tensor) -> Tensor:
        real, drawn = body.judged(images, classes).float(), body.judged(fake, classes).float()
        body.note_real(real.detach())
        if self.loss == "relativistic":
            loss = functional.softplus(drawn - real).mean()
        elif self.loss == "softplus":
            loss = functional.softplus(drawn).mean() + functional.softplus(-real).mean()
        else:
            raise unknown_loss(self.loss)
        if int(body.updates) % _R1_EVERY == 0:
            # The gradient of a gradient needs float32.
            with torch.autocast(images.device.type, enabled=False):
                at = images.detach().clone().requires_grad_(True)
                (slope,) = torch.autograd.grad(body.judged(at, classes).sum(), at, create_graph=True)
                loss = loss + _R1_WEIGHT / 2 * _R1_EVERY * slope.square().sum((1, 2, 3)).mean()
        return loss

    def condense(self, outputs: Any, targets: Tensor) -> NDArray[np.float64]:
        """Return features of an image drawn of each class in `targets`, (n, 32)."""
        rng = generator(self.seed, "validation", len(targets))
        noise = torch.from_numpy(rng.standard_normal((len(targets), *outputs.noise_shape), dtype=np.float32))
        device = next(outputs.parameters()).device
        rows = []
        for start in range(0, len(targets), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            drawn = in_levels(outputs.draw(noise[part].to(device), targets[part]))
            rows.append(drawn.cpu().numpy().reshape(len(drawn), -1).astype(np.float64) / 255)
        kept: NDArray[np.float64] = (np.concatenate(rows) - self.centre) @ self.axes
        return kept

    def measure(self, kept: NDArray[np.float64], targets: Any) -> Mapping[str, float]:
        """Return coverage and recall of the validation images and the Fréchet distance, in pixel components."""
        if not np.isfinite(kept).all() or len(kept) <= _LEAST // 3:
            return {"pixel_coverage": 0.0, "pixel_recall": 0.0, "pixel_fid": 0.0}
        near = neighbourhoods(self.real, kept)
        apart = frechet_distance(self.real, kept).value
        found = {"pixel_coverage": near.covered, "pixel_recall": near.recalled}
        return {**{k: float(v.mean()) for k, v in found.items()}, "pixel_fid": apart}

    def conclude(
        self, kept: Any, targets: Any, *, groups: NDArray[np.int64], rng: np.random.Generator
    ) -> dict[str, dict[str, Any]]:
        """There is nothing to calibrate."""
        return {"calibration": {"method": "none", "n": len(kept), "groups": len(np.unique(groups))}, "thresholds": {}}


def answers(net: PixelNet, *, temperature: float = 1.0) -> GenerateAnswers:
    """Return the net as a bundle runs it: noise and class to an image."""
    return GenerateAnswers(net)


def inputs(net: PixelNet, preparation: Preparation) -> Inputs:
    """Return what a generator takes."""
    body: Any = net.body
    return {NOISE: NoiseInput(tuple(body.noise_shape)), CLASS: ClassInput(body.n_classes)}


def step(net: PixelNet) -> Step:
    """Return the alternating update for nets with parts that are learnt apart, else the plain one."""
    return alternating_step if getattr(net.body, "learnt_apart", ()) else plain_step


def outgoing(train: Dataset) -> dict[str, list[float]]:
    """Return the scaling of the images: from -1 to 1."""
    return {"mean": [0.5], "std": [0.5]}


def _no_parts(outputs: Any) -> Parts:
    raise RefusedError("a teacher is not supported for generation", fix="leave --teacher out")


def _no_raw(raw: Mapping[str, NDArray[np.float32]], order: Tensor, size_hw: tuple[int, int]) -> Tensor:
    raise RefusedError("a teacher is not supported for generation", fix="leave --teacher out")


def _no_distance(found: Parts, wanted: Parts, softness: float) -> Tensor:
    raise RefusedError("a teacher is not supported for generation", fix="leave --teacher out")


LEARNER = Learner(
    task="generate",
    check=check,
    preparation=preparation,
    resolve=resolve,
    targets=targets,
    learn=learn,
    answers=answers,
    soft=SoftAnswers(_no_parts, _no_raw, _no_distance, looks=0.0, same_size=True),
    outgoing=outgoing,
    fed=fed,
    step=step,
    inputs=inputs,
    judge="classify",
)
"""Draw images like those of a folder, by class."""
