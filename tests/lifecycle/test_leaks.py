"""`--leaks` through the command line: a given split with a few copies trains, one with many is refused."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import eyewright as ew
from eyewright.cli import main
from eyewright.imaging import encode_image


def blocks(seed: int, light: int) -> np.ndarray:
    few = np.random.default_rng(seed).integers(light, light + 100, (6, 6, 3)).astype(np.uint8)
    return np.kron(few, np.ones((6, 6, 1), np.uint8))


def write(folder: Path, *, copies: int, train: int = 200, test: int = 20) -> Path:
    """Write two classes, `train` + `test` images, and `copies` of test images beside them in train."""
    seed = 0
    for name, light in (("bright", 130), ("dark", 20)):
        for part, n in (("train", train // 2), ("test", test // 2)):
            (folder / part / name).mkdir(parents=True)
            for i in range(n):
                seed += 1
                (folder / part / name / f"{i:03d}.png").write_bytes(encode_image(blocks(seed, light)))
    for k in range(copies):
        name = ("bright", "dark")[k % 2]
        (folder / "train" / name / f"copy{k}.png").write_bytes(
            (folder / "test" / name / f"{k // 2:03d}.png").read_bytes()
        )
    return folder


FAST = ("--epochs", "1", "--batch", "32", "--imgsz", "18", "--model", "conv_net")


def call(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, dict, str]:
    code = main([str(a) for a in args])
    said = capsys.readouterr()
    return code, json.loads(said.out or "{}"), said.err


def test_half_a_percent_of_copies_is_left_out_and_said_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write(tmp_path / "data", copies=1), tmp_path / "out"
    assert main(["run", str(data), "--out", str(out), *FAST]) == 0
    text = capsys.readouterr()
    sentence = "1 of 181 training images (0.55 %) is a copy of 1 of 20 test images and is left out of training"
    assert sentence in text.out + text.err
    assert sentence in (out / "report.html").read_text()
    assert sentence in (out / "report.md").read_text()
    about = json.loads((out / "run.json").read_text())
    assert about["leaks"]["list"] == [
        {
            "id": "train/bright/copy0.png",
            "part": "train",
            "of": "test/bright/000.png",
            "of_part": "test",
            "how": "the same bytes",
        }
    ]
    assert about["warnings"] == []
    bundle = json.loads((out / "bundle/bundle.json").read_text())
    assert bundle["provenance"]["dataset"]["leaks"]["left_out"] == {"train": 1}
    assert sentence in " ".join((out / "bundle/README.md").read_text().split())
    with open(out / "split.csv", newline="") as file:
        assert "train/bright/copy0.png" not in {r["id"] for r in csv.DictReader(file)}
    report = json.loads((out / "report.json").read_text())
    assert report["n"] == 20


def test_five_percent_of_copies_are_refused_with_the_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "data", copies=10)
    code, said, _ = call(capsys, "train", data, "--out", tmp_path / "out", "--json", *FAST)
    assert code == 3
    assert said["error"]["code"] == "leak"
    assert "10 images are on both sides of the split" in said["error"]["message"]
    assert "%) are copies of 10 of 20 test images" in said["error"]["message"]
    assert "--leaks allow" in said["error"]["fix"]
    assert not (tmp_path / "out" / "run.json").exists()


def test_resume_trains_on_the_same_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write(tmp_path / "data", copies=1), tmp_path / "out"
    fast = ("--batch", "32", "--imgsz", "18", "--model", "conv_net", "--quiet")
    assert main(["train", str(data), "--out", str(out), "--epochs", "2", *fast]) == 0
    first = (out / "split.csv").read_text()
    (out / "run.json").unlink()
    assert main(["train", str(data), "--out", str(out), "--epochs", "2", "--resume", *fast]) == 0
    assert (out / "split.csv").read_text() == first


def test_a_test_part_wholly_made_of_copies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write(tmp_path / "data", copies=20)
    code, said, _ = call(capsys, "run", data, "--out", tmp_path / "out", "--json", *FAST)
    assert (code, said["error"]["code"]) == (3, "leak")
    assert "copies of 20 of 20 test images" in said["error"]["message"]
    code, said, _ = call(capsys, "train", data, "--out", tmp_path / "out", "--json", "--leaks", "allow", *FAST)
    assert code == 0
    assert said["leaks"]["rule"] == "allow"
    assert said["leaks"]["copies"] == 20
    report = ew.evaluate(tmp_path / "out")
    assert "on both sides of the split (--leaks allow)" in report.sections["warnings"][0]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--leaks", "ignore"), "expected drop, refuse or allow for --leaks, found 'ignore'"),
        (("--leaks", "refuse", "--allow-leaks"), "found --leaks refuse and --allow-leaks"),
        (("--leaks", "drop", "--folds", "3"), "expected no --leaks with --folds"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], words: str
) -> None:
    code, said, _ = call(capsys, "train", tmp_path, "--json", *args)
    assert code == 2
    assert words in said["error"]["message"]


def test_an_ensemble_is_not_measured_on_copies_of_its_training_images(tmp_path: Path) -> None:
    data = write(tmp_path / "data", copies=1, train=120, test=20)
    found = ew.cross_validate(data, folds=2, ensemble=True, out=tmp_path / "out", epochs=1, batch=32, imgsz=18)
    assert found.ensemble is not None
    rows = {r["id"]: r["split"] for r in found.ensemble.split_rows()}
    assert "train/bright/copy0.png" not in rows
    assert rows["test/bright/000.png"] == "test"
