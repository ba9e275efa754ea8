"""What other installed packages add, found by their entry points; nothing of theirs is imported before it is used."""

__all__ = ["GROUPS", "installed", "open_installed"]

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from eyewright.core.errors import UsageError

GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "eyewright.tasks": "a `core.task.Task`",
        "eyewright.nets": "a builder, called as `builder(n_classes, channels=..., size_hw=...)`, that gives a net",
        "eyewright.steps": "an `imaging.steps.Kind`",
        "eyewright.readers": "a `data.readers.Reader`",
        "eyewright.targets": "a `delivery.target.Target`",
    }
)
"""The groups of entry points that are looked at, and what each of their entries must be."""


@cache
def installed(group: str) -> Mapping[str, EntryPoint]:
    """Return the entry points of a group by name. What is built in has the same name first.

    >>> dict(installed("eyewright.tasks"))
    {}
    """
    return MappingProxyType({e.name: e for e in entry_points(group=group)})


@cache
def open_installed(group: str, name: str) -> Any:
    """Import what an entry point names.

    Raises:
        UsageError: its package cannot be imported.
    """
    entry = installed(group)[name]
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"{name!r} of {entry.dist.name if entry.dist else group} cannot be imported: {error}",
            fix="install its package again, or remove it",
        ) from error
