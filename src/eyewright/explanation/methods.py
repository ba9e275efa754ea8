"""Explain predictions by name of method, each map with its verdict."""

__all__ = ["METHODS", "explain_images"]

from collections.abc import Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError, spelling_hint
from eyewright.core.predictor import Predictor
from eyewright.core.task import Explained, task_of
from eyewright.explanation.faithfulness import Explanation, rank_correlation
from eyewright.explanation.occlusion import occlusion
from eyewright.explanation.outside import OUTSIDE, explain_prepared
from eyewright.explanation.rise import rise

METHODS = MappingProxyType(
    {
        "gradcam": "Grad-CAM at the last convolution; needs a run and torch",
        "integrated-gradients": "integrated gradients from the mean colour; needs a run and torch",
        "rollout": "attention rollout of a vision transformer, for the prediction as a whole; needs a run and torch",
        "occlusion": "how the score falls when a patch is covered; works on a bundle without torch",
        "rise": "which of 1,000 random masks keep the score high; works on a bundle without torch; D-RISE for boxes",
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
    most: int = 3,
) -> list[Explanation]:
    """Explain why each image, uint8 (H, W, 3), has its label (or might have `label`); of boxes and masks, what in the
    image made the objects of highest confidence or largest classes (at most `most` an image), or those of `label`,
    each an explanation.

    `net` is the `PixelNet` behind the predictor; methods that look inside need it, and with it every map is compared
    with that of the same net with shuffled weights.

    Raises:
        UsageError: an unknown method or label, or a method that looks inside without a net.
    """
    if method not in METHODS:
        raise UsageError(f"unknown explanation method {method!r}", fix=spelling_hint(method, METHODS))
    if method not in OUTSIDE and net is None:
        raise UsageError(
            f"{method} needs a training run, found a bundle", fix="use --method occlusion or rise, or pass the run"
        )
    if method not in OUTSIDE:
        task_of(predictor.task_name).require("gradients")
    heats = None if method in OUTSIDE else partial(_inside, method, net)
    shuffled = None
    if net is not None and "gradients" in task_of(predictor.task_name).options:
        shuffled = _shuffled(predictor, net, seed)

    def unlearnt(pixels: NDArray[np.uint8], target: Explained, heat: NDArray[np.float32]) -> float | None:
        if shuffled is None:
            return None
        if method == "rise":
            return rank_correlation(heat, rise(shuffled, pixels, [target], seed=seed)[0])
        if method == "occlusion":
            return rank_correlation(heat, occlusion(shuffled, pixels, target))
        return rank_correlation(heat, _inside(method, shuffled.net, pixels, [target])[0])

    result = []
    for i, image in enumerate(images):
        pixels, placements = predictor.preparation.batch([image])
        pixels = predictor.preparation.trim(pixels)
        result += explain_prepared(
            predictor,
            pixels[0],
            placements[0],
            method=method,
            heats=heats,
            unlearnt=unlearnt,
            label=label,
            source=sources[i] if i < len(sources) else "",
            seed=seed,
            most=most,
        )
    return result


def _inside(
    method: str, net: Any, pixels: NDArray[np.uint8], targets: Sequence[Explained]
) -> Sequence[NDArray[np.float32]]:
    """Return heat maps by a method that looks into the net."""
    if method == "rollout":
        from eyewright.explanation.rollout import attention_rollout

        return [attention_rollout(net, pixels) for _ in targets]
    from eyewright.explanation.gradients import grad_cam, integrated_gradients

    inside = grad_cam if method == "gradcam" else integrated_gradients
    return [inside(net, pixels, t.label) for t in targets]


def _shuffled(predictor: Predictor, net: Any, seed: int) -> Any:
    """Return the predictor of a net that has learnt nothing: each weight tensor's numbers in another order."""
    import copy

    import torch

    from eyewright.training.predictor import TorchPredictor

    other = copy.deepcopy(net)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in other.parameters():
            order = torch.randperm(p.numel(), generator=rng).to(p.device)
            p.copy_(p.reshape(-1)[order].view_as(p))
    device = next(net.parameters()).device
    return TorchPredictor(
        other,
        labels=predictor.labels,
        preparation=predictor.preparation,
        task_name=predictor.task_name,
        device=device,
    )
