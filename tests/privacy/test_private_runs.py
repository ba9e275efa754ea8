"""`train --private` end to end: what is spent, what is left out, and that a killed run changes neither."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import eyewright as ew
from eyewright.catalog import build_of
from eyewright.core.errors import CheckpointError, DatasetError, PolicyError, RefusedError, UsageError
from eyewright.data import open_dataset, scan_dataset, split_dataset, write_digits
from eyewright.privacy.accounting import Steps, epsilon_of
from eyewright.privacy.guarding import guarded
from eyewright.privacy.releases import release_statistics
from eyewright.privacy.sampling import member_rows
from eyewright.training import loop as training_loop
from eyewright.training.checkpoints import load_newest
from eyewright.training.plan import RunPlan
from eyewright.training.recipe import Recipe

FEW = "epsilon=8 noise-from=seed"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder / "all")
    for label in sorted((folder / "all").iterdir())[:3]:
        (folder / "few" / label.name).mkdir(parents=True)
        for path in sorted(label.iterdir())[:70]:
            path.rename(folder / "few" / label.name / path.name)
    return folder / "few"


@pytest.fixture(scope="module")
def run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("run") / "run"
    return ew.train(digits, private=FEW, model="private_net", epochs=4, batch=40, imgsz=24, out=out)


def test_epsilon_is_what_its_noise_costs_and_is_told_with_what_it_means(run: Any) -> None:
    claim = run.about["privacy"]
    done = [Steps(claim["noise"], claim["rate"], claim["steps"])]
    assert epsilon_of(done, claim["delta"]) == pytest.approx(claim["epsilon"], rel=1e-12)
    assert 7.9 < claim["epsilon"] <= 8.0
    assert claim["rate"] == 40 / claim["n"]
    assert claim["steps"] == 4 * (claim["n"] // 40)
    assert claim["delta"] < 1 / claim["n"]
    assert claim["unit"] == "image"
    assert any("follow from the seed" in w for w in claim["warnings"])


def test_nothing_that_follows_training_images_without_noise_is_told(run: Any) -> None:
    history = run.history()
    assert [row["train_loss"] for row in history] == [""] * 4
    assert run.about["scaling"] == {"mean": [0.5], "std": [0.25]}
    assert run.about["calibration"]["method"] == "none"
    assert run.about["training"]["best_epoch"] == 4


def test_the_run_folder_of_a_private_run_does_not_describe_its_training_images(run: Any) -> None:
    assert not {"features.npz", "looks.npz"} & {p.name for p in run.folder.iterdir()}
    rows = run.split_rows()
    assert {r["split"] for r in rows} == {"train", "val", "test"}
    assert {r["novelty"] + r["novelty_ratio"] for r in rows} == {""}
    # Digests are needed to find the data again.
    assert all(len(r["sha256"]) == 64 for r in rows)
    if os.name == "posix":
        assert (run.folder / "split.csv").stat().st_mode & 0o777 == 0o600


def test_a_run_that_was_killed_ends_with_the_same_weights_and_the_same_epsilon(
    run: Any, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_loop, "_SAVE_EVERY_S", 0.0)

    class Killed(Exception):
        pass

    steps = 0
    rows = training_loop.Loop.update_average

    def stop(self: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 7:
            raise Killed
        rows(self)

    asked: dict[str, Any] = {"private": FEW, "model": "private_net", "epochs": 4, "batch": 40, "imgsz": 24}
    with monkeypatch.context() as within:
        within.setattr(training_loop.Loop, "update_average", stop)
        with pytest.raises(Killed):
            ew.train(digits, out=tmp_path / "run", **asked)
    state = load_newest(tmp_path / "run" / "checkpoints")[1]
    assert state.guard is not None
    assert state.guard["noise_steps"] == state.step == 6
    resumed = ew.train(digits, out=tmp_path / "run", resume=True, **asked)
    assert abs(resumed.about["privacy"]["epsilon"] - run.about["privacy"]["epsilon"]) < 1e-9
    for ours, theirs in zip(resumed.net.parameters(), run.net.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_run_is_not_resumed_with_other_noise(digits: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"private": "epsilon=8", "model": "private_net", "epochs": 1, "batch": 60}

    def stop(row: Mapping[str, str]) -> None:
        raise KeyboardInterrupt

    ew.train(digits, out=tmp_path / "run", **asked)
    key = tmp_path / "run" / "private.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.write_bytes(bytes(32))
    with pytest.raises(CheckpointError, match="other noise"):
        ew.train(digits, out=tmp_path / "run", resume=True, **asked)
    key.unlink()
    with pytest.raises(CheckpointError, match=r"expected the run's secret"):
        ew.train(digits, out=tmp_path / "run", resume=True, **asked)


def test_a_bundle_holds_epsilon_as_evidence_and_nothing_of_the_images(run: Any, tmp_path: Path) -> None:
    report = ew.evaluate(run, out=run.folder)
    page = (run.folder / "report.html").read_text()
    assert "data:image/png" not in page
    assert "data:image/jpeg" not in page
    assert "counted in epsilon" in page
    bundle = ew.export(run, tmp_path / "bundle", report=report, policy={"max_epsilon": 8.0})
    held = bundle.manifest
    assert held.metrics["epsilon"]["value"] == run.about["privacy"]["epsilon"]
    assert set(held.provenance["dataset"]) == {"name", "format", "images", "groups"}
    assert not {"split.csv", "reference.npz", "private.key"} & set(held.files)
    text = (tmp_path / "bundle" / "README.md").read_text()
    for words in ("epsilon 8.000", "Counted in epsilon", "Declared public", "Left out"):
        assert words.replace("8.000", f"{held.metrics['epsilon']['value']:.3f}") in text
    # No file tells the fingerprint of the data, or the name or digest of a training image.
    trained = [r for r in run.split_rows() if r["split"] == "train"]
    secrets = [run.about["dataset"]["fingerprint"], *(r[k] for r in trained for k in ("id", "sha256"))]
    for path in (p for p in (tmp_path / "bundle").rglob("*") if p.suffix in (".json", ".md", ".html", ".toml")):
        told = path.read_text()
        assert not [s for s in secrets if s in told], path
    with np.load(tmp_path / "bundle" / "golden.npz") as golden:
        shown = next(v for v in golden.values() if v.dtype == np.uint8 and v.ndim >= 3)
    # Noise: no two neighbouring pixels are alike.
    assert np.abs(np.diff(shown.astype(int), axis=-2)).mean() > 40
    with pytest.raises(PolicyError, match=r"max_epsilon.*; train it with a smaller epsilon"):
        ew.export(run, tmp_path / "strict", policy={"max_epsilon": 1.0})


def test_a_claim_that_the_checkpoint_does_not_bear_out_is_not_exported(run: Any, tmp_path: Path) -> None:
    import dataclasses

    claim = {**run.about["privacy"], "epsilon": 1.0}
    false = dataclasses.replace(run, about={**run.about, "privacy": claim})
    with pytest.raises(RefusedError, match="claims epsilon"):
        ew.export(false, tmp_path / "bundle")


def test_public_validation_images_choose_the_epoch_and_are_declared(digits: Path, tmp_path: Path) -> None:
    run = ew.train(
        digits, private=f"{FEW} validation=public", model="private_net", epochs=2, batch=60, out=tmp_path / "run"
    )
    assert run.about["calibration"]["method"] == "temperature"
    assert any("validation images" in p for p in run.about["privacy"]["public"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"private": "delta=1e-5"}, "expected epsilon"),
        ({"private": "epsilon=0"}, "epsilon"),
        ({"private": "epsilon=-1"}, "epsilon"),
        ({"private": "epsilon=nan"}, "epsilon"),
        ({"private": "epsilon=3 delta=0.5"}, "delta below 1"),
        ({"private": "epsilon=3 delta=2"}, "delta"),
        ({"private": "epsilon=3 epsilon=4"}, "once"),
        ({"private": "epsilom=3"}, "epsilon"),
        ({"private": "epsilon=3 validation=maybe"}, "private or public"),
        ({"private": "epsilon=3 physical-batch=1.5"}, "whole number"),
        ({"private": "epsilon=1 noise=0.3"}, "which costs"),
        ({"private": "epsilon=3", "mixup": 0.2}, "mixup"),
        ({"private": "epsilon=3", "cutmix": 0.2}, "mixup"),
        ({"private": "epsilon=3", "class_weights": True}, "class_weights"),
        ({"private": "epsilon=3", "patience": 3}, "patience"),
        ({"private": "epsilon=3", "budget": "1m", "epochs": None}, "budget"),
        ({"private": "epsilon=3", "step": "adversarial"}, "step"),
        ({"private": "epsilon=3 noise=1e30", "model": "private_net"}, "noise=1e[+]30: its epsilon is 0"),
        ({"private": "epsilon=3", "model": "quick_net"}, "look at training images"),
    ],
)
def test_what_cannot_be_private_is_refused_in_one_line(
    digits: Path, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as met:
        ew.train(digits, out=tmp_path / "run", **{"epochs": 2, **options})
    assert "\n" not in str(met.value)


def test_too_few_images_and_too_many_nets_are_refused(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--private"):
        ew.cross_validate(digits, folds=2, private="epsilon=3", out=tmp_path / "folds")
    with pytest.raises(UsageError, match="--private"):
        ew.tune(digits, trials=2, private="epsilon=3", out=tmp_path / "tune")
    few = tmp_path / "few"
    for label in digits.iterdir():
        (few / label.name).mkdir(parents=True)
        for path in sorted(label.iterdir())[:30]:
            (few / label.name / path.name).write_bytes(path.read_bytes())
    with pytest.raises((UsageError, DatasetError), match="100 training images"):
        ew.train(few, private="epsilon=3", epochs=1, out=tmp_path / "run")


def test_the_recipe_that_was_written_is_read_again(run: Any) -> None:
    about = json.loads((run.folder / "run.json").read_text())
    assert about["privacy"]["epsilon"] == run.about["privacy"]["epsilon"]
    assert "epsilon=8" in run.recipe.private
    assert "noise=" in run.recipe.private


def test_a_private_model_is_not_compressed(run: Any, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="does not count"):
        ew.compress(run, out=tmp_path / "small", budget="20s")


@pytest.fixture(scope="module")
def people(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as images of 183 people with one image, and 9 with three of one digit: 210 images."""
    folder = tmp_path_factory.mktemp("people")
    for label in sorted(digits.iterdir()):
        (folder / label.name).mkdir()
        for i, path in enumerate(sorted(label.iterdir())):
            person = f"{label.name[0]}a{i // 3}" if i < 9 else f"{label.name[0]}b{i}"
            (folder / label.name / f"p{person}-{i}.png").write_bytes(path.read_bytes())
    return folder


@pytest.fixture(scope="module")
def by_person(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("run") / "run"
    asked = {"model": "private_net", "epochs": 2, "batch": 40, "imgsz": 24, "group_by": "p([0-9]+[ab][0-9]+)-"}
    return ew.train(people, private=f"{FEW} unit=group", out=out, **asked)


def test_epsilon_of_groups_counts_groups_and_says_so(by_person: Any, tmp_path: Path) -> None:
    claim, rows = by_person.about["privacy"], by_person.split_rows()
    train = [r["id"].rpartition("/p")[2].partition("-")[0] for r in rows if r["split"] == "train"]
    assert claim["n"] == len(set(train)) < claim["images"] == len(train)
    assert claim["rate"] == 40 / claim["n"]
    # The loop counts epochs in groups too, or it would do more updates than were paid for.
    assert claim["steps"] == 2 * (claim["n"] // 40)
    _, state, _ = load_newest(by_person.folder / "checkpoints")
    assert (state.guard or {})["noise_steps"] == claim["steps"]
    done = [Steps(claim["noise"], claim["rate"], claim["steps"])]
    assert epsilon_of(done, claim["delta"]) == pytest.approx(claim["epsilon"], rel=1e-12)
    assert claim["unit"] == "group of images"
    assert not any("come in" in w for w in claim["warnings"])
    bundle = ew.export(by_person, tmp_path / "bundle")
    assert bundle.manifest.provenance["privacy"]["unit"] == "group of images"
    assert "unit: one group of images; neighbours: add or remove one group" in (bundle.folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("private", "options", "words"),
    [
        ("epsilon=3 unit=group", {}, "expected groups that the data or --group-by states"),
        ("epsilon=3 unit=group", {"group_by": "p([0-9][ab][0-9])"}, "expected 100 groups of training images or more"),
        ("epsilon=3 unit=person", {}, "expected unit of image or group"),
    ],
)
def test_groups_that_nobody_states_or_too_few_are_refused(
    private: str, options: dict[str, Any], words: str, people: Path, digits: Path, tmp_path: Path
) -> None:
    data = people if options else digits
    with pytest.raises(UsageError, match=words):
        ew.train(data, private=private, model="private_net", imgsz=24, out=tmp_path / "run", **options)


@pytest.mark.parametrize(
    ("group_by", "fix"), [("p([0-9]a[0-9]+)-", "add unit=group"), (None, "say what a group is with --group-by")]
)
def test_a_run_by_image_warns_where_some_images_share_a_group(
    people: Path, tmp_path: Path, group_by: str | None, fix: str
) -> None:
    dataset = split_dataset(open_dataset(people), group_by=group_by)
    if group_by is None:
        # As if a comparison of images had found them.
        samples = [replace(s, group="alike" if i < 2 else None) for i, s in enumerate(dataset.train.samples)]
        dataset = replace(dataset, samples=(*samples, *dataset.val.samples, *dataset.test.samples))
    else:
        shared = [s.group for s in dataset.train.samples if s.group is not None]
        assert 0 < len(shared) < len(dataset.train)
    recipe, scan = Recipe(task="classify", model="private_net", epochs=1, batch=60, private=FEW), scan_dataset(dataset)
    _, plan = guarded(recipe, dataset, scan, tmp_path, RunPlan(), build_of)
    warnings = plan.notes["privacy"]["warnings"]
    assert any(fix in w and "epsilon holds for one image" in w for w in warnings), warnings
    _, plan = guarded(recipe, dataset.select(lambda s: s.group is None), scan, tmp_path, RunPlan(), build_of)
    assert not any("epsilon holds for one image" in w for w in plan.notes["privacy"]["warnings"])


def test_of_a_group_at_most_one_image_takes_part_and_every_one_equally_often() -> None:
    groups = np.array([0, 1, 1, 1, 2, 0, 3])
    counts = np.zeros(7)
    for step in range(4000):
        rows = member_rows(b"secret", step, groups, rate=0.5)
        assert len(set(groups[rows])) == len(rows)
        counts += np.bincount(rows, minlength=7)
    # 2,000 samples of each group are expected, divided among its images; four standard deviations.
    sizes = np.bincount(groups)[groups]
    assert np.abs(counts - 2000 / sizes).max() < 4 * np.sqrt(1000)


@pytest.mark.parametrize("size", [1, 5, 50])
def test_a_group_moves_a_release_by_no_more_than_one_image_would(size: int) -> None:
    rng = np.random.default_rng(size)
    others = torch.from_numpy(rng.normal(size=(40, 8)).astype(np.float32))
    own = torch.from_numpy(rng.normal(size=(size, 8)).astype(np.float32)) * 9
    whole, weights = torch.cat([others, own]), torch.cat([torch.ones(40), torch.full((size,), 1 / size)])
    planned = (Steps(1e-9, 1.0, 1),)
    body: Any = SimpleNamespace(centre=torch.zeros(8))
    release_statistics(body, whole, b"s", planned, weights=weights)
    with_it = body.centre * 41
    release_statistics(body, others, b"s", planned)
    assert float((with_it - body.centre * 40).norm()) <= 1 + 1e-5
