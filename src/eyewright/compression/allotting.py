"""Which layers are to give how many of their channels: those whose loss costs least for what it saves."""

__all__ = ["allot_channels", "allot_or_none", "what_may_stay"]

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from eyewright.compression.budget import Budget
from eyewright.compression.pruning import layer_costs, prune_channels, total_work
from eyewright.compression.sensitivity import score_on_validation
from eyewright.compression.trials import Parent, loss_on_training, slopes_of, teaches_plainly, without_channels
from eyewright.core.errors import MissingExtraError, RefusedError
from eyewright.nets.pixels import PixelNet

_STEPS = tuple(k / 16 for k in range(1, 9))
_LEAST_SAVING = 1e-4
# A metric of few images moves in steps; between two of them the loss tells, a twentieth of its rise counting.
_OF_LOSS = 0.05
_FLOOR = 1e-5
# Bytes are known beforehand; speed is not.
_SAFE_SIZE, _SAFE_SPEED = 0.995, 0.96
# A layer that costs so much is not asked for more.
_HOPELESS = 0.03


@dataclass(frozen=True)
class _Cut:
    """One layer's group with a fraction of its channels gone: what is left of weights and work, and what that costs."""

    share: float
    weights: float
    work: float
    cost: float


def allot_channels(
    parent: Parent,
    *,
    weights: float,
    work: float,
    until: float = float("inf"),
    now: Callable[[], float] = time.monotonic,
) -> Mapping[str, float]:
    """Return the fraction of channels that each layer is to lose until `weights` and `work` of the net are left, at
    most.

    Both are shares in (0, 1] of weights and of multiplications. Each group of layers alone is made narrower by steps
    of a sixteenth; what that costs is the fall of the main metric on validation images, and a little of the rise of the
    loss on training images (of a box's sides the loss alone knows too little). Then the step that costs least for
    what is still to be saved is taken, again and again (Yang et al. 2018, "NetAdapt"). Groups that were not reached
    before `until`, a value of `now`, keep their channels; those that compute most are looked at first.

    Raises:
        RefusedError: so much cannot be saved so, or this net's loss cannot be had without learning.
        MissingExtraError: torch-pruning is not installed.
    """
    net = parent.net
    if not teaches_plainly(net):
        raise RefusedError(
            "the loss of this net cannot be computed from its outputs alone", fix="quantise or distil it", code="prune"
        )
    size = (_weights_of(net), _work_of(parent, net))
    losses, learn = loss_on_training(parent), slopes_of(parent)
    score = score_on_validation(parent)
    before = score(net), _mean_loss(losses, net)

    def cost(one: PixelNet) -> float:
        rise = max(0.0, _mean_loss(losses, one) - before[1]) / max(abs(before[1]), 1e-9)
        return max(0.0, before[0] - score(one)) + _OF_LOSS * rise + _FLOOR

    table: dict[str, list[_Cut]] = {}
    seen: set[tuple[tuple[int, ...], ...]] = set()
    rows = layer_costs(net, size_hw=parent.size_hw, channels=parent.channels)
    for row in sorted(rows, key=lambda r: -r.work):
        if now() > until and table:
            break
        own: set[tuple[tuple[int, ...], ...]] = set()
        for share in _STEPS:
            try:
                cut = without_channels(parent, net, {row.name: share}, learn=learn)
            except RefusedError:
                break
            # Layers that depend on each other lose channels together: one of their names stands for all.
            shapes = tuple(tuple(v.shape) for v in cut.state_dict().values())
            left = (_weights_of(cut) / size[0], _work_of(parent, cut) / size[1])
            if min(left) > 1 - _LEAST_SAVING or shapes in own:
                # A narrow layer has fewer steps.
                continue
            if shapes in seen:
                break
            own.add(shapes)
            found = _Cut(share, *left, cost(cut))
            table.setdefault(row.name, []).append(found)
            if found.cost > _HOPELESS:
                break
        seen |= own
    return _walk(parent, table, size, weights, work)


def allot_or_none(parent: Parent, **wanted: Any) -> dict[str, float]:
    """Return what `allot_channels` does, or nothing where it cannot be done."""
    try:
        return dict(allot_channels(parent, **wanted))
    except (RefusedError, MissingExtraError):
        return {}


def what_may_stay(net: PixelNet, budget: Budget, size: int, speedup: float) -> tuple[float, float]:
    """Return the fractions of weights and work that a model of `size` bytes in 8 bits may keep to meet a budget.

    What is stored in addition to the weights (the graph, scales, biases) does not shrink with them.
    """
    beside = max(0, size - _weights_of(net))
    fast, small = budget.min_speedup, budget.max_bytes
    weights = 1.0 if small is None else min(1.0, _SAFE_SIZE * (small - beside) / (size - beside))
    return weights, 1.0 if fast is None or speedup >= fast else _SAFE_SPEED * speedup / fast


def _walk(
    parent: Parent, table: Mapping[str, list[_Cut]], size: tuple[int, int], weights: float, work: float
) -> Mapping[str, float]:
    """Take one cheapest step after another, until a net that is cut so is small enough."""
    at = dict.fromkeys(table, -1)
    left = (1.0, 1.0)
    while left[0] > weights or left[1] > work:
        best, least = "", float("inf")
        for name, cuts in table.items():
            if at[name] + 1 >= len(cuts):
                continue
            here = cuts[at[name]] if at[name] >= 0 else _Cut(0.0, 1.0, 1.0, 0.0)
            there = cuts[at[name] + 1]
            saved = 0.0
            if left[0] > weights:
                saved += (here.weights - there.weights) / (left[0] - weights)
            if left[1] > work:
                saved += (here.work - there.work) / (left[1] - work)
            if saved <= 0:
                continue
            # What a step saves beyond what is asked for is worth nothing.
            each = max(there.cost - here.cost, _FLOOR) / min(saved, 1.0)
            if each < least:
                best, least = name, each
        if not best:
            raise RefusedError("so many channels cannot be removed from this net", fix="remove fewer", code="prune")
        at[best] += 1
        shares = {n: table[n][k].share for n, k in at.items() if k >= 0}
        cut = prune_channels(parent.net, shares, size_hw=parent.size_hw, channels=parent.channels)
        left = (_weights_of(cut) / size[0], _work_of(parent, cut) / size[1])
    return {n: table[n][k].share for n, k in at.items() if k >= 0}


def _mean_loss(losses: Callable[[PixelNet], object], net: PixelNet) -> float:
    with torch.inference_mode():
        found = [float(loss) for loss in losses(net.eval())]  # type: ignore[attr-defined]
    return sum(found) / len(found)


def _weights_of(net: PixelNet) -> int:
    return sum(v.numel() for v in net.state_dict().values())


def _work_of(parent: Parent, net: PixelNet) -> int:
    return total_work(net, size_hw=parent.size_hw, channels=parent.channels)
