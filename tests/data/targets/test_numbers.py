"""Numbers of an image: units, ranges of values, what the doctor says of them."""

from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import DatasetError
from eyewright.core.labels import LabelSpace
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.targets.label import LABEL, Label
from eyewright.data.targets.numbers import NUMBERS, Numbers, Quantity, quantity_of
from eyewright.data.tree import FolderTree

WEIGHT = (Quantity("weight", "g"),)


def of(*values: float) -> list[Numbers]:
    return [Numbers((v,), WEIGHT) for v in values]


def findings(values: list[float]) -> list[tuple[str, str]]:
    samples = tuple(Sample(f"{i}.png", t) for i, t in enumerate(of(*values)))
    data = Dataset(FolderTree(Path(".")), samples, LabelSpace(()), "made", "classify")
    return [(f.code, f.path) for f in NUMBERS.audit(data, None)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("column", "name", "unit"),
    [
        ("weight [g]", "weight", "g"),
        ("Weight (kg)", "Weight", "kg"),
        ("temperature_degC", "temperature", "°C"),
        ("area_mm2", "area", "mm²"),
        ("plan_b", "plan_b", ""),
        ("g", "g", ""),
        ("[g]", "[g]", ""),
    ],
)
def test_a_column_names_its_unit(column: str, name: str, unit: str) -> None:
    assert quantity_of(column) == Quantity(name, unit)


def test_a_cell_of_split_csv_is_read_back() -> None:
    numbers = Numbers((12.25, -3.0), (Quantity("weight", "g"), Quantity("plan_b")))
    assert numbers.cell(()) == "weight [g]=12.25; plan_b=-3"
    assert NUMBERS.of_cell(numbers.cell(()), ()) == numbers
    assert NUMBERS.of_cell("cat", ()) is None


def test_names_of_folders_are_numbers_of_one_unit() -> None:
    make = NUMBERS.made_from[LABEL]
    targets, names = make([Label(1), Label(0)], ("10", "2.5"))
    assert [t.values for t in targets] == [(2.5,), (10.0,)]  # type: ignore[attr-defined]
    assert names == ("value",)
    (grams,), _ = make([Label(0)], ("12 g",))
    assert grams.quantities == (Quantity("value", "g"),)  # type: ignore[attr-defined]
    with pytest.raises(DatasetError, match=r"expected numbers .* found 'cat'"):
        make([Label(0)], ("1", "cat"))
    with pytest.raises(DatasetError, match="expected one unit in the names of folders, found 'g', 'kg'"):
        make([Label(0)], ("1 g", "1 kg"))


def test_ranges_of_values_hold_about_as_many_images_each() -> None:
    targets = of(*np.random.default_rng(0).permutation(100).astype(float))
    strata = [ids[0] for ids in NUMBERS.strata(targets, frozenset())]
    assert np.bincount(strata).tolist() == [10] * 10
    assert NUMBERS.stratum(targets, 0, ()) == "weight [g] below 9.9"
    assert NUMBERS.stratum(targets, 9, ()) == "weight [g] from 89.1"
    assert {ids[0] for ids in NUMBERS.strata(of(1, 2, 3), frozenset())} == {0}


def test_ties_are_never_on_two_sides_of_an_edge() -> None:
    targets = of(*[0.0] * 60, *range(1, 41))
    strata = NUMBERS.strata(targets, frozenset())
    assert len(set(strata[:60])) == 1


def test_the_doctor_knows_slips_constants_and_classes() -> None:
    usual = np.random.default_rng(0).normal(50, 5, 40).tolist()
    assert findings(usual) == []
    assert findings([*usual, 5000.0]) == [("number_outlier", "40.png")]
    assert findings([3.0] * 12) == [("number_constant", "")]
    assert findings([0.0, 1.0] * 15) == [("number_classes", "")]


def test_copies_with_other_numbers_contradict_each_other() -> None:
    a, b, c = NUMBERS.sides(of(1, 1, 2), ())
    assert a == b
    assert a != c
