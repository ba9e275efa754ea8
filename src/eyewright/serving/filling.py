"""In a worker: fill a part of an image and encode the whole, in its own depth and with its opacity."""

__all__ = ["fill_picture"]

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.load import Bundle
from eyewright.bundle.restoring import Filler, fills_holes
from eyewright.core.errors import EyewrightError, LimitError, UnreadableImageError, UsageError
from eyewright.imaging.encode import encode_image
from eyewright.imaging.headers import Limits
from eyewright.imaging.inpainting import inpaint_pixels
from eyewright.imaging.layers import read_hole, read_layers
from eyewright.imaging.steps.arrays import opencv
from eyewright.serving.messages import Answer, Job

_PNG_LEVEL = 4


def fill_picture(bundle: Bundle, job: Job, limits: Limits, decoded: Callable[[], None]) -> Answer:
    """Return an image as PNG with a part of it filled; by the bundle, where it fills holes and the method allows it.

    `decoded` is called once both files are read: the server has another limit of time for what follows.

    Raises:
        UnreadableImageError: the image or the mask cannot be read, and which.
        UsageError: a mask of another size, an empty hole, one that covers everything, or a method that does not fit.
        LimitError: over the limits, or it needs more memory than there is.
    """
    asked = job.filling
    assert asked is not None
    split = len(job.data) - asked.mask_bytes
    pixels, alpha = read_layers(job.data[:split], limits)
    if asked.box is None:
        try:
            hole = read_hole(job.data[split:], limits)
        except UnreadableImageError as error:
            raise type(error)(f"the mask: {error.message}", fix=error.fix, code=error.code) from error
    else:
        hole = _boxed(pixels.shape[:2], asked.box)
    decoded()
    net = Filler(bundle) if fills_holes(bundle) and asked.method in ("auto", "net") else None
    try:
        done = inpaint_pixels(
            pixels, hole, method=asked.method, grow=asked.grow, feather=asked.feather, seed=0, net=net
        )
    except opencv().error as error:
        if "memory" in str(error):
            short = "the image needs more memory than allowed"
            raise LimitError(short, fix="shrink it", code="decode_memory") from error
        raise EyewrightError("the hole cannot be filled", fix="choose another method", code="model_failed") from error
    image = done.image
    if alpha is not None:
        # What is filled is seen.
        alpha = np.where(done.changed, np.iinfo(alpha.dtype).max, alpha).astype(alpha.dtype)
        colour = image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)
        image = np.concatenate([colour, alpha[..., None]], 2)
    n = int(done.changed.sum())
    about = {"method": done.method, "pixels": n, "changed": round(n / done.changed.size, 6)}
    return Answer(job.id, prediction=msgspec.json.encode(about), picture=encode_image(image, png_level=_PNG_LEVEL))


def _boxed(size_hw: tuple[int, ...], box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    left, top, width, height = box
    hole = np.zeros(size_hw[:2], bool)
    hole[top : top + height, left : left + width] = True
    if not hole.any():
        raise UsageError(
            f"expected a box inside the image of {size_hw[1]}x{size_hw[0]} pixels, found {left},{top},{width},{height}",
            fix="move it",
        )
    return hole
