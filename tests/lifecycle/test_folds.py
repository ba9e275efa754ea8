"""Cross-validation: what each fold may see, what is told of all folds, and the nets of all folds as one."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from tests.conftest import write_shapes

import eyewright as ew
from eyewright.core.errors import CheckpointError, DatasetError, UsageError
from eyewright.data import fold_datasets, open_dataset, scan_dataset
from eyewright.lifecycle.datasets import open_readable, silent
from eyewright.metrics import corrected_interval


def test_folds_are_stratified_and_every_image_is_tested_once(shapes: Path) -> None:
    dataset = open_dataset(shapes)
    parts = fold_datasets(dataset, 4, scan=scan_dataset(dataset, quiet=True))
    tested = [s.id for p in parts for s in p.test.samples]
    assert sorted(tested) == sorted(s.id for s in dataset.samples)
    for part in parts:
        assert set(part.test.counts().values()) == {6}
        assert len({s.id for s in part.samples}) == len(part) == 72
        assert set(part.val.counts().values()) <= {2, 3}


def test_groups_and_near_duplicates_stay_in_one_fold(shapes: Path) -> None:
    dataset = open_dataset(shapes)
    # Pairs of neighbouring numbers belong together.
    samples = [replace(s, group=f"{s.target}-{int(Path(s.id).stem) // 2}") for s in dataset.samples]
    parts = fold_datasets(replace(dataset, samples=tuple(samples)), 3)
    for part in parts:
        groups = {split: {s.group for s in part.samples if s.split == split} for split in ("train", "val", "test")}
        assert not groups["test"] & (groups["train"] | groups["val"])
        assert not groups["train"] & groups["val"]


def test_a_class_that_would_vanish_from_a_fold_is_refused(tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "few", a_class=6)
    for image in sorted((data / "disc").iterdir())[3:]:
        image.unlink()
    dataset = open_dataset(data)
    with pytest.raises(
        DatasetError,
        match=r"expected 5 distinct images or more of every class.* found 3 of class 'disc'; use --folds 3",
    ):
        fold_datasets(dataset, 5)
    same = [replace(s, group="all" if s.target == 1 else None) for s in dataset.samples]
    with pytest.raises(DatasetError, match="found 1 of class 'disc'; add images"):
        fold_datasets(replace(dataset, samples=tuple(same)), 2)
    with pytest.raises(UsageError, match="2 folds or more"):
        fold_datasets(dataset, 1)


def test_the_interval_over_folds_is_nadeau_and_bengios() -> None:
    scores = np.array([0.91, 0.93, 0.90, 0.95, 0.92, 0.94])
    found = corrected_interval(scores.tolist(), test_share=0.5)
    # Their equation, by scipy's t distribution: the variance is (1/J + test/train) s².
    low, high = stats.t.interval(0.95, 5, loc=scores.mean(), scale=np.sqrt((1 / 6 + 0.5) * scores.var(ddof=1)))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert corrected_interval([0.5], test_share=0.5).low is None
    assert corrected_interval([0.99, 1.0, 1.0], test_share=0.5, bounds=(0.0, 1.0)).high == 1.0


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """Three folds on shapes, with an ensemble; a test part comes with the data."""
    folder = tmp_path_factory.mktemp("folds")
    data = folder / "data"
    write_shapes(data / "train", a_class=12)
    write_shapes(data / "test", a_class=5, seed=9)
    return ew.cross_validate(data, folds=3, ensemble=True, out=folder / "out", epochs=3, batch=8)


def test_out_of_fold_predictions_are_by_the_net_that_has_not_seen_the_image(crossed) -> None:  # type: ignore[no-untyped-def]
    assert crossed.report.n == 36
    rows = list(csv.DictReader((crossed.folder / "out-of-fold.csv").read_text().splitlines()))
    assert len(rows) == 36
    for k, run in enumerate(crossed.runs, 1):
        split = {r["id"]: r["split"] for r in run.split_rows()}
        assert not any(i.startswith("test/") for i in split)
        mine = [r for r in rows if r["fold"] == str(k)]
        assert {r["id"] for r in mine} == {i for i, s in split.items() if s == "test"}
        dataset = open_readable(run.about["data_path"], label_depth=None, quiet=True, say=silent)
        at = next(i for i, s in enumerate(dataset.samples) if s.id == mine[0]["id"])
        p = run.predictor.predict_images([dataset.image(at)])[0]
        assert float(mine[0][f"p:{p.top1}"]) == pytest.approx(p.confidence, abs=1e-5)
    right = np.mean([r["label"] == r["predicted"] for r in rows])
    assert crossed.report.metrics["accuracy"].value == pytest.approx(right)
    each = json.loads((crossed.folder / "folds.json").read_text())["each"]
    assert np.mean([e["accuracy"] for e in each]) == pytest.approx(right)
    assert crossed.spread["accuracy"] == pytest.approx(np.std([e["accuracy"] for e in each], ddof=1))
    assert "Fold by fold" in (crossed.folder / "report.html").read_text()


def test_the_ensemble_is_the_mean_of_its_members_and_exports(crossed, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    joined = crossed.ensemble
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
    mean = np.mean([r.predictor.raw(images)["probabilities"] for r in crossed.runs], 0)
    np.testing.assert_allclose(joined.predictor.raw(images)["probabilities"], mean, atol=2e-6)
    held_out = json.loads((crossed.folder / "folds.json").read_text())["ensemble"]
    assert held_out["accuracy"]["n"] == 15
    bundle = ew.export(joined, tmp_path / "e.bundle")
    np.testing.assert_allclose(bundle.raw(images)["probabilities"], mean, atol=1e-4)
    with pytest.raises(ew.EyewrightError, match="trained on"):
        ew.evaluate(joined, crossed.runs[0].about["data_path"], split="train")


def test_a_cross_validation_goes_on_where_it_was(crossed, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import shutil

    out = tmp_path / "again"
    shutil.copytree(crossed.folder, out)
    shutil.rmtree(out / "fold-3")
    (out / "folds.json").unlink()
    said: list[str] = []
    data = crossed.runs[0].about["data_path"]
    again = ew.cross_validate(data, folds=3, out=out, epochs=3, batch=8, resume=True, say=said.append)
    assert sum("all epochs done" in line for line in said) == 1
    assert again.report.metrics["accuracy"] == crossed.report.metrics["accuracy"]
    with pytest.raises(UsageError, match="already in"):
        ew.cross_validate(data, folds=3, out=out, epochs=3)
    with pytest.raises(CheckpointError, match="trained on other images"):
        ew.cross_validate(data, folds=2, out=out, epochs=3, batch=8, resume=True)
