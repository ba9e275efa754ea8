import json
from pathlib import Path

import numpy as np
import pytest

from eyewright.cli import main
from eyewright.cli.doctoring import summary_lines
from eyewright.core.report import Finding
from eyewright.imaging import encode_image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("bolt", "nut", "void"):
        (tmp_path / name).mkdir()
        for i in range(12):
            image = np.kron(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8), np.ones((8, 8, 1), np.uint8))
            (tmp_path / name / f"{i}.png").write_bytes(encode_image(image))
    (tmp_path / "nut" / "copy.png").write_bytes((tmp_path / "nut" / "0.png").read_bytes())
    return tmp_path


@pytest.mark.parametrize("groups", [30, 150])
def test_many_groups_fit_a_screen(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    paths = tuple(f"class_a/photograph_{k:05d}.jpg" for k in range(6))
    text = "6 copies of one image (exposure): " + ", ".join(map(repr, paths[:3])) + " and 3 more"
    found = [Finding("near_duplicate", text, "nothing for the split, which keeps them together", paths[0], paths=paths)]
    found = [Finding("leak", "in train and test", "remove it", "a.jpg", severity="error"), *(found * groups)]
    lines = summary_lines(found, len(found))
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    assert f"{groups:,} findings" in lines[1]
    assert any("error[leak]" in line for line in lines)
    assert "--out" in lines[-1]


def test_few_findings_are_shown_whole() -> None:
    found = [Finding("leak", "in train and test", "remove it", "a.jpg", severity="error")]
    assert summary_lines(found, 1) == ["error[leak] a.jpg: in train and test → remove it", "1 finding"]


def test_doctor_writes_its_page_and_names_it(photos: Path, tmp_path: Path, capfd) -> None:  # type: ignore[no-untyped-def]
    assert main(["doctor", str(photos), "--out", str(tmp_path / "out"), "--json"]) == 1
    said = json.loads(capfd.readouterr().out)
    assert Path(said["out"]["report"]).name == "doctor.html"
    assert Path(said["out"]["report"]).is_file()
    assert json.loads(Path(said["out"]["findings"]).read_text())["images"] == 25
    duplicate = next(f for f in said["findings"] if f["code"] == "duplicate")
    assert set(duplicate) == {"code", "path", "line", "message", "fix", "severity", "paths"}
    assert all("paths" not in f for f in said["findings"] if f["code"] == "note")


def test_ignore_is_an_option_of_doctor(photos: Path, capfd) -> None:  # type: ignore[no-untyped-def]
    main(["doctor", str(photos), "--json"])
    said = json.loads(capfd.readouterr().out)
    assert any("'void' is ignored" in f["message"] for f in said["findings"])
    main(["doctor", str(photos), "--ignore", "none", "--json"])
    said = json.loads(capfd.readouterr().out)
    assert not any("is ignored" in f["message"] for f in said["findings"])
    assert main(["doctor", str(photos), "--ignore", "blot"]) == 3
    assert "'blot' is not a class of the data" in capfd.readouterr().err


def test_a_place_that_cannot_be_written_ends_with_usage(photos: Path, capfd) -> None:  # type: ignore[no-untyped-def]
    assert main(["doctor", str(photos), "--out", "/proc/nowhere"]) == 2
    assert "cannot write" in capfd.readouterr().err
