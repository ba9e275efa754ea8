"""Explain predictions by name of method, each map with its verdict."""

__all__ = ["METHODS", "explain_images"]

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError, spelling_hint
from eyewright.core.predictor import Predictor
from eyewright.explanation.faithfulness import Explanation, judge_faithfulness, rank_correlation
from eyewright.explanation.occlusion import OCCLUSION_CELLS, occlusion
from eyewright.explanation.outside import OUTSIDE, explain_scenes
from eyewright.explanation.rise import rise
from eyewright.explanation.targets import ClassTarget

METHODS = MappingProxyType(
    {
        "gradcam": "Grad-CAM at the last convolution; needs a run and torch",
        "integrated-gradients": "integrated gradients from the mean colour; needs a run and torch",
        "rollout": "attention rollout of a vision transformer, for the answer as a whole; needs a run and torch",
        "occlusion": "how the score falls when a patch is covered; works on a bundle without torch",
        "rise": "which of 1,000 random windows let the score live; works on a bundle without torch; D-RISE for boxes",
    }
)
"""Explanation methods by the name that `--method` takes."""

Mapper = Callable[[Predictor, Any, NDArray[np.uint8], ClassTarget], NDArray[np.float32]]


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
    image made the surest objects or largest classes (at most `most` an image), or those of `label`, each an
    explanation.

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
    if not len(images):
        return []
    if predictor.task_name != "classify":
        return explain_scenes(predictor, images, method=method, label=label, sources=sources, seed=seed, most=most)
    pixels, _ = predictor.preparation.batch(images)
    scores = predictor.raw(pixels)["probabilities"]
    mapper = _mapper(method, seed)
    shuffled = None if net is None else _shuffled(predictor, net, seed)
    result = []
    for i, (one, row) in enumerate(zip(pixels, scores, strict=True)):
        target = ClassTarget(int(row.argmax()) if label is None else predictor.labels.id(label))
        heat = mapper(predictor, net, one, target)
        unlearnt = None if shuffled is None else rank_correlation(heat, mapper(shuffled, shuffled.net, one, target))
        cells = min(OCCLUSION_CELLS, *one.shape[:2])
        verdict = judge_faithfulness(predictor, one, heat, target, coarseness=cells, seed=seed, unlearnt=unlearnt)
        name = predictor.labels.names[target.label]
        source = sources[i] if i < len(sources) else ""
        result.append(Explanation(heat, one, name, float(row[target.label]), method, verdict, source))
    return result


def _mapper(method: str, seed: int) -> Mapper:
    if method == "occlusion":
        return lambda predictor, net, one, target: occlusion(predictor, one, target)
    if method == "rise":
        return lambda predictor, net, one, target: rise(predictor, one, [target], seed=seed)[0]
    if method == "rollout":
        from eyewright.explanation.rollout import attention_rollout

        return lambda predictor, net, one, target: attention_rollout(net, one)
    from eyewright.explanation.gradients import grad_cam, integrated_gradients

    inside = grad_cam if method == "gradcam" else integrated_gradients
    return lambda predictor, net, one, target: inside(net, one, target.label)


def _shuffled(predictor: Predictor, net: Any, seed: int) -> Any:
    """Give the predictor of a net that has learnt nothing: each weight tensor's numbers in another order."""
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
    return TorchPredictor(other, labels=predictor.labels, preparation=predictor.preparation, device=device)
