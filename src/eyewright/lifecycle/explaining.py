"""Explain what a model predicts, as heatmaps."""

__all__ = ["explain", "explain_each"]

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eyewright.core.errors import UnreadableImageError
from eyewright.core.files import write_bytes, write_json
from eyewright.core.predictor import inputs_of
from eyewright.core.task import task_of
from eyewright.imaging import shrink, write_image
from eyewright.imaging.clips import iter_examples
from eyewright.imaging.preparation import image_preparation
from eyewright.imaging.sources import list_sources, read_files
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
    return list(explain_each(model, source, method=method, label=label, out=out, seed=seed))


def explain_each(
    model: "Run | Bundle | PathLike",
    source: Any,
    *,
    method: str | None = None,
    label: str | None = None,
    out: PathLike | None = None,
    seed: int = 0,
    left_out: "Callable[[str, UnreadableImageError], None] | None" = None,
) -> "Iterator[Explanation]":
    """Yield the explanations of `explain`, each when it is made; with `left_out`, files that cannot be read are passed
    to it, and the others are explained.

    Raises:
        UsageError: as `explain`.
        UnreadableImageError: a file cannot be read, and there is no `left_out`; or none can be read.
    """
    from eyewright.explanation import explain_images

    predictor, owner = load_model(model)
    task_of(predictor.task_name).require("explain")
    rows: list[dict[str, Any]] = []
    seen = 0
    preparation = image_preparation(inputs_of(predictor), "explain")
    for image, name in _examples(source, preparation.clip, left_out):
        seen += 1
        for one in explain_images(
            predictor,
            [image],
            method=method or _default_method(predictor, owner),
            net=None if owner is None else owner.net,
            label=label,
            sources=[name],
            seed=seed,
        ):
            if out is not None:
                _write_explanation(one, len(rows), Path(out))
            rows.append(one.to_json())
            yield one
    if left_out is not None and not seen:
        raise UnreadableImageError("none of the images can be read", fix="see the lines above")
    if out is not None:
        write_json(Path(out) / "explanations.json", rows)


def _examples(
    source: Any, clip: Any, left_out: "Callable[[str, UnreadableImageError], None] | None"
) -> "Iterator[tuple[Any, str]]":
    """Yield pixels and name of each image or clip; of paths, those that cannot be read go to `left_out`."""
    paths = source if isinstance(source, list | tuple) else [source]
    if clip is not None or left_out is None or not all(isinstance(p, str | Path) for p in paths):
        yield from ((f.image, f.origin) for f in iter_examples(source, clip))
        return
    items = [item for path in paths for item in list_sources(path)]
    for item, found in read_files(items):
        if not isinstance(found, UnreadableImageError):
            # The names are those that `iter_images` gives.
            yield found, "-" if item == "-" else str(Path(item).resolve())
        elif len(items) == 1:
            raise found
        else:
            left_out(str(item), found)


def _default_method(predictor: "Predictor", owner: "Run | None") -> str:
    if task_of(predictor.task_name).reads == "clip":
        return "occlusion"
    if "gradients" not in task_of(predictor.task_name).options:
        return "rise"
    return "gradcam" if owner is not None else "occlusion"


def _write_explanation(one: "Explanation", index: int, out: Path) -> None:
    stem = f"{index:03d}-{Path(one.source).stem or 'image'}-{one.method}"
    write_image(out / f"{stem}.png", shrink(one.overlay(), 448))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, heat=one.heat, pixels=one.pixels)
    write_bytes(out / f"{stem}.npz", buffer.getvalue())
