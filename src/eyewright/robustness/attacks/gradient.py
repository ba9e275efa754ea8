"""One step and many along the sign of the gradient: FGSM (Goodfellow et al. 2015), PGD (Madry et al. 2018)."""

__all__ = ["ascent", "fgsm", "pgd", "project", "random_start"]

import torch
from torch import Tensor

from eyewright.robustness.threat import Threat
from eyewright.robustness.white import White, class_loss, grad_of


def flat_norm(delta: Tensor) -> Tensor:
    """Return the Euclidean norm of each image's change, (N, 1, 1, 1)."""
    length: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1)
    return length.view(-1, 1, 1, 1)


def ascent(gradient: Tensor, norm: str) -> Tensor:
    """Return the direction of length 1 in `norm` in which the loss rises most; 0 where the gradient is 0."""
    if norm == "linf":
        return gradient.sign()
    # Tiny gradients, as of saturated losses, lose their direction when they are squared.
    largest = gradient.flatten(1).abs().amax(1).view(-1, 1, 1, 1).clamp(min=1e-38)
    scaled = gradient / largest
    return scaled / flat_norm(scaled).clamp(min=1e-12)


def project(changed: Tensor, images: Tensor, threat: Threat) -> Tensor:
    """Return the nearest images within the threat and within [0, 1]."""
    if threat.norm == "linf":
        return torch.minimum(torch.maximum(changed, images - threat.eps), images + threat.eps).clamp(0, 1)
    delta = changed - images
    # What is cut off at 0 and 1 only comes nearer.
    return (images + delta * (threat.eps / flat_norm(delta).clamp(min=1e-12)).clamp(max=1)).clamp(0, 1)


def random_start(images: Tensor, threat: Threat, rng: torch.Generator) -> Tensor:
    """Return images moved at random within the threat."""
    drawn = torch.rand(images.shape, generator=rng) * 2 - 1
    if threat.norm == "linf":
        return project(images + threat.eps * drawn, images, threat)
    length = torch.rand(len(images), 1, 1, 1, generator=rng)
    return project(images + threat.eps * length * ascent(drawn, "l2"), images, threat)


def fgsm(
    white: White, images: Tensor, labels: Tensor, threat: Threat, *, rng: torch.Generator, steps: int = 1
) -> Tensor:
    """Return images moved by one step of the whole bound."""
    gradient, _, _ = grad_of(white, images, class_loss(labels))
    return project(images + threat.eps * ascent(gradient, threat.norm), images, threat)


def pgd(
    white: White,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    *,
    rng: torch.Generator,
    steps: int = 40,
    step_size: float | None = None,
) -> Tensor:
    """Return images after `steps` projected steps from a random start, each of 2.5 eps / steps by default.

    An image that is misclassified leaves the batch at once.
    """
    size = 2.5 * threat.eps / max(1, steps) if step_size is None else step_size
    found = random_start(images, threat, rng)
    rows, clean, changed = torch.arange(len(images)), images, found
    for _ in range(steps):
        gradient, _, logits = grad_of(white, changed, class_loss(labels[rows]))
        right = logits.argmax(1) == labels[rows]
        if not right.all():
            found[rows[~right]] = changed[~right]
            rows, clean, changed, gradient = (v[right] for v in (rows, clean, changed, gradient))
        if not len(rows):
            return found
        changed = project(changed + size * ascent(gradient, threat.norm), clean, threat)
    found[rows] = changed
    return found
