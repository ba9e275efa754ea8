"""Auto-PGD, whose step size needs no setting (Croce and Hein 2020, "Reliable evaluation of adversarial robustness")."""

__all__ = ["Climb", "apgd", "apgd_t", "climb", "targeted_dlr", "targets_of"]

from dataclasses import dataclass

import torch
from torch import Tensor

from eyewright.robustness.attacks.gradient import ascent, project, random_start
from eyewright.robustness.threat import Threat
from eyewright.robustness.white import Loss, White, class_loss, grad_of

_MOST_TARGETS = 9
_MOMENTUM = 0.75
_RISING = 0.75


@dataclass(frozen=True)
class Climb:
    """Where an attack ended: the images, whether each is misclassified, its loss at the start and the largest one."""

    images: Tensor
    fooled: Tensor
    first: Tensor
    best: Tensor


def climb(
    white: White,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    *,
    rng: torch.Generator,
    steps: int,
    target: Tensor | None = None,
    from_clean: bool = False,
) -> Climb:
    """Run APGD on the loss of each image; an image that is misclassified leaves the batch at once.

    With `target`, class ids (N,), the loss is the targeted difference of logits ratio, otherwise cross-entropy.
    """
    n = len(images)
    rows = torch.arange(n)
    found, fooled = images.clone(), torch.zeros(n, dtype=torch.bool)
    first, best = torch.zeros(n, dtype=torch.float64), torch.full((n,), -torch.inf, dtype=torch.float64)
    if not n or threat.eps == 0:
        return Climb(found, fooled, first, best)

    def loss_at(at: Tensor) -> Loss:
        return class_loss(labels[at]) if target is None else targeted_dlr(labels[at], target[at])

    # What is kept of each image that is still attacked, one row each; `cut` drops those that are done.
    clean = images
    changed = images.clone() if from_clean else random_start(images, threat, rng)
    gradient, losses, logits = grad_of(white, changed, loss_at(rows))
    first[:] = losses.double()
    top, top_images, top_gradient = losses.double(), changed.clone(), gradient.clone()
    before = changed.clone()
    size = torch.full((n, 1, 1, 1), 2.0 * threat.eps)
    rises = torch.zeros(n)
    reduced = torch.ones(n, dtype=torch.bool)
    top_then = top.clone()
    window, least, shrink = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    since = 0

    for k in range(steps + 1):
        done = logits.argmax(1) != labels[rows]
        if done.any():
            at = rows[done]
            found[at], fooled[at], best[at] = changed[done], True, torch.maximum(top, losses.double())[done]
            left = ~done
            (
                rows,
                clean,
                changed,
                gradient,
                losses,
                top,
                top_images,
                top_gradient,
                before,
                size,
                rises,
                reduced,
                top_then,
            ) = (
                v[left]
                for v in (
                    rows,
                    clean,
                    changed,
                    gradient,
                    losses,
                    top,
                    top_images,
                    top_gradient,
                    before,
                    size,
                    rises,
                    reduced,
                    top_then,
                )
            )
        if not len(rows) or k == steps:
            break
        momentum = changed - before
        before = changed
        moved = project(changed + size * ascent(gradient, threat.norm), clean, threat)
        share = _MOMENTUM if k else 1.0
        changed = project(changed + (moved - changed) * share + momentum * (1 - share), clean, threat)
        last = losses
        gradient, losses, logits = grad_of(white, changed, loss_at(rows))
        rises += (losses > last).float()
        better = losses.double() > top
        top = torch.where(better, losses.double(), top)
        mask = better.view(-1, 1, 1, 1)
        top_images, top_gradient = torch.where(mask, changed, top_images), torch.where(mask, gradient, top_gradient)
        since += 1
        if since == window:
            slow = rises <= window * _RISING
            stuck = ~reduced & (top_then >= top)
            reduced, top_then = slow | stuck, top.clone()
            again = reduced.view(-1, 1, 1, 1)
            size = torch.where(again, size / 2, size)
            changed, gradient = torch.where(again, top_images, changed), torch.where(again, top_gradient, gradient)
            losses = torch.where(reduced, top.to(losses.dtype), losses)
            rises, since, window = torch.zeros_like(rises), 0, max(window - shrink, least)
    found[rows], best[rows] = top_images, top
    return Climb(found, fooled, first, best)


def apgd(
    white: White, images: Tensor, labels: Tensor, threat: Threat, *, rng: torch.Generator, steps: int = 100
) -> Tensor:
    """Return images attacked by APGD on the cross-entropy."""
    return climb(white, images, labels, threat, rng=rng, steps=steps).images


def apgd_t(
    white: White,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    *,
    rng: torch.Generator,
    steps: int = 100,
    most: int = _MOST_TARGETS,
) -> Tensor:
    """Return images attacked by APGD towards each of the likeliest other classes, by the targeted DLR loss."""
    found = images.clone()
    left = torch.arange(len(images))
    wanted = targets_of(white, images, labels, most)
    for k in range(wanted.shape[1]):
        if not len(left):
            break
        one = climb(white, images[left], labels[left], threat, rng=rng, steps=steps, target=wanted[left, k])
        found[left] = one.images
        left = left[~one.fooled]
    return found


def targets_of(white: White, images: Tensor, labels: Tensor, most: int) -> Tensor:
    """Return each image's likeliest classes other than its own, int64 (N, K), sorted by score."""
    with torch.no_grad():
        logits = white.logits(images).clone()
    logits[torch.arange(len(labels)), labels] = -torch.inf
    return logits.argsort(1, descending=True)[:, : min(most, logits.shape[1] - 1)]


def targeted_dlr(labels: Tensor, target: Tensor) -> Loss:
    """Return the targeted difference of logits ratio, which no scale of the logits changes; with fewer than four
    classes the plain difference, in which a scale changes no direction."""

    def loss(logits: Tensor) -> Tensor:
        logits = logits.double()
        rows = torch.arange(len(logits))
        gap = logits[rows, target] - logits[rows, labels]
        if logits.shape[1] < 4:
            return gap
        ranked = logits.sort(1, descending=True).values
        return gap / (ranked[:, 0] - 0.5 * (ranked[:, 2] + ranked[:, 3]) + 1e-12)

    return loss
