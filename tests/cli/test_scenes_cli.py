"""The command line on boxes and masks: what is said, and what comes as JSON."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eyewright as ew
from eyewright.cli import main


def test_predict_says_what_it_found_and_writes_drawings(
    found, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # type: ignore[no-untyped-def]
    bundle, source = str(found.paths["bundle"]), str(scenes / "test")
    assert main(["predict", bundle, "--source", source, "--out", str(tmp_path), "--json", "--conf", "0.3"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["task"] == "detect"
    assert len(said["predictions"]) == 14
    assert all(s >= 0.3 for p in said["predictions"] for s in p["scores"])
    assert len(list(tmp_path.glob("*.png"))) == 14
    image = str(sorted((scenes / "test").glob("*.png"))[0])
    assert main(["explain", bundle, image, "--method", "occlusion", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["task"] == "detect"
    assert said["explanations"]
    assert main(["predict", bundle, "--source", source, "--classes", "disc"]) == 0
    text = capsys.readouterr().out
    assert "disc" in text
    assert "square" not in text
    for wrong in ("2", "-0.1", "nan"):
        assert main(["predict", bundle, "--source", source, f"--conf={wrong}"]) == 2
        assert "expected a number from 0 to 1" in capsys.readouterr().err
    assert main(["predict", bundle, "--source", source, "--classes", "disk"]) != 0
    assert "did you mean 'disc'" in capsys.readouterr().err


def test_an_image_past_the_limit_is_cut_into_tiles_or_says_so(
    found, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # type: ignore[no-untyped-def]
    buffer = io.BytesIO()
    Image.new("L", (9000, 8000), 40).save(buffer, "PNG")
    path = tmp_path / "large.png"
    path.write_bytes(buffer.getvalue())
    bundle = str(found.paths["bundle"])
    assert main(["predict", bundle, "--source", str(path)]) == 3
    assert "--tile 640" in capsys.readouterr().err
    assert main(["predict", bundle, "--source", str(path), "--tile", "4500", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["predictions"]
    assert (row["width"], row["height"]) == (9000, 8000)


def test_doctor_and_formats_know_marks(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(scenes), "--json"]) in (0, 1)
    said = json.loads(capsys.readouterr().out)
    assert said["task"] == "detect"
    assert "predictions" not in said
    main(["formats"])
    text = capsys.readouterr().out
    assert all(name in text for name in ("coco", "yolo", "voc", "labelme", "label-studio", "masks", "cityscapes"))
    assert main(["train", str(scenes), "--task", "detekt"]) == 2
    assert "did you mean 'detect'" in capsys.readouterr().err


def test_the_pictures_of_a_prediction_can_be_looked_at(painted, scenes: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    prediction = painted.bundle.predict(sorted((scenes / "test").glob("*.png"))[0])
    path = prediction.save(tmp_path / "x.png")
    drawn = ew.read_image(path)
    assert drawn.shape[1] == 96
    assert drawn.shape[0] > 96
    assert not np.array_equal(drawn[:96], prediction.image)
