"""What was left out of the data is said by every verb that uses it, in JSON and with --quiet."""

import json
import shutil
from pathlib import Path

import pytest

from eyewright.cli import main

LEFT_OUT = [{"reason": "images cannot be read", "n": 1, "path": "disc/003.png", "line": None}]


@pytest.fixture
def damaged(shapes: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    shutil.copytree(shapes, folder)
    (folder / "disc" / "003.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    return folder


@pytest.mark.parametrize("verb", ["evaluate", "train", "folds", "tune"])
def test_the_account_is_in_the_json(verb, damaged, finished, tmp_path, capsys) -> None:
    out = ["--out", str(tmp_path / "out"), "--epochs", "1"]
    words = {
        "evaluate": ["evaluate", str(finished.paths["bundle"]), str(damaged), "--allow-leaks"],
        "train": ["train", str(damaged), *out],
        "folds": ["train", str(damaged), "--folds", "2", *out],
        "tune": ["train", str(damaged), "--tune", "1", *out],
    }[verb]
    assert main([*words, "--json"]) == 0
    account = json.loads(capsys.readouterr().out)["account"]
    assert account["left_out"] == LEFT_OUT
    assert account["read"] == 72


@pytest.mark.parametrize("verb", ["evaluate", "compare", "train", "convert"])
def test_quiet_says_in_one_line_on_stderr_what_was_left_out(verb, damaged, finished, tmp_path, capsys) -> None:
    bundle = str(finished.paths["bundle"])
    words, code, expected = {
        "evaluate": (["evaluate", bundle, str(damaged), "--allow-leaks"], 0, "1 image is left out"),
        "compare": (["compare", bundle, bundle, str(damaged), "--allow-leaks"], 0, "1 image is left out"),
        "train": (["train", str(damaged), "--epochs", "1", "--out", str(tmp_path / "r")], 0, "1 image is left out"),
        "convert": (
            ["convert", str(damaged), "--to", "imagefolder", "--out", str(tmp_path / "c")],
            1,
            "cannot be read",
        ),
    }[verb]
    assert main([*words, "--quiet"]) == code
    said = capsys.readouterr()
    assert expected in said.err
    assert said.err.count("\n") == 1
    assert "disc/003.png" in said.err


def test_nothing_is_said_where_all_was_used(shapes, finished, capsys) -> None:
    assert main(["evaluate", str(finished.paths["bundle"]), str(shapes), "--allow-leaks", "--quiet"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")
