"""Activation functions by name."""

__all__ = ["ACTIVATIONS", "activation_of"]

from types import MappingProxyType

from torch import nn

from eyewright.core.errors import UsageError, spelling_hint

ACTIVATIONS = MappingProxyType(
    {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
)
"""Activation functions by the name that `--activation` takes."""


def activation_of(name: str) -> type[nn.Module]:
    """Return the module class of an activation.

    Raises:
        UsageError: an unknown name; the nearest is suggested.
    """
    if name not in ACTIVATIONS:
        raise UsageError(f"unknown activation {name!r}", fix=spelling_hint(name, ACTIVATIONS))
    return ACTIVATIONS[name]
