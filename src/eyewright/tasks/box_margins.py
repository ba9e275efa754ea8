"""How well boxes hold the objects that they found, collected image by image for conformal margins and thresholds."""

__all__ = ["BoxRecorder"]

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from eyewright.core.prediction import Prediction
from eyewright.core.task import task_of
from eyewright.data.dataset import Dataset
from eyewright.metrics.conformal_boxes import BoxRecord, record_boxes
from eyewright.metrics.matching import Detected
from eyewright.metrics.points import group_numbers
from eyewright.tasks.box_results import true_objects
from eyewright.tasks.detect import BoxPrediction


class BoxRecorder:
    """Collects a `BoxRecord` of a dataset; boxes are compared with boxes, of instances too."""

    def __init__(self, dataset: Dataset, task: str) -> None:
        self._dataset = dataset
        self._outlined = "outlines" in task_of(task).needs
        self._rows: list[int] = []
        self._found: list[Detected] = []
        self._truth: list[Detected] = []

    def take(self, predictions: Sequence[Prediction], rows: Iterable[int]) -> None:
        """Note what was found in the images `rows` of the dataset, everything with a score of 0.01 or more."""
        for one, row in zip(cast("Sequence[BoxPrediction]", predictions), rows, strict=True):
            truth = true_objects(self._dataset, row, one.size_hw, outlined=self._outlined)
            self._found.append(replace(one.detected(), masks=None))
            # The areas of masks are not those of boxes.
            self._truth.append(replace(truth, masks=None, areas=None))
            self._rows.append(row)

    def record(self) -> BoxRecord:
        """Return how the objects were found; images of one group have one number."""
        samples: Sequence[Any] = self._dataset.samples
        groups = group_numbers([samples[i].group for i in self._rows])
        return record_boxes(self._found, self._truth, np.asarray(groups, np.int64))
