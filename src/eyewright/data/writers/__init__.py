"""Write a dataset in another format: images as they are, marks as it can hold them, and what is lost, said."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from eyewright.core.errors import OutputError, UsageError, spelling_hint
from eyewright.core.files import checked_output, staged_folder
from eyewright.core.progress import track_progress
from eyewright.core.quoting import quoted
from eyewright.data.dataset import Dataset
from eyewright.data.targets.captions import CAPTIONS
from eyewright.data.targets.label import LABEL
from eyewright.data.targets.mask import MASK
from eyewright.data.targets.numbers import NUMBERS
from eyewright.data.targets.objects import OBJECTS
from eyewright.data.targets.tags import TAGS
from eyewright.data.targets.target import TargetKind, tasks_of
from eyewright.data.targets.text import TEXT
from eyewright.data.writers.boxes import write_coco, write_voc, write_yolo
from eyewright.data.writers.caption_table import write_caption_table
from eyewright.data.writers.clips import (
    write_clip_folders,
    write_clip_table,
    write_kinetics,
    write_mmaction,
    write_ucf101,
)
from eyewright.data.writers.label_table import write_label_table
from eyewright.data.writers.masks import write_cityscapes, write_class_folders, write_crops, write_masks
from eyewright.data.writers.mot import write_mot
from eyewright.data.writers.shards import write_parquet, write_webdataset_shards
from eyewright.data.writers.tables import write_number_table
from eyewright.data.writers.tag_table import write_tag_table
from eyewright.data.writers.text_table import write_text_table
from eyewright.data.writers.tools import write_label_studio, write_labelme
from eyewright.data.writers.work import Work, Written, objects_of_mask

__all__ = ["CLIP_WRITERS", "OUTLINED", "WRITERS", "Written", "write_dataset"]


def write_dataset(dataset: Dataset, to: str, out: Path, *, quiet: bool = True) -> Written:
    """Write `dataset` in the format `to` to the folder `out`, which is new or empty.

    Without `quiet` a terminal shows the progress.

    Raises:
        UsageError: an unknown format, or one that cannot hold such a dataset at all.
        OutputError: `out` holds something, or cannot be written.
        DatasetError: an image that cannot be read.
    """
    if to not in WRITERS:
        raise UsageError(f"unknown format {to!r}", fix=spelling_hint(to, WRITERS))
    if (to in CLIP_WRITERS) != (dataset.reads == "clip"):
        fits = [name for name in WRITERS if (name in CLIP_WRITERS) == (dataset.reads == "clip")]
        raise UsageError(
            f"expected a dataset of {'clips' if to in CLIP_WRITERS else 'images'} to write {to!r}, "
            f"found one of {dataset.reads}s",
            fix=f"choose {', '.join(fits)}",
        )
    writer = WRITERS[to].get(dataset.kind)
    if writer is None:
        tasks = [name for kind in WRITERS[to] for name in tasks_of(kind)]
        raise UsageError(
            f"expected a dataset of {' or '.join(map(str, WRITERS[to]))} to write {to!r}, found {dataset.kind}",
            fix=f"choose another format, or read it with --task {' or '.join(tasks)} if it holds them",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{quoted(out)} is not empty", fix="choose another --out")
    with (
        staged_folder(out) as stage,
        checked_output(out),
        track_progress("writing", len(dataset), quiet=quiet) as advance,
    ):
        work = Work(dataset, stage, advance=advance)
        writer(work)
    lost = tuple(f"{reason} ({n})" for reason, n in work.lost.items())
    return Written(out, dataset.task, len(dataset), work.objects, lost, work.account())


_PACKED = (LABEL, OBJECTS, MASK, NUMBERS, TAGS, TEXT, CAPTIONS)
_Writers = Mapping[TargetKind, Callable[[Work], None]]

WRITERS: Mapping[str, _Writers] = MappingProxyType(
    {
        "coco": {OBJECTS: write_coco, MASK: partial(write_coco, objects_of=objects_of_mask)},
        "yolo": {OBJECTS: write_yolo},
        "voc": {OBJECTS: write_voc},
        "labelme": {OBJECTS: write_labelme, MASK: partial(write_labelme, objects_of=objects_of_mask)},
        "label-studio": {OBJECTS: write_label_studio, MASK: partial(write_label_studio, objects_of=objects_of_mask)},
        "masks": {MASK: write_masks},
        "cityscapes": {MASK: write_cityscapes},
        "mot": {OBJECTS: write_mot},
        "csv": {
            LABEL: write_label_table,
            NUMBERS: write_number_table,
            TAGS: write_tag_table,
            TEXT: write_text_table,
            CAPTIONS: write_caption_table,
        },
        "webdataset": dict.fromkeys(_PACKED, write_webdataset_shards),
        "parquet": dict.fromkeys(_PACKED, write_parquet),
        "imagefolder": {LABEL: write_class_folders, OBJECTS: write_crops},
        "clips": {LABEL: write_clip_folders},
        "clips-csv": {LABEL: write_clip_table},
        "kinetics": {LABEL: write_kinetics},
        "ucf101": {LABEL: write_ucf101},
        "mmaction": {LABEL: write_mmaction},
    }
)
"""Formats that are written, with the kinds of target that each can hold."""

CLIP_WRITERS = frozenset({"clips", "clips-csv", "kinetics", "ucf101", "mmaction"})
"""Formats of clips; all others are of images."""

OUTLINED = frozenset({"coco", "yolo", "labelme", "label-studio", "webdataset", "parquet"})
"""Formats of objects that have room for their outlines."""
