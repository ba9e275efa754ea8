"""Smooth, convolve, pool: the linear neighbourhood operations, and those that stop at edges."""

__all__ = ["KERNELS", "convolve", "pool", "smooth"]

from types import MappingProxyType

import numpy as np

from eyewright.imaging.steps.arrays import Pixels, back_to, opencv, per_channel, to_unit, top_of

KERNELS = MappingProxyType(
    {
        "identity": ((0, 0, 0), (0, 1, 0), (0, 0, 0)),
        "sharpen": ((0, -1, 0), (-1, 5, -1), (0, -1, 0)),
        "emboss": ((-2, -1, 0), (-1, 1, 1), (0, 1, 2)),
        "outline": ((-1, -1, -1), (-1, 8, -1), (-1, -1, -1)),
        "box": ((1 / 9,) * 3,) * 3,
        "gaussian": ((1 / 16, 2 / 16, 1 / 16), (2 / 16, 4 / 16, 2 / 16), (1 / 16, 2 / 16, 1 / 16)),
    }
)
"""Kernels with a name."""


def smooth(image: Pixels, *, method: str = "gaussian", size: float = 2.0, edge: float = 25.0) -> Pixels:
    """Smooth.

    - gaussian: weights exp(-d^2 / 2 size^2).
    - box: the mean of a square of 2 * size + 1 pixels a side.
    - guided: linear in the image itself within each window, so that edges of more than about `edge` levels stay
      (He, Sun and Tang, 2010); `size` is the window's radius.
    - edge: the recursive domain transform (Gastal and Oliveira, 2011); `size` in pixels, `edge` in levels.
    """
    cv2 = opencv()
    if method == "gaussian":
        soft: Pixels = cv2.GaussianBlur(image, (0, 0), size)
        return soft
    if method == "box":
        side = 2 * max(0, round(size)) + 1
        boxed: Pixels = cv2.blur(image, (side, side))
        return boxed
    unit = to_unit(image)
    if method == "guided":
        eps = (edge / 255) ** 2
        radius = max(1, round(size))
        done = per_channel(unit, lambda plane: cv2.ximgproc.guidedFilter(plane, plane, radius, eps))
        return back_to(image, done)
    found = cv2.ximgproc.dtFilter(unit, unit, max(size, 0.5), edge / 255, mode=cv2.ximgproc.DTF_RF)
    return back_to(image, found)


def convolve(image: Pixels, *, kernel: str | tuple[tuple[float, ...], ...] = "sharpen", offset: float = 0.0) -> Pixels:
    """Convolve with any kernel: out[y, x] = sum over i, j of kernel[i, j] * in[y - i + ci, x - j + cj] + offset.

    (ci, cj) is the kernel's middle. This is convolution, with the kernel turned by 180 degrees, not the correlation
    that nets call so; for symmetric kernels the two agree. `offset` is in levels of 0-255. Edges are mirrored. The
    result is rounded and clipped to the image's depth.
    """
    cv2 = opencv()
    table = np.array(KERNELS[kernel] if isinstance(kernel, str) else kernel, np.float32)
    turned = np.ascontiguousarray(table[::-1, ::-1])
    anchor = (table.shape[1] - 1 - table.shape[1] // 2, table.shape[0] - 1 - table.shape[0] // 2)
    found: Pixels = cv2.filter2D(
        image, -1, turned, anchor=anchor, delta=offset * top_of(image) / 255, borderType=cv2.BORDER_REFLECT_101
    )
    return found


def pool(image: Pixels, *, method: str = "max", size: int = 2, stride: int = 0) -> Pixels:
    """Pool: out[y, x] = max or mean of in[y * stride : y * stride + size, x * stride : x * stride + size].

    `stride` 0 means `size`. Windows that would reach over the edge are left out, as in a net. The mean is rounded.
    """
    stride = stride or size
    height, width = image.shape[:2]
    size = min(size, height, width)
    rows, columns = (height - size) // stride + 1, (width - size) // stride + 1
    if method == "average" and stride == size:
        cv2 = opencv()
        whole = np.ascontiguousarray(image[: rows * size, : columns * size])
        mean: Pixels = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
        return mean

    def shifted(y: int, x: int) -> Pixels:
        """Give, for every window, its pixel at (y, x)."""
        return image[y : y + (rows - 1) * stride + 1 : stride, x : x + (columns - 1) * stride + 1 : stride]

    # Window by window would be slow; pixel by pixel of the window, all windows at once, is not.
    if method == "max":
        largest = shifted(0, 0).copy()
        for y, x in np.ndindex(size, size):
            np.maximum(largest, shifted(y, x), out=largest)
        return largest
    total = np.zeros(shifted(0, 0).shape, np.float64)
    for y, x in np.ndindex(size, size):
        total += shifted(y, x)
    return np.asarray(np.rint(total / size**2), image.dtype)
