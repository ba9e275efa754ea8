"""Contrastive losses: images against texts, and views against views."""

__all__ = ["drawn_together", "pair_loss"]

import torch
from torch import Tensor
from torch.nn import functional

_VIEW_SCALE = 10.0


def pair_loss(logits: Tensor, right: Tensor, loss: str) -> Tensor:
    """Return the loss of the logits of images (rows) with texts (columns), (N, N), where `right` says which fit.

    "infonce" is the symmetric softmax over a batch (Oord et al. 2018, CLIP); "sigmoid" asks of each pair whether it is
    one (SigLIP). Under the softmax a text that fits by another image's caption counts neither for nor against.

    >>> eye = torch.eye(2, dtype=torch.bool)
    >>> round(float(pair_loss(torch.zeros(2, 2), eye, "infonce")), 4)
    0.6931
    """
    n = len(logits)
    if n < 2:
        return logits.new_zeros(())
    if loss == "sigmoid":
        sign = right.to(logits.dtype) * 2 - 1
        return -functional.logsigmoid(sign * logits).sum() / n
    logits = logits.masked_fill(right & ~torch.eye(n, dtype=torch.bool, device=logits.device), float("-inf"))
    own = torch.arange(n, device=logits.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def drawn_together(first: Tensor, second: Tensor, same: Tensor) -> Tensor:
    """Return the supervised contrastive loss of two views, (N, D) each (Khosla et al. 2020); each image's own other
    view is right as well as the `same` images, (N, N)."""
    both = torch.cat([first, second])
    logits = _VIEW_SCALE * both @ both.T
    itself = torch.eye(len(both), dtype=torch.bool, device=both.device)
    right = same.repeat(2, 2) & ~itself
    log_p = logits.masked_fill(itself, float("-inf")).log_softmax(1)
    mean = log_p.masked_fill(~right, 0.0).sum(1) / right.sum(1).clamp(min=1)
    return -mean.mean()
