"""Explanations that look inside the net, by captum: Grad-CAM and integrated gradients."""

__all__ = ["grad_cam", "integrated_gradients"]

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyewright.core.errors import MissingExtraError, UsageError
from eyewright.nets.pixels import PixelNet


def grad_cam(net: PixelNet, pixels: NDArray[np.uint8], target: int) -> NDArray[np.float32]:
    """Return Grad-CAM's heat (Selvaraju et al. 2017) at the last convolution, float32 (h, w) in [0, 1].

    `pixels` is one prepared image, uint8 (h, w, C).

    Raises:
        UsageError: the net has no convolution.
    """
    convolutions = [m for m in net.body.modules() if isinstance(m, nn.Conv2d)]
    if not convolutions:
        raise UsageError("Grad-CAM needs a net with convolutions", fix="use --method occlusion")
    attr = _captum()
    scaled = _scaled(net, pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        heat = attr.LayerGradCam(net.body, convolutions[-1]).attribute(scaled, target=target, relu_attributions=True)
    large = nn.functional.interpolate(heat.detach(), pixels.shape[:2], mode="bilinear", align_corners=False)
    return _to_unit(large[0, 0])


def integrated_gradients(
    net: PixelNet, pixels: NDArray[np.uint8], target: int, *, steps: int = 32
) -> NDArray[np.float32]:
    """Return integrated gradients (Sundararajan et al. 2017) from the mean colour, float32 (h, w) in [0, 1].

    The channels' attributions are summed, what speaks against the class is cut off, and the map is smoothed over
    three pixels, since single pixels are noise to the eye.
    """
    attr = _captum()
    scaled = _scaled(net, pixels)
    baseline = scaled.mean((2, 3), keepdim=True).expand_as(scaled)
    found = attr.IntegratedGradients(net.body).attribute(
        scaled, baselines=baseline, target=target, n_steps=steps, internal_batch_size=steps
    )
    heat = found.detach().sum(1, keepdim=True).clamp(min=0).float()
    return _to_unit(nn.functional.avg_pool2d(heat, 3, stride=1, padding=1)[0, 0])


def _scaled(net: PixelNet, pixels: NDArray[np.uint8]) -> Tensor:
    device = next(net.parameters()).device
    with torch.no_grad():
        scaled: Tensor = net.scale(torch.from_numpy(np.ascontiguousarray(pixels[None])).to(device))
    return scaled.contiguous()


def _to_unit(heat: Tensor) -> NDArray[np.float32]:
    values = heat.cpu().numpy()
    result: NDArray[np.float32] = (values / max(float(values.max()), 1e-12)).astype(np.float32)
    return result


def _captum() -> Any:
    try:
        import captum.attr
    except ImportError as error:
        raise MissingExtraError("captum is not installed", fix="pip install 'eyewright[train]'") from error
    attr: Any = captum.attr
    return attr
