"""How images are restored: what the loop is fed, and what nothing is learnt from."""

from pathlib import Path

import numpy as np
import pytest
import torch

from eyewright.core.errors import UsageError
from eyewright.data import open_dataset
from eyewright.imaging import write_image
from eyewright.imaging.preparation import Preparation
from eyewright.imaging.tiles import TileCut
from eyewright.learners.restore import LEARNER, RestoreAugmentation, RestoreLearning, fed
from eyewright.nets import fine_net
from eyewright.nets.restorers import FINE_REACH
from eyewright.testing import check_net
from eyewright.training.loop import FitData
from eyewright.training.recipe import Recipe


def tiles(n: int = 4, side: int = 96) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 4)).astype(np.uint8)


def prepared(degrade: str, side: int = 96) -> Preparation:
    return Preparation((side, side), fit="crop", tile=TileCut(FINE_REACH, degrade))


@pytest.mark.parametrize("scale", [1, 2])
def test_the_net_is_complete_and_looks_no_further_than_its_reach(scale: int) -> None:
    def build(n_classes: int, *, channels: int, size_hw: tuple[int, int]) -> torch.nn.Module:
        return fine_net(n_classes, channels=channels - 1, size_hw=size_hw, scale=scale)

    check_net(build, task="restore", channels=4, n_classes=1)
    net = fine_net(1, channels=1, scale=scale).eval()
    for conv in (m for m in net.modules() if isinstance(m, torch.nn.Conv2d)):
        torch.nn.init.constant_(conv.weight, 0.01)
    x = torch.rand(1, 2, 100, 100)
    other = x.clone()
    other[0, 0, 50, 50] += 1
    with torch.inference_mode():
        moved = (net(x) != net(other))[0, 0].nonzero() // scale
    assert int((moved - 50).abs().max()) <= FINE_REACH


@pytest.mark.parametrize("scale", [1, 2])
def test_an_untrained_restorer_changes_nothing_and_its_first_update_does(scale: int) -> None:
    net = fine_net(1, channels=3, scale=scale)
    x = torch.rand(2, 4, 16, 24, generator=torch.Generator().manual_seed(0))
    assert not net(x).any()
    (net(x) - 0.1).abs().mean().backward()
    assert net.draw.weight.grad is not None
    assert net.draw.weight.grad.any()


@pytest.mark.parametrize("degrade", ["noise:5-50", "down:2", "self", "blur:1 | jpeg:50"])
def test_validation_is_degraded_once_and_training_anew_each_time(degrade: str) -> None:
    preparation, recipe = prepared(degrade), Recipe(task="restore", degrade=degrade)
    given = FitData(tiles(), np.zeros((4, 0), np.uint8), tiles(2), np.zeros((2, 0), np.uint8))
    first, again = (fed(given, recipe, None, preparation) for _ in range(2))  # type: ignore[arg-type]
    assert np.array_equal(first.val_pixels, again.val_pixels)
    scale = preparation.tile.scale  # type: ignore[union-attr]
    assert first.val_pixels.shape == (2, 96 // scale, 96 // scale, 4)
    assert first.val_targets.shape == (2, 96, 96, 3)  # type: ignore[attr-defined]
    assert len(first.train_targets) == len(first.train_pixels) >= 512
    rows = np.array([0, 4, 5])
    pixels, targets = torch.from_numpy(first.train_pixels[rows]), torch.from_numpy(first.train_targets[rows])
    assert torch.equal(pixels[0], pixels[1]), "rows repeat"
    augmentation = RestoreAugmentation(preparation.tile, 64)  # type: ignore[arg-type]
    one, two = (augmentation.apply(pixels, targets, rng=torch.Generator().manual_seed(s)) for s in (0, 0))
    assert torch.equal(one[0], two[0])
    assert one[0].shape == (3, 64 // scale, 64 // scale, 4)
    assert one[1].shape == (3, 64, 64, 3)
    assert not torch.equal(one[0][0], one[0][1])


def test_what_is_added_to_the_input_gives_the_clean_image() -> None:
    preparation = prepared("noise:20")
    clean = tiles(1)
    given = FitData(clean, np.zeros((1, 0), np.uint8), clean, np.zeros((1, 0), np.uint8))
    found = fed(given, Recipe(task="restore", degrade="noise:20"), None, preparation)  # type: ignore[arg-type]
    whole = found.val_pixels[0, ..., :3] / 255 + found.val_targets[0]
    assert whole == pytest.approx(clean[0, ..., :3] / 255, abs=1e-6)
    assert (found.val_pixels[0, ..., 3] == 80).all(), "the level is told in quarters"
    learning = RestoreLearning(Recipe(task="restore", loss="mae"), preparation)
    kept = learning.condense(torch.zeros(1, 3, 96, 96), torch.from_numpy(found.val_targets))
    assert learning.measure(kept, found.val_targets)["psnr"] == pytest.approx(
        learning.measure(kept, found.val_targets)["psnr_input"], abs=1e-5
    )


def test_nothing_is_learnt_where_the_target_is_not_known() -> None:
    learning = RestoreLearning(Recipe(task="restore", loss="mse"), prepared("self"))
    wanted = torch.full((1, 4, 4, 3), float("nan"))
    wanted[0, 1, 2] = 0.5
    outputs = torch.ones(1, 3, 4, 4, requires_grad=True)
    loss = learning.objective(outputs, wanted)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.25)
    assert int((outputs.grad != 0).sum()) == 3


def test_options_that_contradict_are_refused(tmp_path: Path) -> None:
    for k in range(3):
        write_image(tmp_path / f"{k}.png", tiles(1)[0, ..., :3])
    dataset = open_dataset(tmp_path, task="restore")
    scan = type("Scan", (), {"sizes_hw": np.array([[96, 96]] * 3), "is_grey": lambda self: False})()
    for given, says in (
        ({}, "no --degrade"),
        ({"degrade": "pairs"}, "no --degrade"),
        ({"degrade": "noise:5", "steps": "median:3"}, "no --steps"),
        ({"degrade": "noise:5", "imgsz": 40}, "imgsz above"),
    ):
        with pytest.raises(UsageError, match=says):
            LEARNER.preparation(dataset, scan, Recipe(task="restore", **given), None)  # type: ignore[arg-type]
    made = LEARNER.preparation(dataset, scan, Recipe(task="restore", degrade="down:2"), None)
    assert (made.size_hw, made.channels, made.tile.scale) == ((128, 128), 3, 2)  # type: ignore[union-attr]
