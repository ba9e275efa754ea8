"""Predict many files: read ahead on every core, and prepared where they are decoded."""

__all__ = ["in_chunks", "names_files", "predict_files"]

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from eyewright.core.errors import UnreadableImageError, UsageError
from eyewright.core.inputs import say_inputs
from eyewright.core.prediction import Prediction
from eyewright.core.task import task_of
from eyewright.imaging.ahead import MOST_HELD, Prepared
from eyewright.imaging.sources.files import file_stamp, read_named, read_prepared_files, reread_file

if TYPE_CHECKING:
    from eyewright.bundle.load import Bundle

_T = TypeVar("_T")


def predict_files(
    bundle: "Bundle", items: Sequence[Path | str], *, conf: float | None = None, iou: float | None = None
) -> Iterator[tuple[Path | str, Prediction | UnreadableImageError]]:
    """Yield what `Bundle.predict_files` yields.

    Raises:
        UsageError: the model takes something else than one image, or `iou` is not supported by its task.
    """
    if not bundle.reads_prepared:
        raise UsageError(
            f"this is supported for models of whole images only; this one takes {say_inputs(bundle.inputs)}",
            fix="predict with Bundle.predict_images",
        )
    for name in ("conf", "iou"):
        if {"conf": conf, "iou": iou}[name] is not None:
            task_of(bundle.task_name).require(name)
    index = 0
    folders: dict[Path, Path] = {}
    found = read_prepared_files(items, bundle.preparation)
    for chunk in in_chunks(found, bundle.at_once, _source_bytes):
        good = [one for _, one in chunk if isinstance(one, Prepared)]
        predictions = iter(_of_prepared(bundle, good, conf, iou))
        for item, one in chunk:
            if isinstance(one, Prepared):
                yield item, _with_source(next(predictions), item, index, folders)
            else:
                yield item, one
            index += 1


def _of_prepared(
    bundle: "Bundle", images: Sequence[Prepared], conf: float | None, iou: float | None
) -> Sequence[Prediction]:
    if not images:
        return []
    placements = [bundle.preparation.place(image.source_hw) for image in images]
    return bundle.read(bundle.raw(np.stack([image.pixels for image in images])), placements, conf=conf, iou=iou)


def _with_source(prediction: Prediction, item: Path | str, index: int, folders: dict[Path, Path]) -> Prediction:
    if item == "-":
        return replace(prediction, source="-", index=index)
    path = Path(item)
    if path.is_symlink():
        path = path.resolve()
    else:
        # Resolving takes as long as predicting a small image, and files share their folders.
        if path.parent not in folders:
            folders[path.parent] = path.parent.resolve()
        path = folders[path.parent] / path.name
    again = partial(reread_file, path, file_stamp(path), read_named)
    return replace(prediction, source=str(path), index=index, image=again)


def names_files(source: Any) -> bool:
    """Return whether a source is a folder or glob: of one file the image is kept."""
    return isinstance(source, str | Path) and str(source) != "-" and not Path(source).is_file()


def in_chunks(frames: Iterable[_T], at_once: int, pixels_of: Callable[[_T], int]) -> Iterator[list[_T]]:
    """Yield at most `at_once` frames together, and fewer where they are large."""
    chunk: list[_T] = []
    held = 0
    for frame in frames:
        chunk.append(frame)
        held += pixels_of(frame)
        if len(chunk) == at_once or held > MOST_HELD:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def _source_bytes(entry: tuple[Path | str, Prepared | UnreadableImageError]) -> int:
    """Return the bytes of the pixels that were decoded: what takes long to read is not waited for by others."""
    found = entry[1]
    return 3 * found.source_hw[0] * found.source_hw[1] if isinstance(found, Prepared) else 0
