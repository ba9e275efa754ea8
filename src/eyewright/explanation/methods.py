"""Explain predictions by name of method, each map with its verdict."""

__all__ = ["METHODS", "explain_images"]

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError, spelling_hint
from eyewright.core.predictor import Predictor
from eyewright.explanation.faithfulness import Explanation, judge_faithfulness
from eyewright.explanation.occlusion import OCCLUSION_CELLS, occlusion

METHODS = MappingProxyType(
    {
        "gradcam": "Grad-CAM at the last convolution; needs a run and torch",
        "integrated-gradients": "integrated gradients from the mean colour; needs a run and torch",
        "occlusion": "how the score falls when a patch is covered; works on a bundle without torch",
    }
)
"""Explanation methods by the name that `--method` takes."""


def explain_images(
    predictor: Predictor,
    images: Sequence[NDArray[np.uint8]],
    *,
    method: str,
    net: Any = None,
    label: str | None = None,
    sources: Sequence[str] = (),
    seed: int = 0,
) -> list[Explanation]:
    """Explain why each image, uint8 (H, W, 3), has its label (or might have `label`).

    `net` is the `PixelNet` behind the predictor; gradient methods need it.

    Raises:
        UsageError: an unknown method or label, or a gradient method without a net.
    """
    if method not in METHODS:
        raise UsageError(f"unknown explanation method {method!r}", fix=spelling_hint(method, METHODS))
    if method != "occlusion" and net is None:
        raise UsageError(
            f"{method} needs a training run, found a bundle", fix="use --method occlusion, or pass the run"
        )
    pixels, _ = predictor.preparation.batch(images)
    scores = predictor.raw(pixels)["probabilities"]
    result = []
    for i, (one, row) in enumerate(zip(pixels, scores, strict=True)):
        target = int(row.argmax()) if label is None else predictor.labels.id(label)
        cells = min(OCCLUSION_CELLS, *one.shape[:2])
        if method == "occlusion":
            heat = occlusion(predictor, one, target)
        else:
            from eyewright.explanation.gradients import grad_cam, integrated_gradients

            heat = (grad_cam if method == "gradcam" else integrated_gradients)(net, one, target)
        verdict = judge_faithfulness(predictor, one, heat, target, coarseness=cells, seed=seed)
        name = predictor.labels.names[target]
        source = sources[i] if i < len(sources) else ""
        result.append(Explanation(heat, one, name, float(row[target]), method, verdict, source))
    return result
