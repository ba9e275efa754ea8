"""Predict many files: read ahead on every core, and prepared where they are decoded."""

__all__ = ["PredictOptions", "in_chunks", "is_pixels", "names_files", "predict_files", "predict_given"]

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import numpy as np

from eyewright.core.errors import EyewrightError, UnreadableImageError, UsageError
from eyewright.core.inputs import say_inputs
from eyewright.core.prediction import Prediction
from eyewright.core.task import task_of
from eyewright.imaging.ahead import MOST_HELD, read_prepared
from eyewright.imaging.decode import Pixels, file_bytes, name_unreadable, read_image
from eyewright.imaging.given import given_source
from eyewright.imaging.headers import Limits
from eyewright.imaging.reduction import Prepared
from eyewright.imaging.sources.files import (
    file_stamp,
    iter_images,
    list_sources,
    read_named,
    read_prepared_files,
    reread_file,
)

if TYPE_CHECKING:
    from eyewright.bundle.load import Bundle

_T = TypeVar("_T")


class PredictOptions(TypedDict, total=False):
    """What `Bundle.predict` takes by name: the options of `Bundle.predict_images`."""

    conf: float | None
    iou: float | None
    flip: bool
    tile: int | None
    overlap: float


def predict_files(
    bundle: "Bundle",
    items: Sequence[Path | str],
    *,
    conf: float | None = None,
    iou: float | None = None,
    places: Sequence[int] | None = None,
) -> Iterator[tuple[Path | str, Prediction | UnreadableImageError]]:
    """Yield what `Bundle.predict_files` yields; `places` are the index of each prediction instead of 0, 1, ….

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
    index = iter(range(len(items)) if places is None else places)
    folders: dict[Path, Path] = {}
    found = read_prepared_files(items, bundle.preparation)
    for chunk in in_chunks(found, bundle.at_once, _source_bytes):
        good = [one for _, one in chunk if isinstance(one, Prepared)]
        predictions = iter(_of_prepared(bundle, good, conf, iou))
        for item, one in chunk:
            if isinstance(one, Prepared):
                yield item, _with_source(next(predictions), item, next(index), folders)
            else:
                next(index)
                yield item, one


def predict_given(
    bundle: "Bundle", source: Any, *, conf: float | None = None, iou: float | None = None
) -> Iterator[Prediction]:
    """Yield a prediction for each image of a source of `iter_images`, files and bytes prepared where they are decoded.

    `image`, `plot` and `save` of a prediction decode the file again: of one file from its bytes, which are kept, of
    several from the file, which must not have changed.

    Raises:
        InputError: nothing there, or an image cannot be read.
        UsageError: as `predict_files`, or something else than an image.
    """
    if isinstance(source, str | Path) and str(source) != "-" and Path(source).is_file():
        (path,) = (Path(item) for item in list_sources(source))
        with name_unreadable(str(path)):
            data = file_bytes(path, Limits())
            yield _of_bytes(bundle, data, str(path.resolve()), conf, iou)
        return
    for group, entries in itertools.groupby(_flat(source), key=lambda entry: _group(entry[1])):
        if group == "files":
            places, items = zip(*entries, strict=True)
            for _, one in predict_files(bundle, items, conf=conf, iou=iou, places=places):
                if isinstance(one, UnreadableImageError):
                    raise one
                yield one
            continue
        for index, item in entries:
            if isinstance(item, bytes):
                yield _of_bytes(bundle, item, "bytes", conf, iou, index)
                continue
            for frame in iter_images(item):
                (shown,) = bundle.predict_images([frame.image], conf=conf, iou=iou)
                yield replace(shown, source=frame.origin, index=index, image=frame.image)


def _flat(source: Any, index: int | None = None) -> Iterator[tuple[int, Any]]:
    """Yield the files, bytes and arrays of a source, each with its place: that in the list, if there is one."""
    if isinstance(source, list | tuple):
        for k, item in enumerate(source):
            yield from _flat(given_source(item), k if index is None else index)
    elif isinstance(source, str | Path):
        for k, item in enumerate(list_sources(source)):
            yield k if index is None else index, item
    else:
        yield index or 0, source


def _group(item: Any) -> str:
    """Return "files" for what is predicted together with its neighbours."""
    return "files" if isinstance(item, str | Path) and item != "-" else "others"


def _of_bytes(
    bundle: "Bundle", data: bytes, origin: str, conf: float | None, iou: float | None, index: int = 0
) -> Prediction:
    (found,) = read_prepared([data], bundle.preparation)
    if isinstance(found, EyewrightError):
        raise found
    (prediction,) = _of_prepared(bundle, [found], conf, iou)
    return replace(prediction, source=origin, index=index, image=partial(_pixels, data))


def _pixels(data: bytes) -> Pixels:
    return np.asarray(read_image(data), np.uint8)


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


def is_pixels(source: Any) -> bool:
    """Return whether a source is an array or a list of arrays, which nobody decodes."""
    if isinstance(source, list | tuple):
        return all(isinstance(item, np.ndarray) for item in source)
    return isinstance(source, np.ndarray)


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
