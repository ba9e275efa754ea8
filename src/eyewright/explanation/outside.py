"""Explanations that only ask the model for answers: they work on a bundle, in the field, without torch."""

__all__ = ["OUTSIDE", "explain_prepared"]

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from eyewright.core.prediction import Prediction
from eyewright.core.predictor import Predictor, decode_everything
from eyewright.core.task import Explained, task_of
from eyewright.explanation.faithfulness import Explanation, judge_faithfulness
from eyewright.explanation.occlusion import OCCLUSION_CELLS, occlusion
from eyewright.explanation.rise import rise
from eyewright.imaging.preparation import Placement

OUTSIDE = frozenset({"occlusion", "rise"})
"""The methods that need only predictions."""

Heats = Callable[[NDArray[np.uint8], Sequence[Explained]], Sequence[NDArray[np.float32]]]
"""Prepared pixels and what is explained of them to a heat map each, float32 (h, w) in [0, 1]."""

Unlearnt = Callable[[NDArray[np.uint8], Explained, NDArray[np.float32]], float | None]
"""How similar a heat map is to that of the same net with shuffled weights; None where there is none."""


def explain_prepared(
    predictor: Predictor,
    pixels: NDArray[np.uint8],
    placement: Placement,
    prediction: Prediction | None = None,
    *,
    method: str = "occlusion",
    heats: Heats | None = None,
    unlearnt: Unlearnt = lambda pixels, target, heat: None,
    label: str | None = None,
    source: str = "",
    seed: int = 0,
    most: int = 3,
) -> list[Explanation]:
    """Explain what was predicted for one prepared image, uint8 (h, w, C): its top class, or at most `most` of its
    objects or regions; those of the class `label` if one is given. `prediction` is what was shown, if it is known.

    Raises:
        UsageError: an unknown label.
    """
    task = task_of(predictor.task_name)
    only = None if label is None else task.label_id(label, predictor.labels.names)
    raw = predictor.raw(pixels[None])
    if prediction is None:
        (found,) = decode_everything(predictor, raw, [placement])
        prediction = task.settle(found, getattr(predictor, "thresholds", None))
    targets = task.explained(raw, prediction, placement, only)[:most]
    if not targets:
        return []
    mapped = (heats or _outside(predictor, method, seed))(pixels, targets)
    cells = min(OCCLUSION_CELLS, *pixels.shape[:2])
    result = []
    for target, heat in zip(targets, mapped, strict=True):
        alike = unlearnt(pixels, target, heat)
        verdict = judge_faithfulness(predictor, pixels, heat, target, coarseness=cells, seed=seed, unlearnt=alike)
        name, score = predictor.labels.names[target.label], float(target(raw)[0])
        clip = getattr(predictor.preparation, "clip", None)
        frames = 1 if clip is None else clip.frames
        about = (verdict, source, target.box, task.name, target.shown, frames, target.label)
        result.append(Explanation(heat, pixels, name, score, method, *about))
    return result


def _outside(predictor: Predictor, method: str, seed: int) -> Heats:
    if method == "rise":
        return lambda pixels, targets: rise(predictor, pixels, targets, seed=seed)
    return lambda pixels, targets: [occlusion(predictor, pixels, t) for t in targets]
