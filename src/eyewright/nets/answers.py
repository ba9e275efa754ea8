"""From what a net gives while it learns to what a bundle promises: named arrays, the same in torch and in ONNX."""

__all__ = ["BoxAnswers", "ClassAnswers", "MaskAnswers"]

from typing import Any

import torch
from torch import Tensor, nn

from eyewright.nets.pixels import PixelNet


class ClassAnswers(nn.Module):
    """Logits to probabilities (N, C), softened by a temperature."""

    names: tuple[str, ...] = ("probabilities",)

    def __init__(self, net: PixelNet, temperature: float) -> None:
        super().__init__()
        self.net, self.temperature = net, temperature

    def forward(self, image: Tensor) -> Tensor:
        return torch.softmax(self.net(image) / self.temperature, 1)


class MaskAnswers(nn.Module):
    """Logits to probabilities (N, C, H, W), by softmax over the classes."""

    names: tuple[str, ...] = ("probabilities",)

    def __init__(self, net: PixelNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        # Softmax over an axis that is not the last one takes ONNX Runtime several times as long as all of the net.
        logits = self.net(image)
        parts = torch.exp(logits - logits.amax(1, keepdim=True))
        return parts / parts.sum(1, keepdim=True)


class BoxAnswers(nn.Module):
    """A detector's outputs to boxes (N, A, 4) in prepared pixels and scores (N, A, C); with masks what makes them."""

    def __init__(self, net: PixelNet, *, masks: bool) -> None:
        super().__init__()
        self.net, self.masks = net, masks
        self.names: tuple[str, ...] = ("boxes", "scores", *(("coefficients", "prototypes") if masks else ()))

    def boxes_and_scores(self, found: Any, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return boxes and scores of the net's outputs for images of `size_hw`."""
        body: Any = self.net.body
        if hasattr(body, "boxes_and_scores"):
            boxes, scores = body.boxes_and_scores(found, size_hw)
            return boxes, scores
        bins = torch.arange(found.sides.shape[-1], dtype=found.sides.dtype, device=found.sides.device)
        reach = (found.sides.softmax(-1) * bins).sum(-1) * body.strides[:, None]
        boxes = torch.cat([body.points - reach[..., :2], body.points + reach[..., 2:]], -1)
        return boxes, found.logits.sigmoid()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        found = self.net(image)
        answers = self.boxes_and_scores(found, (int(image.shape[1]), int(image.shape[2])))
        return (*answers, found.coefficients, found.prototypes) if self.masks else answers
