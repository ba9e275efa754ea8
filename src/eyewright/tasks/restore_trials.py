"""One image tried by a restorer: degraded, restored, done by the baseline too, and measured."""

__all__ = ["COLUMNS", "Tried", "baseline_of", "measured", "tile_of", "try_image"]

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.inputs import IMAGE
from eyewright.core.predictor import Predictor, inputs_of
from eyewright.core.rng import generator
from eyewright.data.dataset import Dataset
from eyewright.data.targets.picture import Picture
from eyewright.imaging.blindspot import hide_pixels
from eyewright.imaging.degrade import PAIRS, SELF
from eyewright.imaging.restoring import enlarged, restore_pixels
from eyewright.imaging.steps.denoise import denoise, noise_level
from eyewright.imaging.tiles import TileCut
from eyewright.metrics.fidelity import ssim
from eyewright.metrics.restoration import HIGHEST_PSNR, blind_psnr, capped_psnr
from eyewright.tasks.restore import filled, run_tiles

COLUMNS = ("baseline_gain", "psnr", "ssim", "psnr_gain", "psnr_input", "psnr_baseline", "ssim_input")
"""What is measured of an image; gains are in PSNR."""
_LEAST_SSIM = 11


def baseline_of(tile: TileCut) -> str:
    """Return what a net has to be better than: "tv" for noise, "bicubic" for enlarging, "ns" for holes, else the input
    itself."""
    if tile.degradation.holes:
        return "ns"
    if tile.scale > 1:
        return "bicubic"
    return "tv" if tile.degradation.noisy and tile.degrade != PAIRS else "input"


def tile_of(predictor: Predictor) -> TileCut:
    """Return how a model is fed, and what it undoes."""
    image: Any = inputs_of(predictor)[IMAGE]
    tile: TileCut = image.tile
    return tile


@dataclass(frozen=True)
class Tried:
    """An image as it was given, as it was made, by the baseline too, and as it should be, all uint8 of one size."""

    given: NDArray[np.uint8]
    found: NDArray[np.uint8]
    baseline: NDArray[np.uint8]
    clean: NDArray[np.uint8] | None
    hidden: NDArray[np.bool_] | None
    sigma: float
    changed: float


def try_image(predictor: Predictor, dataset: Dataset, index: int, image: NDArray[np.uint8]) -> Tried:
    """Degrade an image as the net has learnt, restore it, and do what the baseline does."""
    tile = tile_of(predictor)
    sample, run = dataset.samples[index], run_tiles(predictor)
    rng = generator(0, "degrade", sample.id)
    if tile.degradation.holes:
        given, _, hole = tile.degradation(image, rng=rng)
        assert hole is not None
        found = filled(predictor, given, hole)
        apart = float(np.abs(found.astype(np.int16) - given).mean()) / 255
        return Tried(given, found, given, image, None, 0.0, apart)
    hidden, clean = None, image
    if tile.degrade == SELF:
        given, hidden = hide_pixels(image, rng=rng)
        clean, sigma = image, noise_level(image)
    elif tile.degrade == PAIRS:
        name = sample.marked(Picture).clean
        if not name:
            raise UsageError(f"expected pairs to measure the model on, found {sample.id!r} alone", fix="pass pairs")
        given, clean = image, np.asarray(dataset.tree.picture(name))
        if clean.shape != given.shape:
            raise UsageError(f"expected {name!r} as large as {sample.id!r}", fix="make both the same size")
        sigma = noise_level(image)
    else:
        grey = _is_grey(image)
        given, sigma, _ = tile.degradation(image[..., 0] if grey else image, rng=rng)
        given = np.repeat(given[..., None], 3, 2) if grey else given
        height, width = (side // tile.scale * tile.scale for side in image.shape[:2])
        clean = image[:height, :width]
    told = sigma if tile.degrade == SELF else None
    done = restore_pixels(run, given, predictor.preparation, sigma=told)
    shown = np.rint(np.clip(enlarged(given, tile.scale), 0, 1) * 255).astype(np.uint8) if tile.scale > 1 else given
    plain = shown
    if baseline_of(tile) == "tv":
        flat = given[..., 0] if _is_grey(given) else given
        plain = denoise(np.ascontiguousarray(flat), method="tv")
        plain = np.repeat(plain[..., None], 3, 2) if plain.ndim == 2 else plain
    return Tried(shown, done.image, plain, clean, hidden, sigma, done.changed)


def _is_grey(image: NDArray[Any]) -> bool:
    return bool((image[..., 0] == image[..., 1]).all() and (image[..., 0] == image[..., 2]).all())


def measured(tried: Tried, image: NDArray[np.uint8]) -> list[float]:
    if tried.hidden is not None:
        found, plain = (blind_psnr(i, image, tried.hidden, tried.sigma) for i in (tried.found, tried.baseline))
        before = min(HIGHEST_PSNR, float(20 * np.log10(255 / max(tried.sigma, 1e-3))))
        return [found - plain, found, np.nan, found - before, before, plain, np.nan]
    assert tried.clean is not None
    found, before, plain = (capped_psnr(i, tried.clean) for i in (tried.found, tried.given, tried.baseline))
    large = min(image.shape[:2]) >= _LEAST_SSIM
    alike, alike_before = (ssim(i, tried.clean) if large else np.nan for i in (tried.found, tried.given))
    return [found - plain, found, alike, found - before, before, plain, alike_before]
