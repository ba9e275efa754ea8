"""Metrics of generated images. Expected numbers: torch-fidelity 0.4.0 (FID, KID) and prdc 0.2 on the same features,
which `features` draws; torch-fidelity compares sets of one size, so its KID is of the first 260 real images."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.metrics.generation import (
    copy_test,
    frechet_distance,
    kernel_distance,
    measure_features,
    neighbourhoods,
)

FID, KID = 12.592928636509448, 56.33931920653612
PRDC = {
    "precision": 0.7884615384615384,
    "recall": 0.65,
    "density": 0.5884615384615385,
    "coverage": 0.5466666666666666,
}


def features() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return features as a net with ReLU gives them, one unit of which is dead: 300 real and 260 generated."""
    rng = np.random.default_rng(21)
    real = np.maximum(rng.normal(size=(300, 8)) @ rng.normal(size=(8, 8)) + 0.3, 0)
    generated = np.maximum(rng.normal(size=(260, 8)) @ rng.normal(size=(8, 8)) * 0.8 + 0.5, 0)
    real[:, 3] = generated[:, 3] = 0
    return real, generated


def photographs(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Return features of ten kinds of images, (n, 16)."""
    centres = np.random.default_rng(5).normal(size=(10, 16)) * 4
    return centres[rng.integers(10, size=n)] + rng.normal(size=(n, 16))


def test_the_frechet_distance_is_that_of_torch_fidelity_and_counts_dead_features() -> None:
    found = frechet_distance(*features())
    assert found.value == pytest.approx(FID, rel=1e-6)
    assert found.dropped == 1


def test_a_feature_that_is_constant_in_one_set_only_is_not_dropped() -> None:
    real, generated = features()
    generated[:, 3] = 2.0
    found = frechet_distance(real, generated)
    assert found.dropped == 0
    assert found.value == pytest.approx(FID + 4, rel=1e-6)


def test_the_frechet_distance_of_a_set_to_itself_is_0_although_its_covariance_is_singular() -> None:
    real, _ = features()
    twice = np.concatenate([real, real], axis=1)
    assert frechet_distance(twice, twice).value == pytest.approx(0, abs=1e-6)


def test_the_kernel_distance_is_that_of_torch_fidelity() -> None:
    real, generated = features()
    assert kernel_distance(real[:260], generated) == pytest.approx(KID, rel=1e-6)


def test_the_manifold_measures_are_those_of_prdc() -> None:
    near = neighbourhoods(*features())
    means = (near.precise, near.recalled, near.dense, near.covered)
    found = dict(zip(PRDC, (float(m.mean()) for m in means), strict=True))
    assert found == pytest.approx(PRDC, abs=1e-6)


def test_distances_in_blocks_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eyewright.metrics.generation._BLOCK", 1000)
    near = neighbourhoods(*features())
    assert float(near.covered.mean()) == pytest.approx(PRDC["coverage"])
    assert float(near.precise.mean()) == pytest.approx(PRDC["precision"])


def test_every_metric_has_an_interval_around_its_value() -> None:
    found, dropped = measure_features(*features(), rng=np.random.default_rng(0), replicates=50)
    assert dropped == 1
    assert found["fid"].value == pytest.approx(FID, rel=1e-6)
    for metric in found.values():
        values: tuple[Any, ...] = (metric.low, metric.value, metric.high)
        assert values[0] < values[1] < values[2]


def test_the_interval_of_the_frechet_distance_holds_the_distance_of_other_samples() -> None:
    rng = np.random.default_rng(3)
    first = measure_features(photographs(rng, 800), photographs(rng, 800) + 0.5, rng=rng, replicates=100)[0]["fid"]
    again = [frechet_distance(photographs(rng, 800), photographs(rng, 800) + 0.5).value for _ in range(20)]
    assert first.low is not None
    assert first.high is not None
    assert sum(first.low <= v <= first.high for v in again) >= 15


def test_planted_copies_are_found_and_new_images_are_not() -> None:
    rng = np.random.default_rng(0)
    train, held, new = (photographs(rng, n) for n in (2000, 1000, 1000))
    planted = train[rng.permutation(2000)[:200]] + rng.normal(size=(200, 16)) * 0.05
    found = copy_test(train, held, np.concatenate([planted, new]))
    assert found.near[:200].mean() >= 0.95
    assert found.near[200:].mean() <= 0.02


def test_exact_copies_are_found_where_held_out_images_have_duplicates_too() -> None:
    rng = np.random.default_rng(0)
    train, held = photographs(rng, 500), photographs(rng, 200)
    held[:10] = train[:10]
    assert copy_test(train, held, train[100:150]).share == 1


def test_a_planted_collapse_loses_its_coverage() -> None:
    rng = np.random.default_rng(0)
    real, new = photographs(rng, 1000), photographs(rng, 1000)
    collapsed = real[0] + rng.normal(size=(1000, 16)) * 0.1
    assert neighbourhoods(real, new).covered.mean() > 0.9
    assert neighbourhoods(real, collapsed).covered.mean() < 0.05
    # Precision alone would not tell: what is drawn looks real.
    assert neighbourhoods(real, collapsed).precise.mean() > 0.9


@pytest.mark.parametrize(
    ("real", "generated"), [(np.zeros((9, 3)), np.zeros((9, 4))), (np.zeros((1, 3)), np.zeros((9, 3)))]
)
def test_sets_that_cannot_be_compared_are_refused(real: NDArray[Any], generated: NDArray[Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        frechet_distance(real, generated)


def test_a_copy_test_without_training_images_is_refused() -> None:
    with pytest.raises(UsageError, match="training and held-out"):
        copy_test(np.zeros((0, 3)), np.zeros((5, 3)), np.zeros((5, 3)))
