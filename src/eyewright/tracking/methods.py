"""How objects are followed, by name: built-in ways, and the user's own."""

__all__ = ["METHODS", "method_of"]

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from eyewright.core.errors import UsageError, spelling_hint
from eyewright.tracking.tracker import Tracker, TrackerSettings, TrackingMethod

METHODS = MappingProxyType(
    {
        "three-stage": (3, "where tracks are expected, low scores, then where tracks were last seen (the default)"),
        "byte": (2, "where tracks are expected, then low scores (after ByteTrack)"),
        "sort": (1, "where tracks are expected, high scores alone (after SORT)"),
    }
)
"""The built-in methods: the stages of association, and what they are."""

_NEEDED = ("update", "reset")


def method_of(name: str, settings: TrackerSettings | None = None) -> TrackingMethod:
    """Return a new tracker by the name of a method, or the user's own by `package.module:function`.

    The function is called without arguments and returns an object with `update` and `reset`, see `TrackingMethod`.

    >>> type(method_of("byte")).__name__
    'Tracker'

    Raises:
        UsageError: no such method, or the module cannot be imported.
    """
    settings = settings or TrackerSettings()
    if name in METHODS:
        return Tracker(replace(settings, stages=METHODS[name][0]))
    module, colon, function = name.partition(":")
    if not colon:
        raise UsageError(f"unknown method {name!r}", fix=spelling_hint(name, METHODS), code="unknown_method")
    here = os.getcwd()
    added = here not in sys.path
    if added:
        # An installed command does not look in the folder it is called in, where the user's own module usually lies.
        sys.path.insert(0, here)
    try:
        build: Callable[[], Any] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"cannot import the method {name!r}: {error}", fix="use package.module:function") from error
    finally:
        if added:
            sys.path.remove(here)
    made: TrackingMethod = build()
    missing = [m for m in _NEEDED if not callable(getattr(made, m, None))]
    if missing:
        raise UsageError(
            f"expected {name!r} to return an object with update and reset, found none with {', '.join(missing)}",
            fix="see docs/concepts/tracking.md",
        )
    return made
