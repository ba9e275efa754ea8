"""Published classifiers of clips (VideoMAE, ViViT, TimeSformer) as bodies, and their processors frame by frame."""

__all__ = ["FrameProcessor", "HubClips", "open_processor"]

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyewright.nets.hub_classifier import head_of
from eyewright.nets.hub_library import BGR, pixel_values

# What newer checkpoints name needs torchvision; these do the same with Pillow.
_BY_PILLOW = {
    "VideoMAEVideoProcessor": "VideoMAEImageProcessorPil",
    "TimesformerVideoProcessor": "VideoMAEImageProcessorPil",
    "VivitVideoProcessor": "VivitImageProcessor",
}
_KEYS = (
    "do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor", "offset",
    "do_normalize", "image_mean", "image_std",
)  # fmt: skip


class HubClips(nn.Module):
    """A transformers model of clips as a body: normalised strips (N, C, T * H, W) in, logits (N, classes) out.

    `order` puts the checkpoint's classes into ours; where the classes are new, it is 0, 1, 2, ...
    """

    order: Tensor

    def __init__(self, model: Any, order: list[int]) -> None:
        super().__init__()
        self.model, self.frames = model, int(model.config.num_frames)
        self.register_buffer("order", torch.tensor(order, dtype=torch.int64))
        self.head_names = tuple(f"model.{name}." for name in head_of(model))

    def forward(self, strips: Tensor) -> Tensor:
        n, channels, height, width = strips.shape
        clips = strips.reshape(n, channels, self.frames, height // self.frames, width).transpose(1, 2)
        if getattr(self.model.config, BGR, False):
            clips = clips.flip(2)
        out: Tensor = self.model(pixel_values=clips).logits[:, self.order]
        return out


class FrameProcessor:
    """A processor of clips as one of images: what it does to a frame. Mean and std are found by black and white frames,
    because ViViT's rescales in a way of its own."""

    do_normalize = True

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self.size, self.crop_size = processor.size, getattr(processor, "crop_size", None) or {}
        if not getattr(processor, "do_center_crop", True):
            self.crop_size = {}
        self.resample = getattr(processor, "resample", 2)
        black, white = (self(np.full((64, 64, 3), v, np.uint8))["pixel_values"][0].mean((1, 2)) for v in (0, 255))
        std = 1 / (white - black)
        self.image_mean, self.image_std = (-black * std).tolist(), std.tolist()

    def __call__(self, image: NDArray[np.uint8], **options: Any) -> dict[str, NDArray[np.float32]]:
        found = np.asarray(pixel_values(self._processor, [image, image], kind="np"), np.float32)
        return {"pixel_values": found[0, :1]}


def open_processor(transformers: Any, folder: Path) -> FrameProcessor:
    """Return the processor of a checkpoint of clips, frame by frame.

    Raises:
        ValueError: there is none, or none that is known.
    """
    files = [f for f in ("video_preprocessor_config.json", "preprocessor_config.json") if (folder / f).is_file()]
    if not files:
        raise ValueError("found no preprocessor_config.json")
    told = json.loads((folder / files[0]).read_text("utf-8"))
    kind = str(told.get("video_processor_type") or told.get("image_processor_type") or "")
    kind = kind or str(told.get("feature_extractor_type", "")).replace("FeatureExtractor", "ImageProcessor")
    plain = _BY_PILLOW.get(kind.replace("ImageProcessorPil", "VideoProcessor").replace("Image", "Video"), "")
    if not plain:
        raise ValueError(f"unknown processor {kind!r}")
    return FrameProcessor(getattr(transformers, plain)(**{k: told[k] for k in _KEYS if k in told}))
