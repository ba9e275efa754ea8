"""Published detectors and segmenters as bodies: what a Hugging Face net gives, in the form that training takes."""

__all__ = ["HubDetections", "HubDetector", "HubMasks", "HubQueries", "HubSegmenter"]

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class HubDetections(NamedTuple):
    """What a published detector says: `logits` (N, Q, C), `boxes` (N, Q, 4), centre and size in shares of the sides.

    `loss` is its own, (1,), where it was given targets; else empty.
    """

    logits: Tensor
    boxes: Tensor
    loss: Tensor


class HubDetector(nn.Module):
    """A transformers detector as a body: normalised float (N, C, H, W) in, `HubDetections` out.

    `order` puts the checkpoint's classes into ours. Its own loss needs the targets while it looks, so that training
    passes them in: `takes_targets` says so. It gives each object once, so no boxes are suppressed.
    """

    order: Tensor
    takes_targets = True
    suppression = 1.0

    def __init__(self, model: Any, order: list[int], *, one_background: bool) -> None:
        super().__init__()
        self.model = model
        self.one_background = one_background
        self.register_buffer("order", torch.tensor(order, dtype=torch.int64))
        self.head_names = tuple(
            f"model.{name}" for name, _ in model.named_parameters() if "class_" in name or "score_head" in name
        )

    def forward(self, x: Tensor, targets: Tensor | None = None) -> HubDetections:
        height, width = x.shape[-2:]
        if targets is None:
            found = self.model(pixel_values=x)
            return HubDetections(found.logits, found.pred_boxes, x.new_zeros(0))
        side = x.new_tensor([width, height])
        labels = []
        for rows in targets:
            real = rows[rows[:, 4] >= 0]
            centre, size = (real[:, :2] + real[:, 2:4]) / 2 / side, (real[:, 2:4] - real[:, :2]) / side
            labels.append(
                {
                    "class_labels": self.order[real[:, 4].long()],
                    "boxes": torch.cat([centre, size], 1).clamp(1e-4, 1.0),
                }
            )
        found = self.model(pixel_values=x, labels=labels)
        return HubDetections(found.logits, found.pred_boxes, found.loss.reshape(1))

    def objective(self, found: HubDetections, targets: Any) -> Tensor:
        """Give the loss that the net computed of itself."""
        return found.loss[0]

    def boxes_and_scores(self, found: HubDetections, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Give boxes x0 y0 x1 y1 in prepared pixels and scores in the order of our classes."""
        height, width = size_hw
        centre, size = found.boxes[..., :2], found.boxes[..., 2:]
        side = torch.tensor([width, height, width, height], dtype=found.boxes.dtype, device=found.boxes.device)
        boxes = torch.cat([centre - size / 2, centre + size / 2], -1) * side
        scores = found.logits.softmax(-1)[..., :-1] if self.one_background else found.logits.sigmoid()
        return boxes, scores[..., self.order]


class HubSegmenter(nn.Module):
    """A transformers segmenter as a body: normalised float (N, C, H, W) in, logits (N, classes, H, W) out."""

    order: Tensor

    def __init__(self, model: Any, order: list[int]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("order", torch.tensor(order, dtype=torch.int64))
        self.head_names = ("model.decode_head.", "model.auxiliary_head.", "model.classifier.")

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(pixel_values=x).logits[:, self.order]
        if logits.shape[-2:] == x.shape[-2:]:
            return logits
        return functional.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=False)


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
    """A transformers net of mask queries (Cheng et al. 2022, "Mask2Former", and its kin) as a body.

    Normalised float (N, C, H, W) in; for `instances` `HubQueries` out, which give each object once. Else logits
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
        """Give the loss that the net computed of itself."""
        return found.loss[0]

    def boxes_and_scores(self, found: HubQueries, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Give the boxes around the queries' masks in prepared pixels, and scores in the order of our classes: how sure
        the class is, times how sure the pixels of the mask are."""
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
        """Give each image's classes as masks, float (k, H, W), and the checkpoint's numbers of them, (k,)."""
        shapes, labels = [], []
        for one in masks:
            there = torch.unique(one)
            there = there[there < len(self.order)]
            shapes.append((one[None] == there[:, None, None]).float())
            labels.append(self.order[there.long()])
        return shapes, labels

    def _instances(self, targets: tuple[Tensor, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Give each image's objects as masks, float (k, H, W), and the checkpoint's numbers of their classes, (k,)."""
        shapes, labels = [], []
        for rows, owner in zip(*targets, strict=True):
            real = (rows[:, 4] >= 0).nonzero()[:, 0]
            mask = owner[None] == (real + 1)[:, None, None]
            # What others hide whole cannot be outlined.
            seen = mask.flatten(1).any(1)
            shapes.append(mask[seen].float())
            labels.append(self.order[rows[real[seen], 4].long()])
        return shapes, labels
