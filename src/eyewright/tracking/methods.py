"""How objects are followed, by name: built-in ways, and the user's own."""

__all__ = ["METHODS", "method_of"]

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import EyewrightError, UsageError, spelling_hint
from eyewright.core.installed import import_own, what_was_raised
from eyewright.tracking.single import SINGLE_METHODS
from eyewright.tracking.tracker import Tracker, TrackerSettings, TrackingMethod, TrackPrediction

METHODS = MappingProxyType(
    {
        "three-stage": (3, "where tracks are expected, low scores, then where tracks were last seen (the default)"),
        "byte": (2, "where tracks are expected, then low scores (after ByteTrack)"),
        "sort": (1, "where tracks are expected, high scores alone (after SORT)"),
    }
)
"""The built-in methods: the stages of association, and what they are."""

# Methods of other packages, and what they do that ours do too.
_OTHERS = MappingProxyType(
    {
        "iou": ("sort", "associates by IoU alone, as an IoU tracker does, and expects where tracks move"),
        "bytetrack": ("byte", "has ByteTrack's two stages"),
        "ocsort": ("three-stage", "also looks where tracks were last seen, as OC-SORT does"),
        "cbiou": ("three-stage", "also looks where tracks were last seen with grown boxes, as C-BIoU does"),
        "norfair": ("three-stage", "needs no appearance, as norfair does not by default"),
        "botsort": ("three-stage", "compensates for camera motion with --camera-motion, as BoT-SORT does"),
        "deepocsort": ("three-stage", "uses no appearance, unlike Deep OC-SORT"),
        "deepsort": ("three-stage", "uses no appearance, unlike DeepSORT"),
        "strongsort": ("three-stage", "uses no appearance, unlike StrongSORT"),
    }
)
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
        raise UsageError(f"unknown method {name!r}", fix=_advice(name), code="unknown_method")
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
    return made if isinstance(made, Tracker) else _OwnMethod(made, name)


class _OwnMethod:
    """The user's own method: what it raises or returns wrongly is said with its name."""

    def __init__(self, method: TrackingMethod, name: str) -> None:
        self._method, self._name = method, name

    def update(
        self,
        boxes_xyxy: NDArray[np.float64],
        scores: NDArray[np.float64] | None = None,
        label_ids: NDArray[np.int64] | None = None,
        *,
        time_s: float,
    ) -> TrackPrediction:
        with self._said("update"):
            found = self._method.update(boxes_xyxy, scores, label_ids, time_s=time_s)
        if not isinstance(found, TrackPrediction):
            raise self._wrong(f"expected a TrackPrediction from its update, found {type(found).__name__}")
        last = int(np.max(found.detections, initial=-1))
        if last >= len(boxes_xyxy):
            raise self._wrong(f"expected detections of {len(boxes_xyxy)} boxes from its update, found number {last}")
        return found

    def reset(self) -> None:
        with self._said("reset"):
            self._method.reset()

    @contextlib.contextmanager
    def _said(self, call: str) -> Iterator[None]:
        try:
            yield
        # A full disk or too little memory is not caused by the method.
        except (EyewrightError, OSError, MemoryError):
            raise
        except Exception as error:
            raise self._wrong(f"its {call} failed: {what_was_raised(error)}") from error

    def _wrong(self, why: str) -> UsageError:
        return UsageError(f"method {self._name!r}: {why}", fix="see docs/concepts/tracking.md", code="own_method")


def _advice(name: str) -> str:
    """Return which methods there are, and which of them comes closest to one of another package."""
    plain = _plain(name)
    if name in SINGLE_METHODS or name.startswith("onnx:"):
        return f"{name} follows one object: pass --one X,Y,W,H, or choose one of {', '.join(METHODS)}"
    same = next((m for m in METHODS if _plain(m) == plain), None)
    if same is not None:
        return f"did you mean {same!r}?"
    own = "or your own as package.module:function"
    if plain in _OTHERS:
        method, why = _OTHERS[plain]
        return f"the methods are {', '.join(METHODS)}, {own}; the closest is {method!r}, which {why}"
    hint = spelling_hint(name, METHODS)
    return hint if hint.endswith("?") else f"{hint}, {own}"


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum()).removesuffix("tracker")
