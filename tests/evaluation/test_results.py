"""The loop over images: each is read once, and what is kept lies in the model's classes, in the dataset's order."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eyewright.core import LabelSpace
from eyewright.core.errors import DatasetError, UsageError
from eyewright.core.task import Task, task_of
from eyewright.data import Dataset, Sample
from eyewright.data.tree import ArrayTree
from eyewright.evaluation import reporting, reporting_of
from eyewright.evaluation.results import gather_results, predict_dataset
from eyewright.imaging.preparation import Preparation

NAMES = ("bolt", "nut", "washer")


class Counted(Dataset):
    """A dataset that counts how often an image is read."""

    reads: list[int] = []  # noqa: RUF012

    def image(self, index: int) -> np.ndarray:
        self.reads.append(index)
        return super().image(index)


class Bright:
    """Takes the red of an image's first pixel for its class."""

    task_name = "classify"
    preparation = Preparation((6, 9))

    def __init__(self, names: tuple[str, ...] = NAMES) -> None:
        self.labels = LabelSpace(names)
        self.asked: list[int] = []

    def raw(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        self.asked.append(len(pixels))
        said = [self.labels.names.index(NAMES[int(i[0, 0, 0]) % 3]) for i in pixels]
        return {"probabilities": np.eye(3, dtype=np.float32)[said]}


def counted(n: int = 70) -> Counted:
    pixels = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 6, 9, 3), np.uint8)
    samples = tuple(Sample(f"x/{i:06d}", i % 3) for i in range(n))
    data = Counted(ArrayTree(Path("."), {"x": pixels}), samples, LabelSpace(NAMES), "drawn", "classify")
    Counted.reads = []
    return data


def test_images_are_read_once_for_several_models_and_predicted_in_batches() -> None:
    data, models = counted(), [Bright(), Bright(("washer", "bolt", "nut"))]
    first, second = gather_results(models, data)
    assert Counted.reads == list(range(70))
    assert [m.asked for m in models] == [[64, 6]] * 2
    assert [s.id for s in first.dataset.samples] == [s.id for s in data.samples]
    assert first.dataset.labels.names == NAMES
    assert second.dataset.labels.names == ("washer", "bolt", "nut")
    # Both are right on every image, each in its own classes.
    assert first.right.all()  # type: ignore[attr-defined]
    assert second.right.all()  # type: ignore[attr-defined]


def test_a_report_knows_how_images_look_and_a_comparison_does_not_ask() -> None:
    (seen,) = gather_results([Bright()], counted(5))
    assert seen.looks == tuple((9.0, float(i)) for i in range(5))  # type: ignore[attr-defined]
    (unseen,) = gather_results([Bright()], counted(5), looks=False)
    assert np.isnan(np.array(unseen.looks)).all()  # type: ignore[attr-defined]


def test_data_that_a_model_cannot_be_measured_on_is_refused() -> None:
    data = counted(4)
    with pytest.raises(DatasetError, match="found none"):
        gather_results([Bright()], replace(data, samples=()))
    with pytest.raises(DatasetError, match="the model is for classify, the dataset for detect"):
        gather_results([Bright()], replace(data, task="detect"))
    with pytest.raises(DatasetError, match="'washer'"):
        gather_results([Bright(("bolt", "nut"))], data)
    with pytest.raises(DatasetError, match="found none"):
        predict_dataset(Bright(), replace(data, samples=()))
    assert not Counted.reads


def test_a_task_without_reports_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    mute: Task = replace(task_of("classify"), name="mute", reporting="")
    monkeypatch.setattr(reporting, "task_of", lambda name: mute)
    with pytest.raises(UsageError, match="a report is not supported for classification"):
        reporting_of.__wrapped__("mute")
