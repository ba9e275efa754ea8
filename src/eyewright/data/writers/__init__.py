"""Write a dataset in another format: images as they are, marks as it can hold them, and what is lost, said."""

from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

from eyewright.core.errors import OutputError, UsageError, spelling_hint
from eyewright.core.files import checked_output, staged_folder
from eyewright.core.progress import track_progress
from eyewright.data.dataset import Dataset
from eyewright.data.objects import Objects
from eyewright.data.writers.boxes import write_coco, write_voc, write_yolo
from eyewright.data.writers.masks import write_cityscapes, write_imagefolder, write_masks
from eyewright.data.writers.mot import write_mot
from eyewright.data.writers.tools import write_label_studio, write_labelme
from eyewright.data.writers.work import Work, Written

__all__ = ["WRITERS", "Written", "write_dataset"]


def write_dataset(dataset: Dataset, to: str, out: Path, *, quiet: bool = True) -> Written:
    """Write `dataset` in the format `to` to the folder `out`, which is not there yet, or empty.

    Without `quiet` a terminal shows the progress.

    Raises:
        UsageError: an unknown format, or one that cannot hold such a dataset at all.
        OutputError: `out` holds something, or cannot be written.
        DatasetError: an image that cannot be read.
    """
    if to not in WRITERS:
        raise UsageError(f"unknown format {to!r}", fix=spelling_hint(to, WRITERS))
    tasks, writer = WRITERS[to]
    if dataset.task not in tasks:
        # Pictures of class numbers hold no objects, whatever they are read for.
        has_objects = any(isinstance(sample.target, Objects) for sample in dataset.samples[:1])
        raise UsageError(
            f"expected a dataset for {' or '.join(tasks)} to write {to!r}, found one for {dataset.task!r}",
            fix=f"read it with --task {tasks[0]}" if has_objects else "choose another format",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{str(out)!r} is not empty", fix="choose another --out")
    with (
        staged_folder(out) as stage,
        checked_output(out),
        track_progress("writing", len(dataset), quiet=quiet) as advance,
    ):
        work = Work(dataset, stage, advance=advance)
        writer(work)
    lost = tuple(f"{reason} ({n})" for reason, n in work.lost.items())
    unusable = work.unusable if work.unusable.n else None
    return Written(out, dataset.task, len(dataset), work.objects, lost, unusable=unusable)


WRITERS: MappingProxyType[str, tuple[tuple[str, ...], Callable[[Work], None]]] = MappingProxyType(
    {
        "coco": (("instance", "detect", "segment"), write_coco),
        "yolo": (("instance", "detect"), write_yolo),
        "voc": (("detect", "instance"), write_voc),
        "labelme": (("instance", "detect", "segment"), write_labelme),
        "label-studio": (("instance", "detect", "segment"), write_label_studio),
        "masks": (("segment",), write_masks),
        "cityscapes": (("segment",), write_cityscapes),
        "mot": (("detect", "instance"), write_mot),
        "imagefolder": (("classify", "detect", "instance"), write_imagefolder),
    }
)
"""Formats that are written, with the tasks whose datasets each can hold."""
