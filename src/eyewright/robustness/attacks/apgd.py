"""Auto-PGD, whose step size needs no setting (Croce and Hein 2020, "Reliable evaluation of adversarial robustness")."""

__all__ = ["Climb", "apgd", "apgd_t", "climb", "targeted_dlr", "targets_of"]

from dataclasses import dataclass, fields

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

    changed = images.clone() if from_clean else random_start(images, threat, rng)
    gradient, losses, logits = grad_of(white, changed, loss_at(rows))
    first[:] = losses.double()
    left = _Left(
        rows, images, changed, changed.clone(), gradient, losses, losses.double(), changed.clone(), gradient.clone(),
        losses.double(), torch.full((n, 1, 1, 1), 2.0 * threat.eps), torch.zeros(n), torch.ones(n, dtype=torch.bool),
    )  # fmt: skip
    window, least, shrink = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    since = 0

    for k in range(steps + 1):
        done = logits.argmax(1) != labels[left.rows]
        if done.any():
            at, their_best = left.rows[done], torch.maximum(left.top, left.losses.double())
            found[at], fooled[at], best[at] = left.changed[done], True, their_best[done]
            left = left.only(~done)
        if not len(left.rows) or k == steps:
            break
        momentum = left.changed - left.before
        left.before = left.changed
        moved = project(left.changed + left.size * ascent(left.gradient, threat.norm), left.clean, threat)
        share = _MOMENTUM if k else 1.0
        onward = left.changed + (moved - left.changed) * share + momentum * (1 - share)
        left.changed = project(onward, left.clean, threat)
        last = left.losses
        left.gradient, left.losses, logits = grad_of(white, left.changed, loss_at(left.rows))
        left.note(left.losses > last)
        since += 1
        if since == window:
            left.halve(window)
            since, window = 0, max(window - shrink, least)
    found[left.rows], best[left.rows] = left.top_images, left.top
    return Climb(found, fooled, first, best)


@dataclass
class _Left:
    """The images that are still attacked, one row each: where each is, its best so far, and its step size."""

    rows: Tensor
    clean: Tensor
    changed: Tensor
    before: Tensor
    gradient: Tensor
    losses: Tensor
    top: Tensor
    top_images: Tensor
    top_gradient: Tensor
    top_then: Tensor
    size: Tensor
    rises: Tensor
    reduced: Tensor

    def only(self, kept: Tensor) -> "_Left":
        return _Left(*(getattr(self, f.name)[kept] for f in fields(self)))

    def note(self, rose: Tensor) -> None:
        """Count a step that raised the loss, and keep the best image."""
        self.rises = self.rises + rose.float()
        better = self.losses.double() > self.top
        mask = better.view(-1, 1, 1, 1)
        self.top = torch.where(better, self.losses.double(), self.top)
        self.top_images = torch.where(mask, self.changed, self.top_images)
        self.top_gradient = torch.where(mask, self.gradient, self.top_gradient)

    def halve(self, window: int) -> None:
        """Halve the steps of images whose loss rose too seldom in `window` steps, or whose best did not, and return
        them to their best."""
        stuck = ~self.reduced & (self.top_then >= self.top)
        self.reduced, self.top_then = (self.rises <= window * _RISING) | stuck, self.top.clone()
        again = self.reduced.view(-1, 1, 1, 1)
        self.size = torch.where(again, self.size / 2, self.size)
        self.changed = torch.where(again, self.top_images, self.changed)
        self.gradient = torch.where(again, self.top_gradient, self.gradient)
        self.losses = torch.where(self.reduced, self.top.to(self.losses.dtype), self.losses)
        self.rises = torch.zeros_like(self.rises)


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
