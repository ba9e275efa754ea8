"""A model of images that gets an animation predicts its first picture, and says so."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from eyewright.cli import main
from eyewright.imaging.media import FIRST_PICTURE


def _write(path: Path, *, pictures: int) -> Path:
    frames = [Image.fromarray(np.full((24, 24, 3), 40 + 50 * k, np.uint8)) for k in range(pictures)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=80)
    return path


@pytest.mark.parametrize("ending", [".gif", ".webp", ".png", ".avif"])
def test_an_animation_is_noted_and_a_still_picture_is_not(
    ending: str, finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # type: ignore[no-untyped-def]
    if ending == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    bundle = str(finished.paths["bundle"])
    for pictures in (1, 3):
        one = _write(tmp_path / f"a{ending}", pictures=pictures)
        assert main(["predict", bundle, str(one), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert len(found["predictions"]) == 1
        assert [f["message"] for f in found.get("findings", [])] == ([FIRST_PICTURE] if pictures > 1 else [])
    assert main(["predict", bundle, str(one)]) == 0
    assert "its first picture is predicted" in capsys.readouterr().err


def test_several_animations_are_one_note(finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    for name, pictures in (("a.gif", 2), ("b.webp", 3), ("c.png", 1)):
        _write(tmp_path / name, pictures=pictures)
    assert main(["predict", str(finished.paths["bundle"]), str(tmp_path), "--json"]) == 0
    (note,) = json.loads(capsys.readouterr().out)["findings"]
    assert note["message"].startswith("of each of 2 animations")
    assert [Path(p).name for p in note["paths"]] == ["a.gif", "b.webp"]


@pytest.mark.parametrize("word", ["track", "tracking"])
def test_who_wants_to_train_tracking_is_told_what_to_do(
    word: str, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(shapes), "--task", word]) == 2
    said = capsys.readouterr().err
    assert "train a detector with --task detect, then run eyewright track BUNDLE VIDEO" in said
