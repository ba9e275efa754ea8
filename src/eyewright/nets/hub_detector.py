"""Published detectors as bodies: what a Hugging Face net answers, in the form that training takes."""

__all__ = ["HubDetections", "HubDetector"]

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class HubDetections(NamedTuple):
    """What a published detector says: `logits` (N, Q, C), `boxes` (N, Q, 4), centre and size as fractions of the sides.

    `loss` is its own, (1,), where it was given targets; else empty.
    """

    logits: Tensor
    boxes: Tensor
    loss: Tensor


class HubDetector(nn.Module):
    """A transformers detector as a body: normalised float (N, C, H, W) in, `HubDetections` out.

    `order` puts the checkpoint's classes into ours. Its own loss needs the targets while it looks, so that training
    passes them in: `takes_targets` says so. It finds each object once, so no boxes are suppressed.
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
        """Return the loss that the net computed of itself."""
        return found.loss[0]

    def boxes_and_scores(self, found: HubDetections, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return boxes x0 y0 x1 y1 in prepared pixels and scores in the order of our classes."""
        height, width = size_hw
        centre, size = found.boxes[..., :2], found.boxes[..., 2:]
        side = torch.tensor([width, height, width, height], dtype=found.boxes.dtype, device=found.boxes.device)
        boxes = torch.cat([centre - size / 2, centre + size / 2], -1) * side
        scores = found.logits.softmax(-1)[..., :-1] if self.one_background else found.logits.sigmoid()
        return boxes, scores[..., self.order]
