"""Tasks that no release has, so that what is read for them can be tested."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

import pytest

from eyewright.core import task as tasks
from eyewright.data.targets import target


@pytest.fixture
def other_tasks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Add "measure", which learns numbers, and "tick", which learns tags."""
    module = ModuleType("other_tasks")
    for name, place in (("measure", "numbers:NUMBERS"), ("tick", "tags:TAGS")):
        task = replace(tasks.task_of("classify"), name=name, target=f"eyewright.data.targets.{place}")
        setattr(module, name, task)
    monkeypatch.setitem(sys.modules, "other_tasks", module)
    table = {**tasks._table(), "measure": "other_tasks:measure", "tick": "other_tasks:tick"}
    monkeypatch.setattr(tasks, "_table", lambda: table)
    tasks.task_of.cache_clear()
    target.kind_of.cache_clear()
    yield
    tasks.task_of.cache_clear()
    target.kind_of.cache_clear()
