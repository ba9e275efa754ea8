"""Learn from a teacher: its soft answers and where its layers look, in addition to the labels or instead of them."""

__all__ = ["Teacher", "bundle_teacher", "distil_step", "net_teacher"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from eyewright.core.errors import RefusedError
from eyewright.core.labels import LabelSpace
from eyewright.core.predictor import Predictor
from eyewright.imaging.preparation import Preparation
from eyewright.nets.pixels import PixelNet
from eyewright.training.learner import learner_of
from eyewright.training.steps import Batch, Step, TrainState, own_loss, update

SOFTNESS = 4.0
"""The temperature by which both answers are softened (Hinton et al. 2015)."""

_LOOKS = 50.0


@dataclass(frozen=True)
class Teacher:
    """What answers as a student's net does, for uint8 (N, H, W, C): logits, mask logits, or (logits, sides) of boxes.

    `sides` are None where the teacher has none. `net` is there where its layers can be looked into.
    """

    task: str
    answer: Callable[[Tensor], tuple[Tensor, Tensor | None]]
    net: PixelNet | None = None


def net_teacher(net: PixelNet, task: str, *, as_the_batch: bool = False) -> Teacher:
    """Return a trained net as the teacher of one with the same classes and the same prepared pixels.

    With `as_the_batch` it normalises by the statistics of each batch, as its student does. Images that are put
    together from four, or zoomed, have others than those that the net is used on; a teacher that goes by the latter
    would have its student learn the difference.
    """
    soft = learner_of(task).soft
    net.eval().requires_grad_(False)
    for module in net.modules() if as_the_batch else ():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
            # What it has learnt of its own stays.
            module.momentum = 0.0

    def answer(pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        return soft.of_net(net(pixels))

    return Teacher(task, answer, net)


def bundle_teacher(model: Predictor, labels: LabelSpace, preparation: Preparation | None = None) -> Teacher:
    """Return any model as a teacher of `labels` on pixels as `preparation` makes them.

    Its classes are matched by name, its pixels are resized where it takes others. Without a `preparation` it is seen
    only at the first batch whether boxes can be distilled.

    Raises:
        RefusedError: it has other classes, or is for another task, or its boxes do not come from a net like ours.
    """
    lacking = sorted(set(labels.names) - set(model.labels.names))
    if lacking:
        raise RefusedError(
            f"expected a teacher that knows {lacking[0]!r}, found one of {', '.join(model.labels.names[:8])}",
            fix="use a teacher trained on the same classes",
            code="teacher_classes",
        )
    soft = learner_of(model.task_name).soft
    known = None if preparation is None else preparation.size_hw
    if soft.same_size and known not in (None, model.preparation.size_hw):
        raise RefusedError(
            "a teacher of boxes must take images of the student's size", fix="train the student with its --imgsz"
        )
    order = torch.from_numpy(labels.mapping_to(model.labels).astype(np.int64))
    theirs = model.preparation

    def answer(pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        raw = model.raw(_as_taken(pixels, theirs))
        size = (int(pixels.shape[1]), int(pixels.shape[2]))
        return soft.of_raw(raw, order, size).to(pixels.device), None

    return Teacher(model.task_name, answer)


def distil_step(
    teacher: Teacher, *, share: float = 0.7, softness: float = SOFTNESS, looks: float | None = None
) -> Step:
    """Return a step that learns `share` from the teacher's answers and the rest from the labels.

    Classes: the softened distributions (Hinton et al. 2015, "Distilling the knowledge in a neural network"); masks:
    the same at every pixel; boxes: the scores at every grid point, and where the teacher sees something its
    distribution of the sides (Zheng et al. 2022, "Localization distillation"). Where the teacher is a net, `looks`
    weighs how similar the attention of both is at every resolution they share (Zagoruyko & Komodakis 2017, "Paying more
    attention to attention").
    """
    soft = learner_of(teacher.task).soft
    looks = soft.looks if looks is None else looks
    watch = _Watch(teacher.net) if teacher.net is not None and looks else None

    def step(state: TrainState, batch: Batch) -> Tensor:
        with torch.no_grad():
            if watch is not None:
                watch.begin(state.net)
            wanted = teacher.answer(batch.pixels)

        def loss_of(outputs: Any) -> Tensor:
            loss = share * soft.apart(soft.of_net(outputs), wanted, softness)
            if share < 1:
                loss = loss + (1 - share) * own_loss(state, batch, outputs)
            return loss if watch is None else loss + looks * watch.difference()

        try:
            return update(state, batch, loss_of)
        finally:
            if watch is not None:
                watch.end()

    return step


def _as_taken(pixels: Tensor, preparation: Preparation) -> Any:
    """Return batches of pixels in the size and the channels that another model takes, uint8 (N, H, W, C)."""
    size, channels = preparation.size_hw, preparation.shape[2]
    if tuple(pixels.shape[1:3]) == tuple(size) and pixels.shape[3] == channels:
        return pixels.cpu().numpy()
    x = pixels.permute(0, 3, 1, 2).float()
    if x.shape[2:] != tuple(size):
        x = functional.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
    if x.shape[1] != channels:
        x = x.expand(-1, 3, -1, -1) if channels == 3 else x.mean(1, keepdim=True)
    return x.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


class _Watch:
    """Sees where both nets look: at every resolution the last map of each, squared and summed over its channels."""

    def __init__(self, teacher: PixelNet) -> None:
        self._teacher = teacher
        self._seen: tuple[dict[Any, Tensor], dict[Any, Tensor]] = ({}, {})
        self._hooks: list[Any] = []

    def begin(self, student: nn.Module) -> None:
        self._seen = ({}, {})
        for net, seen in zip((self._teacher, student), self._seen, strict=True):
            for module in _leaves(net):
                self._hooks.append(module.register_forward_hook(_note(seen)))

    def end(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def difference(self) -> Tensor:
        theirs, own = self._seen
        shared = [k for k in own if k in theirs and min(k) >= 2]
        if not shared:
            return next(iter(own.values())).new_zeros(()) if own else torch.zeros(())
        parts = [(_look(own[k]) - _look(theirs[k]).detach()).pow(2).mean() for k in shared]
        return torch.stack(parts).mean() * _LOOKS


def _leaves(net: nn.Module) -> Sequence[nn.Module]:
    return [m for m in net.modules() if not any(True for _ in m.children()) and not isinstance(m, nn.Dropout)]


def _note(seen: dict[Any, Tensor]) -> Any:
    def hook(_: nn.Module, __: Any, found: Any) -> None:
        if isinstance(found, Tensor) and found.ndim == 4 and found.is_floating_point():
            seen[tuple(found.shape[2:])] = found

    return hook


def _look(x: Tensor) -> Tensor:
    flat = x.pow(2).mean(1).flatten(1)
    unit: Tensor = functional.normalize(flat, dim=1) * flat.shape[1] ** 0.5
    return unit
