"""How objects are followed, by name: built-in ways, and the user's own."""

__all__ = ["METHODS", "method_of"]

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from eyewright.core.errors import UsageError, spelling_hint
from eyewright.core.installed import import_own, what_was_raised
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
    if ":" not in name:
        raise UsageError(f"unknown method {name!r}", fix=spelling_hint(name, METHODS), code="unknown_method")
    build: Callable[[], Any] = import_own(name, "method")
    try:
        made: TrackingMethod = build()
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{name!r} cannot be called without arguments: {what_was_raised(error)}",
            fix="see docs/concepts/tracking.md",
        ) from error
    missing = [m for m in _NEEDED if not callable(getattr(made, m, None))]
    if missing:
        raise UsageError(
            f"expected {name!r} to return an object with update and reset, found none with {', '.join(missing)}",
            fix="see docs/concepts/tracking.md",
        )
    return made
