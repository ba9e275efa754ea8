"""What is found out about images while they are browsed: findings, predictions, places in the scatter plot."""

from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import DatasetError
from eyewright.data import open_dataset
from eyewright.lifecycle.browsing import _in_splits_of, _own_features, _Work
from eyewright.lifecycle.opening import load_model
from eyewright.serving.browser import Table
from eyewright.serving.browser.schemas import Filter


def worked(finished, data: Path, *, check: bool = True) -> Table:
    predictor, owner = load_model(finished.paths["run"])
    table = Table(_in_splits_of(owner, open_dataset(data, task=predictor.task_name)))
    _Work(table, predictor, "shapes", _own_features(finished.paths["run"]), None, check)()
    return table


def test_a_run_scores_every_image_and_gives_its_splits(finished, shapes: Path) -> None:
    table = worked(finished, shapes)
    assert table.problems == []
    assert not any(table.state.values())
    counts = {s["name"]: s["n"] for s in table.facts()["splits"]}
    assert counts == {s: sum(r["split"] == s for r in finished.run.split_rows()) for s in ("train", "val", "test")}
    found = finished.run.predictor.predict_images([table.dataset.image(i) for i in range(len(table))])
    assert table.scores is not None
    assert list(table.scores.predicted) == [p.top1 for p in found]
    truth = [table.dataset.labels.names[int(s.target)] for s in table.dataset.samples]
    wrong = [i for i, (p, t) in enumerate(zip(table.scores.predicted, truth, strict=True)) if p != t]
    if wrong:
        assert table.rows(Filter(answer="wrong"), {}).tolist() == wrong
        assert table.rows(Filter(sort="worst"), {})[0] in wrong
    assert table.points is not None
    assert table.points_of == "features of shapes"
    assert table.points.shape == (len(table), 2)
    assert 0 <= table.points.min() <= table.points.max() <= 1


def test_an_image_that_cannot_be_read_costs_no_other_its_prediction(finished, shapes: Path, tmp_path: Path) -> None:
    for i, kind in enumerate(("cross", "disc", "square", "cross", "disc")):
        place = tmp_path / kind / f"{i}.png"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes((shapes / kind / f"{i:03d}.png").read_bytes())
    (tmp_path / "disc" / "bad.png").write_bytes(b"no image")
    table = worked(finished, tmp_path, check=False)
    assert table.scores is not None
    assert [table.ids[i] for i in np.flatnonzero(np.isnan(table.scores.values))] == ["disc/bad.png"]
    assert table.problems == []


def test_classes_that_the_model_does_not_know_are_said_and_the_page_stays(
    finished, tmp_path: Path, shapes: Path
) -> None:
    for kind in ("cross", "ring"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "0.png").write_bytes((shapes / "cross" / "000.png").read_bytes())
    table = worked(finished, tmp_path, check=False)
    assert table.scores is None
    assert "found also 'ring'" in table.problems[0]
    assert len(table.rows(Filter(), {})) == 2


def test_data_that_is_not_there_is_refused_before_a_port_is_opened(tmp_path: Path) -> None:
    import eyewright as ew

    with pytest.raises(DatasetError, match="found nothing at"):
        ew.browse(tmp_path / "nothing")
