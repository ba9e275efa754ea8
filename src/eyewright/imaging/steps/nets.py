"""Steps that a net can do: the net is a bundle on this machine, opened late and once."""

__all__ = ["check_nets", "denoise", "refuse_nets", "upscale"]

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from eyewright.core.errors import UsageError
from eyewright.core.quoting import quoted
from eyewright.imaging.steps import denoise as classical
from eyewright.imaging.steps.arrays import Pixels, back_to, opencv, to_unit

# A bundle lies above this room: it is found by its place, as tasks are.
_OPENER = "eyewright.bundle.restoring:open_restorer"

METHODS = ("bicubic", "lanczos")
"""How images are enlarged without a net."""


def _open(place: str) -> Callable[..., Any]:
    module, _, name = _OPENER.partition(":")
    # A batch has a worker for every core.
    opened: Callable[..., Any] = getattr(import_module(module), name)(place, threads=1)
    return opened


def denoise(image: Pixels, *, net: str = "", method: str = classical.METHODS[0], **given: Any) -> Pixels:
    """Take noise away by a bundle that was trained to, or by a filter (`imaging.steps.denoise`).

    Raises:
        UsageError: both a net and a method, or a net that does something else.
    """
    if not net:
        return classical.denoise(image, method=method, **given)
    if method != classical.METHODS[0]:
        raise UsageError("denoise: expected a method or a net, found both", fix="leave one out", code="step_parameter")
    found: Pixels = _denoiser(net)(image).image
    return found


def _denoiser(place: str) -> Any:
    opened: Any = _open(place)
    if opened.degradation.scale != 1:
        raise UsageError(f"denoise: {place!r} enlarges images", fix="use the step upscale", code="step_parameter")
    return opened


def _enlarger(place: str, factor: int) -> Any:
    opened: Any = _open(place)
    if opened.degradation.scale != factor:
        raise UsageError(
            f"upscale: expected a net that enlarges {factor} times, found {quoted(opened.degradation)}",
            fix="use another net",
            code="step_parameter",
        )
    return opened


def check_nets(steps: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Open the bundles that steps, their names and parameters, will need, before the first image is processed.

    Raises:
        InputError: nothing is there.
        BundleError, UsageError: it is damaged, or for something else.
    """
    for name, values in steps:
        if values.get("net") and name == "denoise":
            _denoiser(values["net"])
        elif values.get("net"):
            _enlarger(values["net"], values.get("factor", 2))


def upscale(image: Pixels, *, factor: int = 2, method: str = METHODS[0], net: str = "") -> Pixels:
    """Enlarge by OpenCV's bicubic or Lanczos filter, or by a bundle that was trained to.

    >>> import numpy as np
    >>> upscale(np.full((2, 3), 7, np.uint8), factor=2).shape
    (4, 6)

    Raises:
        UsageError: a net of another factor.
    """
    if net:
        found: Pixels = _enlarger(net, factor)(image).image
        return found
    cv2 = opencv()
    how = cv2.INTER_CUBIC if method == "bicubic" else cv2.INTER_LANCZOS4
    size = (image.shape[1] * factor, image.shape[0] * factor)
    return back_to(image, cv2.resize(to_unit(image), size, interpolation=how))


def refuse_nets(values: Any) -> None:
    """Refuse a step that opens a bundle, where steps come from a file that may be somebody else's.

    Raises:
        UsageError: there is one.
    """
    if values.get("net"):
        raise UsageError("a step with a net cannot come before a net", fix="process the images first")
