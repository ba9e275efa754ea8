"""FAB: the smallest change that crosses a decision boundary (Croce and Hein 2020, "Minimally distorted adversarial
examples with a fast adaptive boundary attack"), towards each of the likeliest other classes."""

__all__ = ["fab_t", "nearest_on_plane"]

import torch
from torch import Tensor

from eyewright.robustness.attacks.apgd import targets_of
from eyewright.robustness.attacks.gradient import random_start
from eyewright.robustness.threat import Threat
from eyewright.robustness.white import Loss, White, grad_of

_OVERSHOOT = 1.05
_BACK = 0.9
_MOST_PULL = 0.1
_HALVINGS = 20


def fab_t(
    white: White,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    *,
    rng: torch.Generator,
    steps: int = 100,
    most: int = 9,
) -> Tensor:
    """Return for each image the nearest misclassified one that was found, or the image itself."""
    found = images.clone()
    left = torch.arange(len(images))
    wanted = targets_of(white, images, labels, most)
    for k in range(wanted.shape[1]):
        if not len(left):
            break
        nearest, distance = _towards(white, images[left], labels[left], wanted[left, k], threat, rng, steps)
        inside = distance <= threat.eps + 1e-7
        found[left[inside]] = nearest[inside]
        left = left[~inside]
    return found


def _towards(
    white: White,
    images: Tensor,
    labels: Tensor,
    target: Tensor,
    threat: Threat,
    rng: torch.Generator,
    steps: int,
) -> tuple[Tensor, Tensor]:
    """Return misclassified images and their distances, (N,), infinite where there is none; an image that is within the
    bound leaves the batch."""
    best, distance = images.clone(), torch.full((len(images),), torch.inf)
    rows, changed = torch.arange(len(images)), random_start(images, Threat(threat.norm, threat.eps / 2), rng)
    for _ in range(steps):
        gap = _gap(labels[rows], target[rows])
        plane, level, logits = grad_of(white, changed, gap)
        wrong = logits.argmax(1) != labels[rows]
        if wrong.any():
            at, moved = rows[wrong], changed[wrong]
            far = _lengths(moved - images[at], threat.norm)
            closer = far < distance[at]
            best[at[closer]], distance[at[closer]] = moved[closer], far[closer]
            changed[wrong] = images[at] + _BACK * (moved - images[at])
            left = distance[rows] > threat.eps
            again = wrong & left
            if again.any():
                plane[again], level[again], _ = grad_of(
                    white, changed[again], _gap(labels[rows[again]], target[rows[again]])
                )
            rows, changed, plane, level = rows[left], changed[left], plane[left], level[left]
            if not len(rows):
                break
        clean = images[rows]
        # The linear gap at p is level + plane · (p - changed); both points look for its zero.
        own = nearest_on_plane(changed, plane, level, threat.norm)
        from_image = level + (plane * (clean - changed)).flatten(1).sum(1)
        direct = nearest_on_plane(clean, plane, from_image, threat.norm)
        near, far = _lengths(own, threat.norm), _lengths(direct, threat.norm)
        pull = (near / (near + far).clamp(min=1e-12)).clamp(0, _MOST_PULL).view(-1, 1, 1, 1)
        changed = ((1 - pull) * (changed + _OVERSHOOT * own) + pull * (clean + _OVERSHOOT * direct)).clamp(0, 1)
    return best, distance


def _gap(labels: Tensor, target: Tensor) -> Loss:
    """Return how far the logit of the target is above that of the true class."""

    def loss(logits: Tensor) -> Tensor:
        rows = torch.arange(len(logits))
        return logits[rows, target] - logits[rows, labels]

    return loss


def nearest_on_plane(points: Tensor, plane: Tensor, level: Tensor, norm: str) -> Tensor:
    """Return the smallest changes of `points` in [0, 1] after which level + plane · change is 0, as near as the box
    lets them come.

    The change has one unknown, its size in "linf" and its multiplier in "l2", in which the level rises monotonically:
    it is found by bisection.
    """
    w, p = plane.flatten(1), points.flatten(1)
    sense = -level.sign().view(-1, 1)
    low_edge, high_edge = -p, 1 - p

    def change(amount: Tensor) -> Tensor:
        step = (w.sign() if norm == "linf" else w) * sense * amount.view(-1, 1)
        return torch.minimum(torch.maximum(step, low_edge), high_edge)

    low = torch.zeros(len(p), dtype=p.dtype)
    if norm == "linf":
        high = torch.ones_like(low)
    else:
        # Beyond this multiplier every pixel of weight is at an edge of the box.
        smallest = torch.where(w.abs() > 0, w.abs(), torch.inf).amin(1)
        high = torch.where(smallest.isfinite(), 1 / smallest.clamp(min=1e-8), torch.ones_like(low)).clamp(max=1e8)
        reach = level.abs() / (w * w).sum(1).clamp(min=1e-12)
        high = torch.minimum(high, reach * 64 + 1e-6)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        short = level.abs() > (w * change(middle) * sense).sum(1).abs()
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return change(high).view_as(points)


def _lengths(delta: Tensor, norm: str) -> Tensor:
    flat = delta.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)
