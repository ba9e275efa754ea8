"""Read datasets as people have them: each reader looks at the file names and says whether this is its format.

ImageFolder (with or without train/val/test), MNIST idx, Hugging Face imagefolder with metadata, a CSV of path and
label, the annotations of detection and segmentation (`data.readers`), and a zip of any of them.
"""

__all__ = ["DATASET_FORMATS", "DATASET_TASKS", "OUTLINES_TOO", "open_dataset"]

import gzip
import io
import posixpath
import re
import struct
import unicodedata
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError, UnreadableImageError, UsageError, spelling_hint
from eyewright.core.labels import LabelSpace
from eyewright.data.account import Account, Reason
from eyewright.data.dataset import BACKGROUND, Dataset, Sample, SplitName
from eyewright.data.ignoring import ignore_classes
from eyewright.data.objects import Objects
from eyewright.data.readers.annotated import ANNOTATED_FORMATS, has_boxes, read_annotated
from eyewright.data.readers.listing import EXTENSIONS, SPLITS, Found, Images, Notes, used_labels
from eyewright.data.tables import (
    GROUP_COLUMNS,
    PATH_COLUMNS,
    column_of,
    is_label_table,
    left_out_images,
    names_images,
    read_label_tables,
    table_rows,
)
from eyewright.data.texts import as_text, is_text
from eyewright.data.tree import ArrayTree, FolderTree, Tree, ZipTree
from eyewright.imaging.headers import FORMATS

DATASET_FORMATS = MappingProxyType(
    {
        "imagefolder": "a folder a class, with or without train/val/test above them",
        "idx": "MNIST's train-images-idx3-ubyte(.gz) beside train-labels-idx1-ubyte(.gz)",
        "hf-imagefolder": "Hugging Face imagefolder with metadata.csv or metadata.jsonl (file_name, label)",
        "csv": "a CSV of path,label with an optional split and group column",
        **ANNOTATED_FORMATS,
        "zip": "a zip archive of any of them, read in place",
    }
)
"""Dataset formats by name, with what each looks like."""

DATASET_TASKS = ("classify", "detect", "segment", "instance")
"""The tasks that datasets are read for."""

_OTHER_IMAGES = frozenset({".svg", ".psd", ".eps", ".pdf", ".dng", ".cr2", ".nef", ".arw", ".fits", ".exr", ".hdr"})
_IDX = re.compile(r"(?:.*/)?(?P<prefix>[^/]*?)-?(?P<kind>images|labels)[-.]idx(?P<dims>[13])-ubyte(?:\.gz)?$")


def open_dataset(
    path: str | Path, *, label_depth: int | None = None, task: str | None = None, ignore: Sequence[str] = ()
) -> Dataset:
    """Find out what `path` holds and list its samples; no image is decoded yet.

    `task` is "classify", "detect", "segment" or "instance"; without it the data decides: folders of images are for
    classification, boxes for detection, masks for segmentation, outlines of YOLO and LabelMe for instances.

    In an ImageFolder a class is the highest folder that directly holds images; `label_depth` says instead how many
    folder levels (from 1) make the class name. A folder of `train`, `val` or `test` above the classes is a split.

    Classes named in `ignore`, and those that are no class by their name ("void", "unlabelled", "DontCare"), are
    ignored; see `ignore_classes`.

    Raises:
        DatasetError: missing, empty, without labels, of no known format, or not of this task.
        UsageError: an unknown task.
    """
    return ignore_classes(_open_any(Path(path), label_depth, task), ignore)


def _open_any(path: Path, label_depth: int | None, task: str | None) -> Dataset:
    if task is not None and task not in DATASET_TASKS:
        raise UsageError(f"unknown task {task!r}", fix=spelling_hint(task, DATASET_TASKS))
    if label_depth is not None and label_depth < 1:
        raise DatasetError(f"expected a label depth of 1 or more, found {label_depth}", fix="change --label-depth")
    if not path.exists():
        raise DatasetError(f"expected a dataset, found nothing at {str(path)!r}", fix="check the path")
    tree: Tree
    if path.is_file() and path.suffix.lower() in (".json", ".yaml", ".yml", ".xml"):
        return _from_annotations(path, task)
    if path.is_file() and path.suffix.lower() == ".zip":
        tree = ZipTree(path)
    elif path.is_file() and path.suffix.lower() in (".csv", ".tsv", ".jsonl"):
        tree = FolderTree(path.parent)
        if task not in (None, "classify") or (task is None and has_boxes(tree, path.name)):
            return _from_annotations(path, task)
        return read_label_tables(tree, tree.names(), [path.name], "csv")
    elif path.is_file() and _IDX.match(path.name):
        tree = FolderTree(path.parent)
    elif path.is_file():
        raise DatasetError(
            f"expected a folder, a .zip, .csv, .json, .xml, .yaml or idx files, found {path.name!r}",
            fix="pass the folder that holds it",
        )
    else:
        tree = FolderTree(path)
    try:
        names = tree.names()
    except OSError as error:
        place = error.filename if isinstance(error.filename, str) else str(path)
        shown = place if len(place) < 300 else f"{place[:300]}…"
        raise DatasetError(f"cannot list {shown!r}: {error.strerror}", fix="check its permissions") from error
    if not names:
        raise DatasetError(
            f"expected images, found an empty folder at {str(path)!r}", fix="put a folder a class into it"
        )
    if task in (None, "classify"):
        if idx := _idx_pairs(names):
            return _from_idx(tree, idx)
        # A table of boxes names a path and a class too.
        tables = [n for n in names if n.lower().endswith((".csv", ".tsv", "metadata.jsonl"))]
        tables = [n for n in tables if task == "classify" or not has_boxes(tree, n)]
        metadata = [n for n in tables if posixpath.basename(n) in ("metadata.csv", "metadata.jsonl")]
        if metadata:
            if task is None and not any(is_label_table(tree, n) for n in metadata):
                _refuse_suspects(tree, [*metadata, *Images(names).names], task)
            return read_label_tables(tree, names, metadata, "hf-imagefolder")
        tables = [n for n in tables if not n.endswith(".jsonl") and is_label_table(tree, n)]
        if tables:
            return read_label_tables(tree, names, tables, "csv")
    if task != "classify":
        found = read_annotated(tree, names, outlines=task in ("segment", "instance"))
        if found is not None:
            return _of_found(tree, names, found, task)
        _refuse_suspects(tree, names, task)
        if task is not None:
            raise DatasetError(
                f"expected annotations for {task!r} in {str(path)!r} ({', '.join(ANNOTATED_FORMATS)}), found none",
                fix="see eyewright formats",
            )
    folders = {part for n in names for part in n.lower().split("/")[:-1]}
    if "img1" in folders and folders & {"gt", "det"}:
        raise DatasetError(
            "this looks like MOT tracking data: boxes to be found, and no classes of images",
            fix="use --task detect; gt/gt.txt holds the truth",
        )
    return _from_folders(tree, names, label_depth, task)


def _from_annotations(path: Path, task: str | None) -> Dataset:
    """Read a single annotation file, whose images lie in its folder, below it or beside it."""
    root = path.parent
    tree: Tree = FolderTree(root)
    found = read_annotated(tree, tree.names(), outlines=task in ("segment", "instance"), only=path.name)
    if found is not None and not found.images and root.resolve().parent != root.resolve():
        # As in COCO's own layout, annotations/ and images/ may be brothers.
        tree = FolderTree(root.resolve().parent)
        only = f"{root.resolve().name}/{path.name}"
        found = read_annotated(tree, tree.names(), outlines=task in ("segment", "instance"), only=only)
    if found is None:
        raise DatasetError(f"{str(path)!r} is no annotation file that is known", fix="see eyewright formats")
    return _of_found(tree, tree.names(), found, task)


def _refuse_suspects(tree: Tree, names: Sequence[str], task: str | None) -> None:
    """Refuse a folder of which a file looks like annotations that cannot be read: its folders are no classes.

    Raises:
        DatasetError: the file, with its line where that is known, and what is wrong with it.
    """
    from eyewright.data.readers.plain import PlainTree
    from eyewright.data.readers.suspects import find_suspects

    images = Images(names)
    found = next(find_suspects(PlainTree(tree), names, images, set()), None)
    if found is not None:
        folders = {posixpath.dirname(n) for n in images.names} - {""}
        several = task is None and len(folders) > 1
        other = "; or pass --task classify to take the folders for classes" if several else ""
        raise DatasetError(found.message, fix=found.fix + other)


def _labelled_by_table(tree: Tree, names: Sequence[str], instead: str) -> Dataset | None:
    """Read tables whose columns have less usual names, for images in a single folder, or in none.

    Raises:
        DatasetError: there are none, and a file that was not read may hold the labels.
    """
    from eyewright.data.readers.suspects import unread_tables

    images = Images(names)
    tables = [n for n in names if n.lower().endswith((".csv", ".tsv")) and names_images(tree, n, images)]
    if tables:
        return read_label_tables(tree, names, tables, "csv")
    found = next(unread_tables(tree, names, images), None)
    if found is not None:
        raise DatasetError(f"{instead}; {found.message}", fix=found.fix)
    return None


def _of_found(tree: Tree, names: Sequence[str], found: Found, task: str | None) -> Dataset:
    """Make a dataset of what a reader found, for the task that was asked for or that it is for."""
    if found.task == "classify" and found.images and task in (None, "classify"):
        return Dataset(
            tree,
            tuple(Sample(m.name, m.target, m.split) for m in found.images),
            LabelSpace(found.names),
            found.format,
            problems=tuple(found.problems),
            account=found.account or Account(len(found.images)),
        )
    chosen = task or ("instance" if found.outlined and found.format in _OUTLINED else found.task)
    if chosen not in DATASET_TASKS or chosen == "classify":
        raise DatasetError(f"{found.format} data is not for {chosen!r}", fix="use detect, segment or instance")
    if found.task == "segment" and chosen != "segment":
        raise DatasetError(f"masks are for the task 'segment', found {chosen!r}", fix="use --task segment")
    if not found.images:
        one = found.problems[0] if found.problems else None
        first = "none is listed" if one is None else f"{one.path}: {one.message}"
        raise DatasetError(
            f"no image of this {found.format} dataset can be used; {first}",
            fix=one.fix if one is not None else "see eyewright doctor",
        )
    if chosen in ("segment", "instance") and found.task != "segment" and not _has_outlines(found):
        shown = found.account.reduced[0] if found.account is not None and found.account.reduced else None
        what = "boxes only" if shown is None else f"none that can be used: {shown}"
        raise DatasetError(
            f"expected outlines for {chosen!r}, found {what}", fix="use --task detect, or export polygons"
        )
    notes = list(found.notes)
    if task is None and found.outlined and chosen == "detect":
        notes.append(OUTLINES_TOO)
    if task is None and chosen == "instance":
        notes.append("outlines are there: --task detect uses the boxes alone, --task segment one mask an image")
    if found.task != "segment":
        extra = Notes()
        used_labels(found, extra, next(iter(sorted(found.files)), ""))
        found.problems += extra.all()
        if chosen == "segment":
            _put_background_first(found)
    groups, table = _groups_of(tree, names, found)
    if table:
        notes.append(f"images of one group in {table!r} stay in one part")
    elif any(m.group for m in found.images):
        notes.append("frames of one sequence stay in one part")
    samples = tuple(
        Sample(m.name, m.target, m.split, group=groups.get(m.name, m.group), stated_hw=m.stated_hw)
        for m in found.images
    )
    splits = {s.split for s in samples}
    if None in splits and len(splits) > 1:
        samples = tuple(replace(s, split=None) for s in samples)
        notes.append("only some images name their part, so it is chosen anew")
    taken = {s.id for s in samples} | found.files
    skipped = tuple(n for n in names if n not in taken and posixpath.splitext(n)[1].lower() not in EXTENSIONS)
    return Dataset(
        tree,
        samples,
        LabelSpace(found.names),
        found.format,
        task=chosen,
        notes=tuple(notes),
        skipped=tuple(n for n in skipped if posixpath.splitext(n)[1].lower() not in _TEXTS),
        problems=tuple(found.problems),
        account=found.account or Account(sum(len(m.target) for m in found.images if isinstance(m.target, Objects))),
    )


def _groups_of(tree: Tree, names: Sequence[str], found: Found) -> tuple[dict[str, str], str]:
    """Find a table that says which images belong together, such as pictures of one part: by name or stem, and group."""
    stems = {posixpath.splitext(posixpath.basename(m.name))[0]: m.name for m in found.images}
    for table in names:
        if not table.lower().endswith((".csv", ".tsv")):
            continue
        groups: dict[str, str] = {}
        try:
            for _, row in table_rows(tree, table):
                path = column_of(row, (*PATH_COLUMNS, "stem", "name", "id"))
                group = column_of(row, GROUP_COLUMNS) or next((k for k in row if k.lower().endswith("_group")), None)
                if path is None or group is None:
                    break
                name = stems.get(posixpath.splitext(posixpath.basename(row[path]))[0])
                if name is not None and row[group]:
                    groups[name] = row[group]
        except DatasetError:
            continue
        if groups:
            return groups, table
    return {}, ""


OUTLINES_TOO = "outlines are there too: --task instance or --task segment uses them"
"""The note of a dataset whose outlines were seen and not read."""
_OUTLINED = frozenset({"yolo", "labelme", "cvat", "via"})
"""Formats whose outlines are there on purpose: without a task their datasets are for instances."""
_TEXTS = (".txt", ".md", ".json", ".yaml", ".yml", ".xml", ".csv", ".html", "")


def _has_outlines(found: Found) -> bool:
    return any(isinstance(m.target, Objects) and any(m.target.outlines) for m in found.images)


def _put_background_first(found: Found) -> None:
    """Painted on nothing, objects leave a background: class 0, unless one is called so."""
    if any(n.lower() in BACKGROUND for n in found.names):
        found.names = (found.names[0], *found.names[1:])
        return
    shift = np.arange(len(found.names), dtype=np.int64) + 1
    found.names = ("background", *found.names)
    found.images = [m._replace(target=m.target.renamed(shift)) for m in found.images]


def _from_folders(tree: Tree, names: Sequence[str], label_depth: int | None, chosen: str | None) -> Dataset:
    images = [n for n in names if posixpath.splitext(n)[1].lower() in EXTENSIONS]
    skipped = tuple(n for n in names if posixpath.splitext(n)[1].lower() not in EXTENSIONS)
    if not images:
        kinds = sorted({posixpath.splitext(n)[1].lower() or n for n in names})[:5]
        raise DatasetError(
            f"expected images ({', '.join(FORMATS)}), found none in {str(tree.root)!r} (only {', '.join(kinds)})",
            fix=_instead_of(kinds),
        )
    common = _common_folder(images)
    parts = {n: n[len(common) :].split("/") for n in images}
    has_splits = _has_splits(parts.values())
    if common and not has_splits and all(len(p) == 1 for p in parts.values()):
        # One folder with everything in it: its name is the only class there is.
        parts = {n: [common.rstrip("/").rpartition("/")[2], *p] for n, p in parts.items()}
    direct = {"/".join(p[int(has_splits) : -1]) for p in parts.values()}
    samples, outside = [], []
    names_of: dict[str, str] = {}
    for name, p in parts.items():
        folders = p[int(has_splits) : -1]
        if not folders or (has_splits and p[0].lower() not in SPLITS):
            outside.append(name)
            continue
        depth = label_depth or next(d for d in range(1, len(folders) + 1) if "/".join(folders[:d]) in direct)
        # Two systems may write one name in two ways: é as one character, or as e and an accent.
        names_of[name] = unicodedata.normalize("NFC", as_text("/".join(folders[:depth])))
    if not names_of:
        instead = f"expected a folder a class, found {len(images)} images without one"
        if (read := _labelled_by_table(tree, names, instead)) is not None:
            return read
        raise DatasetError(
            f"expected a folder a class, found {len(images)} images without one",
            fix="sort them into folders named after their class, or pass a CSV of path,label",
        )
    if len(set(names_of.values())) == 1 and chosen != "classify":
        only = next(iter(names_of.values()))
        instead = f"expected folders of several classes, found {only!r} alone"
        if (read := _labelled_by_table(tree, names, instead)) is not None:
            return read
    empty = _empty_classes(tree, common, has_splits, set(names_of.values()))
    labels = LabelSpace(tuple(sorted(set(names_of.values()))))
    ids = {n: i for i, n in enumerate(labels.names)}
    for name, label in names_of.items():
        split = SPLITS[parts[name][0].lower()] if has_splits else None
        samples.append(Sample(name, ids[label], split, group=None))
    odd = sum(not is_text(posixpath.dirname(name)) for name in names_of)
    notes = []
    if any("/" in n for n in labels.names):
        tops_n = len({n.split("/")[0] for n in labels.names})
        notes.append(
            f"classes are nested folders ({len(labels)} of them, such as {labels.names[0]!r}); "
            f"for the {tops_n} at the top level pass --label-depth 1"
        )
    if outside:
        notes.append(f"{len(outside)} images lie outside every class folder and are left out, such as {outside[0]!r}")
    return Dataset(
        tree,
        tuple(samples),
        labels,
        "imagefolder",
        notes=tuple(notes),
        skipped=(*skipped, *outside),
        empty_classes=empty,
        account=Account(
            len(samples),
            repaired=(Reason("a folder whose name is not UTF-8, read as Windows-1252", odd),) if odd else (),
            left_out=left_out_images(outside, "it lies outside every class folder"),
        ),
    )


def _instead_of(kinds: Sequence[str]) -> str:
    if set(kinds) & _OTHER_IMAGES:
        return "convert them to PNG or JPEG"
    return "pass the zip itself, or unpack it" if ".zip" in kinds else "check the path"


def _has_splits(parts: Iterable[Sequence[str]]) -> bool:
    """Tell whether the top folders are splits: all are named so, or train is and holds folders only.

    A class may be called "train" as well, but then its images lie in it directly.
    """
    below: dict[str, bool] = {}
    for p in parts:
        if len(p) > 1:
            top = p[0].lower()
            below[top] = below.get(top, True) and len(p) > 2
    if not below:
        return False
    trains = [deep for top, deep in below.items() if SPLITS.get(top) == "train"]
    return set(below) <= set(SPLITS) or (bool(trains) and all(trains))


def _empty_classes(tree: Tree, common: str, has_splits: bool, known: set[str]) -> tuple[str, ...]:
    found = set()
    for folder in tree.folders():
        if folder.startswith(common):
            inner = folder[len(common) :].split("/")[int(has_splits) :]
            if inner and inner[0] and "/".join(inner) not in known and inner[0] not in known:
                found.add("/".join(inner))
    return tuple(sorted(found))


def _idx_pairs(names: Sequence[str]) -> dict[SplitName, tuple[str, str]]:
    found: dict[tuple[str, str], dict[str, str]] = {}
    for name in names:
        match = _IDX.match(name)
        if match:
            found.setdefault((posixpath.dirname(name), match["prefix"].lower()), {})[match["kind"]] = name
    pairs: dict[SplitName, tuple[str, str]] = {}
    for (_, prefix), kinds in found.items():
        if set(kinds) != {"images", "labels"}:
            lone = next(iter(kinds.values()))
            raise DatasetError(
                f"expected images and labels side by side, found only {lone!r}", fix="add the other file"
            )
        split = "test" if prefix == "t10k" else SPLITS.get(prefix.split("-")[-1], "train")
        pairs[split] = (kinds["images"], kinds["labels"])
    return pairs


def _from_idx(tree: Tree, pairs: dict[SplitName, tuple[str, str]]) -> Dataset:
    arrays: dict[str, NDArray[np.uint8]] = {}
    targets: dict[SplitName, NDArray[np.uint8]] = {}
    for split, (images, labels) in pairs.items():
        arrays[split] = _read_idx(tree, images)
        targets[split] = _read_idx(tree, labels)
        if arrays[split].ndim not in (3, 4) or targets[split].ndim != 1 or len(arrays[split]) != len(targets[split]):
            raise DatasetError(
                f"expected as many labels as images, found {arrays[split].shape} and {targets[split].shape}",
                fix=f"check {images!r} and {labels!r}",
            )
    ids = sorted({int(t) for values in targets.values() for t in np.unique(values)})
    space = LabelSpace(tuple(str(i) for i in ids))
    position = {i: k for k, i in enumerate(ids)}
    several = len(pairs) > 1
    samples = tuple(
        Sample(f"{split}/{i:06d}", position[int(t)], split if several else None)
        for split, values in targets.items()
        for i, t in enumerate(values)
    )
    return Dataset(ArrayTree(tree.root, arrays), samples, space, "idx", account=Account(len(samples)))


def _read_idx(tree: Tree, name: str) -> NDArray[np.uint8]:
    """Read one idx file (LeCun's format: zero, zero, type, dimensions, sizes big-endian, data)."""
    again = "copy the file again"
    try:
        data = tree.content(name)
        packed = data[:2] == b"\x1f\x8b"
        with gzip.GzipFile(fileobj=io.BytesIO(data)) if packed else io.BytesIO(data) as file:
            head = file.read(4)
            zero, kind, dims = struct.unpack(">HBB", head)
            sizes = file.read(4 * dims)
            shape = struct.unpack(f">{dims}I", sizes)
            count = int(np.prod(shape, dtype=object))
            if count > _IDX_MOST:
                raise DatasetError(f"{name!r} states {count:,} values, more than {_IDX_MOST:,}", fix=again)
            # No more than the header states is unpacked, whatever follows.
            values = file.read(count + 1)
    except (OSError, EOFError, zlib.error, struct.error, UnreadableImageError) as error:
        raise DatasetError(f"cannot read {name!r}: {error}", fix=again) from None
    if zero != 0 or kind != 8 or len(values) != count:
        raise DatasetError(f"{name!r} is not an idx file of bytes, or is cut off", fix=again)
    return np.frombuffer(values, np.uint8).reshape(shape)


_IDX_MOST = 4 * 2**30


def _common_folder(names: Sequence[str]) -> str:
    """Give the folder above all names, with its slash; a split folder is never swallowed."""
    common = posixpath.commonpath([posixpath.dirname(n) for n in names]) if names else ""
    parts = common.split("/") if common else []
    for i, part in enumerate(parts):
        if part.lower() in SPLITS:
            parts = parts[:i]
            break
    return "/".join(parts) + "/" if parts else ""
