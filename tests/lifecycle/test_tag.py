"""Every verb on images with any number of tags: from a table to a bundle, and on from there."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import TAGS
from tests.drawn_attacks import check_falls

import eyewright as ew
from eyewright import lifecycle
from eyewright.core.errors import DatasetError
from eyewright.learners import tag as learning
from eyewright.training.recipe import Recipe


def test_a_run_finds_tags_better_than_their_frequency(tagged: Any, tags: Path) -> None:
    found = tagged.report.metrics["map"]
    assert found.value > tagged.report.tables["guess"] + 0.15
    assert found.low > tagged.report.tables["guess"]
    points = tagged.bundle.manifest.thresholds["classes"]
    assert set(points) == set(TAGS)
    assert all(p["low"] <= p["threshold"] <= p["high"] for p in points.values())
    assert (
        json.loads((tagged.bundle.folder / "config.json").read_text())["problem_type"] == "multi_label_classification"
    )
    split = (tagged.run.folder / "split.csv").read_text()
    assert "cross|disc" in split
    page = (tagged.run.folder / "report.html").read_text()
    assert "Tags that occur together" in page
    told = tagged.bundle.predict(tags / "000.png").to_json()
    assert set(told["present"]) <= set(told["labels"])
    assert told["scores"] == sorted(told["scores"], reverse=True)


def test_doctor_counts_the_tags(tags: Path, tmp_path: Path) -> None:
    assert not [f for f in lifecycle.doctor(tags, task="tag", out=tmp_path / "page") if f.severity == "error"]
    assert "tags given" in next((tmp_path / "page").glob("*.html")).read_text()


def _learning(**options: Any) -> learning.TagLearning:
    train = np.array([[1, 0], [0.1, 0], [np.nan, 1], [0, 0]], np.float32)
    recipe = Recipe(task="tag", augment="none", **options)
    fit: Any = SimpleNamespace(train_targets=train)
    return learning.TagLearning(fit, recipe, ("a", "b"), SimpleNamespace(channels=3))  # type: ignore[arg-type]


def test_what_nobody_has_judged_teaches_nothing() -> None:
    logits = torch.zeros(2, 2, requires_grad=True)
    targets = torch.tensor([[1.0, float("nan")], [float("nan"), 0.0]])
    for options in ({}, {"loss": "focal"}, {"class_weights": True}, {"label_smoothing": 0.1}):
        (gradient,) = torch.autograd.grad(_learning(**options).objective(logits, targets), logits)
        assert gradient[0, 1] == gradient[1, 0] == 0
        assert gradient[0, 0] < 0 < gradient[1, 1]


def test_a_rare_tag_weighs_more_and_an_assumed_absence_less() -> None:
    logits = torch.zeros(1, 2, requires_grad=True)

    def pull(targets: list[float], **options: Any) -> Any:
        return torch.autograd.grad(_learning(**options).objective(logits, torch.tensor([targets])), logits)[0][0]

    plain, weighted = pull([1.0, 1.0]), pull([1.0, 1.0], class_weights=True)
    assert (weighted / plain).tolist() == pytest.approx([2.0, 3.0])
    known, assumed = pull([0.0, 0.0]), pull([0.1, 0.0])
    assert 0 < assumed[0] < known[0]


def test_data_without_a_tag_to_learn_are_refused(tags: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for i in range(12):
        (folder / f"{i}.png").write_bytes((tags / f"{i:03d}.png").read_bytes())
    (folder / "tags.csv").write_text("path,tags\n" + "\n".join(f"{i}.png,a" for i in range(12)))
    with pytest.raises(DatasetError, match="there is nothing to distinguish"):
        ew.run(folder, task="tag", out=tmp_path / "run", epochs=1)


def test_the_main_metric_falls_under_attack(tagged: Any, tmp_path: Path) -> None:
    check_falls(tagged.run, tmp_path)
