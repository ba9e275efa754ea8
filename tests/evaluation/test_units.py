"""How numbers are written in reports: one unit for each kind of metric."""

import pytest

from eyewright.core.report import Metric
from eyewright.evaluation.changes import is_amount, say_change
from eyewright.evaluation.units import (
    is_rate,
    say_metric,
    say_rate,
    show_amount,
    show_change,
    show_count,
    show_interval,
    show_metric,
    show_number,
)


def test_a_rate_is_what_lies_from_0_to_1_or_says_that_it_is_one() -> None:
    assert [is_rate(n) for n in ("accuracy", "cer", "kappa", "mae", "no such metric")] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert [is_amount(n) for n in ("accuracy", "kappa", "mae", "psnr")] == [False, False, True, True]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (999.94, "999.9"), (1000.0, "1,000"), (-1000.4, "-1,000"), (-999.4, "-999.4"), (1e9, "1e+09"),
        (999_999_999.0, "999,999,999"), (-1e9, "-1e+09"), (0.0, "0"),
    ],
)  # fmt: skip
def test_an_amount_has_four_digits_or_whole_thousands(value: float, shown: str) -> None:
    assert show_amount(value) == shown


def test_a_number_is_shown_in_the_unit_of_its_metric() -> None:
    assert show_number("accuracy", 0.5, "g") == "50.0%"
    assert show_number("mae", 1234.5, "g") == "1,234 g"
    assert show_number("mae", 2.0) == "2"
    assert show_number("kappa", -0.25) == "-0.250"
    assert show_number("kappa", -0.25, "x") == "-0.250 x"
    assert show_number("mae", None, "g") == "–"


def test_a_change_has_a_sign_and_nothing_has_a_plus() -> None:
    assert [show_change("accuracy", v) for v in (0.0123, -0.0, 0.0)] == ["+1.23 points", "+0.00 points", "+0.00 points"]
    assert show_change("accuracy", 0.0123, "g", digits=1) == "+1.2 points"
    assert [show_change("mae", v, "g") for v in (-2.5, 0.0, 2.5)] == ["-2.5 g", "+0 g", "+2.5 g"]
    assert show_change("kappa", -0.01) == "-0.010"


def test_an_interval_needs_both_ends() -> None:
    assert show_interval("accuracy", 0.1, None) == show_interval("accuracy", None, 0.1) == ""
    assert show_interval("accuracy", 0.0, 0.1234) == "[0.0, 12.3]"
    assert show_interval("mae", 0.5, 1500.0) == "[0, 1,500]"


def test_a_metric_says_what_it_rests_on() -> None:
    assert (
        show_metric("mae", Metric(2.0, 1.0, 3.0, n=1200, groups=1, unit="g")) == "2.0 g [1.0, 3.0] n=1,200 in 1 group"
    )
    assert show_metric("accuracy", Metric(0.5, n=3)) == "50.0% n=3"
    assert show_metric("accuracy", Metric(None, n=1200, groups=0)) == "not defined n=1,200 in 0 groups"
    assert show_count(Metric(0.5, n=1000, groups=2000)) == "1,000 in 2,000 groups"
    assert show_count(Metric(0.5)) == "0"


def test_a_metric_in_a_sentence() -> None:
    assert say_metric("mae", 2.0, 1.0, 3.0, "g") == "2.0 g (95% interval 1.0 to 3.0)"
    assert say_metric("mae", 2.0, 1.0, None, "g") == say_metric("mae", 2.0, None, 1.0, "g") == "2 g"
    assert say_metric("mae", None, 1.0, 2.0, "g") == "not defined"
    assert say_rate(Metric(0.0, 0.0, 0.5)) == "0.0% (95% interval 0.0% to 50.0%)"


def test_a_drop_in_a_sentence_has_its_lower_end_first() -> None:
    assert say_change("accuracy", None) == "–"
    assert say_change("accuracy", 0.01) == "-1.0"
    assert say_change("accuracy", 0.01234, digits=2) == "-1.23"
    assert say_change("accuracy", -0.01, -0.03, 0.02, unit="points") == "+1.0 points [-2.0, +3.0]"
    assert say_change("accuracy", 0.01, None, 0.02) == say_change("accuracy", 0.01, 0.02, None) == "-1.0"
    assert say_change("mae", 1.23456, 1.0, 2.0, unit="g") == "+1.23 g [+1, +2]"
    assert say_change("mae", -0.0) == "+0"
