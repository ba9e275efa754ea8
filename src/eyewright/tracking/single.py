"""One object, given by its box in the first frame: OpenCV's correlation filters, with a verdict of our own.

Such filters answer "found" in nearly every frame, whatever is there. Here the object counts as found where the crop
under the answer is like the first crop (correlation of their grey values and of their colours); else it is lost, is
searched for in the whole frame by matching the first crop at a few sizes, and is found again where a place is like it.
"""

__all__ = ["SINGLE_METHODS", "SinglePrediction", "SingleTracker"]

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError, InputError, UsageError, spelling_hint
from eyewright.core.extras import import_extra
from eyewright.core.quoting import quoted

SINGLE_METHODS = MappingProxyType(
    {
        "csrt": "discriminative correlation filter (Lukežič et al. 2017): reliable, about 40 frames a CPU-second",
        "kcf": "kernelised correlation filter (Henriques et al. 2015): fast, loses objects that change their size",
        "mosse": "correlation filter of grey values (Bolme et al. 2010): fastest, its box keeps its size",
        "onnx:FILE": "a Siamese transformer in the form of OpenCV's VitTrack (inputs template and search), from a file",
    }
)
"""The methods and what they are."""

_SIDE = 16
_BINS = 6
# Calibrated by tests/tracking/test_single.py, which takes the object away and brings it back.
_HELD, _FOUND = 0.54, 0.66
# Grey levels that compression and a camera change by themselves, and below which share of more an object is flat.
_NOISE, _FLAT, _HELD_FLAT = 4.0, 0.5, 0.85
_SEARCH_SIDE = 320
# The largest first: a small part of an object of one colour is as like it as the whole.
_SCALES, _MORE_LIKE = (1.25, 1.0, 0.8), 0.02
_LEARN = 0.05


@dataclass(frozen=True, eq=False)
class SinglePrediction:
    """Where the object is: `box_xyxy` float64 (4,), None while it is lost; `likeness` to what it looked like."""

    state: Literal["tracked", "lost"]
    box_xyxy: NDArray[np.float64] | None
    likeness: float


class SingleTracker:
    """Follow one object through frames; `start` once, then `update` with every frame."""

    def __init__(self, method: str = "csrt") -> None:
        self._model = Path(method[5:]) if method.startswith("onnx:") else None
        if method not in SINGLE_METHODS and self._model is None:
            raise UsageError(f"unknown method {method!r}", fix=spelling_hint(method, SINGLE_METHODS))
        self._cv2: Any = import_extra("cv2", extra="pixels", what="tracking one object")
        self._method = method
        if self._model is not None:
            # Opened once now, so that a file that is no such model is refused before the source is read.
            self._made()
        self._filter: Any = None
        self._first: NDArray[np.uint8] | None = None
        self._look: _Look | None = None
        self._recent: _Look | None = None
        self._size = (0.0, 0.0)
        self._lost = False
        self._frames = 0

    def start(self, image: NDArray[np.uint8], box_xywh: tuple[float, float, float, float]) -> None:
        """Begin with the object in `box_xywh` of the frame `image`, uint8 (H, W, 3) RGB.

        Raises:
            UsageError: the box has fewer than 8 pixels a side inside the frame.
        """
        height, width = image.shape[:2]
        x, y, w, h = box_xywh
        x0, y0, x1, y1 = max(0.0, x), max(0.0, y), min(float(width), x + w), min(float(height), y + h)
        if not all(map(np.isfinite, box_xywh)) or x1 - x0 < 8 or y1 - y0 < 8:
            shown = ",".join(f"{v:g}" for v in box_xywh)
            raise UsageError(
                f"expected a box of at least 8 x 8 pixels inside the frame of {width} x {height}, found {shown}",
                fix="pass X,Y,W,H in pixels",
            )
        box = np.array([x0, y0, x1, y1])
        self._restart(image, box)
        self._first = _crop(image, box)
        self._look = self._recent = self._look_of(image, box)
        self._size, self._lost = (x1 - x0, y1 - y0), False

    def update(self, image: NDArray[np.uint8]) -> SinglePrediction:
        """Return where the object is in the next frame, or that it is lost."""
        if self._look is None:
            raise UsageError("expected start before update", fix="call start with the first frame and a box")
        self._frames += 1
        if self._lost:
            return self._search(image)
        with self._refusing():
            good, (x, y, w, h) = self._filter.update(image)
        box = np.array([x, y, x + w, y + h], np.float64)
        likeness = self._likeness(image, box) if good else 0.0
        # A filter slides along an object of one colour, and the colours tell by how much.
        if likeness < (_HELD_FLAT if self._look.pattern < _FLAT else _HELD):
            self._lost = True
            return self._search(image)
        if likeness > _FOUND and self._recent is not None:
            # What it looks like now, slowly, so that a turn is followed and a wrong answer is not learnt.
            self._recent = self._recent.towards(self._look_of(image, box), _LEARN)
        self._size = (w, h)
        return SinglePrediction("tracked", box, likeness)

    def _restart(self, image: NDArray[np.uint8], box: NDArray[np.float64]) -> None:
        cv2 = self._cv2
        self._filter = self._made()
        x0, y0, x1, y1 = (round(v) for v in box.tolist())
        # Its own generator: the same frames, the same answers.
        cv2.setRNGSeed(0)
        # The file is asked for the first time here: one that is a network of another kind fails now.
        with self._refusing():
            self._filter.init(image, (x0, y0, max(1, x1 - x0), max(1, y1 - y0)))
            if self._model is not None:
                self._filter.update(image)
                self._filter.init(image, (x0, y0, max(1, x1 - x0), max(1, y1 - y0)))

    def _made(self) -> Any:
        cv2 = self._cv2
        if self._model is None:
            make = {
                "csrt": cv2.TrackerCSRT_create, "kcf": cv2.TrackerKCF_create, "mosse": cv2.legacy.TrackerMOSSE_create,
            }  # fmt: skip
            return make[self._method]()
        if not self._model.is_file():
            raise InputError(f"expected a model at {quoted(self._model)}, found none", fix="check --method onnx:FILE")
        parameters = cv2.TrackerVit_Params()
        parameters.net = str(self._model)
        try:
            return cv2.TrackerVit_create(parameters)
        except cv2.error as error:
            raise self._refused(error) from None

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """Turn what a model in a file does wrong into one line."""
        if self._model is None:
            yield
            return
        try:
            yield
        except self._cv2.error as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> BundleError:
        reason = str(error).strip().splitlines()[0][:200]
        return BundleError(
            f"{quoted(self._model)} cannot be used to track one object: {reason}",
            fix="pass a model in the form of OpenCV's VitTrack: inputs template and search",
        )

    def _look_of(self, image: NDArray[np.uint8], box: NDArray[np.float64]) -> "_Look":
        crop = self._cv2.resize(_crop(image, box), (_SIDE, _SIDE), interpolation=self._cv2.INTER_AREA)
        grey = self._cv2.cvtColor(crop, self._cv2.COLOR_RGB2GRAY).astype(np.float64)
        # The light changes from frame to frame: colours are compared at one mean brightness.
        colours = _histogram(crop.reshape(-1, 3) * (110.0 / max(float(grey.mean()), 8.0)))
        grey -= grey.mean()
        variance = float((grey * grey).mean())
        return _Look(grey / max(float(np.linalg.norm(grey)), 1e-9), colours, variance / (variance + _NOISE**2))

    def _likeness(self, image: NDArray[np.uint8], box: NDArray[np.float64]) -> float:
        height, width = image.shape[:2]
        inside = np.clip(box, 0, [width, height, width, height])
        size = np.maximum(box[2:] - box[:2], 1e-9)
        seen = float(np.prod(np.maximum(inside[2:] - inside[:2], 0) / size))
        if seen < 0.3 or self._look is None or self._recent is None:
            return 0.0
        look = self._look_of(image, inside)
        return max(look.like(self._look), look.like(self._recent))

    def _search(self, image: NDArray[np.uint8]) -> SinglePrediction:
        """Look for the first crop in the whole frame, at its last size and a little smaller and larger."""
        cv2, first = self._cv2, self._first
        assert first is not None
        best, best_box = 0.0, None
        shrink = min(1.0, _SEARCH_SIDE / max(image.shape[:2]))
        small = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 1 else image
        for scale in _SCALES:
            w, h = (max(4, round(v * scale * shrink)) for v in self._size)
            if w >= small.shape[1] or h >= small.shape[0]:
                continue
            template = cv2.resize(first, (w, h), interpolation=cv2.INTER_AREA)
            if self._look is not None and self._look.pattern < _FLAT:
                # Of one colour: a correlation has nothing to go by, the difference has.
                scores = -cv2.matchTemplate(small, template, cv2.TM_SQDIFF)
            else:
                scores = cv2.matchTemplate(small, template, cv2.TM_CCOEFF_NORMED)
            y, x = np.unravel_index(int(np.argmax(scores)), scores.shape)
            box = np.array([x, y, x + w, y + h], np.float64) / shrink
            likeness = self._likeness(image, box)
            if likeness > best + _MORE_LIKE:
                best, best_box = likeness, box
        if best_box is None or best < _FOUND:
            return SinglePrediction("lost", None, best)
        self._restart(image, best_box)
        self._lost = False
        return SinglePrediction("tracked", best_box, best)


@dataclass(frozen=True, eq=False)
class _Look:
    """What an object looks like: grey values, float64 (16, 16), of mean 0 and norm 1, and shares of its colours.

    `pattern`, 0 to 1, is how much of the grey values is more than noise: about 0 for an object of one colour.
    """

    grey: NDArray[np.float64]
    colours: NDArray[np.float64]
    pattern: float

    def like(self, other: "_Look") -> float:
        """Return the likeness of two looks, 0 to 1: half by the pattern, half by the colours that both have; of objects
        of one colour, which have no pattern, by the colours alone."""
        # A pattern that only one of the two has is a difference.
        weight = 0.5 * max(self.pattern, other.pattern)
        pattern = max(0.0, float((self.grey * other.grey).sum()))
        return weight * pattern + (1 - weight) * float(np.minimum(self.colours, other.colours).sum())

    def towards(self, other: "_Look", share: float) -> "_Look":
        grey = (1 - share) * self.grey + share * other.grey
        grey /= max(float(np.linalg.norm(grey)), 1e-9)
        kept = (1 - share) * self.pattern + share * other.pattern
        return _Look(grey, (1 - share) * self.colours + share * other.colours, kept)


def _histogram(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fractions of colours (n, 3) in a grid, each colour divided between the nearest bins."""
    place = np.clip(colours, 0, 255) * ((_BINS - 1) / 255)
    low = np.minimum(place.astype(np.int64), _BINS - 2)
    high = place - low
    found = np.zeros(_BINS**3)
    for corner in range(8):
        up = np.array([corner >> 2 & 1, corner >> 1 & 1, corner & 1])
        weight = np.where(up, high, 1 - high).prod(1)
        found += np.bincount((low + up) @ np.array([_BINS * _BINS, _BINS, 1]), weight, minlength=_BINS**3)
    return found / len(colours)


def _crop(image: NDArray[np.uint8], box: NDArray[np.float64]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    x0, y0 = min(max(0, round(box[0])), width - 1), min(max(0, round(box[1])), height - 1)
    x1, y1 = min(max(x0 + 1, round(box[2])), width), min(max(y0 + 1, round(box[3])), height)
    return np.ascontiguousarray(image[y0:y1, x0:x1])
