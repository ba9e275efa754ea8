"""Builder functions that give a `torch.nn.Module`."""

from eyewright.nets.classifiers import conv_net, mlp, photo_net, quick_net, resnet
from eyewright.nets.pixels import PixelNet, parameter_count

__all__ = ["PixelNet", "conv_net", "mlp", "parameter_count", "photo_net", "quick_net", "resnet"]
