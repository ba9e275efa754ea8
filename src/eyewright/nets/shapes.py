"""A net whose channels were removed is its catalogue net with the shapes of its weights."""

__all__ = ["take_shapes"]

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def take_shapes(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Set every layer of `net` to the shape that its weights have, so that the state dict of a pruned net fits.

    Layers whose shapes agree already stay as they are. Only numbers of channels and features may differ.

    >>> wide, narrow = nn.Linear(8, 4), nn.Linear(8, 2)
    >>> take_shapes(wide, narrow.state_dict())
    >>> wide.out_features, tuple(wide(torch.zeros(1, 8)).shape)
    (2, (1, 2))

    Raises:
        RuntimeError: a weight has another number of axes, or another kernel.
    """
    for name, module in net.named_modules():
        changed = False
        prefix = f"{name}." if name else ""
        for kind in (module._parameters, module._buffers):
            for key, value in list(kind.items()):
                wanted = weights.get(prefix + key)
                if value is None or wanted is None or value.shape == wanted.shape:
                    continue
                if value.shape[2:] != wanted.shape[2:] or value.ndim != wanted.ndim:
                    raise RuntimeError(f"{prefix + key} has the shape {tuple(wanted.shape)}, not {tuple(value.shape)}")
                blank = torch.empty(wanted.shape, dtype=value.dtype, device=value.device)
                # By its name, since recurrent layers hold their weights in a list as well.
                setattr(module, key, nn.Parameter(blank, value.requires_grad) if key in module._parameters else blank)
                changed = True
        if changed:
            _tell(module)


def _tell(module: nn.Module) -> None:
    """Bring what a layer says of itself in line with its weights."""
    if isinstance(module, nn.Conv2d):
        outward, inward = module.weight.shape[:2]
        # One filter a channel stays so; other groups keep their number.
        module.groups = outward if module.groups == module.out_channels and module.groups > 1 else module.groups
        module.out_channels, module.in_channels = outward, inward * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.BatchNorm2d):
        module.num_features = len(module.weight)
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, nn.RNNBase):
        module.input_size = int(module.get_parameter("weight_ih_l0").shape[1])
