"""Optimisers by name, and the learning-rate schedules."""

__all__ = [
    "Joined",
    "Muon",
    "Optimiser",
    "above_body",
    "build_optimiser",
    "default_lr",
    "layer_depths",
    "schedule_factor",
]

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from eyewright.training.recipe import Recipe

_DEFAULT_LR = {"muon": 0.02, "adamw": 2e-3, "adam": 1e-3, "sgd": 0.1, "momentum": 0.05, "rmsprop": 1e-3, "gd": 0.5}


def default_lr(optimizer: str) -> float:
    """Return the peak learning rate that the optimiser starts from when the recipe names none."""
    return _DEFAULT_LR[optimizer]


class Optimiser(Protocol):
    """What training needs of an optimiser; every `torch.optim.Optimizer` has it."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self, set_to_none: bool = True) -> None: ...

    def step(self) -> Any: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


class Muon:
    """Momentum whose update is orthogonalised (K. Jordan et al., "Muon: an optimizer for hidden layers", 2024).

    Weights of two and more dimensions are updated along the nearest (semi-)orthogonal matrix to their momentum,
    found by five Newton-Schulz steps; convolutions count as (out, in*h*w) matrices. Everything else (biases, norms,
    the last layer) takes an AdamW step at `lr * adam_ratio`. Weight decay is decoupled.

    It has the methods of a `torch.optim.Optimizer` and is none: the base class imports PyTorch's compiler, which costs
    every training more than a second.
    """

    def __init__(
        self,
        matrices: Iterable[Tensor],
        others: Iterable[Tensor],
        *,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        adam_ratio: float = 0.15,
    ) -> None:
        common = {"lr": lr, "momentum": momentum, "adam_ratio": adam_ratio}
        groups: list[dict[str, Any]] = [
            {"params": list(matrices), "orthogonal": True, "weight_decay": weight_decay, **common},
            {"params": list(others), "orthogonal": False, "weight_decay": 0.0, **common},
        ]
        self.param_groups = [g for g in groups if g["params"]]
        self.state: dict[Tensor, dict[str, Tensor]] = {p: {} for g in self.param_groups for p in g["params"]}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for p in self.state:
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad.zero_()

    def state_dict(self) -> dict[str, Any]:
        """Return the state by the weights' numbers and the groups without weights, as torch's optimisers do."""
        numbered = {i: dict(values) for i, values in enumerate(self.state.values()) if values}
        groups, first = [], 0
        for group in self.param_groups:
            numbers = list(range(first, first := first + len(group["params"])))
            groups.append({**group, "params": numbers})
        return {"state": numbered, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave, for weights of the same number and order."""
        for i, values in enumerate(self.state.values()):
            values.clear()
            values.update(state_dict["state"].get(i, {}))
        for group, other in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update({k: v for k, v in other.items() if k != "params"})

    @torch.no_grad()
    def step(self) -> None:
        """Do one update from the gradients."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                (self._orthogonal_step if group["orthogonal"] else self._adam_step)(params, group)

    def _orthogonal_step(self, params: list[Tensor], group: dict[str, Any]) -> None:
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        grads: list[Any] = [p.grad for p in params]
        buffers = [self.state[p]["momentum"] for p in params]
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, grads)
        updates = torch._foreach_add(grads, buffers, alpha=group["momentum"])
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        for p, update in zip(params, updates, strict=True):
            matrix = update.reshape(len(p), -1)
            scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
            p.add_(_orthogonalise(matrix).reshape(p.shape), alpha=-group["lr"] * scale)

    def _adam_step(self, params: list[Tensor], group: dict[str, Any]) -> None:
        for p in params:
            if not self.state[p]:
                self.state[p].update(step=torch.zeros(()), mean=torch.zeros_like(p), square=torch.zeros_like(p))
        grads: list[Any] = [p.grad for p in params]
        steps, means, squares = ([self.state[p][k] for p in params] for k in ("step", "mean", "square"))
        torch._foreach_add_(steps, 1)
        torch._foreach_lerp_(means, grads, 1 - 0.9)
        torch._foreach_mul_(squares, 0.99)
        torch._foreach_addcmul_(squares, grads, grads, 1 - 0.99)
        # A net may have been thawed part by part, so each weight counts its own steps.
        counts = [float(t) for t in steps]
        roots = torch._foreach_sqrt(torch._foreach_div(squares, [1 - 0.99**t for t in counts]))
        torch._foreach_add_(roots, 1e-8)
        rate = -group["lr"] * group["adam_ratio"]
        torch._foreach_addcdiv_(params, means, roots, [rate / (1 - 0.9**t) for t in counts])


class Joined:
    """Several optimisers as one: parts of a net that are learnt apart, each by its own, in one state.

    `parts` are the optimisers by the name of what they update. Groups and state are those of all, one after the other,
    so that schedules and checkpoints need not know how many there are.
    """

    def __init__(self, parts: Mapping[str, Optimiser]) -> None:
        self.parts = dict(parts)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all parts."""
        return [group for part in self.parts.values() for group in part.param_groups]

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        left = list(groups)
        for part in self.parts.values():
            n = len(part.param_groups)
            part.param_groups, left = left[:n], left[n:]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parts."""
        for part in self.parts.values():
            part.zero_grad(set_to_none)

    def step(self) -> None:
        """Update all parts."""
        for part in self.parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all parts, whose weights are numbered through."""
        state: dict[int, Any] = {}
        groups: list[dict[str, Any]] = []
        first = 0
        for part in self.parts.values():
            own = part.state_dict()
            state |= {first + i: values for i, values in own["state"].items()}
            groups += [{**g, "params": [first + i for i in g["params"]]} for g in own["param_groups"]]
            first += _count(own)
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave, for the same parts."""
        first, groups = 0, list(state_dict["param_groups"])
        for part in self.parts.values():
            own = part.state_dict()
            n = _count(own)
            state = {i - first: v for i, v in state_dict["state"].items() if first <= i < first + n}
            mine = [{**groups.pop(0), "params": g["params"]} for g in own["param_groups"]]
            part.load_state_dict({"state": state, "param_groups": mine})
            first += n


def _count(state: Mapping[str, Any]) -> int:
    return sum(len(g["params"]) for g in state["param_groups"])


def _orthogonalise(matrix: Tensor, *, steps: int = 5) -> Tensor:
    """Push every singular value of `matrix` towards 1 by the quintic Newton-Schulz iteration.

    Each step multiplies by a polynomial of the Gram matrix from the left, and the next Gram matrix follows from the
    last one: the iteration runs on the small square, and the wide matrix is touched twice, not ten times.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-7)
    gram = x @ x.T
    total = gram
    for i in range(steps):
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal().add_(a)
        total = polynomial if i == 0 else polynomial @ total
        if i < steps - 1:
            gram = polynomial @ gram @ polynomial
    x = total @ x
    out: Tensor = x if wide else x.T
    return out


def above_body(net: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the weights of the head, which answers in classes, and those of the body below it.

    A body may name its head by `head_names`, a tuple of prefixes; else the head is the last linear layer.
    """
    named = list(net.named_parameters())
    prefixes = tuple(f"body.{name}" for name in getattr(getattr(net, "body", None), "head_names", ()))
    if not prefixes:
        linear = [name for name, module in net.named_modules() if isinstance(module, nn.Linear)]
        prefixes = tuple(f"{name}." if name else "" for name in linear[-1:])
    head = [p for n, p in named if n.startswith(prefixes)] if prefixes else []
    own = {id(p) for p in head}
    return head, [p for _, p in named if id(p) not in own]


def layer_depths(net: nn.Module) -> list[int]:
    """Return each weight, in the order of `net.parameters()`, how many layers lie above it; the head's are 0.

    A layer is what shares the numbers in its name: `stages.0.layers.1` is one, `stages.1.layers.0` the next.
    """
    head = {id(p) for p in above_body(net)[0]}
    keys: list[tuple[str, ...]] = []
    found: list[int | None] = []
    for name, p in net.named_parameters():
        key = tuple(re.findall(r"(?<=\.)\d+(?=\.)", name)[:2])
        if key and (not keys or keys[-1] != key):
            keys.append(key)
        found.append(None if id(p) in head else len(keys))
    return [0 if at is None else len(keys) - at + 1 for at in found]


def build_optimiser(net: nn.Module, recipe: Recipe) -> Optimiser:
    """Build the recipe's optimiser over the weights of `net` that are learnt.

    Weight decay is for weights of two and more dimensions; biases and norms are left out (He et al. 2019). With
    `layer_decay` every layer's rate is that much of the one above it (Clark et al. 2020, "ELECTRA"). A body that names
    parts that are `learnt_apart` gets an Adam for each of them (`Joined`), whatever the recipe's optimiser. "gd" and
    "sgd" are the same rule, w -= lr * gradient; they differ in the images that the gradient is taken over.
    """
    name = recipe.optimizer or "muon"
    lr = recipe.lr if recipe.lr is not None else default_lr(name)
    apart: tuple[str, ...] = getattr(getattr(net, "body", None), "learnt_apart", ())
    if apart:
        # Nets that play against each other: no momentum, whose memory of the other's past moves would make them circle.
        parts = {part: [p for p in getattr(net.body, part).parameters() if p.requires_grad] for part in apart}
        return Joined({k: torch.optim.Adam(own, lr=lr, betas=(0.0, 0.99), fused=True) for k, own in parts.items()})
    decay = recipe.layer_decay or 1.0
    learnt = [(p, d) for p, d in zip(net.parameters(), layer_depths(net), strict=True) if p.requires_grad]
    if name == "muon":
        # The last layer's rows are classes, not directions to be made orthogonal; an embedding's are places.
        # Nor does one filter a channel, as in a depthwise convolution, make a matrix from channels to channels.
        whole = (m for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d) and getattr(m, "groups", 1) == 1)
        matrices = {id(m.weight) for m in whole}
        matrices -= {id(p) for p in above_body(net)[0]}
        first = [p for p, _ in learnt if id(p) in matrices]
        return Muon(first, [p for p, _ in learnt if id(p) not in matrices], lr=lr, weight_decay=recipe.weight_decay)
    groups = []
    for depth in sorted({d for _, d in learnt}) if decay < 1 else [0]:
        of_depth = [p for p, d in learnt if d == depth or decay == 1]
        for params, penalty in (
            ([p for p in of_depth if p.ndim >= 2], recipe.weight_decay),
            ([p for p in of_depth if p.ndim < 2], 0.0),
        ):
            if params:
                groups.append({"params": params, "weight_decay": penalty, "lr": lr * decay**depth})
    match name:
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr, fused=True)
        case "adam":
            return torch.optim.Adam(groups, lr=lr, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=lr)
        case "momentum":
            return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True)
        case "sgd" | "gd":
            return torch.optim.SGD(groups, lr=lr)


def schedule_factor(recipe: Recipe, progress: float) -> float:
    """Return the fraction of the peak learning rate at `progress` in [0, 1] of the run.

    "one_cycle" climbs and falls in straight lines, "cosine" climbs straight and falls along half a cosine
    (Loshchilov & Hutter 2017), "constant" stays after the warm-up.

    >>> [round(schedule_factor(Recipe(warmup=0.5), p), 2) for p in (0.0, 0.25, 0.5, 1.0)]
    [0.2, 0.6, 1.0, 0.0]
    """
    progress = min(max(progress, 0.0), 1.0)
    start = 0.2
    if progress < recipe.warmup:
        return start + (1 - start) * progress / recipe.warmup
    left = (1 - progress) / (1 - recipe.warmup)
    if recipe.schedule == "constant":
        return 1.0
    if recipe.schedule == "cosine":
        return 0.5 * (1 - math.cos(math.pi * left))
    return left
