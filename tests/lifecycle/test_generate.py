"""Generation from a folder of images to files that a bundle has drawn."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import draw_shape

import eyewright as ew
from eyewright import lifecycle
from eyewright.bundle import trial
from eyewright.bundle.manifest import read_manifest, write_manifest
from eyewright.bundle.verify import digest_folder
from eyewright.cli.program import main
from eyewright.core.errors import BudgetError, BundleError, DatasetError, OutputError, UsageError
from eyewright.core.predictor import predict_everything
from eyewright.data import open_dataset
from eyewright.exporting.bundle_writer import export_bundle
from eyewright.imaging import write_image
from eyewright.lifecycle import generating
from eyewright.lifecycle.generating import _found
from eyewright.lifecycle.judging import how_busy
from eyewright.nets import generators


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawings")
    for part, n in (("train", 30), ("val", 12), ("test", 12)):
        for kind in ("cross", "disc"):
            (folder / part / kind).mkdir(parents=True)
            for k in range(n):
                image = draw_shape(kind, np.random.default_rng([k, len(kind), len(part)]))
                write_image(folder / part / kind / f"{k:03d}.png", image)
    return folder


@pytest.fixture(scope="module", params=["gan_net"])
def trained(request: pytest.FixtureRequest, drawings: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run, and its bundle: after two epochs of a tiny net it has collapsed, so `run` writes none by itself."""
    place = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generators, "_GAN_WIDTHS", (8, 8, 8))
        patch.setattr(generators, "_FLOW_WIDTHS", (8, 8))
        patch.setattr("eyewright.learners.generate._VIEWS", 1)
        patch.setattr("eyewright.lifecycle.judging._EPOCHS", 6)
        said: list[str] = []
        made = ew.run(
            drawings, task="generate", model=request.param, out=place / "run", epochs=2, batch=16, say=said.append
        )
        bundle, parity = export_bundle(
            made.run, place / "bundle", validation=ew.load_dataset(drawings, task="generate").val
        )
        yield made, bundle, parity, said


def test_too_little_training_is_found_and_no_bundle_is_written(trained: Any) -> None:
    made, _, _, said = trained
    assert made.bundle is None
    assert {f.code for f in made.report.sections["findings"]} >= {"undertrained", "few_images"}
    (short,) = [f for f in made.report.sections["findings"] if f.code == "undertrained"]
    assert "only 2 epochs of training" in short.message
    assert short.fix.startswith("train with --epochs ")
    assert any("takes no part in training it" in line for line in said), "the judge's digest and accuracy are said"
    judge = made.report.tables["judge"]
    assert any(judge["digest"][:12] in line for line in said)
    page = made.paths["report"].read_text()
    assert "Real and generated" in page
    assert "Nearest to a training image" in page
    assert "fid_floor" in made.report.metrics


def test_the_bundle_takes_noise_and_a_class_and_draws_as_the_run_does(trained: Any) -> None:
    made, bundle, parity, _ = trained
    (image,) = bundle.manifest.tensors["outputs"]
    assert (image["dtype"], image["shape"]) == ("uint8", ["N", 32, 32, 3])
    assert list(bundle.inputs) == ["noise", "class"]
    assert parity.amounts["levels of pixels"] <= 2
    # Neither the discriminator nor a picture of the data is in the model that is run.
    assert (bundle.folder / "onnx" / "model.onnx").stat().st_size < 400_000
    asked = [{"noise": k, "class": k % 2} for k in range(6)]
    ours, theirs = (predict_everything(p, asked) for p in (made.run.predictor, bundle))
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(a.pixels.astype(int) - b.pixels).max() <= 2  # type: ignore[attr-defined]
        assert a.label == b.label  # type: ignore[attr-defined]
    assert ew.load_bundle(bundle.folder).judge.digest == made.run.predictor.judge.digest
    report = ew.evaluate(bundle, made.run.about["data_path"], split="test", allow_leaks=True)
    assert report.metrics["coverage"].n == 24


def test_a_changed_judge_is_noticed(trained: Any, tmp_path: Path) -> None:
    import shutil

    _, bundle, _, _ = trained
    copy = Path(shutil.copytree(bundle.folder, tmp_path / "copy"))
    about = copy / "judge" / "judge.json"
    about.write_bytes(about.read_bytes().replace(b"0.", b"1.", 1))
    with pytest.raises(BundleError, match="changed"):
        ew.load_bundle(copy)


def test_drawn_files_say_that_they_are_and_doctor_finds_them(trained: Any, tmp_path: Path) -> None:
    _, bundle, _, _ = trained
    done = lifecycle.generate_images(bundle.folder, tmp_path / "new", n=12, grid=True, seed=5)
    assert [f.seed for f in done.files] == list(range(5, 17))
    assert [f.label for f in done.files[:3]] == ["cross", "disc", "cross"]
    again = lifecycle.generate_images(bundle.folder, tmp_path / "again", n=1, seed=7)
    assert again.files[0].out.read_bytes() == done.files[2].out.read_bytes(), "a seed and a class are one image"
    with pytest.raises(UsageError, match="exists"):
        lifecycle.generate_images(bundle.folder, tmp_path / "new", n=12)
    for file in done.files:
        place = tmp_path / "data" / file.label / file.out.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.out.read_bytes())
    (found,) = [f for f in ew.doctor(tmp_path / "data") if f.code == "generated"]
    assert "12 images say that a trained model made them" in found.message
    assert done.grid is not None
    assert ew.read_image(done.grid).shape[2] == 3


def test_the_command_line_draws_interpolates_and_refuses(
    trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, bundle, _, _ = trained
    name = str(bundle.folder)
    code = main(["generate", name, "-n", "5", "--interpolate", "disc", "cross", "--out", str(tmp_path / "a"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert code == (1 if told["findings"] else 0)
    assert [f["label"] for f in told["files"]] == ["disc", "disc", "cross", "cross", "cross"]
    assert told["files"][1]["seed"] is None
    for wrong in (["--class", "disk"], ["--steps", "4"], ["--guidance", "2"]):
        assert main(["generate", name, "-n", "2", *wrong, "--out", str(tmp_path / "b")]) == 2
        capsys.readouterr()
    steps = ["generate", str(made.run.folder), "-n", "2", "--steps", "4", "--guidance", "1.5", "--out"]
    assert main([*steps, str(tmp_path / "c")]) == (0 if made.run.recipe.model == "flow_net" else 2)
    assert not (tmp_path / "b").exists()


def test_what_makes_no_sense_without_images_is_a_declared_refusal(trained: Any, drawings: Path, tmp_path: Path) -> None:
    made, bundle, _, _ = trained
    image = drawings / "test" / "disc" / "000.png"
    calls = (
        lambda: bundle.predict(image),
        lambda: ew.explain(bundle, image),
        lambda: ew.explain(made.run, image),
        lambda: ew.serve([bundle.folder]),
        lambda: ew.cross_validate(drawings, folds=2, task="generate", out=tmp_path / "folds"),
        lambda: ew.tune(drawings, trials=2, task="generate", out=tmp_path / "tune"),
        lambda: ew.compress(made.run, data=drawings, max_drop=["coverage=1%"], out=tmp_path / "small"),
    )
    for call in calls:
        with pytest.raises(UsageError, match="not supported for generation"):
            call()


def test_images_with_planted_copies_or_a_collapse_are_findings_of_what_was_drawn() -> None:
    class Known:
        rng = np.random.default_rng(0)
        train = rng.normal(size=(600, 8)).astype(np.float32)
        held_out = rng.normal(size=(300, 8)).astype(np.float32)

    judge: Any = Known()
    new = np.random.default_rng(1).normal(size=(200, 8))
    assert _found(judge, new, whole=True, truncated=False)[0] == []
    copied = np.concatenate([new[:170], judge.train[:30]])
    (copies,), share = _found(judge, copied, whole=True, truncated=False)
    assert copies.code == "copies"
    assert share is not None
    assert share >= 0.15
    for n in (200, 64, 20):
        codes = [f.code for f in _found(judge, np.tile(new[:1], (n, 1)), whole=True, truncated=False)[0]]
        assert "collapse" in codes, n
    # As many images as are usual, and fewer, of which coverage depends on chance: real ones have not collapsed.
    for seed in range(40):
        some = np.random.default_rng([seed, 2]).normal(size=(6 + 2 * seed, 8))
        assert "collapse" not in [f.code for f in _found(judge, some, whole=True, truncated=False)[0]], seed


def test_a_run_whose_report_finds_fault_draws_with_that_finding(
    trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, bundle, _, _ = trained
    # One class is not tested for coverage by itself.
    asked = ["-n", "4", "--class", "disc", "--json"]
    assert main(["generate", str(made.run.folder), *asked, "--out", str(tmp_path / "a")]) == 1
    told = json.loads(capsys.readouterr().out)
    assert len(told["files"]) == 4, "the images are there all the same"
    (found,) = [f for f in told["findings"] if f["code"] == "undertrained"]
    assert "own report says" in found["message"]
    assert not (bundle.folder / "report.json").exists()
    damaged = Path(shutil.copytree(made.run.folder, tmp_path / "run"))
    (damaged / "report.json").write_text('{"sections": {"findings": [3]}}')
    done = lifecycle.generate_images(damaged, tmp_path / "b", n=2, label="disc")
    assert [f.code for f in done.findings if f.severity == "warning"] == ["report_damaged"]


def test_a_draw_replaces_an_earlier_one_and_leaves_other_files(
    trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, name = tmp_path / "new", str(trained[1].folder)
    lifecycle.generate_images(name, folder, n=6, grid=True)
    write_image(folder / "9-mine.png", np.zeros((4, 4, 3), np.uint8))
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        lifecycle.generate_images(name, folder, n=3)
    main(["generate", name, "-n", "3", "--out", str(folder), "--overwrite"])
    assert "4 files of an earlier draw removed" in capsys.readouterr().out
    assert sorted(p.name for p in folder.iterdir()) == [
        "0-cross.png", "1-disc.png", "2-cross.png", "9-mine.png", "notes.txt",
    ]  # fmt: skip


def test_many_images_are_written_as_they_are_drawn(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lifecycle.generate_images(trained[1].folder, tmp_path / "whole", n=7, grid=True)
    monkeypatch.setattr(generating, "_AT_ONCE", 2)
    parts = lifecycle.generate_images(trained[1].folder, tmp_path / "parts", n=7, grid=True)
    assert [f.seed for f in parts.files] == list(range(7))
    assert parts.copies == whole.copies
    assert parts.findings == whole.findings
    for name in (*(f.out.name for f in whole.files), "grid.png"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    # What was drawn before the folder could not be written any more is there.
    written: list[Path] = []

    def full(path: Path, content: bytes) -> None:
        if len(written) == 3:
            raise OutputError(f"cannot write {path}: no space left on device")
        path.write_bytes(content)
        written.append(path)

    monkeypatch.setattr(generating, "write_bytes", full)
    with pytest.raises(OutputError, match="no space left"):
        lifecycle.generate_images(trained[1].folder, tmp_path / "full", n=7)
    assert sorted((tmp_path / "full").iterdir()) == written


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("-n 0", "expected a whole number from 1 to 100,000"),
        ("-n 1000000", "expected a whole number from 1 to 100,000"),
        ("-n 5000 --grid", "expected at most 4,096 images with --grid, found 5,000"),
        ("--class circle", "circle"),
        ("--seed 18446744073709551617", "expected a whole number from 0 to 4,294,967,295"),
        ("--seed -1", "expected a whole number from 0 to 4,294,967,295"),
        ("--class disc --interpolate disc cross", "expected --class or --interpolate, found both"),
    ],
)
def test_a_draw_that_cannot_be_is_refused_in_one_line(
    asked: str, says: str, trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", str(trained[1].folder), *asked.split(), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_seeds_of_python_may_be_of_any_size_but_not_negative(trained: Any, tmp_path: Path) -> None:
    (one,) = lifecycle.generate_images(trained[1].folder, tmp_path / "a", n=1, seed=2**70).files
    (same,) = lifecycle.generate_images(trained[1].folder, tmp_path / "b", n=1, seed=2**70).files
    assert one.seed == 2**70
    assert one.out.read_bytes() == same.out.read_bytes()
    with pytest.raises(UsageError, match="seed of 0 or more"):
        lifecycle.generate_images(trained[1].folder, tmp_path / "c", n=1, seed=-1)


def test_an_interpolation_is_one_row_and_its_names_say_both_classes(trained: Any, tmp_path: Path) -> None:
    done = lifecycle.generate_images(trained[1].folder, tmp_path, n=5, interpolate=("disc", "cross"), grid=True)
    assert [f.out.name for f in done.files] == [f"{k}-disc-to-cross.png" for k in range(5)]
    assert done.grid is not None
    assert ew.read_image(done.grid).shape == (34, 5 * 33 + 1, 3)


def test_an_unknown_model_lists_those_of_the_task(drawings: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown model") as caught:
        ew.train(drawings, task="generate", model="dcgan", out=tmp_path / "run")
    assert caught.value.fix.startswith("choose one of: flow_net, gan_net")
    assert "quick_net" not in caught.value.fix


def test_few_images_are_refused(tmp_path: Path) -> None:
    for kind in ("cross", "disc"):
        for k in range(6):
            write_image(tmp_path / kind / f"{k}.png", draw_shape(kind, np.random.default_rng(k)))
    with pytest.raises(DatasetError, match="at least 20 training images"):
        ew.train(tmp_path, task="generate", epochs=1, out=tmp_path / "run")
    assert open_dataset(tmp_path).task == "classify", "labels mean classification unless generation is asked for"


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("axes", lambda a: a[:3], "cannot be asked"),
        ("train", lambda a: a[:, :1], "does not fit"),
        ("centre", lambda a: a * np.nan, "does not fit"),
    ],
)
def test_a_judge_that_does_not_fit_its_arrays_is_not_verified(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, change: Any, said: str
) -> None:
    folder = tmp_path / "b"
    shutil.copytree(trained[1].folder, folder)
    arrays = dict(np.load(folder / "judge" / "arrays.npz"))
    np.savez_compressed(folder / "judge" / "arrays.npz", **{**arrays, name: change(arrays[name])})
    manifest = read_manifest(folder)
    write_manifest(folder, replace(manifest, files=digest_folder(folder)))
    # As a stranger's bundle is opened: this process has not written it.
    monkeypatch.setattr(trial, "_here", set())
    with pytest.raises(BundleError, match=said):
        ew.verify(folder)


def test_a_flat_folder_is_learnt_as_one_class_whose_judge_tells_turns_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generators, "_GAN_WIDTHS", (8, 8, 8))
    monkeypatch.setattr("eyewright.learners.generate._VIEWS", 1)
    monkeypatch.setattr("eyewright.lifecycle.judging._EPOCHS", 3)
    for k in range(90):
        # Light above, dark below: turns differ.
        levels = np.linspace(250, 60 + k, 32)[:, None, None] + np.random.default_rng(k).normal(0, 4, (32, 32, 3))
        write_image(tmp_path / "photos" / f"{k:02d}.png", levels.clip(0, 255).astype(np.uint8))
    made = ew.run(tmp_path / "photos", task="generate", model="gan_net", out=tmp_path / "run", epochs=1, batch=16)
    assert made.report.labels == ("photos",)
    judge = made.run.predictor.judge
    assert judge.labels.names == ("photos", *(f"photos, turned by {turn}°" for turn in (90, 180, 270)))
    assert judge.accuracy["value"] > 0.8
    assert len(judge.train) == made.run.about["dataset"]["images"]["train"]
    assert not [f for f in ew.doctor(tmp_path / "photos", task="generate") if f.severity == "error"]
    assert {item["seen"].partition(",")[0] for item in made.report.items} == {"photos"}


def test_a_budget_that_the_judge_uses_up_is_refused_for_every_net(
    drawings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eyewright.lifecycle.judging._EPOCHS", 1)
    monkeypatch.setattr("eyewright.lifecycle.judging._LEAST_S", 4000.0)
    said: list[str] = []
    with pytest.raises(BudgetError, match="the judge of its images took") as caught:
        ew.train(drawings, task="generate", model="gan_net", budget="1h", out=tmp_path / "run", say=said.append)
    assert int(caught.value.fix.split()[4]) > 4000
    assert any(line.endswith(" s of the budget") for line in said)
    assert how_busy() >= 1.0
