"""attack and certify on the command line: JSON, exit codes, what is written, and no torch for a bundle."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eyewright.cli import main

FAST = ["--steps", "5", "--queries", "30", "-n", "12", "--eps", "0.02,0.05"]


def said(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, dict[str, Any]]:
    code = main([*map(str, args), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_run_is_attacked_and_keeps_its_report(
    finished: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = said(capsys, "attack", finished.run.folder, *FAST, "--out", tmp_path / "out")
    assert code == int(found["robustness"]["verdict"] == "not evidence")
    assert found["verb"] == "attack"
    assert found["metrics"]["clean_accuracy"]["n"] == 12
    assert [lv["eps"] for lv in found["robustness"]["levels"]] == [0.02, 0.05]
    assert Path(found["out"]["report"]).is_file()
    code, again = said(capsys, "attack", finished.run.folder, *FAST, "--out", tmp_path / "out", "--resume")
    assert again["robustness"]["levels"] == found["robustness"]["levels"]


def test_a_bundle_is_attacked_and_certified_without_torch(finished: Any, shapes: Path, tmp_path: Path) -> None:
    code = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("blocked")
sys.meta_path.insert(0, Blocked())
from eyewright.cli import main
given = [{str(finished.paths["bundle"])!r}, {str(shapes)!r}, "--allow-leaks", "--json", "-n", "6"]
assert main(["attack", *given, "--queries", "20", "--eps", "0.02", "--out", {str(tmp_path)!r}]) in (0, 1)
assert main(["certify", *given, "--samples", "20", "--n0", "5"]) == 0
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert first["robustness"]["access"] == "scores"
    assert second["certificate"]["smoothing"][0]["accuracy"]["n"] == 6


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--eps", "8"], 2, "did you mean 8/255"),
        (["--eps", "-1"], 2, "eps of 0 or more"),
        (["--norm", "l3"], 2, "unknown norm"),
        (["--suite", "fulll"], 2, "did you mean 'full'"),
        (["--attacks", "pgd"], 2, "needs the gradients of a run"),
        (["--budget", "0s"], 2, "budget"),
    ],
)
def test_wrong_options_end_with_2(
    args: list[str], code: int, words: str, finished: Any, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    got, found = said(capsys, "attack", finished.paths["bundle"], shapes, "--allow-leaks", *args)
    assert (got, found["ok"]) == (code, False)
    assert words in found["error"]["message"] + found["error"]["fix"]


def test_a_bundle_without_data_and_trained_images_are_refused(
    finished: Any, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = said(capsys, "attack", finished.paths["bundle"])
    assert (code, found["error"]["fix"]) == (2, "pass a dataset")
    code, found = said(capsys, "attack", finished.paths["bundle"], shapes)
    assert (code, found["error"]["code"]) == (3, "leak")


def test_certificates_are_refused_for_another_task(tagged: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = said(capsys, "certify", tagged.run.folder)
    assert code == 2
    assert "certify is not supported for" in found["error"]["message"]
