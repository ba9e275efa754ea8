"""Numbers from tables, metadata and names of folders."""

from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import DatasetError
from eyewright.data import (
    Dataset,
    audit_dataset,
    find_groups,
    fold_datasets,
    open_dataset,
    scan_dataset,
    split_dataset,
)
from eyewright.imaging import encode_image

pytestmark = pytest.mark.usefixtures("other_tasks")


def images(folder: Path, n: int, names: str = "{}.png") -> Path:
    rng = np.random.default_rng(0)
    for i in range(n):
        path = folder / names.format(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)))
    return folder


def table(folder: Path, *lines: str, name: str = "values.csv") -> Path:
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def values(data: Dataset) -> dict[str, tuple[float, ...]]:
    return {s.id: s.target.values for s in data.samples}


def test_columns_with_units_are_learnt(tmp_path: Path) -> None:
    images(tmp_path, 2)
    table(tmp_path, "path,weight [g],height_cm,camera,id", "0.png,12.5,3,left,7", "1.png,1e1,4.25,right,8")
    data = open_dataset(tmp_path, task="measure")
    assert (data.task, data.format, data.labels.names) == ("measure", "csv", ("weight [g]", "height [cm]"))
    assert values(data) == {"0.png": (12.5, 3.0), "1.png": (10.0, 4.25)}
    assert [str(q) for q in data.samples[0].target.quantities] == ["weight [g]", "height [cm]"]
    assert data.samples[0].meta == {"camera": "left", "id": "7"}
    assert data.describe() == "csv: 2 images, weight [g] from 10 to 12.5, height [cm] from 3 to 4.25, no split"
    assert data.notes[0] == "learns weight [g] and height [cm], of the columns 'weight [g]', 'height_cm'"


@pytest.mark.parametrize(
    ("header", "row", "learnt"),
    [
        ("path,value,value2,width", "0.png,1,2,640", ["value", "value2"]),
        ("file_name,age,beds,split", "0.png,1,2,train", ["age", "beds"]),
        ("index,path,age,patient", "4,0.png,1,9", ["age"]),
        ("path,label,x", "0.png,1,2", ["label"]),
    ],
)
def test_the_columns_that_are_learnt(tmp_path: Path, header: str, row: str, learnt: list[str]) -> None:
    data = open_dataset(table(images(tmp_path, 1), header, row), task="measure")
    assert [q.name for q in data.samples[0].target.quantities] == learnt


def test_a_table_without_a_header(tmp_path: Path) -> None:
    data = open_dataset(table(images(tmp_path, 2), "0.png,1.5,2", "1.png,-3,4"), task="measure")
    assert values(data) == {"0.png": (1.5, 2.0), "1.png": (-3.0, 4.0)}


def test_a_single_table_may_be_named(tmp_path: Path) -> None:
    table(images(tmp_path, 1), "path,value", "0.png,1.5")
    assert values(open_dataset(tmp_path / "values.csv", task="measure")) == {"0.png": (1.5,)}


def test_metadata_of_hugging_face_keeps_its_fractions(tmp_path: Path) -> None:
    images(tmp_path, 2, "train/{}.png")
    lines = ('{"file_name": "0.png", "weight_kg": 0.25}', '{"file_name": "1.png", "weight_kg": 3}')
    table(tmp_path / "train", *lines, name="metadata.jsonl")
    data = open_dataset(tmp_path, task="measure")
    assert (data.format, values(data)) == ("hf-imagefolder", {"train/0.png": (0.25,), "train/1.png": (3.0,)})
    assert data.samples[0].split == "train"


def test_folders_named_by_numbers(tmp_path: Path) -> None:
    for folder in ("2.5", "10", "-1e2"):
        images(tmp_path, 1, folder + "/{}.png")
    data = open_dataset(tmp_path, task="measure")
    assert values(data) == {"-1e2/0.png": (-100.0,), "10/0.png": (10.0,), "2.5/0.png": (2.5,)}
    assert open_dataset(tmp_path).labels.names == ("-1e2", "10", "2.5")
    images(tmp_path, 1, "cat/{}.png")
    with pytest.raises(DatasetError, match="found 'cat'"):
        open_dataset(tmp_path, task="measure")


def test_what_is_read_as_classes_stays_so(tmp_path: Path) -> None:
    table(images(tmp_path, 2), "path,label", "0.png,1.5", "1.png,2")
    data = open_dataset(tmp_path)
    assert (data.task, data.labels.names) == ("classify", ("1.5", "2"))


def test_rows_without_a_number_are_left_out_and_counted(tmp_path: Path) -> None:
    table(images(tmp_path, 3), "path,value", "0.png,1.5", "1.png,", "2.png,NaN")
    data = open_dataset(tmp_path, task="measure")
    assert list(values(data)) == ["0.png"]
    (reason,) = data.account.dropped
    assert (reason.text, reason.n, reason.line) == ("a number is missing", 2, 3)


@pytest.mark.parametrize(
    ("lines", "text", "fix"),
    [
        (("path,value", "0.png,1", "1.png,heavy", "2.png,3"), "column 'value', found 'heavy'", "correct it"),
        (("path,value", "0.png,1", '1.png,"1,5"', "2.png,3"), "found '1,5'", "write it with a point"),
        (("path,value", "0.png,1", "1.png,inf", "2.png,3"), "found 'inf'", "correct it"),
        (
            ("path,value", "0.png,1", "1.png,NaN", "2.png,3"),
            "the number in the column 'value' is missing",
            "fill it in",
        ),
    ],
)
def test_a_bad_cell_is_a_finding_with_its_line(tmp_path: Path, lines: tuple[str, ...], text: str, fix: str) -> None:
    table(images(tmp_path, 3), *lines)
    data = open_dataset(tmp_path, task="measure")
    assert list(values(data)) == ["0.png", "2.png"]
    (finding,) = data.problems
    assert (finding.path, finding.line) == ("values.csv", 3)
    assert text in finding.message
    assert finding.fix.startswith(fix)
    assert [(r.n, r.line) for r in data.account.dropped] == [(1, 3)]


def test_a_table_without_one_number_that_can_be_read_is_refused(tmp_path: Path) -> None:
    table(images(tmp_path, 2), "path,value", "0.png,", "1.png,")
    with pytest.raises(DatasetError):
        open_dataset(tmp_path, task="measure")


def test_an_image_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    table(images(tmp_path, 3), "path,value", "0.png,1", "0.png,2")
    with pytest.raises(DatasetError, match=r"'0.png' is listed more than once"):
        open_dataset(tmp_path, task="measure")


def test_tables_of_other_columns_are_refused(tmp_path: Path) -> None:
    table(images(tmp_path, 2), "path,weight_g", "0.png,1", name="a.csv")
    table(tmp_path, "path,weight_kg", "1.png,1", name="b.csv")
    with pytest.raises(DatasetError, match=r"expected the columns 'weight_g' in 'b.csv', found 'weight_kg'"):
        open_dataset(tmp_path, task="measure")


def test_numbers_are_split_folded_and_examined_like_any_data(tmp_path: Path) -> None:
    images(tmp_path, 60)
    table(tmp_path, "path,weight_g", *(f"{i}.png,{i}" for i in range(60)))
    data = open_dataset(tmp_path, task="measure")
    scan = scan_dataset(data, quiet=True)
    assert not [f for f in audit_dataset(data, scan) if f.severity == "error"]
    parts = split_dataset(data, scan=scan)
    assert parts.splits == ("train", "val", "test")
    assert "split 70/10/20 by range of values" in parts.notes
    test = [s.target.values[0] for s in parts.test.samples]
    assert min(test) < 12
    assert max(test) >= 48
    assert len(fold_datasets(data, 3, scan=scan)) == 3


def test_copies_with_other_numbers_are_a_finding(tmp_path: Path) -> None:
    images(tmp_path, 3)
    (tmp_path / "3.png").write_bytes((tmp_path / "0.png").read_bytes())
    table(tmp_path, "path,weight_g", *(f"{i}.png,{i}" for i in range(4)))
    data = open_dataset(tmp_path, task="measure")
    (found,) = [f for f in audit_dataset(data, scan_dataset(data, quiet=True)) if f.code == "conflicting_labels"]
    assert found.message == "identical images under 2 values: weight [g]=0 ('0.png'), weight [g]=3 ('3.png')"


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (("path,weight_g", '0.png,"1,234.5"', '1.png,"2,345.6"'), "found '1,234.5' ('values.csv' line 2)"),
        (("path,value", "0.png,2021-01-01", "1.png,2021-01-02"), "found '2021-01-01' ('values.csv' line 2)"),
        (("path,weight_g", '0.png,"0,5"', '1.png,"1,5"'), "found '0,5' ('values.csv' line 2)"),
        (("path,value", "0.png", "1.png,2"), "line 2 has another number of columns"),
        (("path,value,value", "0.png,1,2", "1.png,2,3"), "two columns called 'value'"),
        (("path,value", "0.png," + "9" * 200_000, "1.png,2"), "field larger than field limit"),
        (("path,value",), "expected rows in 'values.csv', found none"),
        (("path,name", "0.png,a", "1.png,b"), "expected columns for the path and a number, found path, name"),
    ],
)
def test_a_table_without_numbers_is_refused_by_what_is_wrong_with_it(
    tmp_path: Path, lines: tuple[str, ...], text: str
) -> None:
    images(tmp_path, 2)
    table(tmp_path, *lines)
    with pytest.raises(DatasetError) as raised:
        open_dataset(tmp_path, task="measure")
    assert text in raised.value.message
    assert "'label'" not in raised.value.fix


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('{"file_name": "0.png", "value": ' + "[" * 50_000 + "]" * 50_000 + "}", "expected a JSON object"),
        ('{"file_name": "0.png", "va\\ud800lue": 1}', "half of a surrogate pair, \\ud800"),
    ],
    ids=["nested", "surrogate"],
)
def test_metadata_that_no_file_can_hold_is_refused_with_its_line(tmp_path: Path, line: str, text: str) -> None:
    images(tmp_path, 1)
    table(tmp_path, line, name="metadata.jsonl")
    with pytest.raises(DatasetError) as raised:
        open_dataset(tmp_path, task="measure")
    assert text in raised.value.message
    assert "'metadata.jsonl' line 1" in raised.value.message


def gauges(folder: Path) -> Path:
    """Write readings of one drawn gauge, whose pictures differ in a few pixels of the needle only."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    face = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8).repeat(12, 0).repeat(12, 1)
    for i in range(12):
        picture = face.copy()
        picture[40:46, 20 + 3 * i : 23 + 3 * i] = 0
        (folder / f"{i}.png").write_bytes(encode_image(picture))
    return table(folder, "path,value", *(f"{i}.png,{i}" for i in range(12)))


def test_near_equal_images_with_different_values_are_no_copies_and_no_conflict(tmp_path: Path) -> None:
    data = open_dataset(gauges(tmp_path), task="measure")
    scan = scan_dataset(data, quiet=True)
    assert scan.near_pairs
    found = audit_dataset(data, scan)
    assert not {f.code for f in found} & {"conflicting_labels", "near_duplicate", "leak"}
    assert {g.kind for g in find_groups(data, scan).groups} == {"object"}


@pytest.mark.parametrize(
    ("cell", "fix"),
    [
        ('"0,5"', "write it with a point: 0.5"),
        ("12%", "write 12, and the unit into the name of the column, as in 'weight [%]'"),
        ("12 g", "write 12, and the unit into the name of the column, as in 'weight [g]'"),
        ("heavy", "correct it"),
        ("1e300", "correct it: numbers go up to 1e+18"),
    ],
)
def test_a_table_of_cells_that_are_no_numbers_names_the_first(tmp_path: Path, cell: str, fix: str) -> None:
    table(images(tmp_path, 2), "path,Gewicht [kg]", f"0.png,{cell}", f"1.png,{cell}")
    with pytest.raises(DatasetError, match=r"expected a number in the column 'Gewicht \[kg\]'.*line 2") as met:
        open_dataset(tmp_path, task="measure")
    assert str(met.value.fix).startswith(fix)
