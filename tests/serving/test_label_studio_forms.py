"""Numbers in Label Studio's form: a Number for each quantity; what has no form there is refused."""

from types import SimpleNamespace
from typing import Any

import pytest

from eyewright.core.errors import UsageError
from eyewright.core.labels import LabelSpace
from eyewright.core.task import task_of
from eyewright.serving.protocols import label_studio
from eyewright.serving.protocols.annotations import feedback_of

_ONE = '<View><Image name="img" value="$photo"/><Number name="{}" toName="img"/></View>'
_TWO = (
    '<View><Image name="img" value="$photo"/><Number name="height" toName="img"/>'
    '<Number name="weight" toName="img"/></View>'
)


def _model(*names: str, task: str = "regress") -> Any:
    return SimpleNamespace(name="scale", task=task, digest="0" * 64, manifest=SimpleNamespace(labels=LabelSpace(names)))


def _number(control: str, number: object, place: str = "p1.0") -> dict[str, Any]:
    return {"id": place, "from_name": control, "type": "number", "value": {"number": number}}


def _said(rows: list[dict[str, Any]], *names: str) -> list[tuple[str, dict[str, Any]]]:
    event = {"annotation": {"result": rows}, "task": {"meta": {"prediction_id": "p1"}}}
    return feedback_of(event, lambda _: "regress", lambda _: names)


def test_the_only_number_control_holds_the_only_quantity() -> None:
    place = label_studio._place_of(_ONE.format("anything"), _model("weight [g]"))
    assert place == ("Number", "anything", "img", "photo", ("anything",))


def test_controls_are_found_by_the_names_of_the_quantities() -> None:
    place = label_studio._place_of(_TWO, _model("weight [g]", "height [mm]"))
    assert place.controls == ("weight", "height")
    with pytest.raises(UsageError, match="no Number called 'width'"):
        label_studio._place_of(_TWO, _model("weight [g]", "width [mm]"))


def test_a_configuration_without_a_number_is_refused() -> None:
    with pytest.raises(UsageError, match="has no Number over an Image for 'regress'"):
        label_studio._place_of("<View><Image name='a' value='$img'/></View>", _model("weight [g]"))


def test_predicted_numbers_are_results_and_come_back_as_feedback() -> None:
    found = {"values": {"weight": {"value": 41.5, "unit": "g"}, "height": {"value": 7.0, "unit": "mm"}}}
    about = {"from_name": "height", "to_name": "img"}
    rows = list(label_studio._numbers(found, about, ("weight", "height"), "p1"))
    assert [(r["from_name"], r["type"], r["value"], r["id"]) for r in rows] == [
        ("weight", "number", {"number": 41.5}, "p1.0"),
        ("height", "number", {"number": 7.0}, "p1.1"),
    ]
    rows[0]["value"]["number"] = 40
    assert _said(rows, "weight [g]", "height [mm]") == [("p1", {"values": {"weight [g]": 40, "height [mm]": 7.0}})]


def test_an_annotation_is_read_by_quantity_and_nothing_else_is_a_number() -> None:
    assert _said([_number("anything", 3)], "weight [g]") == [("p1", {"values": {"weight [g]": 3}})]
    for wrong in (True, "3", None, [3]):
        assert _said([_number("anything", wrong)], "weight [g]") == []
    assert _said([{"id": "p1", "type": "choices", "value": {"choices": ["heavy"]}}], "weight [g]") == []


def test_a_task_without_a_form_says_so() -> None:
    assert "label-studio" not in task_of("read").foreign
    with pytest.raises(UsageError, match="Label Studio is not supported for"):
        label_studio._place_of("<View><Image name='a' value='$img'/></View>", _model("a", task="read"))
