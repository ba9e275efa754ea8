"""Published networks without their heads, as transformers builds them, and the embeddings that they give."""

__all__ = ["described", "open_body"]

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eyewright.core.errors import CheckpointError
from eyewright.nets.hub_library import need_weights

# Weights of an output layer on top, which attention does not go through.
_ON_TOP = ("pooler.", "visual_projection", "text_projection", "logit_", "head.")
# The weights of a layer: what stands before its number, and the number.
_LAYER = re.compile(r"(.*?[a-z]\.)(\d+)\.")


def open_body(hf: Any, folder: Path, name: str, **options: Any) -> Any:
    """Return the body of a checkpoint. A pooler that it lacks is left out: a random one would give random embeddings.

    Raises:
        CheckpointError: it lacks other weights.
    """
    try:
        model, found = hf.AutoModel.from_pretrained(
            folder,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=False,
            **options,
        )
    except RuntimeError as error:
        if "ignore_mismatched_sizes" not in str(error):
            raise
        raise CheckpointError(
            f"the config.json of {name!r} describes a net of other sizes than its weights have", fix="download it again"
        ) from error
    _need_layers(name, model.state_dict().keys(), found["unexpected_keys"])
    # Of a pair, projections and heads make the embeddings.
    needless = _ON_TOP if not hasattr(model, "get_image_features") else ("logit_",)
    need_weights(name, (n for n in found["missing_keys"] if not any(part in n for part in needless)))
    if any(n.startswith("pooler.") for n in found["missing_keys"]):
        model.pooler = None
    return model


def _need_layers(name: str, used: Iterable[str], unused: Iterable[str]) -> None:
    """Refuse weights of more layers than the configuration has: the net would be another one than was trained.

    Raises:
        CheckpointError: there are such layers.
    """
    built = {found.groups() for key in used if (found := _LAYER.match(key))}
    stacks = {stack for stack, _ in built}
    over = sorted(
        # Other unused weights of a layer that is built are buffers of older versions.
        key
        for key in unused
        if (found := _LAYER.match(key)) and found.group(1) in stacks and found.groups() not in built
    )
    if over:
        raise CheckpointError(
            f"{name!r} has weights of more layers than its config.json says, such as {over[0]}", fix="download it again"
        )


def described(model: Any, pixels: torch.Tensor) -> NDArray[np.float32]:
    """Return the embedding of each prepared image, float32 (N, D), by a transformers model."""
    with torch.inference_mode():
        found = model.get_image_features(pixels) if hasattr(model, "get_image_features") else model(pixel_values=pixels)
    if not isinstance(found, torch.Tensor):
        pooled = getattr(found, "pooler_output", None)
        found = pooled if pooled is not None else found.last_hidden_state
    if found.ndim == 4:
        found = found.mean((2, 3))
    elif found.ndim == 3:
        found = found.mean(1)
    values: NDArray[np.float32] = found.float().numpy()
    return values.reshape(len(values), -1)
