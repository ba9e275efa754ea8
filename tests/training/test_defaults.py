import pytest

from eyewright.imaging import Preparation
from eyewright.training.defaults import resolve_recipe
from eyewright.training.recipe import Recipe

SMALL = Preparation((32, 32))


def _net(n_train: int, side: int = 32, **options: object) -> str:
    return resolve_recipe(Recipe(**options), n_train, Preparation((side, side))).model  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("budget_s", "n_train", "net"),
    [
        (180.0, 3_500, "photo_net"),
        (40.0, 3_500, "quick_net"),
        (90.0, 35_000, "quick_net"),
        (3_600.0, 35_000, "photo_net"),
        (20.0, 300, "photo_net"),
    ],
)
def test_a_budget_that_is_long_for_its_images_buys_the_larger_net(budget_s: float, n_train: int, net: str) -> None:
    assert _net(n_train, budget_s=budget_s) == net


def test_four_times_the_pixels_need_four_times_the_budget() -> None:
    # 900 images of 32x32 need 15 * 900 / 450 = 30 s.
    assert [_net(900, budget_s=s) for s in (29.9, 30.1)] == ["quick_net", "photo_net"]
    assert [_net(900, side=64, budget_s=s) for s in (119.0, 121.0)] == ["quick_net", "photo_net"]


def test_without_a_budget_small_images_get_the_small_net_and_photographs_the_large_one() -> None:
    assert _net(10) == "quick_net"
    assert _net(10, side=66) == _net(1_000_000, side=66, budget_s=1.0) == "photo_net"


@pytest.mark.parametrize("step", ["adversarial", "trades", "fast"])
def test_under_attack_small_images_get_the_net_without_a_whitened_stem(step: str) -> None:
    assert _net(1000, side=28, step=step) == _net(1000, side=28, step=step, budget_s=600.0) == "conv_net"
    assert _net(1000, side=224, step=step) == "photo_net"
    assert _net(1000, side=28, step="noise") == "quick_net"


def test_a_net_that_is_named_is_kept() -> None:
    assert _net(100, model="mlp", budget_s=3_600.0) == "mlp"
    assert _net(100, side=224, model="quick_net") == "quick_net"


@pytest.mark.parametrize(("n_train", "epochs"), [(1, 128), (1_000, 64), (2_000, 44), (60_000, 7), (10**7, 4)])
def test_more_images_are_shown_fewer_times(n_train: int, epochs: int) -> None:
    assert resolve_recipe(Recipe(), n_train, SMALL).epochs == epochs


@pytest.mark.parametrize(("n_train", "batch"), [(3, 3), (100, 8), (700, 32), (100_000, 64)])
def test_a_batch_is_a_twentieth_of_the_images_and_at_most_64(n_train: int, batch: int) -> None:
    assert resolve_recipe(Recipe(), n_train, SMALL).batch == batch


def test_from_10_000_images_on_the_rate_doubles_and_a_preview_begins() -> None:
    few, many = (resolve_recipe(Recipe(), n, SMALL) for n in (9_999, 10_000))
    assert (few.lr, many.lr) == (0.02, 0.04)
    assert (few.preview, many.preview) == (0.0, 0.45)
    assert resolve_recipe(Recipe(budget_s=60.0), 10_000, SMALL).preview == 0.0
