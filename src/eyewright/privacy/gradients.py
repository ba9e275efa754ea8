"""Sums of clipped gradients: each image's own gradient, scaled to a length of at most `clip`, added up; exact.

Two ways give the same numbers. "layers" runs one forward and one backward pass, in which no weight's gradient is
computed, and takes each image's gradients from the inputs and output gradients of every layer (Goodfellow 2015,
"Efficient per-example gradient computations"; Bu et al. 2023, "book-keeping"): for a linear layer on vectors their
length has a closed form. "functional" is `torch.func.vmap` of the gradient, for nets with other layers.
"""

__all__ = ["ClippedSum", "Mode", "clipped_sum", "mode_of", "per_sample_bytes"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from eyewright.nets.pixels import PixelNet

Mode = Literal["layers", "functional"]
Objective = Callable[[Any, Any], Tensor]

_HANDLED = (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class ClippedSum:
    """The sum of clipped gradients, one tensor for each weight that is learnt, in their order; the mean loss, and the
    gradients' lengths before clipping, (N,)."""

    gradients: tuple[Tensor, ...]
    loss: Tensor
    lengths: Tensor


def mode_of(net: nn.Module) -> Mode:
    """Return "layers" where every learnt weight belongs to one linear, convolutional or normalising layer, else
    "functional"."""
    owners: dict[int, nn.Module] = {}
    for module in net.modules():
        for p in module.parameters(recurse=False):
            if not p.requires_grad:
                continue
            usual = isinstance(module, _HANDLED) and not (isinstance(module, nn.Conv2d) and not _plain(module))
            if not usual or id(p) in owners:
                return "functional"
            owners[id(p)] = module
    return "layers"


def _plain(conv: nn.Conv2d) -> bool:
    return conv.groups == 1 and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def per_sample_bytes(net: nn.Module) -> int:
    """Return about how much memory one image's gradients take."""
    return 4 * sum(p.numel() for p in net.parameters() if p.requires_grad)


def clipped_sum(
    net: PixelNet, call: Callable[[], Any], targets: Any, objective: Objective, *, clip: float, mode: Mode
) -> ClippedSum:
    """Return the sum of the gradients of all images, each scaled to a length of at most `clip`.

    `call()` gives the net's outputs for the images; `objective(outputs, targets)` must be the mean of what each image
    contributes by itself. In mode "functional" `call` is not used: see `functional_sum`.
    """
    layers = _Layers(net)
    with layers.recording():
        outputs = call()
    n = len(outputs)
    # The mean times their number: every image's gradient is its own.
    loss = objective(outputs, targets)
    grads = torch.autograd.grad(loss * n, layers.outputs, allow_unused=True) if layers.outputs else ()
    with torch.no_grad():
        own = [
            _OwnGradients(module, given, grad)
            for module, given, grad in zip(layers.modules, layers.inputs, grads, strict=True)
            if grad is not None
        ]
        squares = sum((g.squares() for g in own), start=torch.zeros(n))
        lengths = squares.sqrt()
        factors = _factors(lengths, clip)
        found: dict[int, Tensor] = {}
        for g in own:
            for p, total in g.weighted(factors):
                found[id(p)] = total
        learnt = [p for p in net.parameters() if p.requires_grad]
        sums = tuple(found.get(id(p), torch.zeros_like(p)) for p in learnt)
    return ClippedSum(sums, loss.detach(), lengths)


def functional_sum(net: PixelNet, pixels: Tensor, targets: Any, objective: Objective, *, clip: float) -> ClippedSum:
    """Return what `clipped_sum` does for a net of any layers that `torch.func` can differentiate."""
    learnt = {name: p.detach() for name, p in net.named_parameters() if p.requires_grad}
    fixed = {name: p.detach() for name, p in net.named_parameters() if not p.requires_grad}
    fixed |= dict(net.named_buffers())

    def loss_of(weights: dict[str, Tensor], image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        outputs = torch.func.functional_call(net, {**weights, **fixed}, (image[None],))
        loss = objective(outputs, target[None])
        return loss, loss

    grad = torch.func.vmap(torch.func.grad(loss_of, has_aux=True), in_dims=(None, 0, 0), randomness="different")
    # Fused attention has no rule for single images.
    with sdpa_kernel(SDPBackend.MATH):
        each, losses = grad(learnt, pixels, targets)
    with torch.no_grad():
        lengths = torch.stack([g.flatten(1).pow(2).sum(1) for g in each.values()]).sum(0).sqrt()
        factors = _factors(lengths, clip)
        sums = tuple(torch.tensordot(factors, g, 1) for g in each.values())
    return ClippedSum(sums, losses.mean().detach(), lengths)


def _factors(lengths: Tensor, clip: float) -> Tensor:
    """Return what every gradient is multiplied by. One that is no number counts nothing: it would reveal its image."""
    factors = (clip / lengths.clamp(min=1e-12)).clamp(max=1.0)
    return torch.where(torch.isfinite(lengths), factors, torch.zeros_like(factors))


class _Layers:
    """What goes into and comes out of every layer with weights, in one forward pass that builds no weight's graph."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.modules: list[nn.Module] = []
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []

    def recording(self) -> "_Recording":
        return _Recording(self)

    def note(self, module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
        # Below the first layer nothing needs a gradient: the graph begins here.
        out = out if out.requires_grad else out.detach().requires_grad_(True)
        self.modules.append(module)
        self.inputs.append(given[0].detach())
        self.outputs.append(out)
        # What follows may work in place on what it is given, never on what is kept here.
        return out.view_as(out)


class _Recording:
    def __init__(self, layers: _Layers) -> None:
        self._layers = layers
        self._learnt: list[nn.Parameter] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> None:
        net = self._layers.net
        self._learnt = [p for p in net.parameters() if p.requires_grad]
        for module in net.modules():
            if any(p.requires_grad for p in module.parameters(recurse=False)):
                self._hooks.append(module.register_forward_hook(self._layers.note))
        for p in self._learnt:
            p.requires_grad_(False)

    def __exit__(self, *problem: object) -> None:
        for hook in self._hooks:
            hook.remove()
        for p in self._learnt:
            p.requires_grad_(True)


class _OwnGradients:
    """The gradients of each image in one layer's weights, whole or as the factors that they are the product of."""

    def __init__(self, module: nn.Module, given: Tensor, grad: Tensor) -> None:
        self.module, self.n = module, len(grad)
        self.whole: list[tuple[nn.Parameter, Tensor]] = []
        self.left: Tensor | None = None
        self.right: Tensor | None = None
        weight: Any = module.weight
        bias: Any = getattr(module, "bias", None)
        if isinstance(module, nn.Linear):
            if grad.ndim == 2:
                self.left, self.right = grad, given
                return
            g, a = grad.flatten(1, -2), given.flatten(1, -2)
            self._keep(weight, lambda: g.transpose(1, 2) @ a)
            self._keep(bias, lambda: g.sum(1))
        elif isinstance(module, nn.Conv2d):
            g = grad.flatten(2)
            padding: Any = module.padding
            patches = functional.unfold(given, module.kernel_size, module.dilation, padding, module.stride)
            self._keep(weight, lambda: g @ patches.transpose(1, 2))
            self._keep(bias, lambda: g.sum(2))
        elif isinstance(module, nn.GroupNorm):
            normal = functional.group_norm(given, module.num_groups, eps=module.eps)
            self._keep(weight, lambda: (grad * normal).flatten(2).sum(2))
            self._keep(bias, lambda: grad.flatten(2).sum(2))
        elif isinstance(module, nn.LayerNorm):
            normal = functional.layer_norm(given, module.normalized_shape, eps=module.eps)
            own = weight.ndim
            self._keep(weight, lambda: (grad * normal).reshape(self.n, -1, *grad.shape[-own:]).sum(1))
            self._keep(bias, lambda: grad.reshape(self.n, -1, *grad.shape[-own:]).sum(1))

    def _keep(self, p: Any, gradient: Callable[[], Tensor]) -> None:
        if p is not None:
            self.whole.append((p, gradient().flatten(1)))

    def squares(self) -> Tensor:
        """Return each image's squared length, (N,)."""
        if self.left is not None and self.right is not None:
            # |g aᵀ|² = |g|² |a|², and the bias is one more input that is 1.
            ones = float(self.module.bias is not None)
            return self.left.pow(2).sum(1) * (self.right.pow(2).sum(1) + ones)
        return torch.stack([g.pow(2).sum(1) for _, g in self.whole]).sum(0)

    def weighted(self, factors: Tensor) -> list[tuple[nn.Parameter, Tensor]]:
        """Return the sum of all images' gradients, each times its factor, for every weight of the layer."""
        if self.left is not None and self.right is not None:
            scaled = torch.nan_to_num(self.left) * factors[:, None]
            weight: Any = self.module.weight
            found = [(weight, scaled.T @ torch.nan_to_num(self.right))]
            bias: Any = self.module.bias
            return found if bias is None else [*found, (bias, scaled.sum(0))]
        return [(p, (factors @ torch.nan_to_num(g)).view_as(p)) for p, g in self.whole]
