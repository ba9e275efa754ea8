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
            one
            for module, given, grad in zip(layers.modules, layers.inputs, grads, strict=True)
            if grad is not None
            for one in _own_gradients(module, given, grad)
        ]
        squares = sum((g.squares() for g in own), start=torch.zeros(n))
        lengths = squares.sqrt()
        factors = _factors(lengths, clip)
        finite = bool(torch.isfinite(lengths).all())
        found = {id(g.p): g.weighted(factors, finite=finite) for g in own}
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


def _patches(conv: nn.Conv2d, given: Tensor) -> Tensor:
    """Return what each place of a convolution's output sees, (N, places, kernel height x width x channels)."""
    (kh, kw), (sh, sw), (dh, dw) = conv.kernel_size, conv.stride, conv.dilation
    padding: Any = conv.padding
    x = given.permute(0, 2, 3, 1)
    if any(padding):
        x = functional.pad(x, (0, 0, padding[1], padding[1], padding[0], padding[0]))
    x = x.contiguous()
    n, height, width, channels = x.shape
    rows, columns = (height - dh * (kh - 1) - 1) // sh + 1, (width - dw * (kw - 1) - 1) // sw + 1
    a, b, c, d = x.stride()
    seen = x.as_strided((n, rows, columns, kh, kw, channels), (a, b * sh, c * sw, b * dh, c * dw, d))
    return seen.reshape(n, rows * columns, kh * kw * channels)


def _own_gradients(module: nn.Module, given: Tensor, grad: Tensor) -> "list[_Rows | _Product]":
    """Return the gradients of each image in the weights of a layer, from its inputs and its output's gradient."""
    weight: Any = module.weight
    bias: Any = getattr(module, "bias", None)
    found: list[_Rows | _Product] = []
    if isinstance(module, nn.Linear):
        g, a = (grad[:, None], given[:, None]) if grad.ndim == 2 else (grad.flatten(1, -2), given.flatten(1, -2))
        found.append(_product(weight, g, a, lambda total: total))
    elif isinstance(module, nn.Conv2d):
        # Channels last, as nets compute here: then a patch is a few long runs of memory.
        g, a, kernel = grad.permute(0, 2, 3, 1).flatten(1, 2), _patches(module, given), weight.permute(0, 2, 3, 1).shape
        found.append(_product(weight, g, a, lambda total: total.view(kernel).permute(0, 3, 1, 2)))
    elif isinstance(module, nn.GroupNorm):
        g = grad.flatten(2).transpose(1, 2)
        normal = functional.group_norm(given, module.num_groups, eps=module.eps).flatten(2).transpose(1, 2)
        found.append(_Rows(weight, (g * normal).sum(1)))
    else:
        shape = weight.shape
        normal = functional.layer_norm(given, list(shape), eps=float(module.eps))  # type: ignore[arg-type]
        g = grad.reshape(len(grad), -1, weight.numel())
        found.append(_Rows(weight, (g * normal.reshape(g.shape)).sum(1)))
    return found if bias is None else [*found, _Rows(bias, g.sum(1))]


def _product(p: nn.Parameter, left: Tensor, right: Tensor, back: Callable[[Tensor], Tensor]) -> "_Rows | _Product":
    """Return gradients that are products of `left` (N, L, O) and `right` (N, L, I), whole where that costs less than
    their length from the factors (Bu et al. 2023, section 4)."""
    places, outward, inward = left.shape[1], left.shape[2], right.shape[2]
    if places * (outward + inward) < outward * inward:
        return _Product(p, left, right, back)
    return _Rows(p, (left.transpose(1, 2) @ right).flatten(1), back)


@dataclass(frozen=True)
class _Rows:
    """Each image's gradient in a weight, as a row (N, P); `back` brings a sum of rows into the order of the weight."""

    p: nn.Parameter
    rows: Tensor
    back: Callable[[Tensor], Tensor] | None = None

    def squares(self) -> Tensor:
        """Return each image's squared length, (N,)."""
        lengths: Tensor = torch.linalg.vector_norm(self.rows, dim=1)
        return lengths.pow(2)

    def weighted(self, factors: Tensor, *, finite: bool) -> Tensor:
        """Return the sum of all gradients, each times its factor, which is 0 where a gradient is not `finite`."""
        total = factors @ (self.rows if finite else torch.nan_to_num(self.rows))
        return total.view_as(self.p) if self.back is None else self.back(total)


@dataclass(frozen=True)
class _Product:
    """Each image's gradient in a weight as the product of what a layer's places sent and were given, never formed."""

    p: nn.Parameter
    left: Tensor
    right: Tensor
    back: Callable[[Tensor], Tensor]

    def squares(self) -> Tensor:
        """Return each image's squared length, (N,): |Σ g aᵀ|² is the sum of (g gᵀ) (a aᵀ) over pairs of places."""
        if self.left.shape[1] == 1:
            return self.left.pow(2).sum((1, 2)) * self.right.pow(2).sum((1, 2))
        pairs = (self.left @ self.left.transpose(1, 2)) * (self.right @ self.right.transpose(1, 2))
        return pairs.sum((1, 2)).clamp(min=0)

    def weighted(self, factors: Tensor, *, finite: bool) -> Tensor:
        """Return the sum of all gradients, each times its factor, which is 0 where a gradient is not `finite`."""
        left, right = self.left * factors[:, None, None], self.right
        if not finite:
            left, right = torch.nan_to_num(self.left) * factors[:, None, None], torch.nan_to_num(right)
        return self.back(left.flatten(0, 1).T @ right.flatten(0, 1))
