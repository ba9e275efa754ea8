"""Cross-validation over groups."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import write_shapes

import eyewright as ew
from eyewright.core.errors import DatasetError, UsageError
from eyewright.data import Dataset, audit_dataset, find_leaks, fold_datasets, open_dataset, scan_dataset
from eyewright.lifecycle.group_folds import group_folds


def grouped(folder: Path, groups: int, *, a_class: int = 12) -> Dataset:
    dataset = open_dataset(write_shapes(folder, a_class=a_class))
    samples = tuple(replace(s, group=f"site {int(Path(s.id).stem) % groups}") for s in dataset.samples)
    return replace(dataset, samples=samples)


def test_every_group_is_left_out_once_and_validation_is_of_other_groups(tmp_path: Path) -> None:
    data = grouped(tmp_path, 6)
    parts, note = group_folds(data, scan=scan_dataset(data, quiet=True))
    assert note == "6 groups, left out one by one."
    assert [{s.group for s in p.test.samples} for p in parts] == [{f"site {k}"} for k in range(6)]
    for part in parts:
        assert len(part) == 36
        sides = [{s.group for s in side.samples} for side in (part.train, part.val, part.test)]
        assert not sides[0] & sides[1]
        assert not sides[2] & (sides[0] | sides[1])
        assert min(part.train.counts().values()) > 0


def test_many_groups_are_put_into_folds_of_whole_groups(tmp_path: Path) -> None:
    data = grouped(tmp_path, 24, a_class=48)
    parts, note = group_folds(data, scan=scan_dataset(data, quiet=True))
    assert len(parts) == 10
    assert "too many to leave out one by one: 10 folds of whole groups" in note
    for part in parts:
        assert not {s.group for s in part.test.samples} & {s.group for s in part.train.samples}


def test_what_cannot_be_left_out_is_refused_with_the_numbers(tmp_path: Path) -> None:
    data = grouped(tmp_path, 6)
    lone = [replace(s, group="disc site") if s.id.startswith("disc") else s for s in data.samples]
    scan = scan_dataset(data, quiet=True)
    with pytest.raises(
        DatasetError, match=r"class 'disc' occurs in one group only \(12 images, such as 'disc/000.png'"
    ):
        group_folds(replace(data, samples=tuple(lone)), scan=scan)
    one = tuple(replace(s, group="all") for s in data.samples)
    with pytest.raises(DatasetError, match=r"expected 3 groups or more .* found 1"):
        group_folds(replace(data, samples=one), scan=scan)


def test_the_report_rests_on_groups_and_says_which_folds_there_were(tmp_path: Path) -> None:
    data = grouped(tmp_path / "data", 4)
    said: list[str] = []
    done = ew.cross_validate(data, folds="groups", out=tmp_path / "out", epochs=2, batch=8, say=said.append)
    assert "4 groups, left out one by one." in said
    assert len(done.runs) == 4
    assert done.report.n == 36
    assert done.report.metrics["accuracy"].groups == 4
    assert done.report.tables["novelty"]["n"] == 36
    page = (tmp_path / "out/report.html").read_text()
    assert "4 groups, left out one by one." in page
    rows = list(csv.DictReader((tmp_path / "out/out-of-fold.csv").read_text().splitlines()))
    assert {int(Path(r["id"]).stem) % 4 for r in rows if r["fold"] == "1"} == {0}
    with pytest.raises(UsageError, match="--repeats with --folds groups"):
        ew.cross_validate(data, folds="groups", repeats=2, out=tmp_path / "twice", epochs=2)


def test_a_test_part_that_came_with_the_data_leaves_the_groups_of_the_rest_as_they_are(tmp_path: Path) -> None:
    data = grouped(tmp_path, 24, a_class=48)
    # The first images are the test part, so that every other image has another number in a fold.
    samples = [replace(s, split="test" if int(Path(s.id).stem) < 12 else "train") for s in data.samples]
    data = replace(data, samples=tuple(samples))
    scan = scan_dataset(data, quiet=True)
    for parts in (fold_datasets(data, 3, scan=scan), group_folds(data, scan=scan)[0]):
        for part in parts:
            assert part.grouping is not None
            assert not find_leaks(audit_dataset(part, scan_dataset(part, quiet=True)))
            for group in part.grouping.groups:
                assert len({part.samples[i].group for i in group.members}) == 1
