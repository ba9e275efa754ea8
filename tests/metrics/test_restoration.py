"""Numbers of restored pictures, by hand."""

import math

import numpy as np
import pytest

from eyewright.metrics.restoration import HIGHEST_PSNR, blind_psnr, capped_psnr, mean_metrics, weighted_means


def test_the_psnr_of_equal_pictures_is_capped() -> None:
    a = np.full((4, 4), 10, np.uint8)
    assert capped_psnr(a, a) == HIGHEST_PSNR == 100.0
    # A difference of 51 is a fifth of the range: 20 log10(5).
    assert capped_psnr(a, a + np.uint8(51)) == pytest.approx(20 * math.log10(5))


@pytest.mark.parametrize(
    ("apart", "sigma", "error"),
    # The noise's variance comes off the squared error; a tenth of it is left at least, and 1e-4.
    [(10, 6.0, 100 - 36), (10, 0.0, 100), (10, 9.9, 9.9**2 / 10), (3, 10.0, 10.0), (0, 0.0, 1e-4), (0, 0.01, 1e-4)],
)
def test_noise_comes_off_the_error_at_hidden_pixels(apart: int, sigma: float, error: float) -> None:
    noisy = np.full((4, 4, 3), 100, np.uint8)
    found = noisy.copy()
    hidden = np.zeros((4, 4), bool)
    hidden[1, 2] = hidden[3, 0] = True
    found[hidden] = 100 - apart
    found[0, 0] = 255
    wanted = min(100.0, 10 * math.log10(255**2 / error))
    assert blind_psnr(found, noisy, hidden, sigma) == pytest.approx(wanted, abs=1e-9)


def test_means_are_under_weights_of_the_pictures() -> None:
    found = weighted_means({"a": np.array([1.0, 3.0, 8.0])}, np.array([[1.0, 1, 0], [0, 1, 3], [0, 0, 0]]))
    assert found["a"][:2].tolist() == pytest.approx([2.0, 27 / 4])
    assert np.isnan(found["a"][2])


def test_a_mean_has_an_interval_a_unit_and_what_it_rests_on() -> None:
    values = np.random.default_rng(0).normal(30, 2, 400)
    broken = np.where(np.arange(400) == 7, np.nan, values)
    found = mean_metrics({"psnr": values, "ssim": broken}, rng=np.random.default_rng(0), units={"psnr": "dB"})
    assert list(found) == ["psnr"]
    psnr = found["psnr"]
    half = 1.96 * values.std() / 20
    assert psnr.value == pytest.approx(values.mean())
    assert (psnr.low, psnr.high) == (
        pytest.approx(values.mean() - half, abs=0.04), pytest.approx(values.mean() + half, abs=0.04),
    )  # fmt: skip
    assert (psnr.unit, psnr.n, psnr.groups) == ("dB", 400, None)
    grouped = mean_metrics({"x": values}, rng=np.random.default_rng(0), groups=np.arange(400) // 8)["x"]
    assert (grouped.groups, grouped.n, grouped.unit) == (50, 400, "")


def test_without_pictures_or_with_none_known_for_all_there_is_no_metric() -> None:
    assert mean_metrics({}, rng=np.random.default_rng(0)) == {}
    assert mean_metrics({"psnr": np.zeros(0)}, rng=np.random.default_rng(0)) == {}
    assert mean_metrics({"psnr": np.array([np.nan])}, rng=np.random.default_rng(0)) == {}
    (alone,) = mean_metrics({"psnr": np.array([20.0])}, rng=np.random.default_rng(0)).values()
    assert alone.value == 20
