"""Classes are written as a table and read back, whatever they are called."""

from pathlib import Path

import numpy as np
import pytest

from eyewright.cli.program import main
from eyewright.data import open_dataset
from eyewright.data.targets.label import Label
from eyewright.imaging import write_image
from eyewright.lifecycle import convert

_NAMES = ("1", "=f()", "a,b", "a b", "cat|dog", "nan", "yes", 'ü "q"')


def test_classes_become_a_table_that_is_read_back(tmp_path: Path) -> None:
    for k, name in enumerate(_NAMES):
        for part in ("train", "val"):
            pixels = np.random.default_rng([k, part == "val"]).integers(0, 256, (8, 8, 3)).astype(np.uint8)
            write_image(tmp_path / "in" / part / name / "0.png", pixels)
    written = convert(tmp_path / "in", to="csv", out=tmp_path / "out")
    assert (written.task, written.images, written.lost) == ("classify", 16, ())
    before, after = open_dataset(tmp_path / "in"), open_dataset(tmp_path / "out")
    assert (after.task, after.labels.names) == ("classify", before.labels.names)
    told = [sorted((int(s.marked(Label)), s.split or "") for s in data.samples) for data in (before, after)]
    assert told[0] == told[1]


def test_the_command_counts_no_objects_where_there_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for k in range(2):
        write_image(tmp_path / "in" / "ab"[k] / "0.png", np.full((8, 8, 3), 90 * k, np.uint8))
    assert main(["convert", str(tmp_path / "in"), "--to", "csv", "--out", str(tmp_path / "out")]) == 0
    assert "wrote    2 images to " in capsys.readouterr().out
    assert (tmp_path / "out" / "labels.csv").read_text().startswith("path,label\n")
