"""Published classifiers as bodies, whose attention can be read."""

__all__ = ["HubBody", "head_of"]

from typing import Any

import torch
from torch import Tensor, nn

from eyewright.nets.hub_library import BGR, quiet_transformers


class HubBody(nn.Module):
    """A transformers model as a body: normalised float (N, C, H, W) in, logits (N, classes) out.

    `order` puts the checkpoint's classes into ours; where the classes are new, it is 0, 1, 2, ...
    """

    order: Tensor

    def __init__(self, model: Any, order: list[int]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("order", torch.tensor(order, dtype=torch.int64))
        self.head_names = tuple(f"model.{name}." for name in head_of(model))

    def forward(self, x: Tensor) -> Tensor:
        if getattr(self.model.config, BGR, False):
            x = x.flip(1)
        out: Tensor = self.model(pixel_values=x).logits[:, self.order]
        return out

    @property
    def grid_hw(self) -> tuple[int, int]:
        """How many patches a column and a row of the image hold; (0, 0) for a net without global attention."""
        config = getattr(self.model.config, "vision_config", self.model.config)
        patch, size = getattr(config, "patch_size", None), getattr(config, "image_size", None)
        if not isinstance(patch, int) or not isinstance(size, int) or hasattr(config, "window_size"):
            return 0, 0
        return size // patch, size // patch

    def attentions(self, x: Tensor) -> list[Tensor]:
        """Return every layer's weights, (N, heads, T, T); the last tokens are the patches, row by row."""
        before = getattr(self.model.config, "_attn_implementation", None)
        with quiet_transformers():
            try:
                # The fused kernels do not keep the weights.
                self.model.set_attn_implementation("eager")
                found = getattr(self.model(pixel_values=x, output_attentions=True), "attentions", None)
            finally:
                if before:
                    self.model.set_attn_implementation(before)
        return list(found or ())


def head_of(model: Any) -> list[str]:
    """Return the parts of a transformers model that answer in classes: what it has in addition to its base model."""
    parts = {name.split(".")[0] for name, _ in model.named_parameters()}
    base = model.base_model_prefix
    if base in parts:
        return sorted(parts - {base})
    return [name for name in ("classifier", "head", "fc") if name in parts]
