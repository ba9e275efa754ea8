"""Builder functions that give a `torch.nn.Module`."""

from eyewright.nets.attention import attention, positional_encoding, vit
from eyewright.nets.classifiers import conv_net, mlp, photo_net, quick_net, resnet
from eyewright.nets.detectors import Detections, spot_mask_net, spot_net
from eyewright.nets.generators import flow_net, gan_net
from eyewright.nets.partial import partial_net
from eyewright.nets.pixels import PixelNet, parameter_count
from eyewright.nets.restorers import fine_net
from eyewright.nets.segmenters import outline_net

__all__ = [
    "Detections",
    "PixelNet",
    "attention",
    "conv_net",
    "fine_net",
    "flow_net",
    "gan_net",
    "mlp",
    "outline_net",
    "parameter_count",
    "partial_net",
    "photo_net",
    "positional_encoding",
    "quick_net",
    "resnet",
    "spot_mask_net",
    "spot_net",
    "vit",
]
