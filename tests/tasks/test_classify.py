import sys

import numpy as np
import pytest

from eyewright.core import LabelSpace
from eyewright.core.errors import BundleError, MissingExtraError
from eyewright.core.task import task_names, task_of
from eyewright.tasks import ClassPrediction
from eyewright.testing import check_task


@pytest.mark.parametrize("name", task_names())
def test_every_task_conforms(name: str) -> None:
    check_task(task_of(name))


@pytest.fixture
def prediction() -> ClassPrediction:
    labels = LabelSpace(("cat", "dog", "owl"))
    return ClassPrediction(np.array([0.2, 0.5, 0.3], np.float32), labels, image=np.zeros((10, 10, 3), np.uint8))


def test_labels_ids_and_scores_are_parallel_and_sorted(prediction: ClassPrediction) -> None:
    assert prediction.top1 == "dog"
    assert prediction.labels == ("dog", "owl", "cat")
    assert prediction.label_ids.tolist() == [1, 2, 0]
    assert prediction.scores.tolist() == pytest.approx([0.5, 0.3, 0.2])


def test_json_holds_the_top_labels(prediction: ClassPrediction) -> None:
    found = prediction.to_json(top=2)
    assert found["labels"] == ["dog", "owl"]
    assert found["scores"] == pytest.approx([0.5, 0.3])


def test_it_can_be_drawn_and_saved(prediction: ClassPrediction, tmp_path) -> None:  # type: ignore[no-untyped-def]
    drawn = prediction.plot()
    assert drawn.shape[0] > 10
    assert (drawn[10:] < 128).any(), "the caption is dark on white"
    assert prediction.save(tmp_path / "a.png").stat().st_size > 0


def test_without_an_image_there_is_nothing_to_draw() -> None:
    with pytest.raises(BundleError, match="without keeping its image"):
        ClassPrediction(np.array([1.0], np.float32), LabelSpace(("a",))).plot()


def test_a_missing_extra_names_its_install_line(prediction: ClassPrediction, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtraError, match="pip install supervision"):
        prediction.to_supervision()
