"""Edit files: other labels and images to leave out, applied to data that stays unchanged."""

import hashlib
import json
from pathlib import Path

import pytest

import eyewright as ew
from eyewright.cli.program import main
from eyewright.core.errors import DatasetError
from eyewright.data import open_dataset
from eyewright.data.edits import Edit, apply_edits, can_relabel, read_edits, show_edits

RELABEL = Edit("cross/000.png", "relabel", "disc", "cross")
LEAVE = Edit("disc/001.png", "leave_out", "", "disc")


def write(folder: Path, *edits: Edit) -> Path:
    path = folder / "edits.csv"
    path.write_bytes(show_edits(edits).encode("utf-8", "surrogateescape"))
    return path


def test_an_edit_changes_one_label_and_another_leaves_an_image_out(shapes: Path, tmp_path: Path) -> None:
    before = open_dataset(shapes)
    after = open_dataset(shapes, edits=write(tmp_path, RELABEL, LEAVE))
    assert len(after) == len(before) - 1
    assert after.counts() == {"cross": 23, "disc": 24, "square": 24}
    changed = {s.id: int(s.target) for s in after.samples}
    assert changed.pop(RELABEL.id) == before.labels.id("disc")
    assert changed == {s.id: int(s.target) for s in before.samples if s.id not in (RELABEL.id, LEAVE.id)}
    assert after.edits is not None
    digest = hashlib.sha256((tmp_path / "edits.csv").read_bytes()).hexdigest()
    assert after.edits.to_json() == {"file": "edits.csv", "sha256": digest, "relabelled": 1, "left_out": 1}
    assert after.notes[-1] == "edits in 'edits.csv': 1 image relabelled, 1 image left out"


def test_what_is_written_is_read_back_whatever_the_names_hold(tmp_path: Path) -> None:
    edits = (
        Edit('a,"b"\n.png', "relabel", "=1+1", "-x"),
        Edit("caf\udce9.png", "leave_out", "", "cat"),
        Edit("'quoted.png", "relabel", "dog", "cat"),
    )
    assert set(read_edits(write(tmp_path, *edits))) == set(edits)
    # A spreadsheet shows the label and does not compute it.
    assert ",'=1+1," in (tmp_path / "edits.csv").read_text("utf-8", "surrogateescape")


def test_a_class_that_loses_its_last_image_is_removed(tmp_path: Path, shapes: Path) -> None:
    data = open_dataset(shapes)
    edits = [Edit(s.id, "relabel", "disc", "cross") for s in data.samples if s.id.startswith("cross")]
    after = apply_edits(data, edits)
    assert after.counts() == {"disc": 48, "square": 24}
    assert "no image is left of the class 'cross'" in after.notes


def test_applying_edits_twice_changes_nothing_more(shapes: Path) -> None:
    once = apply_edits(open_dataset(shapes), [RELABEL])
    assert apply_edits(once, [RELABEL]).samples == once.samples


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (Edit("cross/999.png", "leave_out", "", "cross"), "does not hold, such as 'cross/999.png'"),
        (Edit("cross/000.png", "relabel", "disc", "square"), "replaces the label 'square', but the image has 'cross'"),
        (Edit("cross/000.png", "relabel", "disk", "cross"), "did you mean 'disc'"),
    ],
)
def test_edits_of_other_data_are_refused(shapes: Path, edit: Edit, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        apply_edits(open_dataset(shapes), [edit])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,label\n", "expected the columns id, action, label, was"),
        (
            "id,action,label,was\na.png,delete,,cat\n",
            "line 2: expected the action relabel or leave_out, found 'delete'",
        ),
        ("id,action,label,was\na.png,leave_out\n", "line 2: expected 4 cells"),
        ("id,action,label,was\na.png,leave_out,,\na.png,leave_out,,\n", "line 3: 'a.png' is edited twice"),
        ('id,action,label,was\n"a.png,leave_out,,\n', "line 2|unexpected end"),
        ("", "found nothing"),
    ],
)
def test_a_file_that_is_no_table_of_edits_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "edits.csv"
    path.write_text(text)
    with pytest.raises(DatasetError, match=said):
        read_edits(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"cannot read the edits in .*nothing\.csv"):
        read_edits(tmp_path / "nothing.csv")


def test_boxes_can_be_left_out_and_not_relabelled(scenes: Path) -> None:
    data = open_dataset(scenes)
    name = data.samples[0].id
    assert not can_relabel(data)
    assert len(apply_edits(data, [Edit(name, "leave_out")])) == len(data) - 1
    with pytest.raises(DatasetError, match="cannot be replaced by one label"):
        apply_edits(data, [Edit(name, "relabel", "disc", "")])


def test_a_run_records_the_edits_it_was_trained_with(shapes: Path, tmp_path: Path) -> None:
    path = write(tmp_path, RELABEL, LEAVE)
    run = ew.train(shapes, edits=str(path), out=tmp_path / "run", epochs=1, batch=32, imgsz=16)
    assert run.recipe.edits == str(path)
    assert run.about["dataset"]["edits"]["relabelled"] == 1
    assert (run.folder / "edits.csv").read_bytes() == path.read_bytes()
    rows = {r["id"]: r["label"] for r in run.split_rows()}
    assert rows[RELABEL.id] == "disc"
    assert LEAVE.id not in rows
    # Measured again from the run alone, the corrected labels count.
    from eyewright.lifecycle.datasets import data_of_run

    again = {s.id: int(s.target) for s in data_of_run(run).samples}
    assert again[RELABEL.id] == run.labels.id("disc")
    report = ew.evaluate(run, out=tmp_path / "report")
    assert report.sections["facts"]["edits"] == "edits.csv: 1 relabelled, 1 left out"
    assert str(path) not in (tmp_path / "report" / "report.html").read_text()


def test_doctor_and_convert_take_edits(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, RELABEL, LEAVE)
    out = tmp_path / "fixed"
    assert main(["convert", str(shapes), "--to", "imagefolder", "--edits", str(path), "--out", str(out)]) == 0
    fixed = open_dataset(out)
    assert fixed.counts() == {"cross": 23, "disc": 24, "square": 24}
    capsys.readouterr()
    assert main(["doctor", str(shapes), "--edits", str(path), "--json"]) in (0, 1)
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert any("1 image relabelled" in f["message"] for f in findings)
    path.write_text(path.read_text().replace("cross/000", "cross/777"))
    assert main(["doctor", str(shapes), "--edits", str(path)]) == 3
