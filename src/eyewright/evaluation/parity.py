"""The parity gate: the exported model must answer as the trained one does, on real files, from the bytes up."""

__all__ = ["COARSE", "DECISION_MARGIN", "LEAST_COMPARED", "SAME_IOU", "TOLERANCE", "Images", "Parity", "check_parity"]

from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import ParityError
from eyewright.core.predictor import Predictor
from eyewright.metrics.matching import box_overlaps
from eyewright.tasks import TASKS
from eyewright.tasks.detect import DEFAULT_IOU

TOLERANCE = 1e-4
"""Largest difference of a probability between the trained net and the bundle."""

OBJECT_TOLERANCE = 1e-3
"""Largest difference of an object's score, or of a pixel's probability."""

SAME_IOU = 0.99
"""Overlap from which on two boxes are the same."""

COARSE = MappingProxyType({"float32": None, "float16": (0.02, 0.95), "int8": (0.05, 0.9)})
"""What two runtimes may differ by where numbers are rounded: a probability or score, and the least overlap of a box."""

LEAST_COMPARED = 0.05
"""Objects of a lower score are below what any operating point shows."""

DECISION_MARGIN = 1e-6
"""Two classes whose probabilities lie closer than this may change places."""

_CHUNK = 128
_HAIR = 1e-4
_LEVEL = 1e-5
_ALL = 5000
_PIXELS = 32_000_000


@dataclass(frozen=True)
class Parity:
    """What the gate saw: largest |difference| of a probability or score, answers that differ, the number of images.

    `objects` counts the boxes that were compared.
    """

    worst: float
    decisions_changed: int
    n: int
    tolerance: float = TOLERANCE
    objects: int = 0
    beside: str = "the trained net"

    def __str__(self) -> str:
        if self.objects:
            return (
                f"{self.n} validation images gave the same {self.objects} boxes, "
                f"scores within {self.worst:.1e} of {self.beside}"
            )
        return f"{self.n} validation images answered alike, probabilities within {self.worst:.1e} of {self.beside}"

    def to_json(self) -> dict[str, Any]:
        """Give the numbers."""
        return {k: v for k, v in asdict(self).items() if k != "beside" and (k != "objects" or v)}


class Images(Protocol):
    """What parity is tried on: images by number, such as a `Dataset`."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> NDArray[np.uint8]: ...


def check_parity(
    trained: Predictor,
    exported: Predictor,
    dataset: Images,
    *,
    precision: str = "float32",
    names: tuple[str, str] = ("the exported model", "the trained one"),
    trained_pixels: Callable[[NDArray[np.int64]], NDArray[np.uint8]] | None = None,
) -> Parity:
    """Compare two models on every image of `dataset`, each through its own preparation.

    The trained side sees what training saw: `trained_pixels(indices)` if given (the training cache), else the
    trained model's own preparation of the decoded file. The exported side starts from the file again, so a fault
    anywhere on its way (decoding, orientation, resizing, channel order, scaling) fails the gate. Where a model computes
    in another `precision` than float32, two runtimes may differ by a last bit that tips a step of 8: there `COARSE`
    stands for the tolerances. `names` are what both are called when they differ.

    Raises:
        ParityError: a probability differs by more than 1e-4 (of a pixel, or an object's score: 1e-3), or an answer
            differs; boxes are the same from an overlap of 0.99 on.
    """
    task = trained.task_name
    tolerance, same_iou = COARSE[precision] or (TOLERANCE if task == "classify" else OBJECT_TOLERANCE, SAME_IOU)
    compare = _compare_pixels if task == "segment" else _compare_classes
    height, width = trained.preparation.size_hw
    chunk = max(1, min(_CHUNK, _PIXELS // (height * width)))
    worst, changed, objects = 0.0, 0, 0
    for start in range(0, len(dataset), chunk):
        chosen = np.arange(start, min(start + chunk, len(dataset)))
        images = [dataset.image(int(i)) for i in chosen]
        pixels, placements = trained.preparation.batch(images)
        if trained_pixels is not None:
            pixels = trained_pixels(chosen)
        theirs_pixels, theirs_placements = exported.preparation.batch(images)
        ours, theirs = trained.raw(pixels), exported.raw(theirs_pixels)
        for name in TASKS[task].outputs:
            if ours[name].shape != theirs[name].shape:
                raise ParityError(f"expected {name} {ours[name].shape}, found {theirs[name].shape}", fix="export again")
        if task in ("detect", "instance"):
            apart, other, n = _compare_objects(
                lambda scale: _decoded(trained, ours, placements, scale),  # noqa: B023
                lambda scale: _decoded(exported, theirs, theirs_placements, scale),  # noqa: B023
                _Limits(max(tolerance, OBJECT_TOLERANCE), same_iou, _suppression(trained)),
            )
        else:
            apart, other, n = compare(ours, theirs, tolerance)
        worst, changed, objects = max(worst, apart), changed + other, objects + n
    if not worst <= tolerance or changed:
        what = "a probability" if task in ("classify", "segment") else "a score"
        raise ParityError(
            f"{names[0]} differs from {names[1]}: by up to {worst:.3g} in {what} "
            f"(allowed {tolerance:g}), in {changed} answers on {len(dataset)} images",
            fix="nothing was exported; check the preparation and the net's operations",
        )
    beside = "the trained net" if names[1] == "the trained one" else names[1]
    return Parity(worst, changed, len(dataset), tolerance, objects, beside)


def _compare_classes(ours: Any, theirs: Any, tolerance: float) -> tuple[float, int, int]:
    a, b = ours["probabilities"], theirs["probabilities"]
    rows = np.flatnonzero(a.argmax(1) != b.argmax(1))
    # Two classes level to the last bits may change places; that is no other decision.
    gap = a[rows, a[rows].argmax(1)] - a[rows, b[rows].argmax(1)]
    margin = DECISION_MARGIN if tolerance <= TOLERANCE else tolerance
    return float(np.abs(a - b).max(initial=0.0)), int((gap > margin).sum()), 0


def _compare_pixels(ours: Any, theirs: Any, tolerance: float) -> tuple[float, int, int]:
    a, b = ours["probabilities"], theirs["probabilities"]
    first, second = a.argmax(1), b.argmax(1)
    differs = first != second
    gap = np.take_along_axis(a, first[:, None], 1) - np.take_along_axis(a, second[:, None], 1)
    changed = differs & (gap[:, 0] > tolerance)
    return float(np.abs(a - b).max(initial=0.0)), int(changed.sum()), 0


@dataclass(frozen=True)
class _Limits:
    """How far scores may be apart, from which overlap on boxes are the same, and from which one suppresses another."""

    tolerance: float
    same_iou: float
    suppression: float


def _suppression(predictor: Any) -> float:
    return float(dict(getattr(predictor, "decoding", {})).get("iou", DEFAULT_IOU))


def _decoded(predictor: Any, raw: Any, placements: Any, scale: float) -> list[Any]:
    decoding = dict(getattr(predictor, "decoding", {}))
    iou = decoding.pop("iou", DEFAULT_IOU)
    iou = iou if iou >= 1 else iou * scale
    # All of them: where many are equally sure, which are among the first 300 is chance.
    found: list[Any] = TASKS[predictor.task_name].decode(
        raw, placements, predictor.labels, iou=iou, most=_ALL, **decoding
    )
    return found


def _compare_objects(
    trained: Callable[[float], list[Any]], exported: Callable[[float], list[Any]], limits: _Limits
) -> tuple[float, int, int]:
    """Look for each box of one model in the other's answers.

    Two boxes that overlap by just the share from which on they are one object may go either way by their last bits.
    So what is not found is looked for once more with that share a hair smaller and larger. And of two boxes of one
    object that are level, either may be the one that stays: what is not found may be there, suppressed by its equal.
    """
    tolerance, same_iou = limits.tolerance, limits.same_iou
    level = max(_LEVEL, tolerance if tolerance > OBJECT_TOLERANCE else 0.0)
    worst, changed, compared = 0.0, 0, 0
    several: dict[bool, list[list[Any]]] = {}
    both = (trained(1.0), exported(1.0))
    for first, second, other in ((both[0], both[1], True), (both[1], both[0], False)):
        for i, (own, theirs) in enumerate(zip(first, second, strict=True)):
            sure = own.chosen(own.scores >= LEAST_COMPARED + tolerance)
            compared += len(sure) if other else 0
            apart = _nearest(sure, theirs, same_iou)
            if not np.isfinite(apart).all():
                if other not in several:
                    again = exported if other else trained
                    several[other] = [again(1 - _HAIR), again(1 + _HAIR), again(1 / limits.suppression)]
                *hairs, whole = several[other]
                for decoded in hairs:
                    apart = np.minimum(apart, _nearest(sure, decoded[i], same_iou))
                # How sure they are of the same box, were it not suppressed, and of what suppresses it.
                beneath = _nearest(sure, whole[i], same_iou)
                surer = _nearest(sure, theirs, limits.suppression * (1 - _HAIR))
                apart = np.where(np.isfinite(apart) | (beneath + surer > level), apart, beneath)
            there = np.isfinite(apart)
            changed += int((~there).sum())
            worst = max(worst, float(apart[there].max(initial=0.0)))
    return worst, changed, compared


def _nearest(own: Any, theirs: Any, same_iou: float) -> NDArray[np.float64]:
    """Give how far each object's score is from that of the same box in other answers; infinite if it is not there."""
    overlap = box_overlaps(own.boxes_xyxy.astype(np.float64), theirs.boxes_xyxy.astype(np.float64))
    same = (own.label_ids[:, None] == theirs.label_ids[None]) & (overlap >= same_iou)
    apart = np.abs(own.scores[:, None].astype(np.float64) - theirs.scores[None])
    nearest: NDArray[np.float64] = np.where(same, apart, np.inf).min(1, initial=np.inf)
    return nearest
