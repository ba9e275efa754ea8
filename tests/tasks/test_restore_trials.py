"""One image degraded, restored, done by the baseline and measured, with a net that does a known thing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eyewright.core.errors import UsageError
from eyewright.core.labels import LabelSpace
from eyewright.core.rng import generator
from eyewright.data import Dataset, Sample
from eyewright.data.targets.picture import Picture
from eyewright.data.tree import ArrayTree
from eyewright.imaging.blindspot import hide_pixels
from eyewright.imaging.preparation import Preparation
from eyewright.imaging.restoring import enlarged
from eyewright.imaging.steps.denoise import denoise, noise_level
from eyewright.imaging.tiles import TileCut
from eyewright.metrics.fidelity import psnr, ssim
from eyewright.metrics.restoration import blind_psnr
from eyewright.tasks.restore_trials import Tried, baseline_of, measured, try_image


@dataclass
class Adds:
    """A net that adds the same to every pixel."""

    degrade: str
    scale: int = 1
    amount: float = 10 / 255

    @property
    def preparation(self) -> Preparation:
        return Preparation((32, 32), fit="crop", tile=TileCut(2, self.degrade))

    def raw(self, tiles: Any) -> dict[str, Any]:
        n, height, width = tiles.shape[:3]
        shape = (n, self.scale * height, self.scale * width, tiles.shape[3] - 1)
        return {"residual": np.full(shape, self.amount, np.float32)}


def dataset(image: np.ndarray) -> Dataset:
    tree = ArrayTree(Path("."), {"x": image[None]})
    return Dataset(tree, (Sample("x/000000", Picture("")),), LabelSpace(("picture",)), "drawn", "restore")


def picture(height: int = 24, width: int = 40, *, grey: bool = False) -> np.ndarray:
    image = np.random.default_rng(0).integers(60, 180, (height, width, 3)).astype(np.uint8)
    return np.repeat(image[..., :1], 3, 2) if grey else image


@pytest.mark.parametrize(
    ("degrade", "baseline"),
    [("noise:5-50", "tv"), ("self", "tv"), ("pairs", "input"), ("jpeg:20-60", "input"), ("down:2", "bicubic")],
)
def test_the_baseline_is_what_undoes_the_same_without_a_net(degrade: str, baseline: str) -> None:
    assert baseline_of(TileCut(2, degrade)) == baseline


@pytest.mark.parametrize("grey", [False, True])
def test_noise_is_added_by_the_name_of_the_image_and_the_baseline_denoises(grey: bool) -> None:
    image = picture(grey=grey)
    tried = try_image(Adds("noise:20"), dataset(image), 0, image)
    rng = generator(0, "degrade", "x/000000")
    noisy, sigma, _ = TileCut(2, "noise:20").degradation(image[..., 0] if grey else image, rng=rng)
    plain = denoise(np.ascontiguousarray(noisy), method="tv")
    if grey:
        noisy, plain = (np.repeat(v[..., None], 3, 2) for v in (noisy, plain))
    assert np.array_equal(tried.given, noisy)
    assert np.array_equal(tried.baseline, plain)
    assert np.array_equal(tried.clean, image)  # type: ignore[arg-type]
    assert np.array_equal(tried.found, np.clip(noisy.astype(int) + 10, 0, 255))
    assert (tried.sigma, tried.hidden) == (sigma, None)
    assert tried.changed == pytest.approx(np.abs(tried.found.astype(float) - noisy).mean() / 255, abs=1e-3)


def test_hidden_pixels_are_those_of_the_name_and_the_noise_is_measured() -> None:
    image = picture()
    tried = try_image(Adds("self"), dataset(image), 0, image)
    given, hidden = hide_pixels(image, rng=generator(0, "degrade", "x/000000"))
    assert np.array_equal(tried.given, given)
    assert np.array_equal(tried.hidden, hidden)  # type: ignore[arg-type]
    assert tried.clean is image
    assert tried.sigma == noise_level(image)
    assert np.array_equal(tried.baseline, denoise(given, method="tv"))


def test_an_odd_image_is_cut_to_what_enlarging_reaches() -> None:
    image = picture(25, 41)
    tried = try_image(Adds("down:2", scale=2), dataset(image), 0, image)
    assert np.array_equal(tried.clean, image[:24, :40])  # type: ignore[arg-type]
    assert tried.found.shape == tried.given.shape == tried.baseline.shape == (24, 40, 3)
    small, _, _ = TileCut(2, "down:2").degradation(image, rng=generator(0, "degrade", "x/000000"))
    shown = np.rint(np.clip(enlarged(small, 2), 0, 1) * 255).astype(np.uint8)
    assert np.array_equal(tried.given, shown)
    assert np.array_equal(tried.baseline, shown)


class Pair(ArrayTree):
    """A tree whose clean pictures are 7 lighter, or of another size."""

    def picture(self, name: str) -> np.ndarray:
        image = self._arrays["x"][0]
        return image[:-1] if name == "smaller.png" else image + np.uint8(7)


def test_pairs_are_measured_against_the_clean_picture() -> None:
    image = picture()

    def data(name: str) -> Dataset:
        return Dataset(
            Pair(Path("."), {"x": image[None]}), (Sample("x/000000", Picture(name)),), LabelSpace(("picture",)),
            "drawn", "restore",
        )  # fmt: skip

    tried = try_image(Adds("pairs"), data("clean.png"), 0, image)
    assert np.array_equal(tried.clean, image + np.uint8(7))  # type: ignore[arg-type]
    assert tried.given is image
    assert tried.baseline is image
    assert tried.sigma == noise_level(image)
    with pytest.raises(UsageError, match="expected pairs to measure the model on"):
        try_image(Adds("pairs"), data(""), 0, image)
    with pytest.raises(UsageError, match="as large as"):
        try_image(Adds("pairs"), data("smaller.png"), 0, image)


@pytest.mark.parametrize(("side", "known"), [(11, True), (10, False)])
def test_gains_are_over_the_baseline_and_the_input(side: int, known: bool) -> None:
    clean = picture(side, 40)
    found, given, plain = (clean + np.uint8(k) for k in (2, 9, 4))
    row = measured(Tried(given, found, plain, clean, None, 3.0, 0.1), clean)
    decibels = [psnr(v, clean) for v in (found, given, plain)]
    assert row[0] == pytest.approx(decibels[0] - decibels[2])
    assert row[1] == pytest.approx(decibels[0])
    assert row[3] == pytest.approx(decibels[0] - decibels[1])
    assert row[4:6] == pytest.approx([decibels[1], decibels[2]])
    wanted = [ssim(found, clean), ssim(given, clean)] if known else [np.nan, np.nan]
    assert [row[2], row[6]] == pytest.approx(wanted, nan_ok=True)


@pytest.mark.parametrize(("sigma", "before"), [(8.0, 20 * np.log10(255 / 8)), (0.0, 100.0), (0.01, 88.13)])
def test_without_a_clean_picture_the_psnr_is_estimated_at_hidden_pixels(sigma: float, before: float) -> None:
    image = picture()
    hidden = np.zeros(image.shape[:2], bool)
    hidden[::4, ::4] = True
    found, plain = image + np.uint8(12), image + np.uint8(20)
    row = measured(Tried(image, found, plain, image, hidden, sigma, 0.1), image)
    ours, theirs = (blind_psnr(v, image, hidden, sigma) for v in (found, plain))
    assert row == pytest.approx(
        [ours - theirs, ours, np.nan, ours - before, before, theirs, np.nan], nan_ok=True, abs=0.01
    )


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_an_image_is_grey_only_where_all_three_channels_are_the_same(channel: int) -> None:
    """One pixel of one channel makes an image a colour image, whose channels get noise of their own."""
    image = picture(grey=True)
    image[3, 5, channel] += 1
    tried = try_image(Adds("noise:20"), dataset(image), 0, image)
    rng = generator(0, "degrade", "x/000000")
    noisy, _, _ = TileCut(2, "noise:20").degradation(image, rng=rng)
    assert np.array_equal(tried.given, noisy)
    grey = try_image(Adds("noise:20"), dataset(image), 0, picture(grey=True))
    assert (np.ptp(grey.given, 2) == 0).all()
    assert (np.ptp(tried.given, 2) > 0).any()
