"""Explain what a model predicts, as heatmaps."""

__all__ = ["explain"]

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eyewright.core.files import write_bytes, write_json
from eyewright.core.task import task_of
from eyewright.imaging import shrink, write_image
from eyewright.imaging.clips import iter_examples
from eyewright.lifecycle.datasets import PathLike
from eyewright.lifecycle.opening import load_model

if TYPE_CHECKING:
    from eyewright.bundle import Bundle
    from eyewright.core.predictor import Predictor
    from eyewright.explanation import Explanation
    from eyewright.training.run import Run


def explain(
    model: "Run | Bundle | PathLike",
    source: Any,
    *,
    method: str | None = None,
    label: str | None = None,
    out: PathLike | None = None,
    seed: int = 0,
) -> "list[Explanation]":
    """Explain predictions as heatmaps, each with a faithfulness verdict; with `out` overlays and arrays are written.

    `method` is one of `eyewright.explanation.METHODS`; a run defaults to "gradcam", a bundle to "occlusion",
    boxes and masks to "rise".

    Raises:
        UsageError: an unknown method or label, or a gradient method on a bundle.
    """
    from eyewright.explanation import explain_images

    predictor, owner = load_model(model)
    task_of(predictor.task_name).require("explain")
    frames = list(iter_examples(source, predictor.preparation.clip))
    found = explain_images(
        predictor,
        [f.image for f in frames],
        method=method or _default_method(predictor, owner),
        net=None if owner is None else owner.net,
        label=label,
        sources=[f.origin for f in frames],
        seed=seed,
    )
    if out is not None:
        _write_explanations(found, Path(out))
    return found


def _default_method(predictor: "Predictor", owner: "Run | None") -> str:
    if task_of(predictor.task_name).reads == "clip":
        return "occlusion"
    if "gradients" not in task_of(predictor.task_name).options:
        return "rise"
    return "gradcam" if owner is not None else "occlusion"


def _write_explanations(found: "Sequence[Explanation]", out: Path) -> None:
    for i, one in enumerate(found):
        stem = f"{i:03d}-{Path(one.source).stem or 'image'}-{one.method}"
        write_image(out / f"{stem}.png", shrink(one.overlay(), 448))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, heat=one.heat, pixels=one.pixels)
        write_bytes(out / f"{stem}.npz", buffer.getvalue())
    write_json(out / "explanations.json", [e.to_json() for e in found])
