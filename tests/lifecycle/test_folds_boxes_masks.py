"""Cross-validation of boxes and masks."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import write_scenes

import eyewright as ew
from eyewright.core.errors import UsageError
from eyewright.core.predictor import predict_everything
from eyewright.data import fold_datasets, open_dataset
from eyewright.lifecycle.datasets import open_readable, silent


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("few"), parts={"train": 20, "test": 6}, seed=3)


def test_boxes_are_measured_by_the_net_that_has_not_seen_them(few: Path, tmp_path: Path) -> None:
    done = ew.cross_validate(few, task="detect", folds=2, out=tmp_path / "out", epochs=3, batch=4)
    assert done.report.n == 20
    assert set(done.between) == {"ap", "ap50", "precision", "recall", "f1"} & set(done.between)
    rows = list(csv.DictReader((tmp_path / "out/out-of-fold.csv").read_text().splitlines()))
    for k, run in enumerate(done.runs, 1):
        split = {r["id"]: r["split"] for r in run.split_rows()}
        # The test part that comes with the data is no fold's.
        assert not any("test/" in i for i in split)
        mine = [r for r in rows if r["fold"] == str(k)]
        assert {r["id"] for r in mine} <= {i for i, s in split.items() if s == "test"}
        dataset = open_readable(few, label_depth=None, task="detect", quiet=True, say=silent)
        at = next(i for i, s in enumerate(dataset.samples) if s.id == mine[0]["id"])
        (p,) = predict_everything(run.predictor, [dataset.image(at)])
        first = sorted((float(r["score"]) for r in mine if r["id"] == mine[0]["id"]), reverse=True)
        np.testing.assert_allclose(first, [s for s in p.scores if s >= 0.01], atol=1e-4)
    facts = json.loads((tmp_path / "out/folds.json").read_text())
    assert done.spread["ap50"] == pytest.approx(np.std([e["ap50"] for e in facts["each"]], ddof=1))
    assert "Fold by fold" in (tmp_path / "out/report.html").read_text()


def test_masks_of_all_folds_and_their_mean_as_one_net(few: Path, tmp_path: Path) -> None:
    done = ew.cross_validate(few, task="segment", folds=2, ensemble=True, out=tmp_path / "out", epochs=3, batch=4)
    tables = [i["wrong_pixels"] for i in done.report.items]
    assert len(tables) == 20
    assert done.report.metrics["miou"].low <= done.report.metrics["miou"].value <= done.report.metrics["miou"].high
    joined = done.ensemble
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3)).astype(np.uint8)
    mean = np.mean([r.predictor.raw(images)["probabilities"] for r in done.runs], 0)
    np.testing.assert_allclose(joined.predictor.raw(images)["probabilities"], mean, atol=2e-6)
    assert json.loads((tmp_path / "out/folds.json").read_text())["ensemble"]["miou"]["n"] == 6
    bundle = ew.export(joined, tmp_path / "e.bundle")
    np.testing.assert_allclose(bundle.raw(images)["probabilities"], mean, atol=1e-4)


def test_an_ensemble_of_boxes_is_refused(few: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--ensemble is not supported for detection"):
        ew.cross_validate(few, task="detect", folds=2, ensemble=True, out=tmp_path / "out", epochs=1)
    with pytest.raises(UsageError, match="quick_net"):
        ew.cross_validate(few, task="detect", model="quick_net", folds=2, out=tmp_path / "out", epochs=1)


def test_images_without_marks_are_no_class_that_vanishes(few: Path) -> None:
    dataset = open_dataset(few, task="detect")
    bare = [replace(s, target=s.target.chosen(np.zeros(len(s.target), bool))) for s in dataset.samples[:1]]
    mixed = replace(dataset, samples=(*bare, *dataset.samples[1:]))
    parts = fold_datasets(mixed, 2)
    assert sorted(s.id for p in parts for s in p.test.samples) == sorted(
        s.id for s in dataset.samples if s.split != "test"
    )
