"""Remove channels for real, or set weights to zero; torch-pruning follows which layers depend on each other."""

__all__ = ["LayerCost", "layer_costs", "prune_channels", "set_zeros", "sparse_step", "sparsity_of", "total_work"]

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eyewright.core.errors import MissingExtraError, RefusedError
from eyewright.nets.pixels import PixelNet
from eyewright.training.steps import Batch, Step, TrainState, plain_step

_ROUND_TO = 8
_LEAST = 8
# What published and our own transformers call the wide half of a block's dense layers: there channels can go, while
# those of attention hang on the number of heads.
_DENSE = ("fc1", "intermediate.dense", "lin1", "dense.0", "mlp.0")


@dataclass(frozen=True)
class LayerCost:
    """A layer whose channels can be removed: its name, how many it has, multiplications an image of it alone."""

    name: str
    channels: int
    work: int


def prune_channels(
    net: PixelNet,
    share: float | Mapping[str, float],
    *,
    size_hw: tuple[int, int],
    channels: int,
    learn: Callable[[PixelNet], None] | None = None,
) -> PixelNet:
    """Return a copy of `net` with `share` of the channels of every group of layers removed, the least important first.

    Layers that depend on each other lose channels together (Fang et al. 2023, "DepGraph"). `learn(net)` leaves the
    gradients of a loss in a net: then a channel counts by how much the loss would change without it, to first order
    (Molchanov et al. 2019, "Importance estimation for neural network pruning"), else by the norm of its weights. Widths
    become the nearest multiples of 8, which processors compute as fast as any between. What the net answers with is
    left alone. Where `share` names layers, these alone lose channels, each its own share.

    Raises:
        RefusedError: the layers of this net cannot be taken apart.
        MissingExtraError: torch-pruning is not installed.
    """
    for one in share.values() if isinstance(share, Mapping) else [share]:
        if not 0 < one < 1:
            raise ValueError(f"expected a fraction in (0, 1), found {one}")
    if not getattr(net.body, "prunable", True):
        raise RefusedError(
            "removing channels is not supported for a net of partial convolutions",
            fix="quantise or distil it instead",
            code="prune",
        )
    if not layer_names(net):
        raise RefusedError(
            "removing channels is not supported for a net without convolutions and dense layers",
            fix="quantise it instead",
            code="prune",
        )
    tp = _torch_pruning()
    last: Exception | None = None
    ways: list[Callable[[str], bool]] = [lambda name: False]
    if any(name.endswith(_DENSE) for name in layer_names(net)):
        ways.append(lambda name: not name.endswith(_DENSE))
    for held in ways:
        pruned = copy.deepcopy(net).cpu().eval()
        try:
            if learn is not None:
                learn(pruned)
            _remove(tp, pruned.body, share, size_hw, channels, held=held, by_loss=learn is not None)
            for parameter in pruned.parameters():
                parameter.grad = None
            _same_answers(net, pruned, size_hw, channels)
        except Exception as error:  # noqa: BLE001 - torch-pruning raises whatever its tracing meets
            last = error
            continue
        return pruned
    reason = str(last).strip().splitlines()[0][:160] if str(last).strip() else type(last).__name__
    raise RefusedError(
        f"the channels of this net cannot be removed: {reason}", fix="quantise or distil it instead", code="prune"
    ) from last


def layer_names(net: PixelNet) -> list[str]:
    """Return the names of convolutions and dense layers that give something other than the net's outputs."""
    kept = {id(m) for m in _answering(net.body)}
    layers = ((n, m) for n, m in net.body.named_modules() if isinstance(m, nn.Conv2d | nn.Linear))
    return [name for name, module in layers if id(module) not in kept]


def layer_costs(net: PixelNet, *, size_hw: tuple[int, int], channels: int) -> tuple[LayerCost, ...]:
    """Return the layers whose channels can be removed alone, in the order in which they are computed."""
    work = _work_by_layer(net, size_hw, channels)
    kept = {id(m) for m in _answering(net.body)}
    return tuple(
        LayerCost(name, module.weight.shape[0], work[name])
        for name, module in net.body.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
        and id(module) not in kept
        and work.get(name)
        and not (isinstance(module, nn.Conv2d) and module.groups > 1)
    )


def total_work(net: PixelNet, *, size_hw: tuple[int, int], channels: int) -> int:
    """Count the multiplications for one image in convolutions and dense layers."""
    return sum(_work_by_layer(net, size_hw, channels).values())


def set_zeros(net: PixelNet, sparsity: float) -> PixelNet:
    """Return a copy of `net` whose smallest weights are zero, `sparsity` of all in convolutions and dense layers.

    One threshold for all layers but the last, which keeps its own weights (Zhu & Gupta 2017, "To prune, or not to
    prune"). The file shrinks where it is compressed; no runtime here computes zeros faster.
    """
    pruned = copy.deepcopy(net).cpu().eval()
    kept = {id(m) for m in _answering(pruned.body)}
    chosen: list[Tensor] = [
        m.weight.data for m in pruned.body.modules() if isinstance(m, nn.Conv2d | nn.Linear) and id(m) not in kept
    ]
    if not chosen:
        raise RefusedError("the net has no weights that could be zero", fix="quantise it instead", code="prune")
    sizes = torch.cat([w.abs().flatten() for w in chosen])
    limit = sizes.kthvalue(max(1, int(sparsity * len(sizes)))).values
    for weights in chosen:
        weights[weights.abs() <= limit] = 0
    return pruned


def sparsity_of(net: nn.Module) -> float:
    """Return the fraction of zeros among the weights of convolutions and dense layers."""
    weights = [m.weight for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return float(sum((w == 0).sum() for w in weights) / max(1, sum(w.numel() for w in weights)))


def sparse_step(inner: Step = plain_step) -> Step:
    """Return a step that keeps at zero what is zero when an update closes: training continues in what is left."""
    masks: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def step(state: TrainState, batch: Batch) -> Tensor:
        if id(state.net) not in masks:
            layers = (m for m in state.net.modules() if isinstance(m, nn.Conv2d | nn.Linear))
            masks[id(state.net)] = [(m.weight, m.weight.detach() != 0) for m in layers]
        loss = inner(state, batch)
        if batch.closes:
            with torch.no_grad():
                for weight, mask in masks[id(state.net)]:
                    weight.mul_(mask)
        return loss

    return step


def _torch_pruning() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch_pruning
    except ImportError as error:
        raise MissingExtraError(
            "pruning channels needs torch-pruning, which is not installed", fix="pip install 'eyewright[compress]'"
        ) from error
    return torch_pruning


def _remove(
    tp: Any,
    body: nn.Module,
    share: float | Mapping[str, float],
    size_hw: tuple[int, int],
    channels: int,
    *,
    held: Callable[[str], bool],
    by_loss: bool = False,
) -> None:
    example = torch.zeros(2, channels, *size_hw)
    stands = _stand_ins(body)
    layers = {n: m for n, m in body.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    left = [m for n, m in layers.items() if held(n)]
    wanted = share if isinstance(share, Mapping) else dict.fromkeys(layers, share)
    shares = {layers[n]: _whole_share(layers[n].weight.shape[0], one) for n, one in wanted.items()}
    by_norm = tp.importance.GroupMagnitudeImportance(p=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = tp.pruner.BasePruner(
            body,
            example,
            importance=tp.importance.GroupTaylorImportance() if by_loss else by_norm,
            pruning_ratio=0.0,
            pruning_ratio_dict=shares,
            ignored_layers=[*_answering(body), *left, *(stand.inward for stand in stands.values())],
            round_to=_ROUND_TO,
            output_transform=_sum_of,
        )
        pruner.step()
    for name, stand in stands.items():
        _put(body, name, stand.narrowed())


class _StandIn(nn.Module):
    """What a recurrent layer is while channels are removed: a dense layer with its weights for the inputs.

    Traced itself, it falls apart into operations for every step, in which nobody finds which weights belong to a
    channel. What it gives keeps its width.
    """

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = [layer]
        self.names = [n for n in ("weight_ih_l0", "weight_ih_l0_reverse") if hasattr(layer, n)]
        weights = [getattr(layer, n) for n in self.names]
        self.inward = nn.Linear(layer.input_size, sum(map(len, weights)), bias=False)
        self.inward.weight = nn.Parameter(torch.cat([w.detach() for w in weights]))
        if all(w.grad is not None for w in weights):
            self.inward.weight.grad = torch.cat([w.grad for w in weights])
        self.outside = (layer.proj_size or layer.hidden_size) * len(self.names)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return self.inward(x).sum(-1, keepdim=True) + x.new_zeros(self.outside), None

    def narrowed(self) -> nn.RNNBase:
        """Return the layer with the inputs that are left."""
        (layer,) = self.layer
        parts = torch.split(self.inward.weight.detach(), [len(getattr(layer, n)) for n in self.names])
        for name, part in zip(self.names, parts, strict=True):
            setattr(layer, name, nn.Parameter(part.clone()))
        layer.input_size = self.inward.in_features
        return layer


def _stand_ins(body: nn.Module) -> dict[str, _StandIn]:
    """Put a stand-in where each recurrent layer is; return them by name."""
    found = {n: _StandIn(m) for n, m in body.named_modules() if isinstance(m, nn.LSTM | nn.GRU | nn.RNN)}
    for name, stand in found.items():
        _put(body, name, stand)
    return found


def _put(body: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(body.get_submodule(parent), last, module)


def _whole_share(channels: int, share: float) -> float:
    """Return the share that leaves the multiple of 8 channels nearest to what is asked for."""
    kept = max(_LEAST, _ROUND_TO * round(channels * (1 - share) / _ROUND_TO))
    # A little less than the share itself: torch-pruning rounds what is kept down.
    return 1 - kept / channels - 1e-6 if kept < channels else 0.0


def _sum_of(found: Any) -> Tensor:
    parts = list(found) if isinstance(found, tuple | list) else [found]
    return torch.stack([p.sum() for p in parts if isinstance(p, Tensor) and p.numel()]).sum()


def _answering(body: nn.Module) -> list[nn.Module]:
    """Return the layers whose channels are the net's outputs."""
    modules = dict(body.named_modules())
    named = getattr(body, "head_names", ())
    found = [
        m
        for n, m in modules.items()
        if isinstance(m, nn.Conv2d | nn.Linear) and any(n == h or n.startswith(h.rstrip(".") + ".") for h in named)
    ]
    own = [m for n, m in modules.items() if n in named and isinstance(m, nn.Conv2d | nn.Linear)]
    layers: list[nn.Module] = [m for m in modules.values() if isinstance(m, nn.Conv2d | nn.Linear)]
    return [*found, *own] or layers[-1:]


def _same_answers(net: PixelNet, pruned: PixelNet, size_hw: tuple[int, int], channels: int) -> None:
    blank = torch.zeros(2, *size_hw, channels, dtype=torch.uint8)
    with torch.inference_mode():
        before, after = net(blank), pruned(blank)
    several = [[t for t in (x if isinstance(x, tuple) else (x,)) if isinstance(t, Tensor)] for x in (before, after)]
    if [t.shape for t in several[0]] != [t.shape for t in several[1]]:
        raise RuntimeError("the outputs have another shape")


def _work_by_layer(net: PixelNet, size_hw: tuple[int, int], channels: int) -> Mapping[str, int]:
    """Count each layer's multiplications for one image."""
    work: dict[str, int] = {}
    hooks = []

    def watch(name: str, module: Any) -> None:
        def count(_: nn.Module, __: Any, found: Tensor) -> None:
            if isinstance(module, nn.Conv2d):
                each = int(module.weight[0].numel())
                work[name] = work.get(name, 0) + int(found.numel()) * each
            else:
                work[name] = work.get(name, 0) + int(found.numel()) * module.in_features

        hooks.append(module.register_forward_hook(count))

    for name, module in net.body.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            watch(name, module)
    try:
        with torch.inference_mode():
            net(torch.zeros(1, *size_hw, channels, dtype=torch.uint8))
    finally:
        for hook in hooks:
            hook.remove()
    return work
