"""The accountants agree with dp-accounting where it is exact, and bound each other."""

import math
from pathlib import Path

import pytest

from eyewright.core.errors import UsageError
from eyewright.privacy.accounting import (
    Steps,
    delta_of,
    epsilon_of,
    gaussian_delta,
    gaussian_epsilon,
    noise_for,
    renyi_epsilon,
)

TABLE = [
    tuple(float(v) for v in line.split(","))
    for line in (Path(__file__).parent / "epsilons.csv").read_text().split()[1:]
]
"""noise, rate, steps, delta, epsilon: dp-accounting 0.6.0, connect-the-dots, on a grid of 1e-5 and finer (benchmarks/
privacy.py --table writes it)."""


def test_the_table_holds_thirty_settings_and_those_of_the_specification() -> None:
    assert len(TABLE) >= 35


@pytest.mark.parametrize("row", TABLE)
def test_epsilon_is_that_of_dp_accounting_and_never_below_it(row: tuple[float, ...]) -> None:
    noise, rate, steps, delta, expected = row
    found = epsilon_of([Steps(noise, rate, int(steps))], delta)
    # The table has 7 digits. Measured: 0.0002% to 0.0016% above it.
    assert expected - 1e-7 <= found <= expected * 1.001


@pytest.mark.parametrize("row", TABLE[::3])
def test_the_closed_form_bounds_it_from_above(row: tuple[float, ...]) -> None:
    noise, rate, steps, delta, expected = row
    assert renyi_epsilon([Steps(noise, rate, int(steps))], delta) >= expected


def test_the_closed_form_is_that_of_the_specification() -> None:
    # Recorded from opacus 1.6.0's RDP accountant, whose orders are a few less.
    for noise, rate, steps, expected in ((1.0, 0.004, 15000, 2.966), (0.6, 0.01, 1000, 8.666), (0.4, 0.05, 100, 36.6)):
        assert renyi_epsilon([Steps(noise, rate, steps)], 1e-5) == pytest.approx(expected, rel=1e-3)


def test_sampling_of_everything_is_the_exact_gaussian_mechanism() -> None:
    exact = gaussian_epsilon(math.sqrt(50) / 9.834, 1e-5)
    assert epsilon_of([Steps(9.834, 1.0, 50)], 1e-5) == exact
    assert gaussian_delta(math.sqrt(50) / 9.834, exact) == pytest.approx(1e-5, rel=1e-9)


def test_a_sampling_rate_near_one_costs_almost_what_everything_costs() -> None:
    exact = epsilon_of([Steps(10.0, 1.0, 50)], 1e-5)
    near = epsilon_of([Steps(10.0, 1 - 1e-9, 50)], 1e-5)
    assert exact - 1e-6 <= near <= exact * 1.001


def test_different_steps_add_up_as_one_mechanism() -> None:
    halves = epsilon_of([Steps(1.1, 0.02, 200), Steps(1.1, 0.02, 300)], 1e-5)
    assert halves == pytest.approx(epsilon_of([Steps(1.1, 0.02, 500)], 1e-5), rel=1e-4)
    assert epsilon_of([Steps(1.1, 0.02, 500), Steps(20.0, 1.0, 1)], 1e-5) > halves


def test_delta_and_epsilon_are_inverse() -> None:
    done = [Steps(1.3, 0.01, 800)]
    assert delta_of(done, epsilon_of(done, 1e-5)) == pytest.approx(1e-5, rel=1e-3)


@pytest.mark.parametrize(("rate", "steps"), [(0.01, 1000), (0.3, 50), (1.0, 40)])
def test_the_noise_found_spends_almost_all_of_epsilon_and_no_more(rate: float, steps: int) -> None:
    noise = noise_for(3.0, 1e-5, rate=rate, steps=steps)
    assert 2.995 < epsilon_of([Steps(noise, rate, steps)], 1e-5) <= 3.0


def test_the_noise_makes_room_for_what_else_is_counted() -> None:
    others = [Steps(8.0, 1.0, 1)]
    noise = noise_for(1.0, 1e-5, rate=0.05, steps=100, others=others)
    assert 0.99 < epsilon_of([*others, Steps(noise, 0.05, 100)], 1e-5) <= 1.0
    with pytest.raises(UsageError, match="already costs"):
        noise_for(0.1, 1e-5, rate=0.05, steps=100, others=others)


def test_nothing_done_costs_nothing() -> None:
    assert epsilon_of([], 1e-5) == epsilon_of([Steps(1.0, 0.1, 0)], 1e-5) == renyi_epsilon([], 1e-5) == 0.0


@pytest.mark.parametrize("wrong", [(0.0, 0.1, 1), (1.0, 0.0, 1), (1.0, 1.1, 1), (1.0, 0.1, -1), (math.inf, 0.1, 1)])
def test_impossible_steps_are_refused(wrong: tuple[float, float, int]) -> None:
    with pytest.raises(UsageError):
        Steps(*wrong)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_an_impossible_delta_is_refused(delta: float) -> None:
    with pytest.raises(UsageError, match="delta"):
        epsilon_of([Steps(1.0, 0.1, 1)], delta)
