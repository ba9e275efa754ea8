"""The loop over images: each is read once, and what is kept lies in the model's classes, in the dataset's order."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eyewright.core import LabelSpace
from eyewright.core.errors import DatasetError, UsageError
from eyewright.core.task import Task, task_of
from eyewright.data import Dataset, Sample
from eyewright.data.tree import ArrayTree
from eyewright.evaluation import reporting, reporting_of, results
from eyewright.evaluation.results import gather_results, predict_dataset
from eyewright.imaging.preparation import Preparation

NAMES = ("bolt", "nut", "washer")


class CountedTree(ArrayTree):
    """Images that count how often they are read."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.reads: list[int] = []

    def picture(self, name: str) -> Image.Image:
        self.reads.append(int(name.rpartition("/")[2]))
        return super().picture(name)


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


def counted(n: int = 70, *, side: int = 6) -> Dataset:
    pixels = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, side, 9, 3), np.uint8)
    samples = tuple(Sample(f"x/{i:06d}", i % 3) for i in range(n))
    return Dataset(CountedTree(Path("."), {"x": pixels}), samples, LabelSpace(NAMES), "drawn", "classify")


def test_images_are_read_once_for_several_models_and_predicted_in_batches() -> None:
    data, models = counted(), [Bright(), Bright(("washer", "bolt", "nut"))]
    first, second = gather_results(models, data)
    assert sorted(data.tree.reads) == list(range(70))  # type: ignore[attr-defined]
    assert [m.asked for m in models] == [[64, 6]] * 2
    assert [s.id for s in first.dataset.samples] == [s.id for s in data.samples]
    assert first.dataset.labels.names == NAMES
    assert second.dataset.labels.names == ("washer", "bolt", "nut")
    # Both are right on every image, each in its own classes.
    assert first.right.all()  # type: ignore[attr-defined]
    assert second.right.all()  # type: ignore[attr-defined]


def test_large_images_are_predicted_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_MOST_HELD", 3 * 60 * 9 * 3 - 1)
    model = Bright()
    (found,) = gather_results([model], counted(10, side=60))
    assert model.asked == [3, 3, 3, 1]
    assert found.right.all()  # type: ignore[attr-defined]


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
    assert not data.tree.reads  # type: ignore[attr-defined]


def test_a_task_without_reports_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    mute: Task = replace(task_of("classify"), name="mute", reporting="")
    monkeypatch.setattr(reporting, "task_of", lambda name: mute)
    with pytest.raises(UsageError, match="a report is not supported for classification"):
        reporting_of.__wrapped__("mute")


def test_images_are_predicted_in_their_order_in_batches_of_64(monkeypatch: pytest.MonkeyPatch) -> None:
    class Told(Bright):
        def predict_images(self, images: list[np.ndarray]) -> list[int]:
            self.asked.append(len(images))
            return [int(i[0, 0, 0]) for i in images]

    model = Told()
    assert predict_dataset(model, counted(130), quiet=True) == list(range(130))  # type: ignore[arg-type, comparison-overlap]
    assert model.asked == [64, 64, 2]
    few = Told()
    predict_dataset(few, counted(64), quiet=True)  # type: ignore[arg-type]
    assert few.asked == [64]
    # A batch ends with the image that passes the limit.
    monkeypatch.setattr(results, "_MOST_HELD", 2 * 6 * 9 * 3)
    held = Told()
    assert predict_dataset(held, counted(7), quiet=True) == list(range(7))  # type: ignore[arg-type, comparison-overlap]
    assert held.asked == [3, 3, 1]


def test_the_longer_side_and_the_mean_of_an_image_are_its_looks() -> None:
    image = np.zeros((5, 7, 3), np.uint8)
    image[0] = 50
    assert results._look(image, None) == (7.0, 10.0)
    assert results._look(image.transpose(1, 0, 2), None) == (7.0, 10.0)
