"""Certificates hold: bounds are never above the truth, abstentions stay in the denominator, attacks find nothing."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.robustness.conftest import Toy
from torch import nn

from eyewright.core.errors import BudgetError, UsageError
from eyewright.metrics.binomial import clopper_pearson_lower, fewest_samples
from eyewright.nets.pixels import PixelNet
from eyewright.robustness.bounds import bounded_right, unsupported
from eyewright.robustness.certifying import certify_predictor, parse_sigma
from eyewright.robustness.loop import Plan, run_attack
from eyewright.robustness.model import is_right
from eyewright.robustness.smoothing import ABSTAINED, certify_images, radius_of
from eyewright.robustness.threat import Threat
from eyewright.robustness.white import White


@pytest.mark.parametrize(("k", "n"), [(1, 10), (5, 10), (99, 100), (9_990, 10_000), (600, 1000), (99_000, 100_000)])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_clopper_pearson_is_that_of_scipy(k: int, n: int, alpha: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert clopper_pearson_lower(k, n, alpha) == pytest.approx(stats.beta.ppf(alpha, k, n - k + 1), abs=1e-9)


def test_the_bound_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = rng.binomial(200, 0.8, 4000)
    above = np.mean([clopper_pearson_lower(int(h), 200, 0.05) > 0.8 for h in hits])
    assert above <= 0.06


def test_too_few_samples_always_abstain_and_say_so(toy: Toy) -> None:
    assert fewest_samples(0.001) == 10
    assert radius_of(9, 9, 0.5, 0.001) is None
    assert radius_of(10, 10, 0.5, 0.001) is not None
    found = certify_predictor(toy.predictor(), toy.dataset, n=5, n0=5, samples=9)
    assert found.smoothed[0].abstained == 5
    assert found.smoothed[0].accuracy.value == 0.0
    assert found.warnings == (
        "9 samples at alpha 0.001 cannot certify anything, even where all of them agree: use 10 samples or more.",
    )
    assert "Nothing is certified" in found.sentence()


def test_of_a_linear_model_the_radius_is_known() -> None:
    """Two classes at the sides of a plane: the smoothed radius is the distance to it (Cohen et al. 2019, appendix B),
    of which the certificate gives a lower bound; pixels are in the middle, where clipping does not matter."""
    w = np.array([1.0, -1.0])

    def model(pixels: np.ndarray) -> np.ndarray:
        score = (pixels.reshape(len(pixels), 2).astype(np.float64) / 255) @ w
        return np.stack([score > 0, score <= 0], 1).astype(np.float32)

    pixels = np.array([[140, 115], [128, 127], [100, 160]], np.uint8).reshape(3, 1, 2, 1)
    truth = np.abs((pixels.reshape(3, 2) / 255) @ w) / np.sqrt(2)
    classes, radii = certify_images(model, pixels, sigma=0.1, n0=50, samples=4000, alpha=0.001, seed=0)
    assert classes.tolist() == [0, ABSTAINED, 1]
    assert (radii <= truth + 1e-3).all()
    assert radii[0] > 0.7 * truth[0]
    part, _ = certify_images(model, pixels[2:], sigma=0.1, n0=50, samples=4000, alpha=0.001, seed=0, rows=np.array([2]))
    assert part.tolist() == [1]


def test_abstentions_stay_in_the_denominator(toy: Toy) -> None:
    found = certify_predictor(toy.predictor(), toy.dataset, sigmas=(0.6,), n=30, n0=10, samples=60, alpha=0.05)
    smoothed = found.smoothed[0]
    assert 0 < smoothed.abstained < 30
    assert {m.n for m in smoothed.certified.values()} == {30}
    assert (smoothed.accuracy.value or 0) <= 1 - smoothed.abstained / 30
    values = [m.value or 0 for m in smoothed.certified.values()]
    assert values == sorted(values, reverse=True)
    again = certify_predictor(toy.predictor(), toy.dataset, sigmas=(0.6,), n=30, n0=10, samples=60, alpha=0.05)
    assert again.smoothed == found.smoothed


def test_interval_bounds_are_below_every_attack(toy: Toy) -> None:
    net = toy.net()
    assert unsupported(net) == ""
    for eps in (0.002, 0.01, 0.03):
        proved = bounded_right(net, toy.pixels, toy.labels, eps)
        threat, plan = Threat("linf", eps), Plan("linf", (eps,), ("apgd_t",), steps=30)
        attacked = is_right(
            White(net).scores(run_attack("apgd_t", White(net), toy.images, toy.labels, threat, plan, 0)), toy.labels
        )
        assert not (proved & ~attacked).any()
    clean = is_right(White(net).scores(toy.images), toy.labels)
    assert np.array_equal(bounded_right(net, toy.pixels, toy.labels, 0.0), clean)
    assert 0 < bounded_right(net, toy.pixels, toy.labels, 0.01).mean() < clean.mean()


def test_interval_bounds_hold_for_every_layer_that_is_taken() -> None:
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(4), nn.LeakyReLU(0.1),
        nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.MaxPool2d(2), nn.Dropout(0.5)), nn.AvgPool2d(2),
        nn.Tanh(), nn.Flatten(), nn.Linear(16, 6), nn.Sigmoid(), nn.Linear(6, 3, bias=False),
    )  # fmt: skip
    net = PixelNet(body, mean=(0.4, 0.5), std=(0.2, 0.3)).train()
    with torch.no_grad():
        net(torch.randint(0, 256, (32, 16, 16, 2), dtype=torch.uint8))
    net.eval()
    assert unsupported(net) == ""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 16, 16, 2)).astype(np.uint8)
    with torch.no_grad():
        labels = net(torch.from_numpy(pixels)).argmax(1).numpy()
    eps = 0.002
    proved = bounded_right(net, pixels, labels, eps)
    assert proved.sum() > 0
    images = pixels.astype(np.float32) / 255
    for _ in range(40):
        corner = np.clip(images + eps * rng.choice([-1, 1], images.shape), 0, 1).astype(np.float32)
        assert is_right(White(net).scores(corner), labels)[proved].all()


def test_a_net_without_bounds_is_refused_by_the_name_of_its_layer(toy: Toy) -> None:
    def gated(body: nn.Module) -> nn.Module:
        return nn.Sequential(nn.GELU(), body)

    assert unsupported(toy.net(gated)) == "GELU"
    with pytest.raises(UsageError, match="found GELU"):
        certify_predictor(toy.predictor(gated), toy.dataset, eps=(0.01,), n=5)


@pytest.mark.parametrize("text", ["0", "-1", "x", "0.5,nan", "1000"])
def test_a_wrong_sigma_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a sigma above 0"):
        parse_sigma(text)


def test_a_budget_for_no_image_ends_with_5(toy: Toy) -> None:
    with pytest.raises(BudgetError) as ended:
        certify_predictor(toy.predictor(), toy.dataset, deadline=0.0, n=5)
    assert ended.value.exit_code == 5


def test_certified_accuracies_have_names_for_scripts(toy: Toy) -> None:
    given: dict[str, Any] = {"n": 6, "n0": 5, "samples": 40, "alpha": 0.01}
    one = certify_predictor(toy.predictor(), toy.dataset, sigmas=(0.25,), eps=(0.01,), **given)
    assert {"certified_l2_0", "certified_l2_0.25", "certified_linf_0.01"} <= set(one.metrics)
    two = certify_predictor(toy.predictor(), toy.dataset, sigmas=(0.25, 0.5), **given)
    assert "certified_l2_0.25_sigma_0.5" in two.metrics
    assert two.to_json()["smoothing"][1]["sigma"] == 0.5
