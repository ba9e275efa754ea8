"""How the objects of a dataset were found, image by image, on boxes and outlines made by hand."""

from pathlib import Path

import numpy as np
import pytest

from eyewright.core import LabelSpace
from eyewright.data import Dataset, Sample
from eyewright.data.targets.objects import Objects, Outline
from eyewright.data.tree import ArrayTree
from eyewright.tasks.box_margins import BoxRecorder
from eyewright.tasks.detect import BoxPrediction

NAMES = LabelSpace(("cross", "disc"))
TRIANGLE = Outline((np.array([[0.0, 0], [20, 0], [0, 20]]),))


def data(task: str, *groups: str | None) -> Dataset:
    """Images of 40x40 pixels, each with two objects; the second has no outline."""
    tree = ArrayTree(Path("."), {"x": np.zeros((len(groups), 40, 40, 3), np.uint8)})
    objects = Objects(
        np.array([[0.0, 0, 20, 20], [22, 22, 30, 30]]), np.array([0, 1]), np.zeros(2, bool), (TRIANGLE, Outline())
    )
    samples = tuple(Sample(f"x/{i:06d}", objects, group=g) for i, g in enumerate(groups))
    return Dataset(tree, samples, NAMES, "drawn", task=task)


def found(*rows: tuple[list[float], int, float]) -> BoxPrediction:
    boxes, labels, scores = (np.array([r[k] for r in rows]) for k in range(3))
    return BoxPrediction(boxes.reshape(-1, 4).astype(np.float32), scores.astype(np.float32), labels, NAMES, (40, 40))


def test_objects_are_recorded_with_the_number_of_their_image_and_group() -> None:
    recorder = BoxRecorder(data("detect", "b", "a", "b"), "detect")
    # One box is 2 of 20 pixels short on the right; the second object of the image is missed.
    recorder.take([found(([0, 0, 18, 20], 0, 0.75))], [2])
    exact = found(([0, 0, 20, 20], 0, 0.5), ([22, 22, 30, 30], 1, 0.25))
    recorder.take([exact, found(([0, 0, 20, 20], 1, 0.9))], iter([0, 1]))
    record = recorder.record()
    assert record.images.tolist() == [0, 0, 1, 1, 2, 2]
    assert record.labels.tolist() == [0, 1] * 3
    # In the third image the box has another class, so both objects are missed.
    assert record.scores.tolist() == pytest.approx([0.75, -1, 0.5, 0.25, -1, -1])
    np.testing.assert_allclose(record.short, [[0, 0, 2 / 18, 0]] + [[0] * 4] * 5, atol=1e-9)
    # The first and the second that were taken belong to one group.
    assert record.groups[0] == record.groups[1] != record.groups[2]


def test_of_instances_only_objects_with_an_outline_count_and_boxes_are_compared() -> None:
    recorder = BoxRecorder(data("instance", None), "instance")
    recorder.take([found(([0, 0, 20, 20], 0, 0.75), ([22, 22, 30, 30], 1, 0.5))], [0])
    record = recorder.record()
    # The triangle covers half of its box: an IoU of masks would be below that of the boxes, which is 1.
    assert (record.labels.tolist(), record.scores.tolist()) == ([0], [0.75])
    with pytest.raises(ValueError, match="longer"):
        recorder.take([found(([0, 0, 20, 20], 0, 0.75))], [0, 1])
