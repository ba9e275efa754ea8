"""The inputs of a bundle: which there are, how each is prepared, and how `bundle.json` says so."""

__all__ = ["only_image", "read_inputs", "write_inputs"]

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from eyewright.core.errors import BundleError
from eyewright.core.inputs import IMAGE, Inputs, say_inputs
from eyewright.core.task import task_of
from eyewright.imaging.preparation import Preparation


def only_image(inputs: Inputs) -> bool:
    """Return whether a model takes one image and nothing else: all that format 1 can say. A clip is more than that, and
    so is a tile with the level of its noise."""
    only = inputs[IMAGE] if tuple(inputs) == (IMAGE,) else None
    return type(only) is Preparation and only.clip is None and only.tile is None


def write_inputs(inputs: Inputs) -> dict[str, Any]:
    """Return how inputs are prepared as plain JSON types, each with its kind."""
    return {name: {"kind": one.kind, **one.to_json()} for name, one in inputs.items()}


def read_inputs(task: str, rows: Mapping[str, Mapping[str, Any]]) -> Inputs:
    """Read what `write_inputs` gives; the task says which class each input is of, the bundle names no code.

    Raises:
        BundleError: other inputs than the task's, a kind that is not known here, or a value that is not valid.
    """
    places = task_of(task).inputs
    if not set(places) - task_of(task).optional <= set(rows) <= set(places):
        raise BundleError(
            f"bundle.json contradicts itself: the task {task!r} takes {say_inputs(places)}, the bundle "
            f"{say_inputs(rows)}",
            fix="export the model again, or upgrade eyewright",
        )
    found = {}
    for name, row in rows.items():
        module, _, attribute = places[name].partition(":")
        maker = getattr(import_module(module), attribute)
        kind, rest = row.get("kind"), {k: v for k, v in row.items() if k != "kind"}
        if kind != maker.kind:
            raise BundleError(
                f"the input {name!r} is of kind {str(kind)[:60]!r}, this eyewright reads {maker.kind!r}",
                fix="upgrade eyewright",
                code="bundle_newer",
            )
        found[name] = maker.from_json(rest)
    return found
