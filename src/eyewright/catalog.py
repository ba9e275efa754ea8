"""What there is, by name: literal dicts, imported late so that listing them costs nothing."""

__all__ = ["MODELS", "build_of"]

import importlib
import os
import sys
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from eyewright.core.errors import UsageError, spelling_hint

MODELS = MappingProxyType(
    {
        "quick_net": (
            "classify", "eyewright.nets:quick_net", "default for small images: whitened stem, 0.1-0.2 M weights",
        ),
        "photo_net": (
            "classify", "eyewright.nets:photo_net", "default for photographs: whitened stem, residual, ~0.9 M weights",
        ),
        "conv_net": ("classify", "eyewright.nets:conv_net", "the founding article's network, as printed"),
        "mlp": ("classify", "eyewright.nets:mlp", "multilayer perceptron, 256 and 128 hidden"),
        "resnet": ("classify", "eyewright.nets:resnet", "residual network of basic blocks, ~2.8 M weights"),
        "vit": (
            "classify", "eyewright.nets:vit", "small vision transformer whose attention can be read, ~0.8 M weights",
        ),
        "spot_net": (
            "detect", "eyewright.nets:spot_net", "default detector: one stage, anchor-free, ~1.3 M weights",
        ),
        "outline_net": (
            "segment", "eyewright.nets:outline_net", "default segmenter: encoder-decoder, sub-pixel, ~1.2 M weights",
        ),
        "spot_mask_net": (
            "instance", "eyewright.nets:spot_mask_net", "default for instances: spot_net with a mask for every object",
        ),
    }
)  # fmt: skip
"""Networks by the name that `--model` takes: the task, where the builder is, and a line about it."""


def build_of(name: str, task: str = "classify") -> Callable[..., Any]:
    """Give the builder for a catalogue name, `hf:` and a folder or id, or the user's own `package.module:function`.

    A builder is called as `builder(n_classes, channels=..., size_hw=...)` and gives a `torch.nn.Module` from
    normalised float (N, C, H, W) to what the task takes: logits (N, n_classes), for "segment" (N, n_classes, H, W),
    for "detect" and "instance" a `nets.Detections`.

    Raises:
        UsageError: no such name, one of another task, or the user's module cannot be imported.
        CheckpointError: no such Hugging Face checkpoint.
    """
    if name in MODELS:
        own_task, place, _ = MODELS[name]
        if own_task != task:
            several = ", ".join(n for n, (t, _, _) in MODELS.items() if t == task)
            raise UsageError(f"{name!r} is for the task {own_task!r}, not for {task!r}", fix=f"use {several}")
        module, _, function = place.partition(":")
        builder: Callable[..., Any] = getattr(importlib.import_module(module), function)
        return builder
    if name.startswith("hf:"):
        from eyewright.nets.hub import hub_builder
        from eyewright.training.learner import learner_of

        return hub_builder(name, learner_of(task).hub)
    module, colon, function = name.partition(":")
    if not colon:
        raise UsageError(f"unknown model {name!r}", fix=spelling_hint(name, MODELS), code="unknown_model")
    # An installed command does not look in the folder it is called in, where the user's own module usually lies.
    here = os.getcwd()
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        own: Callable[..., Any] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"cannot import the model {name!r}: {error}", fix="use package.module:function") from error
    finally:
        if added:
            sys.path.remove(here)
    return own
