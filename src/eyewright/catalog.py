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
        "quick_net": ("eyewright.nets:quick_net", "default for small images: whitened stem, 0.1-0.2 M weights"),
        "photo_net": ("eyewright.nets:photo_net", "default for photographs: whitened stem, residual, ~0.9 M weights"),
        "conv_net": ("eyewright.nets:conv_net", "the founding article's network, as printed"),
        "mlp": ("eyewright.nets:mlp", "multilayer perceptron, 256 and 128 hidden"),
        "resnet": ("eyewright.nets:resnet", "residual network of basic blocks, ~2.8 M weights"),
        "vit": ("eyewright.nets:vit", "small vision transformer whose attention can be read, ~0.8 M weights"),
    }
)
"""Networks by the name that `--model` takes: where the builder is, and a line about it."""


def build_of(name: str) -> Callable[..., Any]:
    """Give the builder for a catalogue name, `hf:` and a folder or id, or the user's own `package.module:function`.

    A builder is called as `builder(n_classes, channels=..., size_hw=...)` and gives a `torch.nn.Module` from
    normalised float (N, C, H, W) to logits (N, n_classes).

    Raises:
        UsageError: no such name, or the user's module cannot be imported.
        CheckpointError: no such Hugging Face checkpoint.
    """
    if name in MODELS:
        module, _, function = MODELS[name][0].partition(":")
        builder: Callable[..., Any] = getattr(importlib.import_module(module), function)
        return builder
    if name.startswith("hf:"):
        from eyewright.nets.hub import hub_builder

        return hub_builder(name)
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
