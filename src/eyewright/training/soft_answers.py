"""How a teacher's soft answers are learnt: distributions over classes, or the scores and sides of boxes."""

__all__ = ["BOXES", "DISTRIBUTIONS", "SoftAnswers"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from eyewright.core.errors import RefusedError

Parts = tuple[Tensor, Tensor | None]
"""What a net answers to learn from: logits, and of boxes the distributions of their sides where there are any."""


@dataclass(frozen=True)
class SoftAnswers:
    """How answers of one form are taken and compared.

    Args:
        of_net: a net's outputs to `Parts`.
        of_raw: `(raw arrays, order of the classes, size of the student's pixels)` to logits.
        apart: `(found, wanted, softness)` to the loss, both being `Parts`.
        looks: the weight of how similar the attention of both nets is; to look at every map costs an epoch in four.
        same_size: the teacher must take pixels of the student's size.
        as_the_batch: the teacher normalises by each batch, since images are put together from several.
    """

    of_net: Callable[[Any], Parts]
    of_raw: Callable[[Mapping[str, NDArray[np.float32]], Tensor, tuple[int, int]], Tensor]
    apart: Callable[[Parts, Parts, float], Tensor]
    looks: float = 1.0
    same_size: bool = False
    as_the_batch: bool = False


def _logits(outputs: Any) -> Parts:
    return outputs, None


def _log_probabilities(raw: Mapping[str, NDArray[np.float32]], order: Tensor, size_hw: tuple[int, int]) -> Tensor:
    logits = torch.from_numpy(raw["probabilities"])[:, order.cpu()].clamp(min=1e-8).log()
    if logits.ndim == 4 and tuple(logits.shape[2:]) != size_hw:
        logits = functional.interpolate(logits, size=size_hw, mode="bilinear", align_corners=False)
    return logits


def _divergence(found: Parts, wanted: Parts, softness: float) -> Tensor:
    """Return the divergence of softened distributions (Hinton et al. 2015), of masks the mean over pixels."""
    _same_shape(found[0], wanted[0])
    own, theirs = (functional.log_softmax(x / softness, 1) for x in (found[0], wanted[0]))
    each = functional.kl_div(own, theirs, reduction="none", log_target=True).sum(1)
    return each.mean() * softness**2


def _detections(outputs: Any) -> Parts:
    if not hasattr(outputs, "sides"):
        raise RefusedError(
            "distilling boxes is supported for Eyewright's own detectors only", fix="use --model spot_net"
        )
    return outputs.logits, outputs.sides


def _score_logits(raw: Mapping[str, NDArray[np.float32]], order: Tensor, size_hw: tuple[int, int]) -> Tensor:
    return torch.logit(torch.from_numpy(raw["scores"])[..., order.cpu()].clamp(1e-6, 1 - 1e-6))


def _scores_and_sides(found: Parts, wanted: Parts, softness: float) -> Tensor:
    """Return how far scores are apart at every point, and where the teacher sees something the distributions of the
    sides (Zheng et al. 2022, "Localization distillation")."""
    _same_shape(found[0], wanted[0])
    (logits, sides), (their_logits, their_sides) = found, wanted
    scores = their_logits.sigmoid()
    total = scores.amax(2).sum().clamp(min=1.0)
    # What is nothing to both is most of an image, and would drown the rest.
    weight = (logits.detach().sigmoid() - scores).abs().pow(1.5) + 0.1 * scores
    loss = (functional.binary_cross_entropy_with_logits(logits, scores, reduction="none") * weight).sum() / total
    if sides is None or their_sides is None:
        return loss
    each = functional.kl_div(sides.log_softmax(-1), their_sides.log_softmax(-1), reduction="none", log_target=True)
    return loss + 0.5 * (each.sum((2, 3)) * scores.amax(2)).sum() / total


def _same_shape(found: Tensor, wanted: Tensor) -> None:
    if found.shape != wanted.shape:
        raise RefusedError(
            f"the teacher's outputs have shape {tuple(wanted.shape[1:])}, the student's {tuple(found.shape[1:])}",
            fix="use a teacher of the same kind",
        )


DISTRIBUTIONS = SoftAnswers(_logits, _log_probabilities, _divergence)
"""Logits over classes, of an image or at every pixel."""

BOXES = SoftAnswers(_detections, _score_logits, _scores_and_sides, looks=0.0, same_size=True, as_the_batch=True)
"""Scores and sides of boxes at every grid point."""
