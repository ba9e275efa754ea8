"""Published nets of mask queries as bodies, for segmentation and instances."""

__all__ = ["HubMasks", "HubQueries"]

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class HubQueries(NamedTuple):
    """What a net of mask queries says: `logits` (N, Q, C + 1), the last for "nothing"; `masks` (N, Q, h, w), in logits.

    An instance's mask is that of its own query: `coefficients` (N, Q, Q) choose it of the `prototypes`, which are the
    masks again. `loss` is the net's own, (1,), where it was given targets; else empty.
    """

    logits: Tensor
    masks: Tensor
    coefficients: Tensor
    prototypes: Tensor
    loss: Tensor


class HubMasks(nn.Module):
    """A transformers net of mask queries (Cheng et al. 2022, "Mask2Former", and related models) as a body.

    Normalised float (N, C, H, W) in; for `instances` `HubQueries` out, which find each object once. Else logits
    (N, classes, H, W): what the queries' classes and masks say of a pixel together, as the paper's section 3.1 does.
    Its own loss needs the targets while it looks: `takes_targets` says so. What is to be ignored in masks is part of
    no target; the loss takes it for ground on which no class lies.
    """

    order: Tensor
    takes_targets = True
    suppression = 1.0

    def __init__(self, model: Any, order: list[int], *, instances: bool) -> None:
        super().__init__()
        self.model = model
        self.instances = instances
        self.register_buffer("order", torch.tensor(order, dtype=torch.int64))
        self.head_names = tuple(
            f"model.{name}" for name, _ in model.named_parameters() if "class_" in name or "class_head" in name
        )

    def forward(self, x: Tensor, targets: Any = None) -> Any:
        if targets is None:
            found = self.model(pixel_values=x)
            if not self.instances:
                return self._semantic(found, (x.shape[-2], x.shape[-1]))
            return self._queries(found, x.new_zeros(0))
        masks, classes = self._instances(targets) if self.instances else self._classes(targets)
        found = self.model(pixel_values=x, mask_labels=masks, class_labels=classes)
        return self._queries(found, found.loss.reshape(1))

    def objective(self, found: HubQueries, targets: Any) -> Tensor:
        """Return the loss that the net computed of itself."""
        return found.loss[0]

    def boxes_and_scores(self, found: HubQueries, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the boxes around the queries' masks in prepared pixels, and scores in the order of our classes: the
        probability of the class times the mean probability of the mask's pixels."""
        inside = (found.masks > 0).to(found.masks.dtype)
        height, width = inside.shape[-2:]
        sides = []
        for shown, length, full in (
            (inside.amax(2), width, size_hw[1]),
            (inside.amax(3), height, size_hw[0]),
        ):
            place = torch.arange(length, dtype=shown.dtype, device=shown.device)
            # Where nothing is, the low corner is past the high one, and the score is 0.
            low = (place * shown + length * (1 - shown)).amin(2)
            high = ((place + 1) * shown).amax(2)
            sides.append((low * (full / length), torch.maximum(low, high) * (full / length)))
        (x0, x1), (y0, y1) = sides
        area = inside.sum((2, 3))
        sure = (found.masks.sigmoid() * inside).sum((2, 3)) / area.clamp(min=1)
        scores = found.logits.softmax(-1)[..., :-1][..., self.order] * sure[..., None]
        return torch.stack([x0, y0, x1, y1], -1), scores

    def _queries(self, found: Any, loss: Tensor) -> HubQueries:
        logits, masks = found.class_queries_logits, found.masks_queries_logits
        choose = torch.eye(masks.shape[1], dtype=masks.dtype, device=masks.device)
        return HubQueries(logits, masks, choose.repeat(masks.shape[0], 1, 1), masks, loss)

    def _semantic(self, found: Any, size_hw: tuple[int, int]) -> Tensor:
        classes = found.class_queries_logits.softmax(-1)[..., :-1]
        masks = functional.interpolate(
            found.masks_queries_logits, size=size_hw, mode="bilinear", align_corners=False
        ).sigmoid()
        each = torch.einsum("nqc,nqhw->nchw", classes, masks)[:, self.order]
        return torch.log(each + 1e-6)

    def _classes(self, masks: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return each image's classes as masks, float (k, H, W), and the checkpoint's numbers of them, (k,)."""
        shapes, labels = [], []
        for one in masks:
            there = torch.unique(one)
            there = there[there < len(self.order)]
            shapes.append((one[None] == there[:, None, None]).float())
            labels.append(self.order[there.long()])
        return shapes, labels

    def _instances(self, targets: tuple[Tensor, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return each image's objects as masks, float (k, H, W), and the checkpoint's class numbers, (k,)."""
        shapes, labels = [], []
        for rows, owner in zip(*targets, strict=True):
            real = (rows[:, 4] >= 0).nonzero()[:, 0]
            mask = owner[None] == (real + 1)[:, None, None]
            # What others hide whole cannot be outlined.
            seen = mask.flatten(1).any(1)
            shapes.append(mask[seen].float())
            labels.append(self.order[rows[real[seen], 4].long()])
        return shapes, labels
