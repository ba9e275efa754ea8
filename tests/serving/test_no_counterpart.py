"""Routes of other tools refuse a model whose task those tools have no form for."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from eyewright.core.errors import UsageError
from eyewright.core.task import task_names, task_of
from eyewright.serving.exchange import Request
from eyewright.serving.protocols import hub, label_studio
from eyewright.serving.protocols.annotations import feedback_of
from eyewright.serving.settings import Settings

MODEL = SimpleNamespace(task="regress", name="gauge", digest="0" * 64)
SERVICE: Any = SimpleNamespace(settings=Settings(), default=MODEL, model=lambda name: MODEL)
REQUEST = Request("POST", (), {}, {"content-type": "application/json"}, b'{"tasks": [], "schema": ""}')


@pytest.mark.parametrize("call", [label_studio.setup, label_studio.predict, hub.predict])
def test_a_task_without_a_counterpart_is_refused(call: Any) -> None:
    with pytest.raises(UsageError, match="not supported for regression; it is supported for classification"):
        asyncio.run(call(SERVICE, REQUEST, "gauge"))


@pytest.mark.parametrize("name", task_names())
def test_an_annotation_of_any_task_is_read(name: str) -> None:
    event = {"annotation": {"result": [{"id": "p1", "value": {"choices": ["a"]}}]}}
    said = feedback_of(event, lambda prediction_id: name, lambda prediction_id: ("a",))
    assert said or "Choices" not in task_of(name).foreign.get("label-studio", "")
