"""Training steps against attacks: each is a `training.steps.Step`, and goes into the one training loop."""

__all__ = ["Hardening", "adversarial_step", "augmix_step", "fast_step", "noise_step", "trades_step"]

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from eyewright.nets.ensemble import MeanOf
from eyewright.nets.pixels import PixelNet
from eyewright.robustness.attacks.gradient import ascent, project, random_start
from eyewright.robustness.threat import Norm, Threat
from eyewright.training.soft_answers import SoftAnswers
from eyewright.training.steps import Batch, Step, TrainState, own_loss, plain_step, update

_WARM = 0.25
"""The fraction of the run in which eps rises to its value."""

_FAST = 1.25
_NEAR = 1e-3
_CHAINS, _DEEPEST = 3, 3
_CONSISTENT = 12.0


@dataclass
class Hardening:
    """A threat, and how it is trained against. `reduced` is what the step of the one-step method is multiplied by,
    once it has collapsed (`probe`)."""

    norm: Norm
    eps: float
    steps: int = 7
    beta: float = 6.0
    sigma: float = 0.25
    reduced: float = field(default=1.0)

    def now(self, progress: float) -> Threat:
        """Return the threat at a point of the run, in [0, 1]: eps rises over the first quarter.

        >>> Hardening("linf", 0.4).now(0.125).eps
        0.2
        """
        return Threat(self.norm, self.eps * min(1.0, progress / _WARM))


def adversarial_step(hardening: Hardening) -> Step:
    """Return a step that learns from images that several gradient steps have changed (Madry et al. 2018)."""

    def step(state: TrainState, batch: Batch) -> Tensor:
        threat = hardening.now(state.progress)
        clean = unit_images(batch.pixels)
        changed = worst_images(
            state.net, clean, lambda outputs: own_loss(state, batch, outputs), threat, hardening.steps
        )
        return _learn(state, batch, changed)

    return step


def fast_step(hardening: Hardening) -> Step:
    """Return a step that learns from images changed by one gradient step from a random start (Wong et al. 2020, "Fast
    is better than free")."""

    def step(state: TrainState, batch: Batch) -> Tensor:
        threat = hardening.now(state.progress)
        clean = unit_images(batch.pixels)
        size = _FAST * threat.eps * hardening.reduced
        loss = _loss_of(state, batch)
        changed = worst_images(state.net, clean, loss, threat, 1, size=size)
        return _learn(state, batch, changed)

    return step


def trades_step(hardening: Hardening, soft: SoftAnswers) -> Step:
    """Return a step that learns the labels of clean images, and that changed ones are answered as clean ones are
    (Zhang et al. 2019, "Theoretically principled trade-off between robustness and accuracy")."""

    def step(state: TrainState, batch: Batch) -> Tensor:
        threat = hardening.now(state.progress)
        clean = unit_images(batch.pixels)
        was = state.net.training
        state.net.eval()
        with torch.no_grad():
            wanted = soft.of_net(state.net.of_unit(clean))
        state.net.train(was)
        start = project(clean + _NEAR * torch.randn_like(clean), clean, threat)
        changed = worst_images(
            state.net,
            clean,
            lambda out: soft.apart(soft.of_net(out), wanted, 1.0),
            threat,
            hardening.steps,
            start=start,
        )

        def loss_of(outputs: Any) -> Tensor:
            other = state.net(to_pixels(changed), batch.targets)
            apart = soft.apart(soft.of_net(other), soft.of_net(outputs), 1.0)
            return own_loss(state, batch, outputs) + hardening.beta * apart

        return update(state, batch, loss_of)

    return step


def noise_step(hardening: Hardening) -> Step:
    """Return a step that learns from images with Gaussian noise, clipped and rounded as smoothing does (Cohen et al.
    2019)."""

    def step(state: TrainState, batch: Batch) -> Tensor:
        return plain_step(state, replace(batch, pixels=noisy(batch.pixels, hardening.sigma)))

    return step


def augmix_step(soft: SoftAnswers, mean: MeanOf) -> Step:
    """Return a step that learns that an image and two mixtures of its augmentations are answered in the same way
    (Hendrycks et al. 2020, "AugMix"), by the Jensen-Shannon divergence of the three answers."""

    def step(state: TrainState, batch: Batch) -> Tensor:
        clean = unit_images(batch.pixels)
        others = [to_pixels(mixed_images(clean)) for _ in range(2)]

        def loss_of(outputs: Any) -> Tensor:
            answers = [soft.of_net(o) for o in (outputs, *(state.net(o, batch.targets) for o in others))]
            middle = mean((a for a, _ in answers), len(answers)).clamp(min=-16)
            apart = torch.stack([soft.apart((middle, None), a, 1.0) for a in answers]).mean()
            return own_loss(state, batch, outputs) + _CONSISTENT * apart

        return update(state, batch, loss_of)

    return step


def unit_images(pixels: Tensor) -> Tensor:
    """Return uint8 (N, H, W, C) as float32 (N, C, H, W) in [0, 1]."""
    return pixels.permute(0, 3, 1, 2).float() / 255


def to_pixels(images: Tensor) -> Tensor:
    """Return float32 (N, C, H, W) in [0, 1] as (N, H, W, C) from 0 to 255, not rounded, as a net takes them."""
    return (images * 255).permute(0, 2, 3, 1)


def noisy(pixels: Tensor, sigma: float) -> Tensor:
    """Return uint8 (N, H, W, C) with noise, clipped and rounded."""
    return (
        (pixels.float() + 255 * sigma * torch.randn(pixels.shape, device=pixels.device))
        .clamp(0, 255)
        .round()
        .to(torch.uint8)
    )


def worst_images(
    net: PixelNet,
    clean: Tensor,
    loss_of: Callable[[Any], Tensor],
    threat: Threat,
    steps: int,
    *,
    start: Tensor | None = None,
    size: float | None = None,
) -> Tensor:
    """Return images within the threat whose loss is larger, (N, C, H, W), after `steps` projected gradient steps.

    The net is in evaluation mode meanwhile: the statistics of batch normalisation belong to what is learnt.
    """
    if threat.eps == 0:
        return clean
    rng = torch.Generator().manual_seed(int(torch.randint(2**62, (1,))))
    changed = random_start(clean.cpu(), threat, rng).to(clean.device) if start is None else start
    length = 2.5 * threat.eps / steps if size is None else size
    was = net.training
    learnt = [p for p in net.parameters() if p.requires_grad]
    net.eval()
    for p in learnt:
        p.requires_grad_(False)
    try:
        for _ in range(steps):
            changed = changed.detach().requires_grad_(True)
            with torch.enable_grad():
                loss = loss_of(net.of_unit(changed))
                gradient = torch.autograd.grad(loss, changed, allow_unused=True)[0] if loss.requires_grad else None
            if gradient is None:
                break
            moved = changed.detach() + length * ascent(torch.nan_to_num(gradient), threat.norm)
            changed = project(moved, clean, threat)
    finally:
        for p in learnt:
            p.requires_grad_(True)
        net.train(was)
    return changed.detach()


def _loss_of(state: TrainState, batch: Batch) -> Callable[[Any], Tensor]:
    return lambda outputs: own_loss(state, batch, outputs)


def _learn(state: TrainState, batch: Batch, changed: Tensor) -> Tensor:
    return update(state, replace(batch, pixels=to_pixels(changed)), _loss_of(state, batch))


def mixed_images(images: Tensor) -> Tensor:
    """Return a mixture of the image and of chains of augmentations with Dirichlet weights, (N, C, H, W)."""
    n = len(images)
    weights = torch.distributions.Dirichlet(torch.ones(_CHAINS)).sample((n,)).to(images)
    total = torch.zeros_like(images)
    for chain in range(_CHAINS):
        one = images
        for _ in range(int(torch.randint(1, _DEEPEST + 1, (1,)))):
            one = _OPERATIONS[int(torch.randint(len(_OPERATIONS), (1,)))](one)
        total = total + weights[:, chain].view(-1, 1, 1, 1) * one
    own = torch.rand(n, 1, 1, 1).to(images)
    return (own * images + (1 - own) * total).clamp(0, 1)


def _draw(images: Tensor, low: float, high: float) -> Tensor:
    return (low + (high - low) * torch.rand(len(images), 1, 1, 1)).to(images)


def _affine(images: Tensor, turn: Tensor, shear: Tensor, shift: Tensor) -> Tensor:
    rows = [torch.cat([turn.cos(), -turn.sin() + shear, shift], 1), torch.cat([turn.sin(), turn.cos(), shift], 1)]
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def _moved(images: Tensor, turn: float, shear: float, shift: float) -> Tensor:
    drawn = ((torch.rand(len(images), 1).to(images) * 2 - 1) * most for most in (turn, shear, shift))
    return _affine(images, *drawn)


def _solarised(images: Tensor) -> Tensor:
    return torch.where(images < _draw(images, 0.5, 1.0), images, 1 - images)


def _posterised(images: Tensor) -> Tensor:
    levels = _draw(images, 4, 16).round()
    return (images * levels).floor() / levels


def _autocontrast(images: Tensor) -> Tensor:
    flat = images.flatten(2)
    low, high = flat.amin(2)[..., None, None], flat.amax(2)[..., None, None]
    return torch.where(high > low, (images - low) / (high - low).clamp(min=1e-6), images)


_OPERATIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: _moved(x, 0.35, 0.0, 0.0),
    lambda x: _moved(x, 0.0, 0.3, 0.0),
    lambda x: _moved(x, 0.0, 0.0, 0.2),
    _solarised,
    _posterised,
    _autocontrast,
)
