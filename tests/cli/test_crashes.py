"""A file that crashes its decoder costs one line that names it and a documented exit code, whatever the verb."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eyewright.cli import main
from eyewright.lifecycle.kept import _Kept


@pytest.fixture(params=["at once", "later"])
def folder(request, shapes: Path, tmp_path: Path, killing) -> Path:
    """A copy of the shapes in which one file ends its decoder: at once, or only when its pixels are needed."""
    copied = tmp_path / request.param
    shutil.copytree(shapes, copied)
    bad = copied / "disc" / "004.png"
    bad.write_bytes(killing(bad.read_bytes(), "SIGSEGV", request.param == "later"))
    return copied


@pytest.fixture
def bad(tmp_path: Path, shapes: Path, killing) -> Path:
    path = tmp_path / "bad.png"
    path.write_bytes(killing((shapes / "disc" / "004.png").read_bytes(), "SIGABRT"))
    return path


def call(words: list[str], capsys) -> tuple[int, dict, str]:
    code = main([*words, "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


@pytest.mark.parametrize("verb", ["explain", "segment", "segment-truth", "encode", "predict", "steps"])
def test_one_image_that_crashes_is_one_line_and_exit_3(verb, bad, finished, isolated, shapes, tmp_path, capsys) -> None:
    good = str(shapes / "disc" / "005.png")
    words = {
        "explain": ["explain", str(finished.paths["bundle"]), str(bad)],
        "segment": ["segment", str(bad)],
        "segment-truth": ["segment", good, "--truth", str(bad)],
        "encode": ["encode", str(bad), "--to", "jpeg", "--out", str(tmp_path / "e")],
        "predict": ["predict", str(finished.paths["bundle"]), "--source", str(bad)],
        "steps": ["steps", "--image", str(bad), "--out", str(tmp_path / "s")],
    }[verb]
    code, said, line = call(words, capsys)
    assert code == 3
    assert said["error"]["code"] == "decoder_crashed"
    assert "bad.png" in line
    assert "SIGABRT" in line


def test_others_are_encoded_processed_and_predicted(bad, finished, isolated, shapes, tmp_path, capsys) -> None:
    shutil.copy(shapes / "disc" / "005.png", bad.parent / "good.png")
    source = str(bad.parent / "*.png")
    for words in (
        ["encode", source, "--to", "jpeg", "--out", str(tmp_path / "e")],
        ["process", source, "--steps", "grey", "--out", str(tmp_path / "p")],
        ["predict", str(finished.paths["bundle"]), "--source", source],
    ):
        code, said, _ = call(words, capsys)
        assert code == 1, words
        (finding,) = said["findings"]
        assert (finding["code"], Path(finding["path"]).name) == ("decoder_crashed", "bad.png")


def test_a_dataset_with_a_crash_is_audited_converted_evaluated_and_cached(
    folder, finished, isolated, tmp_path, capsys
) -> None:
    bundle, later = str(finished.paths["bundle"]), folder.name == "later"
    # To convert this one costs no look at its pixels.
    for words, expected in (
        (["doctor", str(folder)], 0 if later else 1),
        (["convert", str(folder), "--to", "imagefolder", "--out", str(tmp_path / "c")], 0 if later else 1),
        (["evaluate", bundle, str(folder), "--allow-leaks"], 3 if later else 0),
        (["compare", bundle, bundle, str(folder), "--allow-leaks"], 3 if later else 0),
        (["train", str(folder), "--epochs", "1", "--out", str(tmp_path / "r"), "--allow-leaks"], 3 if later else 0),
    ):
        code, said, line = call(words, capsys)
        assert code == expected, (words, line)
        if code == 3:
            assert said["error"]["code"] == "decoder_crashed"
            assert "disc/004.png" in line, words
        elif not later:
            assert "disc/004.png" in json.dumps(said) + line, words


def test_a_kept_image_that_crashes_is_named(bad, isolated) -> None:
    tree = _Kept(bad.parent)
    tree.paths["feedback.png"] = bad
    from eyewright.core.errors import UnreadableImageError

    with pytest.raises(UnreadableImageError, match="SIGABRT"):
        tree.picture("feedback.png")


def test_the_program_itself_lives_when_a_decoder_is_killed_for_memory(shapes, tmp_path, killing) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(killing((shapes / "disc" / "004.png").read_bytes(), "SIGKILL"))
    command = (sys.executable, "-c", "import sys; from eyewright.cli import main; sys.exit(main())")
    found = subprocess.run((*command, "segment", str(path)), capture_output=True, text=True, env=dict(os.environ))
    assert found.returncode == 3, found.stderr
    assert "large.png" in found.stderr
    assert "memory" in found.stderr
