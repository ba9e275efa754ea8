"""Builder functions that give a `torch.nn.Module`."""

from eyewright.nets.attention import attention, positional_encoding, vit
from eyewright.nets.classifiers import conv_net, mlp, photo_net, quick_net, resnet
from eyewright.nets.pixels import PixelNet, parameter_count

__all__ = [
    "PixelNet",
    "attention",
    "conv_net",
    "mlp",
    "parameter_count",
    "photo_net",
    "positional_encoding",
    "quick_net",
    "resnet",
    "vit",
]
