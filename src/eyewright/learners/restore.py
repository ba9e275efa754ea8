"""Learning to restore images: from good images that are degraded while training, from pairs, or from noisy images."""

__all__ = ["LEARNER"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from eyewright.core.errors import DatasetError, RefusedError, UsageError
from eyewright.core.inputs import IMAGE, MASK, Inputs
from eyewright.core.rng import generator
from eyewright.data.dataset import Dataset
from eyewright.data.scan import Scan
from eyewright.data.targets.picture import Picture
from eyewright.imaging.blindspot import hide_pixels
from eyewright.imaging.degrade import PAIRS, SELF, parse_degradation
from eyewright.imaging.holes import HoleInput, HoleSource
from eyewright.imaging.preparation import Preparation
from eyewright.imaging.regions import cut_region
from eyewright.imaging.restoring import enlarged
from eyewright.imaging.tiles import TileCut, grain_level, with_level
from eyewright.learners.restore_holes import fill_loss, read_masks, reduced
from eyewright.nets.hub import HubBuilder
from eyewright.nets.partial import PARTIAL_ALIGN, PARTIAL_REACH
from eyewright.nets.pixels import PixelNet
from eyewright.nets.restorers import FINE_REACH
from eyewright.training.cache import build_array
from eyewright.training.learner import Learner
from eyewright.training.loop import FitData
from eyewright.training.optimisers import default_lr
from eyewright.training.recipe import Recipe, unknown_loss
from eyewright.training.soft_answers import Parts, SoftAnswers

_LARGEST, _SMALLEST = 640, 96
# Most holes are small, and every tile is computed whole.
_LARGEST_WITH_HOLES = 448
_PATCH = 96
_VALIDATED = 256
# Parts of images that make an epoch, where there are fewer images.
_VIEWS = 512
_JITTER = 0.15
_DRAWN = HoleSource()


class RestoreAnswers(nn.Module):
    """What is to be added to each tile, float32 (N, sH, sW, C), for pixels uint8 (N, H, W, C + 1); for pixels
    (N, H, W, C) and holes (N, H, W, 1) what is to be added there, and 0 elsewhere."""

    names: tuple[str, ...] = ("residual",)

    def __init__(self, net: PixelNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            found: Tensor = self.net(image)
            return found.permute(0, 2, 3, 1)
        filled: Tensor = self.net(torch.cat([image, mask], 3)).permute(0, 2, 3, 1)
        return filled * (mask > 0).to(filled.dtype)


def check(dataset: Dataset) -> None:
    """Refuse fewer than two training images.

    Raises:
        DatasetError: there are fewer.
    """
    if len(dataset.train) < 2:
        raise DatasetError("expected at least 2 training images, found 1", fix="add images")


def preparation(dataset: Dataset, scan: Scan, recipe: Recipe, published: HubBuilder | None) -> Preparation:
    """Return tiles as large as the usual image, of 96 to 640 pixels, with what the net is to undo.

    Raises:
        UsageError: it is not said what to undo, or it contradicts the data.
    """
    pairs = any(s.marked(Picture).clean for s in dataset.samples)
    if pairs and recipe.degrade not in ("", PAIRS):
        raise UsageError("expected no --degrade with pairs of images, which show it", fix="leave it out")
    if not pairs and recipe.degrade in ("", PAIRS):
        raise UsageError(
            "expected what the net is to undo, found no --degrade",
            fix="pass --degrade noise:5-50 (or jpeg:20-60, blur:0.5-2, down:2, holes:10-30), or 'self' for images that "
            "are noisy",
        )
    if recipe.steps:
        raise UsageError("expected no --steps for restoration, whose images stay as they are", fix="leave them out")
    degradation = parse_degradation(PAIRS if pairs else recipe.degrade)
    if recipe.masks and not degradation.holes:
        raise UsageError(f"expected --masks with --degrade holes:10-30, found {degradation}", fix="leave --masks out")
    reach, align, largest = (
        (PARTIAL_REACH, PARTIAL_ALIGN, _LARGEST_WITH_HOLES) if degradation.holes else (FINE_REACH, 2, _LARGEST)
    )
    usual = float(np.median(scan.sizes_hw.min(1))) / degradation.scale + 2 * reach
    side = recipe.imgsz or int(np.clip(np.ceil(usual / 32) * 32, _SMALLEST, largest))
    if side <= 2 * reach + align:
        raise UsageError(f"expected imgsz above {2 * reach + align}, found {side}", fix="change --imgsz")
    side = -(-side // align) * align
    channels = 1 if scan.is_grey() else 3
    tile = TileCut(reach, str(degradation), align)
    return Preparation((side, side), fit="crop", channels=channels, tile=tile)


def resolve(recipe: Recipe, n_train: int, preparation: Preparation) -> Recipe:
    """Fill in what the recipe leaves open.

    Raises:
        UsageError: a net for holes for something else, or another net for holes.
    """
    assert preparation.tile is not None
    holes = preparation.tile.degradation.holes
    usual = "partial_net" if holes else "fine_net"
    if recipe.model in ("partial_net", "fine_net") and recipe.model != usual:
        raise UsageError(
            f"expected {usual} with --degrade {preparation.tile.degrade}, found {recipe.model}", fix="leave --model out"
        )
    epochs = recipe.epochs
    if epochs is None and recipe.budget_s is None:
        epochs = 40
    # Of equal updates, Muon gains 0.6 dB more in enlarging (benchmarks/README.md).
    optimizer = recipe.optimizer or ("muon" if preparation.tile.scale > 1 else "adamw")
    rate = 1e-3 if optimizer == "adamw" else default_lr(optimizer)
    return replace(
        recipe,
        model=usual if recipe.model == "auto" else recipe.model,
        degrade=preparation.tile.degrade,
        preview=recipe.preview or 0.0,
        optimizer=optimizer,
        freeze=recipe.freeze or 0.0,
        layer_decay=recipe.layer_decay if recipe.layer_decay is not None else 1.0,
        imgsz=max(preparation.size_hw),
        epochs=epochs,
        batch=recipe.batch or (8 if holes else 16),
        lr=recipe.lr if recipe.lr is not None else rate,
        warmup=min(recipe.warmup, 0.05),
        label_smoothing=0.0,
        loss=recipe.loss or ("fill" if holes else "mse" if preparation.tile.degrade == SELF else "mae"),
        ema=recipe.ema if recipe.ema is not None else 0.998,
        clip_norm=recipe.clip_norm or 1.0,
    )


def targets(part: Dataset, sizes: Sequence[tuple[int, int]], preparation: Preparation, key: str) -> Any:
    """Return the clean tiles of pairs, uint8 (N, H, W, C); of good images nothing, (N, 0): they are clean themselves.

    Raises:
        DatasetError: the two images of a pair have different sizes.
    """
    if not any(s.marked(Picture).clean for s in part.samples):
        return np.zeros((len(part), 0), np.uint8)

    def fill(out: NDArray[np.uint8], i: int) -> None:
        name = part.samples[i].marked(Picture).clean
        picture = part.tree.picture(name)
        if (picture.height, picture.width) != sizes[i]:
            raise DatasetError(
                f"expected {name!r} as large as {part.samples[i].id!r}, {sizes[i][1]}x{sizes[i][0]}, found "
                f"{picture.width}x{picture.height}",
                fix="make both images of a pair the same size",
            )
        out[i] = replace(preparation, tile=TileCut(FINE_REACH, "blur:1")).apply(picture)[0][..., :-1]

    return build_array((len(part), *preparation.size_hw, preparation.channels), np.uint8, fill, key=key)


@dataclass(frozen=True)
class _Views:
    """Every row of an array several times, as if there were so many; `kept` channels of it."""

    rows: Any
    times: int
    kept: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.rows.shape[1:])

    def __len__(self) -> int:
        return len(self.rows) * self.times

    def __getitem__(self, at: Any) -> Any:
        chosen = self.rows[np.asarray(at) % len(self.rows)]
        return chosen if self.kept is None else chosen[..., : self.kept]


def fed(data: FitData, recipe: Recipe, dataset: Dataset, preparation: Preparation) -> FitData:
    """Return training images as often as makes an epoch, and validation images degraded once and for all."""
    tile = preparation.tile
    assert tile is not None
    channels, n = preparation.channels, len(data.train_targets)
    times = max(1, -(-_VIEWS // n))
    step = tile.align * tile.scale
    side = min(preparation.size_hw[0], _VALIDATED) // step * step
    source = HoleSource(read_masks(recipe.masks))
    pixels, residuals = [], []
    for i in range(len(data.val_pixels)):
        rng = generator(recipe.seed, "validation", str(i))
        own = np.asarray(data.val_targets[i]) if tile.degrade == PAIRS else None
        top = left = (preparation.size_hw[0] - side) // 2
        given = cut_region(np.asarray(data.val_pixels[i])[..., :channels], top, left, (side, side))
        clean = None if own is None else cut_region(own, top, left, (side, side))
        found = _example(given, clean, tile, rng, at=(i + 0.5) / len(data.val_pixels), jitter=0.0, source=source)
        pixels.append(found[0])
        residuals.append(found[1])
    kept = channels
    return FitData(
        _Views(data.train_pixels, times, kept),  # type: ignore[arg-type]
        _Views(data.train_targets, times),
        np.stack(pixels),
        np.stack(residuals),
        data.train_ids * times,
    )


def _example(
    given: NDArray[np.uint8],
    clean: NDArray[np.uint8] | None,
    tile: TileCut,
    rng: np.random.Generator,
    *,
    at: float | None,
    jitter: float,
    source: HoleSource,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return what a net is fed of an image, uint8 (h, w, C + 1), and what it should add, float32 (sh, sw, C).

    Where the image itself is noisy, some pixels are hidden from the net, and NaN stands where nothing is learnt: also
    outside holes, which are the last channel of their images.
    """
    if tile.degrade == SELF:
        sigma = grain_level(given)
        shown, hidden = hide_pixels(given, rng=rng)
        wanted = np.where(hidden[..., None], enlarged(given, 1) - enlarged(shown, 1), np.float32("nan"))
        return with_level(shown, sigma), wanted.astype(np.float32)
    if clean is not None:
        return with_level(given, grain_level(given)), enlarged(clean, 1) - enlarged(given, 1)
    image = given[..., 0] if given.shape[2] == 1 else given
    degraded, sigma, hole = tile.degradation(np.ascontiguousarray(image), rng=rng, at=at, source=source)
    seen = degraded if degraded.ndim == 3 else degraded[..., None]
    if hole is not None:
        wanted = np.where(hole[..., None], enlarged(given, 1) - enlarged(seen, 1), np.float32("nan"))
        return np.concatenate([seen, np.where(hole, 255, 0).astype(np.uint8)[..., None]], 2), wanted
    told = sigma * (1 + jitter * float(rng.uniform(-1, 1)))
    return with_level(seen, told), enlarged(given, 1) - enlarged(seen, tile.scale)


@dataclass(frozen=True)
class RestoreAugmentation:
    """Parts of images at random places, turned and mirrored, each degraded by itself."""

    tile: TileCut
    patch: int
    source: HoleSource = _DRAWN

    def describe(self) -> str:
        """Say what is done, in a few words."""
        own = f", {len(self.source.masks)} masks" if self.source.masks else ""
        return f"parts of {self.patch} pixels, turned and mirrored, {self.tile.degrade}{own}"

    def apply(
        self, pixels: Tensor, targets: Any, *, rng: torch.Generator, progress: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Return what the net is fed and what it should add."""
        draw = np.random.default_rng(int(torch.randint(2**62, (1,), generator=rng)))
        images, clean = pixels.cpu().numpy(), targets.cpu().numpy()
        paired = clean.ndim == 4
        side = self.patch
        fed, wanted = [], []
        for i in range(len(images)):
            # What a hole is filled with depends on the scale of what surrounds it more than noise does.
            larger = (
                2 if self.tile.degradation.holes and 2 * side <= min(images.shape[1:3]) and draw.random() < 0.5 else 1
            )
            top, left = (int(draw.integers(0, n - larger * side + 1)) // 2 * 2 for n in images.shape[1:3])
            turn = int(draw.integers(0, 8))
            given = _turned(reduced(images[i, top : top + larger * side, left : left + larger * side], larger), turn)
            own = _turned(clean[i, top : top + side, left : left + side], turn) if paired else None
            one, residual = _example(given, own, self.tile, draw, at=None, jitter=_JITTER, source=self.source)
            fed.append(one)
            wanted.append(residual)
        return torch.from_numpy(np.stack(fed)).to(pixels.device), torch.from_numpy(np.stack(wanted)).to(pixels.device)


def _turned(image: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    turned = np.rot90(image, turn % 4)
    return np.ascontiguousarray(turned[:, ::-1] if turn >= 4 else turned)


def learn(
    net: PixelNet, data: FitData, recipe: Recipe, dataset: Dataset, preparation: Preparation
) -> "RestoreLearning":
    """Return what the loop asks while a restorer is trained."""
    return RestoreLearning(recipe, preparation)


class RestoreLearning:
    """How a restorer is learnt: by the mean absolute error of what it adds (Zhao et al. 2016), where images are noisy
    and their hidden pixels the only truth by the mean squared error, whose least is at their mean; holes by
    `fill_loss`."""

    main_metric = "psnr"
    keeps_start = True
    """Untrained, a net changes nothing or fills by lines: a few updates may be worse than that."""

    def __init__(self, recipe: Recipe, preparation: Preparation) -> None:
        assert preparation.tile is not None
        self.loss = recipe.loss or "mae"
        self.scale = preparation.tile.scale
        step = preparation.tile.align * self.scale
        patch = min(_PATCH, min(preparation.size_hw)) // step * step
        self.augmentation: Any = RestoreAugmentation(preparation.tile, patch, HoleSource(read_masks(recipe.masks)))

    def objective(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss; where a target is no number nothing is learnt."""
        known = ~targets.isnan()
        if self.loss == "fill":
            return fill_loss(outputs.permute(0, 2, 3, 1), targets, known)
        apart = outputs.permute(0, 2, 3, 1)[known] - targets[known]
        if self.loss == "mae":
            return apart.abs().mean()
        if self.loss == "mse":
            return apart.square().mean()
        raise unknown_loss(self.loss)

    def condense(self, outputs: Tensor, targets: Tensor) -> NDArray[np.float64]:
        """Return the mean squared error of each image, (n,)."""
        apart = (outputs.permute(0, 2, 3, 1) - targets).double().square()
        found: NDArray[np.float64] = apart.flatten(1).nanmean(1).cpu().numpy()
        return found

    def measure(self, kept: NDArray[np.float64], targets: Any) -> Mapping[str, float]:
        """Return the mean of the images' PSNR, and that of the images as they were given."""
        before = np.nanmean(np.square(np.asarray(targets, np.float64)), axis=(1, 2, 3))
        return {"psnr": _mean_psnr(kept), "psnr_input": _mean_psnr(before)}

    def conclude(
        self, kept: Any, targets: Any, *, groups: NDArray[np.int64], rng: np.random.Generator
    ) -> dict[str, dict[str, Any]]:
        """There is nothing to calibrate."""
        return {"calibration": {"method": "none", "n": len(kept), "groups": len(np.unique(groups))}, "thresholds": {}}


def _mean_psnr(errors: NDArray[np.float64]) -> float:
    return float(np.mean(-10 * np.log10(np.maximum(errors, 1e-10))))


def answers(net: PixelNet, *, temperature: float = 1.0) -> RestoreAnswers:
    """Return the net with what is to be added for its output."""
    return RestoreAnswers(net)


def outgoing(train: Dataset) -> dict[str, list[float]]:
    """Return the scaling of the input: pixels and level stay in [0, 1]."""
    return {"mean": [0.0], "std": [1.0]}


def _of_net(outputs: Any) -> Parts:
    return outputs, None


def _of_raw(raw: Mapping[str, NDArray[np.float32]], order: Tensor, size_hw: tuple[int, int]) -> Tensor:
    found = torch.from_numpy(raw["residual"]).permute(0, 3, 1, 2)
    if found.shape[-1] % size_hw[1]:
        raise RefusedError("the teacher returns images of another size", fix="use a teacher of the same tiles")
    return found


def _apart(found: Parts, wanted: Parts, softness: float) -> Tensor:
    return functional.l1_loss(found[0], wanted[0])


def inputs(net: PixelNet, preparation: Preparation) -> Preparation | Inputs:
    """Return what a trained net takes: tiles, and for holes where they are."""
    if preparation.tile is None or not preparation.tile.degradation.holes:
        return preparation
    return {IMAGE: preparation, MASK: HoleInput(preparation.size_hw)}


LEARNER = Learner(
    task="restore",
    check=check,
    preparation=preparation,
    resolve=resolve,
    targets=targets,
    learn=learn,
    answers=answers,
    soft=SoftAnswers(_of_net, _of_raw, _apart, looks=0.0, same_size=True),
    outgoing=outgoing,
    fed=fed,
    inputs=inputs,
)
"""Denoise, deblur, deblock, enlarge and fill holes."""
