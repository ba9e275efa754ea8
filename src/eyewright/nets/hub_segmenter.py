"""Published segmenters as bodies."""

__all__ = ["HubSegmenter"]

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


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
