"""Whether two models find the same boxes: the parity of detectors."""

__all__ = ["LEAST_COMPARED", "agree_on_boxes"]

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from eyewright.core.predictor import Answers
from eyewright.core.task import Agreement, Limits
from eyewright.metrics.matching import box_overlaps
from eyewright.tasks.boxes import DEFAULT_IOU

if TYPE_CHECKING:
    from eyewright.tasks.detect import BoxPrediction

LEAST_COMPARED = 0.05
"""Objects of a lower score are below what any operating point shows."""

_HAIR = 1e-4
_LEVEL = 1e-5
_ALL = 5000


def agree_on_boxes(ours: Answers, theirs: Answers, limits: Limits) -> Agreement:
    """Look for each box of one model in the other's answers.

    Two boxes whose IoU is just at the threshold of suppression can be kept or not by their last bits. So what is not
    found is looked for once more with that threshold a hair lower and higher. And of two boxes of one object whose
    scores are level, either may be the one that stays: what is not found may be there, suppressed by its equal.
    """
    tolerance, same_iou = limits
    suppression = float(ours.decoding.get("iou", DEFAULT_IOU))
    level = max(_LEVEL, tolerance if tolerance > 1e-3 else 0.0)
    worst, changed, compared = 0.0, 0, 0
    several: dict[bool, list[Sequence[BoxPrediction]]] = {}
    both = (_decoded(ours, 1.0), _decoded(theirs, 1.0))
    for first, second, other in ((both[0], both[1], True), (both[1], both[0], False)):
        for i, (own, answered) in enumerate(zip(first, second, strict=True)):
            sure = own.chosen(own.scores >= LEAST_COMPARED + tolerance)
            compared += len(sure) if other else 0
            apart = _nearest(sure, answered, same_iou)
            if not np.isfinite(apart).all():
                if other not in several:
                    again = theirs if other else ours
                    several[other] = [_decoded(again, k) for k in (1 - _HAIR, 1 + _HAIR, 1 / suppression)]
                *hairs, whole = several[other]
                for decoded in hairs:
                    apart = np.minimum(apart, _nearest(sure, decoded[i], same_iou))
                # The score of the same box, were it not suppressed, and of what suppresses it.
                beneath = _nearest(sure, whole[i], same_iou)
                surer = _nearest(sure, answered, suppression * (1 - _HAIR))
                apart = np.where(np.isfinite(apart) | (beneath + surer > level), apart, beneath)
            there = np.isfinite(apart)
            changed += int((~there).sum())
            worst = max(worst, float(apart[there].max(initial=0.0)))
    return Agreement(worst, changed, compared)


def _decoded(answers: Answers, scale: float) -> "Sequence[BoxPrediction]":
    iou = float(answers.decoding.get("iou", DEFAULT_IOU))
    # All of them: where many have the same score, which are among the first 300 is chance.
    return cast("Sequence[BoxPrediction]", answers.read(iou=iou if iou >= 1 else iou * scale, most=_ALL))


def _nearest(own: "BoxPrediction", theirs: "BoxPrediction", same_iou: float) -> NDArray[np.float64]:
    """Return how far each object's score is from that of the same box in other answers; infinite if it is not there."""
    overlap = box_overlaps(own.boxes_xyxy.astype(np.float64), theirs.boxes_xyxy.astype(np.float64))
    same = (own.label_ids[:, None] == theirs.label_ids[None]) & (overlap >= same_iou)
    apart = np.abs(own.scores[:, None].astype(np.float64) - theirs.scores[None])
    nearest: NDArray[np.float64] = np.where(same, apart, np.inf).min(1, initial=np.inf)
    return nearest
