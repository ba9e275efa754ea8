"""`--flip both` mirrors both ways, and draws nothing more where it is off."""

import pytest
import torch

from eyewright.training.augment import Augmentation, augment_batch, plan_augmentation
from eyewright.training.recipe import Recipe


def corner(n: int) -> torch.Tensor:
    """Images whose upper left quarter is white."""
    pixels = torch.zeros(n, 8, 8, 1, dtype=torch.uint8)
    pixels[:, :4, :4] = 200
    return pixels


@pytest.mark.parametrize(
    "plan", [Augmentation(flip=True, upside_down=True), Augmentation(upside_down=True, flip=True, zoom=1e-6)]
)
def test_an_image_comes_in_all_four_ways(plan: Augmentation) -> None:
    found = augment_batch(corner(64), plan, rng=torch.Generator().manual_seed(0))[..., 0]
    places = {(int(r.float().mean((1,)).argmax() >= 4), int(r.float().mean((0,)).argmax() >= 4)) for r in found}
    assert places == {(0, 0), (0, 1), (1, 0), (1, 1)}


@pytest.mark.parametrize("augment", ["none", "light", "strong"])
def test_both_is_more_than_horizontal(augment: str) -> None:
    both = plan_augmentation(Recipe(flip="both", augment=augment), grey=True, n_train=100)
    horizontal = plan_augmentation(Recipe(flip="horizontal", augment=augment), grey=True, n_train=100)
    assert (both.flip, both.upside_down) == (True, True)
    assert (horizontal.flip, horizontal.upside_down) == (True, False)
