"""Label Studio has no form for the predictions of every task: that is said, and no fault of ours."""

from types import SimpleNamespace

import pytest

from eyewright.core.errors import UsageError
from eyewright.core.task import task_of
from eyewright.serving.protocols import label_studio
from eyewright.serving.protocols.annotations import feedback_of

_CHOICE = {"id": "p1", "type": "choices", "value": {"choices": ["heavy"]}}


def test_numbers_have_no_form_in_label_studio() -> None:
    assert "label-studio" not in task_of("regress").foreign
    model = SimpleNamespace(name="scale", task="regress", digest="0" * 64)
    with pytest.raises(UsageError, match="Label Studio is not supported for regression"):
        label_studio._place_of("<View><Image name='a' value='$img'/></View>", model)


def test_an_annotation_of_numbers_is_no_feedback() -> None:
    event = {"annotation": {"result": [_CHOICE]}, "task": {"meta": {"prediction_id": "p1"}}}
    assert feedback_of(event, lambda _: "regress", lambda _: ()) == []
    assert feedback_of(event, lambda _: "classify", lambda _: ()) == [("p1", {"label": "heavy"})]
