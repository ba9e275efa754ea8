"""Which columns of a table of numbers are learnt, in which units, and which task reads a table that is not used."""

from pathlib import Path

import pytest
from tests.data.readers.test_number_tables import images, table, values

from eyewright.core.errors import DatasetError, UsageError
from eyewright.data import open_dataset
from eyewright.data.targets.numbers import quantity_of


@pytest.mark.parametrize("column", ["gap_um", "gap_µm", "gap_μm", "gap [µm]", "gap (um)", "gap / µm", "gap, um"])
def test_micrometres_are_a_unit_however_they_are_written(column: str) -> None:
    assert str(quantity_of(column)) == "gap [µm]"


@pytest.mark.parametrize("column", ["plan_b", "pass/fail", "a, b", "[mm]", "plug_in"])
def test_a_name_is_no_unit(column: str) -> None:
    assert quantity_of(column).unit == ""


ROWS = [f"{i}.png,{i}.5,{10 * i},{i}" for i in range(4)]


def test_columns_that_are_not_learnt_are_named_and_others_can_be_chosen(tmp_path: Path) -> None:
    table(images(tmp_path, 4), "path,weight [g],height,id", *ROWS)
    data = open_dataset(tmp_path, task="regress")
    assert data.labels.names == ("weight [g]",)
    assert data.notes == (
        "learns weight [g], of the columns 'weight [g]'",
        "numbers that are not learnt: 'height'; --target COLUMN,COLUMN chooses",
    )
    chosen = open_dataset(tmp_path, task="regress", target=("height", "weight"))
    assert chosen.labels.names == ("height", "weight [g]")
    assert values(chosen)["1.png"] == (10.0, 1.5)
    with pytest.raises(DatasetError, match=r"expected the column 'width' in 'values.csv', found 'path', 'weight"):
        open_dataset(tmp_path, task="regress", target=("width",))
    with pytest.raises(UsageError, match="--target is supported for tables of numbers"):
        open_dataset(tmp_path, target=("height",))


def test_decimal_commas_are_read_where_columns_are_separated_by_something_else(tmp_path: Path) -> None:
    table(images(tmp_path, 3), "path;weight_g;n", "0.png;3,5;1.5", "1.png;1.234,25;2.5", "2.png;4;3")
    data = open_dataset(tmp_path, task="regress", target=("weight", "n"))
    assert values(data) == {"0.png": (3.5, 1.5), "1.png": (1234.25, 2.5), "2.png": (4.0, 3.0)}


def test_a_point_among_decimal_commas_is_a_finding(tmp_path: Path) -> None:
    table(images(tmp_path, 3), "path;weight_g", "0.png;3,5", "1.png;1.234", "2.png;4,5")
    data = open_dataset(tmp_path, task="regress")
    (found,) = data.problems
    assert (found.code, found.path, found.line) == ("number_unreadable", "values.csv", 3)
    assert "1.234 (point, not comma)" in found.message


def test_an_implausible_number_is_a_finding_with_its_line_and_not_learnt(tmp_path: Path) -> None:
    rows = [f"{i}.png,{i}" for i in range(9)]
    table(images(tmp_path, 11), "path,weight_g", *rows, "9.png,-3e12", "10.png,1e300")
    data = open_dataset(tmp_path, task="regress")
    assert [(f.code, f.line) for f in data.problems] == [("number_unreadable", 12), ("number_implausible", 11)]
    assert "-3e+12 in the column 'weight_g' is implausible: the usual range is 1.25 to 5.75" in data.problems[1].message
    assert len(data) == 9
    assert {r.text for r in data.account.dropped} == {"a cell is not a number", "a number is implausible"}


def test_a_table_that_another_task_reads_is_named(tmp_path: Path) -> None:
    table(images(tmp_path, 4), "path,weight_g", *(f"{i}.png,{i}" for i in range(4)))
    for place in (tmp_path, tmp_path / "values.csv"):
        for task in (None, "classify"):
            with pytest.raises(DatasetError) as raised:
                open_dataset(place, task=task)
            assert raised.value.fix.startswith("use --task regress to learn the numbers in 'values.csv'")
    table(tmp_path, "path,tags", *(f"{i}.png,a|b" for i in range(4)))
    with pytest.raises(DatasetError) as raised:
        open_dataset(tmp_path, task="regress")
    assert raised.value.fix.startswith("use --task tag to learn the tags in 'values.csv'")


def test_a_table_that_is_ignored_is_said(tmp_path: Path) -> None:
    images(tmp_path, 2, "cat/{}.png")
    images(tmp_path, 2, "dog/{}.png")
    table(tmp_path, "path,weight_g", "cat/0.png,1", "cat/1.png,2", "dog/0.png,3", "dog/1.png,4")
    for task in (None, "classify"):
        data = open_dataset(tmp_path, task=task)
        assert data.notes[-1] == "a table is not used: use --task regress to learn the numbers in 'values.csv'"
