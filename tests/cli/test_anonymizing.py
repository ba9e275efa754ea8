"""anonymize and federate on the command line: JSON, exit codes, no torch for images."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eyewright.cli import main
from eyewright.imaging import write_image


def said(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, dict[str, Any]]:
    code = main([*map(str, args), "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for k in range(2):
        write_image(Path("photos", f"{k}.png"), np.full((30, 40, 3), 90 + k, np.uint8))
    Path("boxes.csv").write_text("image,x0,y0,x1,y1,label\n0.png,2,2,12,12,face\n1.png,,,,,\n")
    return Path("photos")


def test_copies_are_written_and_recall_is_reported(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = said(
        capsys, "anonymize", photos, "--boxes", "boxes.csv", "--check", "boxes.csv", "--out", "out", "--report", "rep"
    )
    assert code == 0
    assert found["anonymize"]["recall"]["all"]["value"] == 1.0
    assert found["counts"] == {"written": 2, "failed": 0}
    assert Path(found["out"]["report"]).is_file()
    assert sorted(os.listdir("out")) == ["0.png", "1.png"]
    assert main(["anonymize", str(photos), "--find", "text", "--out", "plain"]) == 0
    assert "recall unknown" in capsys.readouterr().out


def test_every_failure_has_its_exit_code(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "bad.jpg").write_bytes(b"no image")
    code, found = said(capsys, "anonymize", photos, "--find", "text", "--out", "out")
    assert code == 1
    assert [f["code"] for f in found["findings"] if f["severity"] == "error"] == ["not_an_image"]
    for options, expected in (
        (["--find", "noses", "--out", "a"], 2),
        (["--find", "text", "--out", "out"], 2),
        (["--boxes", "absent.csv", "--out", "a"], 3),
        (["--find", "faces", "--detector", "absent", "--out", "a"], 3),
    ):
        assert main(["anonymize", str(photos), *options]) == expected, options
    assert not Path("a").exists()
    assert main(["anonymize", "absent", "--find", "text", "--out", "a"]) == 3
    assert main(["federate", str(photos), "--clients", "one"]) == 2
    assert main(["federate", str(photos), "--secure", "--strategy", "median"]) == 2
    assert main(["forget", "absent", "a.png", "--out", "b"]) == 3
    capsys.readouterr()


def test_images_are_made_anonymous_without_torch(photos: Path) -> None:
    code = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("blocked")
sys.meta_path.insert(0, Blocked())
from eyewright.cli import main
assert main(["anonymize", "photos", "--boxes", "boxes.csv", "--out", "out", "--quiet"]) == 0
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_model_is_measured_before_and_after(
    finished: Any, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = said(
        capsys, "anonymize", shapes, "--find", "text", "--model", finished.paths["bundle"], "--out", tmp_path / "out"
    )
    utility = found["anonymize"]["utility"]
    assert utility["metric"] == "accuracy"
    assert utility["before"]["n"] == utility["after"]["n"] == 72
    assert abs(utility["before"]["value"] - utility["after"]["value"]) < 0.3
    assert code == 0
