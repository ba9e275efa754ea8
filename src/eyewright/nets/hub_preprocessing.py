"""What a checkpoint's own processor does to images, as a Preparation that is proven to do the same."""

__all__ = ["Preprocessing", "prove_preprocessing", "side_of"]

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import numpy as np

from eyewright.core.errors import CheckpointError, UsageError
from eyewright.core.rng import generator
from eyewright.imaging.preparation import Preparation
from eyewright.nets.hub_library import pixel_values, quiet_transformers

_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box"}


class Preprocessing(NamedTuple):
    """The preparation (None where any size does), mean and std a channel, and whether blue comes first."""

    preparation: Preparation | None
    scaling: dict[str, list[float]]
    bgr: bool


def prove_preprocessing(name: str, processor: Any, *, any_size: bool) -> Preprocessing:
    """Return what a processor does, proven on images.

    Raises:
        CheckpointError: it does something that a Preparation cannot.
    """
    with quiet_transformers():
        mean = [float(v) for v in (processor.image_mean if processor.do_normalize else (0.0,) * 3)]
        std = [float(v) for v in (processor.image_std if processor.do_normalize else (1.0,) * 3)]
        # EfficientNet divides by the deviation twice, MobileViT takes blue first.
        twice = [s * s for s in std]
        scalings = ((std, False), (std, True), (twice, False))
        for preparation in _candidates(processor):
            for deviation, bgr in scalings:
                scaling = {"mean": mean, "std": deviation}
                if _same(processor, preparation, scaling, bgr=bgr):
                    return Preprocessing(preparation, scaling, bgr)
        if any_size and (side_of(processor.size, "shortest_edge") or side_of(processor.size, "longest_edge")):
            for deviation, bgr in scalings:
                scaling = {"mean": mean, "std": deviation}
                if _same_scaling(processor, scaling, bgr=bgr):
                    return Preprocessing(None, scaling, bgr)
    raise CheckpointError(
        f"{name!r} prepares images by {type(processor).__name__} in a way that cannot be repeated here",
        fix="use another model",
    )


def _candidates(processor: Any) -> Iterator[Preparation]:
    """Yield the preparations that a processor may mean; which one it does mean is tried on images."""

    filter = cast(Any, _FILTERS.get(int(getattr(processor, "resample", 2) or 0), "bilinear"))
    size, crop = processor.size, getattr(processor, "crop_size", None) or {}
    height, width, shorter = side_of(size, "height"), side_of(size, "width"), side_of(size, "shortest_edge")
    crop_hw = (side_of(crop, "height", "shortest_edge"), side_of(crop, "width", "shortest_edge"))
    part = getattr(processor, "crop_pct", None)
    tried: list[dict[str, Any]] = []
    if height and width:
        tried.append({"size_hw": (height, width)})
        if all(crop_hw):
            tried.append({"size_hw": crop_hw, "inner": height})
    if shorter:
        if all(crop_hw):
            tried.append({"size_hw": crop_hw, "fit": "shorter", "inner": shorter})
            if part:
                tried.append({"size_hw": crop_hw, "fit": "shorter", "inner": int(shorter / part)})
            # LeViT's own: the shorter side to 256/224 of the size.
            tried.append({"size_hw": crop_hw, "fit": "shorter", "inner": int((256 / 224) * shorter)})
        if part:
            tried.append({"size_hw": (shorter, shorter), "fit": "shorter", "inner": int(shorter / part)})
        tried.append({"size_hw": (shorter, shorter)})
    for options in tried:
        try:
            yield Preparation(filter=filter, **options)
        except UsageError:
            continue


def side_of(size: Any, *names: str) -> int:
    """Return the first of some sides that a processor's size states, else 0."""
    values = [getattr(size, n, None) or (size.get(n) if isinstance(size, Mapping) else None) for n in names]
    return next((int(v) for v in values if v), 0)


def _same_scaling(processor: Any, scaling: Mapping[str, list[float]], *, bgr: bool) -> bool:
    """Return whether pixels are scaled as the processor scales them, where it is told to keep an image's size."""
    image = generator(0, "hub", "scaling").integers(0, 256, (64, 96, 3), dtype=np.uint8)
    mean, std = (np.array(scaling[k], np.float64)[:, None, None] for k in ("mean", "std"))
    try:
        theirs = np.asarray(pixel_values(processor, image, kind="np", do_resize=False, do_pad=False))[0]
    except (ValueError, TypeError, KeyError, RuntimeError):
        return False
    ours = (image.transpose(2, 0, 1) / 255.0 - mean) / std
    ours = ours[::-1] if bgr else ours
    return theirs.shape == ours.shape and bool(np.abs(theirs - ours).max() <= 1e-4)


def _same(processor: Any, preparation: Preparation, scaling: Mapping[str, list[float]], *, bgr: bool) -> bool:
    """Return whether a preparation gives what the processor gives, on noise of unusual shapes."""
    rng = generator(0, "hub", "preparation")
    mean, std = (np.array(scaling[k], np.float64)[:, None, None] for k in ("mean", "std"))
    for shape in ((301, 203, 3), (97, 410, 3), (30, 20, 3), (1, 9, 3), (7, 1, 3)):
        image = rng.integers(0, 256, shape, dtype=np.uint8)
        try:
            theirs = np.asarray(pixel_values(processor, image, kind="np"))[0]
        except (ValueError, TypeError, KeyError, RuntimeError):
            return False
        ours = (preparation(image)[0].transpose(2, 0, 1) / 255.0 - mean) / std
        ours = ours[::-1] if bgr else ours
        if theirs.shape != ours.shape or np.abs(theirs - ours).max() > 1e-4:
            return False
    return True
