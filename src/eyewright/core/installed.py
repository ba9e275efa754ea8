"""What other installed packages add, found by their entry points; nothing of theirs is imported before it is used."""

__all__ = ["GROUPS", "import_own", "installed", "open_installed", "what_was_raised"]

import importlib
import os
import sys
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
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{name!r} of {entry.dist.name if entry.dist else group} cannot be imported: {what_was_raised(error)}",
            fix="install its package again, or remove it",
        ) from error


def import_own(name: str, what: str) -> Any:
    """Import the user's own object by `package.module:function`; `what` is its kind, for messages.

    Raises:
        UsageError: it cannot be imported, for whatever reason: the module is theirs, and so is what it raises.
    """
    module, _, function = name.partition(":")
    # An installed command does not look in the folder it is called in, where the user's own module usually lies.
    here = os.getcwd()
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module), function)
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"cannot import the {what} {name!r}: {what_was_raised(error)}", fix="use package.module:function"
        ) from error
    finally:
        if added:
            sys.path.remove(here)


def what_was_raised(error: BaseException) -> str:
    """Return what code that is not ours has raised, on one line of at most 200 characters.

    >>> what_was_raised(RuntimeError("a\\nb")), what_was_raised(ImportError("no x"))
    ('RuntimeError: a b', 'no x')
    """
    text = " ".join(str(error).split())
    if not isinstance(error, ImportError | AttributeError):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= 200 else text[:199] + "…"
