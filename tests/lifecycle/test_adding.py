"""Generated images in training: which are added, what is refused, and the verdict on real images."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import draw_shape

import eyewright as ew
from eyewright.cli.program import main
from eyewright.core.errors import CheckpointError, EyewrightError, LeakError, RefusedError, UsageError
from eyewright.data.dataset import Dataset
from eyewright.exporting.bundle_writer import export_bundle
from eyewright.imaging import write_image
from eyewright.imaging.marking import is_marked
from eyewright.lifecycle import adding
from eyewright.lifecycle.adding import AddGenerated, drawn_for
from eyewright.lifecycle.datasets import GENERATED, data_of_run
from eyewright.nets import generators

_TRAIN = {"cross": 30, "disc": 30, "ring": 8}


def _draw(kind: str, k: int, part: str) -> np.ndarray:
    return draw_shape({"ring": "disc"}.get(kind, kind), np.random.default_rng([k, len(kind), len(part), ord(kind[0])]))


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawings")
    for part in ("train", "val", "test"):
        for kind, n in _TRAIN.items():
            (folder / part / kind).mkdir(parents=True)
            for k in range(n if part == "train" else 12):
                write_image(folder / part / kind / f"{k:03d}.png", _draw(kind, k, part))
    return folder


@pytest.fixture(scope="module")
def generator(drawings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a tiny net that has hardly learnt: which images it draws is not what is tested here."""
    place = tmp_path_factory.mktemp("generator")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generators, "_GAN_WIDTHS", (8, 8, 8))
        patch.setattr("eyewright.learners.generate._VIEWS", 1)
        patch.setattr("eyewright.lifecycle.judging._EPOCHS", 2)
        run = ew.train(drawings, task="generate", model="gan_net", out=place / "run", epochs=1, batch=16)
        val = ew.load_dataset(drawings, task="generate").val
        bundle, _ = export_bundle(run, place / "bundle", validation=val)
        return bundle.folder


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that takes every image for what it was drawn as, and none for a copy."""

    def draw(predictor: Any, judge: Any, wanted: Any, *, quiet: bool) -> Any:
        rng = np.random.default_rng(5)
        drawn = {
            label: [(k, rng.integers(0, 255, (32, 32, 3), np.uint8)) for k in range(n)] for label, n in wanted.items()
        }
        return drawn, {"other_class": 0, "near_training": 0}

    monkeypatch.setattr(adding, "_draw", draw)


def _loaded(folder: Path) -> Dataset:
    return ew.load_dataset(folder)


def _silent(text: str) -> None:
    pass


@pytest.mark.usefixtures("trusting")
def test_the_rare_class_is_filled_in_train_alone_and_the_files_are_marked(
    drawings: Path, generator: Path, tmp_path: Path
) -> None:
    data = _loaded(drawings)
    merged, about = drawn_for(data, AddGenerated(generator), tmp_path / "drawn", say=_silent)
    assert about["wanted"] == {"ring": 8}, "half of its training images are generated"
    assert about["images"] == {"ring": 8}
    new = merged.samples[len(data.samples) :]
    assert {s.split for s in new} == {"train"}
    assert {data.labels.names[int(s.target)] for s in new} == {"ring"}  # type: ignore[call-overload]
    assert all(s.id.startswith(GENERATED) for s in new)
    files = sorted((tmp_path / "drawn").glob("*.png"))
    assert len(files) == 8
    assert all(is_marked(f.read_bytes()) for f in files)
    assert len(merged.val) == len(data.val)


@pytest.mark.usefixtures("trusting")
def test_a_class_is_filled_up_to_the_median_at_most_and_named_classes_as_asked(
    drawings: Path, generator: Path, tmp_path: Path
) -> None:
    data = _loaded(drawings)
    _, about = drawn_for(data, AddGenerated(generator, fraction=0.9), tmp_path / "a", say=_silent)
    assert about["wanted"] == {"ring": 22}, "8 real ones and 22 are the 30 of the median class"
    _, about = drawn_for(data, AddGenerated(generator, labels=("disc",)), tmp_path / "b", say=_silent)
    assert about["wanted"] == {"disc": 30}
    with pytest.raises(UsageError, match="disk"):
        drawn_for(data, AddGenerated(generator, labels=("disk",)), tmp_path / "c", say=_silent)
    even = data.select(lambda s: int(s.target) != 2)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="fewer than half"):
        drawn_for(even, AddGenerated(generator), tmp_path / "c", say=_silent)


def test_copies_of_real_images_and_of_other_generated_ones_are_left_out(
    drawings: Path, generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    held = np.asarray(ew.read_image(drawings / "val" / "ring" / "002.png"))
    learnt = np.asarray(ew.read_image(drawings / "train" / "ring" / "001.png"))
    new = [rng.integers(0, 255, held.shape, np.uint8) for _ in range(3)]

    def draw(predictor: Any, judge: Any, wanted: Any, *, quiet: bool) -> Any:
        # One level up is another file of the same picture.
        images = [held, np.clip(learnt.astype(int) + 1, 0, 255).astype(np.uint8), *new, new[0]]
        return {"ring": list(enumerate(images))}, {"other_class": 0, "near_training": 0}

    monkeypatch.setattr(adding, "_draw", draw)
    merged, about = drawn_for(_loaded(drawings), AddGenerated(generator), tmp_path / "d", say=_silent)
    assert about["left_out"]["copies_of_files"] == 3
    assert about["images"] == {"ring": 3}
    kept = {s.id.removeprefix(GENERATED) for s in merged.samples if s.id.startswith(GENERATED)}
    assert {f.name for f in (tmp_path / "d").glob("*.png")} == kept == {f"002-000000{k}.png" for k in (2, 3, 4)}


def test_what_the_judge_takes_for_another_class_or_a_copy_is_left_out(generator: Path) -> None:
    bundle = ew.load_bundle(generator)
    judge: Any = bundle.judge
    rng = np.random.default_rng(0)

    class Fixed:
        labels, train, held_out = judge.labels, rng.normal(size=(60, 4)), rng.normal(size=(40, 4))
        calls = 0

        def __call__(self, pixels: np.ndarray) -> Any:
            Fixed.calls += 1
            found = rng.normal(size=(len(pixels), 4)) + 3
            found[0] = self.train[5]
            ids = np.full(len(pixels), 2)
            ids[1] = 0
            return found, ids

    drawn, left_out = adding._draw(bundle, Fixed(), {"ring": 6}, quiet=True)  # type: ignore[arg-type]
    assert left_out == {"other_class": 1, "near_training": 1}
    assert [seed for seed, _ in drawn["ring"]] == [2, 3, 4, 5, 6, 7]
    assert drawn["ring"][0][1].dtype == np.uint8


def test_a_generator_that_has_learnt_from_held_out_images_is_refused(
    drawings: Path, generator: Path, tmp_path: Path
) -> None:
    data = _loaded(drawings)
    swapped = {"train": "test", "test": "train"}
    moved = data.with_samples(replace(s, split=swapped.get(str(s.split), s.split)) for s in data.samples)  # type: ignore[arg-type]
    with pytest.raises(LeakError, match="68 test images"):
        drawn_for(moved, AddGenerated(generator, labels=("ring",)), tmp_path / "d", say=_silent)
    assert not (tmp_path / "d").exists()


def test_other_classes_other_models_and_other_tasks_are_refused(
    drawings: Path, generator: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(drawings, tmp_path / "renamed"))
    for part in ("train", "val", "test"):
        (folder / part / "ring").rename(folder / part / "torus")
    with pytest.raises(RefusedError, match="does not know 'torus'; it also knows 'ring'"):
        drawn_for(_loaded(folder), AddGenerated(generator), tmp_path / "d", say=_silent)
    with pytest.raises(EyewrightError, match="not supported for generation"):
        ew.train(drawings, task="generate", add_generated=generator, epochs=1, out=tmp_path / "run")
    with pytest.raises(UsageError, match="private"):
        ew.train(drawings, add_generated=generator, private="epsilon=3", epochs=1, out=tmp_path / "run")
    for wrong in (AddGenerated(generator, fraction=1.0), AddGenerated(generator, pairs=0)):
        with pytest.raises(UsageError, match="expected"):
            drawn_for(_loaded(drawings), wrong, tmp_path / "d", say=_silent)
    assert not (tmp_path / "d").exists()


@pytest.mark.usefixtures("trusting")
def test_training_tells_whether_they_help_and_the_card_and_split_say_what_they_are(
    drawings: Path, generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "run"
    asked = ["--add-generated", str(generator), "--generated-pairs", "2"]
    given = ["train", str(drawings), "--epochs", "2", "--batch", "16", "--out", str(place), "--json", *asked]
    code = main(given)
    told = json.loads(capsys.readouterr().out)
    found = told["generated"]["verdict"]
    assert code == (1 if found["verdict"] == "worse" else 0)
    assert (found["pairs"], found["n"], found["metric"]) == (2, 36, "balanced_accuracy")
    assert found["classes"]["ring"]["n"] == 12
    one = found["differences"]["balanced_accuracy"]
    assert one["low"] <= one["value"] <= one["high"]
    assert one["value"] == pytest.approx(one["with"] - one["without"])
    rows = list(csv.DictReader((place / "split.csv").open()))
    drawn = [r for r in rows if r["id"].startswith(GENERATED)]
    assert {(r["split"], r["label"]) for r in drawn} == {("train", "ring")}
    without = list(csv.DictReader((place / "pairs" / "0-without" / "split.csv").open()))
    # The distance of held-out images to the nearest training image depends on what was added.
    own = ("id", "split", "label", "sha256")
    assert [[r[k] for k in own] for r in rows if r not in drawn] == [[r[k] for k in own] for r in without]

    run = ew.load_run(place)
    whole = data_of_run(run)
    assert sum(s.id.startswith(GENERATED) for s in whole.train.samples) == len(drawn)
    report = ew.evaluate(run)
    assert report.tables["generated"]["measured"]["n"] == 36
    assert "generated images" in report.sections["facts"]
    codes = {f.code for f in report.sections["findings"]}
    assert ("generated_images_no_gain" in codes) == (found["verdict"] == "same")

    if found["verdict"] != "worse":
        bundle = ew.export(run, tmp_path / "bundle")
        card = (bundle.folder / "README.md").read_text()
        assert "generated images of 'ring' are in training" in card
        assert bundle.manifest.provenance["generated"]["images"] == {"ring": len(drawn)}

    # Nothing is trained again, and the same images are drawn again.
    before = (place / "checkpoints" / "best" / "model.safetensors").read_bytes()
    assert main([*given, "--resume"]) == code
    assert json.loads(capsys.readouterr().out)["generated"]["verdict"]["differences"] == found["differences"]
    assert (place / "checkpoints" / "best" / "model.safetensors").read_bytes() == before
    assert main([*given, "--resume", "--generated-fraction", "0.2"]) == CheckpointError.exit_code
    assert main([*given[:-4], "--resume"]) == 2, "the images may not be forgotten"
    capsys.readouterr()


def test_options_that_do_not_go_together_are_refused(
    drawings: Path, generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(tmp_path / "run")
    for wrong in (
        ["--generated-pairs", "2"],
        ["--generated-for", "ring"],
        ["--add-generated", str(generator), "--folds", "2"],
        ["--add-generated", str(generator), "--tune", "2"],
        ["--add-generated", str(generator), "--shards", "2"],
        ["--add-generated", str(generator), "--generated-fraction", "1"],
    ):
        assert main(["train", str(drawings), "--epochs", "1", "--out", place, *wrong]) == 2
        assert "Traceback" not in capsys.readouterr().err
    assert main(["train", str(drawings), "--epochs", "1", "--out", place, "--add-generated", "nowhere"]) == 3
    assert not Path(place).exists()
