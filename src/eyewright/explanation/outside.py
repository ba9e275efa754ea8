"""Explanations that only ask the model for answers: they work on a bundle, in the field, without torch."""

__all__ = ["OUTSIDE", "explain_class", "explain_prepared", "explain_scenes"]

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.predictor import Predictor
from eyewright.explanation.faithfulness import Explanation, judge_faithfulness
from eyewright.explanation.occlusion import OCCLUSION_CELLS, occlusion
from eyewright.explanation.rise import rise
from eyewright.explanation.targets import BoxTarget, ClassTarget, MaskTarget
from eyewright.imaging.preparation import Placement

OUTSIDE = frozenset({"occlusion", "rise"})
"""The methods that need nothing but answers."""

# Objects are smaller than images: the windows that hide them are too.
_BOX_CELLS = 12


def explain_class(predictor: Predictor, pixels: NDArray[np.uint8], *, label: str | None = None) -> Explanation:
    """Explain by occlusion why one prepared image, uint8 (h, w, C), has its class, or might have `label`.

    Raises:
        UsageError: an unknown label.
    """
    row = predictor.raw(pixels[None])["probabilities"][0]
    target = ClassTarget(int(row.argmax()) if label is None else predictor.labels.id(label))
    heat = occlusion(predictor, pixels, target)
    cells = min(OCCLUSION_CELLS, *pixels.shape[:2])
    verdict = judge_faithfulness(predictor, pixels, heat, target, coarseness=cells)
    name = predictor.labels.names[target.label]
    return Explanation(heat, pixels, name, float(row[target.label]), "occlusion", verdict)


def explain_scenes(
    predictor: Predictor,
    images: Sequence[NDArray[np.uint8]],
    *,
    method: str,
    label: str | None,
    sources: Sequence[str],
    seed: int,
    most: int,
) -> list[Explanation]:
    """Explain the surest objects of each image, uint8 (H, W, 3), or the largest classes of its mask.

    Raises:
        UsageError: an unknown label, or a method that looks inside.
    """
    if method not in OUTSIDE:
        raise UsageError(f"{method} explains classes, found {predictor.task_name!r}", fix="use rise or occlusion")
    result = []
    for i, image in enumerate(images):
        pixels, placements = predictor.preparation.batch([image])
        (prediction,) = predictor.predict_images([image])
        source = sources[i] if i < len(sources) else ""
        result += explain_prepared(
            predictor,
            pixels[0],
            placements[0],
            prediction,
            method=method,
            label=label,
            source=source,
            seed=seed,
            most=most,
        )
    return result


def explain_prepared(
    predictor: Predictor,
    pixels: NDArray[np.uint8],
    placement: Placement,
    prediction: Any,
    *,
    method: str,
    label: str | None = None,
    source: str = "",
    seed: int = 0,
    most: int = 3,
) -> list[Explanation]:
    """Explain what was found in one prepared image, uint8 (h, w, C), at most `most` objects or classes of it."""
    only = None if label is None else predictor.labels.id(label)
    targets = _targets(predictor, prediction, pixels, placement, only)[:most]
    if method == "rise":
        heats = rise(predictor, pixels, targets, seed=seed, cells=_BOX_CELLS)
    else:
        heats = [occlusion(predictor, pixels, t) for t in targets]
    result = []
    whole = predictor.raw(pixels[None])
    for target, heat in zip(targets, heats, strict=True):
        verdict = judge_faithfulness(predictor, pixels, heat, target, coarseness=OCCLUSION_CELLS, seed=seed)
        box = getattr(target, "box", None)
        name, score = predictor.labels.names[target.label], float(target(whole)[0])
        result.append(Explanation(heat, pixels, name, score, method, verdict, source, box, predictor.task_name))
    return result


def _targets(
    predictor: Predictor, prediction: Any, pixels: NDArray[np.uint8], placement: Placement, only: int | None
) -> list[Any]:
    if predictor.task_name == "segment":
        found = predictor.raw(pixels[None])["probabilities"][0].argmax(0)
        ids = [int(k) for k in prediction.label_ids if only in (None, k)]
        fore = [k for k in ids if predictor.labels.names[k].lower().strip("_") != "background"]
        return [MaskTarget(k, found == k) for k in fore if (found == k).any()]
    scale = np.array(placement.scale_yx[::-1] * 2)
    offset = np.array(placement.offset_yx[::-1] * 2)
    rows = [k for k, c in enumerate(prediction.label_ids) if only in (None, int(c))]
    boxes = prediction.boxes_xyxy.astype(np.float64) * scale + offset
    return [BoxTarget(int(prediction.label_ids[k]), boxes[k]) for k in rows]
