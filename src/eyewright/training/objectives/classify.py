"""What learning minimises: losses by name, from logits (N, C) and class ids (N,)."""

__all__ = ["Objective", "classification_objective"]

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional

from eyewright.training.recipe import Recipe, unknown_loss

Objective = Callable[[Any, Any], Tensor]
"""A loss: the net's outputs and the targets of a batch to a scalar."""


def classification_objective(recipe: Recipe, class_weights: Tensor | None = None) -> Objective:
    """Return `loss(logits, targets) -> scalar` for the recipe; `class_weights`, (C,), weigh samples by their class;
    their mean over the training images should be 1.

    "mse" and "huber" compare softmax probabilities with the one-hot truth, "binary_cross_entropy" treats each class
    as a question of its own, "focal" is Lin et al. 2017 with gamma 2.

    A loss that a task of an installed package lists is of its own learner; it is refused when it is computed here.

    >>> import torch
    >>> loss = classification_objective(Recipe(loss="mse"))
    >>> float(loss(torch.zeros(1, 2), torch.tensor([0])))
    0.25
    """

    smoothing = recipe.label_smoothing or 0.0
    name = recipe.loss or "cross_entropy"

    def per_sample(logits: Tensor, targets: Tensor) -> Tensor:
        if name == "cross_entropy":
            return functional.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
        if name == "focal":
            log_p = functional.log_softmax(logits, 1).gather(1, targets[:, None])[:, 0]
            return -((1 - log_p.exp()) ** 2) * log_p
        truth = functional.one_hot(targets, logits.shape[1]).to(logits.dtype)
        if name == "binary_cross_entropy":
            soft = truth * (1 - smoothing) + smoothing / 2
            return functional.binary_cross_entropy_with_logits(logits, soft, reduction="none").mean(1)
        p = logits.softmax(1)
        if name == "mse":
            return ((p - truth) ** 2).mean(1)
        if name != "huber":
            raise unknown_loss(name)
        return functional.huber_loss(p, truth, reduction="none", delta=recipe.huber_delta).mean(1)

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        each = per_sample(logits, targets)
        if class_weights is None:
            return each.mean()
        # Not divided by the batch's weights: then the loss of a batch is the mean of its parts, wherever it is cut.
        return (each * class_weights.to(each.device)[targets]).mean()

    return loss
