"""The seam between models and the rest is typed, and `check_task` refuses a prediction that lacks a part."""

from dataclasses import dataclass, fields, replace
from types import new_class

import numpy as np
import pytest

from eyewright.core.prediction import Prediction
from eyewright.core.task import task_names, task_of
from eyewright.testing import check_task

PARTS = [name for name in vars(Prediction) if not name.startswith("_")]


@pytest.mark.parametrize("part", PARTS)
def test_a_task_whose_predictions_lack_a_part_is_refused(part: str) -> None:
    task = task_of("classify")
    decoded = task.decode(task.example(np.random.default_rng(0))[0], [None] * 12, _labels())
    kind = type(decoded[0])

    def hidden(self: object, name: str) -> object:
        if name == part:
            raise AttributeError(name)
        return object.__getattribute__(self, name)

    less = dataclass(frozen=True)(new_class("Less", (kind,), {}, lambda body: body.update(__getattribute__=hidden)))
    given = {f.name for f in fields(kind)}
    found = [less(**{n: getattr(p, n) for n in given}) for p in decoded]
    with pytest.raises(AssertionError, match=f"lacks {part}"):
        check_task(replace(task, decode=lambda *a, **k: found))


@pytest.mark.parametrize("name", task_names())
def test_a_prediction_of_every_task_has_all_parts(name: str) -> None:
    task = task_of(name)
    from eyewright.imaging.preparation import Placement

    places = [Placement((16, 24), (1.0, 1.0), (0.0, 0.0))] * 12
    first = task.decode(task.example(np.random.default_rng(0))[0], places, _labels())[0]
    assert all(hasattr(first, part) for part in PARTS)


def _labels():
    from eyewright.core.labels import LabelSpace

    return LabelSpace(("a", "b", "c"))
