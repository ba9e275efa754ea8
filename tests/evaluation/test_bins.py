"""Names of histogram bins are numbers that people read: no exponents, no two that are equal."""

import numpy as np
import pytest

from eyewright.evaluation.charts import bin_values


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ([640.0, 4032.0], {"logarithmic": True}),
        ([100_000.0, 100_900.0], {}),
        ([0.0, 255.0], {"low": 0, "high": 256}),
        ([0.0101, 0.0109], {}),
        ([1.0, 5_000.0], {"whole": True}),
        ([-1500.0, 900.0], {}),
    ],
)
def test_bins_are_distinct_and_without_exponents(values: list[float], options: dict[str, object]) -> None:
    names = [name for name, _ in bin_values(np.array(values), **options)]  # type: ignore[arg-type]
    assert not any("e" in name for name in names)
    assert len(set(names)) == len(names)
    assert all(low != high for low, _, high in (n.replace(" to ", " – ").partition(" – ") for n in names))


def test_bins_of_pixels_and_grey_values() -> None:
    assert bin_values(np.array([0.0, 255.0]), low=0, high=256)[0][0] == "0 – 32"
    assert bin_values(np.array([-1500.0, 900.0]))[0][0] == "-1,500 to -1,300"
    assert bin_values(np.array([1.0, 5_000.0]), whole=True)[-1][0] == "4,696 – 5,008"
    assert bin_values(np.array([2048.0, 2048.0])) == [("2,048", 2.0)]
