"""Small pictures for a report: the images behind the cells of the confusion matrix, the mistakes first."""

__all__ = ["choose_pictures"]

from collections import Counter
from typing import Any

from eyewright.core.report import Report
from eyewright.data.dataset import Dataset
from eyewright.imaging.encode import data_uri
from eyewright.imaging.overlay import shrink

_MOST = 320
_SIDE = 112


def choose_pictures(report: Report, dataset: Dataset, *, a_cell: int = 12) -> dict[str, dict[str, Any]]:
    """Give pictures as data addresses by sample id, at most `a_cell` a cell and 320 in all.

    `dataset` is the one that the report was made on.
    """
    wrong = [i for i in report.items if not i["right"]]
    right = [i for i in report.items if i["right"]]
    of_cell: Counter[tuple[str, str]] = Counter()
    pictures: dict[str, dict[str, Any]] = {}
    share = max(1, min(a_cell, (_MOST - min(len(wrong), _MOST // 2)) // max(1, len(report.labels))))
    for item in wrong + right:
        cell = (item["true"], item["predicted"])
        if len(pictures) >= _MOST or of_cell[cell] >= (share if item["right"] else a_cell):
            continue
        of_cell[cell] += 1
        small = shrink(dataset.image(item["index"]), _SIDE)
        pictures[item["id"]] = {"image": data_uri(small), "heat": "", "method": "", "verdict": "", "faithful": True}
    return pictures
