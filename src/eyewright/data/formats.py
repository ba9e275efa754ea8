"""Read datasets as people have them: each reader looks at the file names and says whether this is its format.

ImageFolder (with or without train/val/test), MNIST idx, Hugging Face imagefolder with metadata, a CSV of path and
label, the annotations of detection and segmentation (`data.readers`), and a zip of any of them.
"""

__all__ = ["DATASET_FORMATS", "FORMAT_KINDS", "open_dataset"]

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from eyewright.core.errors import DatasetError, UsageError
from eyewright.core.labels import LabelSpace
from eyewright.core.quoting import quoted
from eyewright.core.task import task_names, task_of
from eyewright.data.account import Account
from eyewright.data.archives import ARCHIVES, refuse_compressed, shards_in
from eyewright.data.clip_tree import CLIP_EXTENSIONS
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.edits import apply_edits
from eyewright.data.ignoring import ignore_classes
from eyewright.data.readers.annotated import (
    ANNOTATED_FORMATS,
    ANNOTATED_KINDS,
    has_boxes,
    read_annotated,
    read_installed,
)
from eyewright.data.readers.captions import (
    CAPTION_FORMATS,
    caption_table,
    has_captions,
    read_caption_tables,
    read_captions,
    read_coco_captions,
)
from eyewright.data.readers.clips import CLIP_FORMATS, holds_clips, lists_clips, read_clips
from eyewright.data.readers.folders import read_folders
from eyewright.data.readers.idx import idx_pairs, is_idx, read_idx
from eyewright.data.readers.listing import EXTENSIONS, Found, Images, Notes, used_labels
from eyewright.data.readers.number_tables import is_number_table, read_number_tables
from eyewright.data.readers.pictures import PICTURE_FORMATS, read_pictures
from eyewright.data.readers.plain import PlainTree
from eyewright.data.readers.tag_tables import is_tag_table, read_tag_tables
from eyewright.data.readers.text_files import TEXT_FORMATS, holds_line_files, read_text_files
from eyewright.data.readers.text_tables import is_text_table, read_text_tables
from eyewright.data.tables import GROUP_COLUMNS, PATH_COLUMNS, column_of, is_label_table, read_label_tables, table_rows
from eyewright.data.targets.captions import CAPTIONS
from eyewright.data.targets.label import LABEL
from eyewright.data.targets.mask import MASK
from eyewright.data.targets.numbers import NUMBERS
from eyewright.data.targets.objects import OBJECTS
from eyewright.data.targets.picture import PICTURES
from eyewright.data.targets.tags import TAGS
from eyewright.data.targets.target import TargetKind, kind_of, tasks_of
from eyewright.data.targets.text import TEXT
from eyewright.data.tree import FolderTree, Tree, ZipTree

DATASET_FORMATS = MappingProxyType(
    {
        "imagefolder": "one folder per class, with or without train/val/test above them",
        "idx": "MNIST's train-images-idx3-ubyte(.gz) next to train-labels-idx1-ubyte(.gz)",
        "hf-imagefolder": "Hugging Face imagefolder with metadata.csv or metadata.jsonl (file_name, label)",
        "csv": "a CSV of path,label with an optional split and group column",
        **ANNOTATED_FORMATS,
        **CLIP_FORMATS,
        **TEXT_FORMATS,
        **CAPTION_FORMATS,
        **PICTURE_FORMATS,
        "webdataset": "tar files of NAME.jpg with NAME.cls, NAME.txt, NAME.json or NAME.seg.png, read in place",
        "parquet": "Parquet tables with a column of images, as Hugging Face writes them (extra parquet)",
        "zip": "a zip archive of any of them, read in place",
    }
)
"""Dataset formats by name, with what each looks like."""

FORMAT_KINDS: Mapping[str, tuple[TargetKind, ...]] = MappingProxyType(
    {
        "imagefolder": (LABEL, NUMBERS, TAGS, CAPTIONS),
        "idx": (LABEL, NUMBERS, TAGS, CAPTIONS),
        "hf-imagefolder": (LABEL, NUMBERS, TAGS, TEXT, CAPTIONS),
        "csv": (LABEL, NUMBERS, TAGS, TEXT, CAPTIONS),
        **ANNOTATED_KINDS,
        **dict.fromkeys(CLIP_FORMATS, (LABEL,)),
        **dict.fromkeys(TEXT_FORMATS, (TEXT,)),
        **dict.fromkeys(CAPTION_FORMATS, (CAPTIONS,)),
        **dict.fromkeys(PICTURE_FORMATS, (PICTURES,)),
        **dict.fromkeys(("webdataset", "parquet"), (LABEL, OBJECTS, MASK, NUMBERS, TAGS, TEXT, CAPTIONS)),
    }
)
"""The kinds of target that each format can be read as."""

_TABLES: "Mapping[TargetKind, tuple[Callable[..., Dataset], Callable[[Tree, str, Images], bool]]]" = MappingProxyType(
    {
        LABEL: (read_label_tables, lambda tree, table, images: is_label_table(tree, table)),
        NUMBERS: (read_number_tables, is_number_table),
        TAGS: (read_tag_tables, is_tag_table),
        TEXT: (read_text_tables, is_text_table),
        CAPTIONS: (read_caption_tables, lambda tree, table, images: False),
    }
)
"""How tables are read as targets of a kind, and how those that can be are told."""

_OUTLINED = frozenset({"yolo", "labelme", "cvat", "via"})
"""Formats whose outlines are there on purpose: without a task their datasets are read with them."""
_OF_TABLES = frozenset({"csv", "csv-boxes", "hf-imagefolder"})
_TABLES_TRIED = 20
_TABLE_ENDINGS = (".csv", ".tsv", "metadata.jsonl")
_TEXTS = (".txt", ".md", ".json", ".yaml", ".yml", ".xml", ".csv", ".html", "")


def open_dataset(
    path: str | Path,
    *,
    label_depth: int | None = None,
    task: str | None = None,
    ignore: Sequence[str] = (),
    target: Sequence[str] = (),
    edits: str | Path | None = None,
) -> Dataset:
    """Find out what `path` holds and list its samples; no image is decoded yet.

    `task` is the name of a task; without it the data decides: folders of images are for classification, boxes for
    detection, masks for segmentation, outlines of YOLO and LabelMe for instances.

    In an ImageFolder a class is the highest folder that directly holds images; `label_depth` says instead how many
    folder levels (from 1) make the class name. A folder of `train`, `val` or `test` above the classes is a split.

    Classes named in `ignore`, and those that are no class by their name ("void", "unlabelled", "DontCare"), are
    ignored; see `ignore_classes`. `target` names the columns of a table of numbers that are learnt. `edits` is a file
    of other labels and of images to leave out, which `eyewright browse` writes; see `apply_edits`.

    Raises:
        DatasetError: missing, empty, without labels, of no known format, or not of this task; or the edits are of
            other data.
        UsageError: an unknown task, or `target` for one that learns no columns of numbers.
    """
    if target and (task is None or kind_of(task) is not NUMBERS):
        able = _either([f"--task {name}" for name in tasks_of(NUMBERS)])
        raise UsageError("--target is supported for tables of numbers", fix=f"use {able}, or leave --target out")
    try:
        dataset = _open_any(Path(path), label_depth, task, target)
    except DatasetError as error:
        # A file that is not UTF-8 is a reason of its own: no other task would read it. And a table of which a line was
        # refused has been read as what was asked for.
        own = "UTF-8" in error.fix or (task is not None and "' line " in error.message)
        hint = "" if target or own else _other_table(Path(path), task)
        if not hint:
            raise
        raise DatasetError(error.message, fix=f"{hint}; otherwise {error.fix}" if error.fix else hint) from None
    if dataset.format not in _OF_TABLES and (hint := _other_table(Path(path), task)):
        dataset = replace(dataset, notes=(*dataset.notes, f"a table is not used: {hint}"))
    if edits:
        dataset = apply_edits(dataset, edits)
    return ignore_classes(dataset, ignore)


def _other_table(path: Path, task: str | None) -> str:
    """Say which task would read the first table of a folder, or the table itself, that holds numbers or tags and not
    what the asked task learns from; "" where there is none."""
    # Next to a missing or another file there may be a whole disk.
    if not path.is_dir() and not (path.is_file() and path.name.lower().endswith(_TABLE_ENDINGS)):
        return ""
    own = LABEL if task is None else kind_of(task)
    folder = path if path.is_dir() else path.parent
    try:
        tree = FolderTree(folder)
        names = tree.names() if folder.is_dir() else []
    except (DatasetError, OSError):
        return ""
    tables = [path.name] if path.is_file() else names
    tables = [n for n in tables if n.lower().endswith(_TABLE_ENDINGS)]
    images = Images(names)
    for table in tables[:_TABLES_TRIED]:
        if own in _TABLES and _TABLES[own][1](tree, table, images) and own is not LABEL:
            continue
        if own is LABEL and is_label_table(tree, table):
            continue
        for kind, (_, fits) in _TABLES.items():
            if kind not in (own, LABEL) and fits(tree, table, images):
                return f"use --task {_usual(kind)} to learn the {kind} in {table!r}"
    return ""


def _open_any(path: Path, label_depth: int | None, task: str | None, target: Sequence[str] = ()) -> Dataset:
    kind = None if task is None else kind_of(task)
    if label_depth is not None and label_depth < 1:
        raise DatasetError(f"expected a label depth of 1 or more, found {label_depth}", fix="change --label-depth")
    if not path.exists():
        raise DatasetError(f"expected a dataset, found nothing at {quoted(path)}", fix="check the path")
    tree: Tree
    table = None
    if _is_table_of_clips(path, task):
        table, path = path.name, path.parent
    elif _is_list_of_clips(path, task):
        # UCF101 has its lists in a folder next to that of the videos.
        above = path.absolute().parent.parent
        inside = lists_clips(FolderTree(path.parent), path.name)
        table, path = (path.name, path.parent) if inside else (f"{path.absolute().parent.name}/{path.name}", above)
    if path.is_file() and path.suffix.lower() in (".json", ".yaml", ".yml", ".xml"):
        return _from_annotations(path, task)
    if path.is_file() and path.suffix.lower() == ".zip":
        tree = ZipTree(path)
    elif path.is_file() and path.suffix.lower() in ARCHIVES:
        return _from_shards(path, [path.name], label_depth, task, target)
    elif path.is_file() and path.suffix.lower() in (".csv", ".tsv", ".jsonl", *_more_tables(kind)):
        tree = FolderTree(path.parent)
        if (kind is not None and kind not in _TABLES) or (_boxes_count(kind) and has_boxes(tree, path.name)):
            return _from_annotations(path, task)
        read, _ = _TABLES[kind or LABEL]
        options = {"target": target} if target else {}
        return read(tree, tree.names(), [path.name], "csv", task or _usual(LABEL), **options)
    elif path.is_file() and is_idx(path.name):
        tree = FolderTree(path.parent)
    elif path.is_file():
        refuse_compressed(path.name)
        raise DatasetError(
            f"expected a folder, a .zip, .tar, .parquet, .csv, .json, .xml, .yaml or idx files, "
            f"found {quoted(path.name)}",
            fix="pass the folder that holds it",
        )
    elif not path.is_dir():
        raise DatasetError(f"expected a folder or a file at {quoted(path)}, found something else", fix="check the path")
    else:
        tree = FolderTree(path)
    try:
        names = tree.names()
    except OSError as error:
        place = error.filename if isinstance(error.filename, str) else str(path)
        shown = place if len(place) < 300 else f"{place[:300]}…"
        raise DatasetError(f"cannot list {shown!r}: {error.strerror}", fix="check its permissions") from error
    if shards := shards_in(names):
        return _from_shards(path, shards, label_depth, task, target)
    return _open_tree(tree, names, path, label_depth, task, target, table)


def _from_shards(
    path: Path, shards: Sequence[str], label_depth: int | None, task: str | None, target: Sequence[str]
) -> Dataset:
    """Read tar files or Parquet tables as the folder that they were written from."""
    # msgspec is imported with it, and most datasets need neither.
    from eyewright.data.shards import ShardTree

    tree = ShardTree(path, shards, None if task is None else kind_of(task))
    return tree.in_order(_open_tree(tree, tree.names(), path, label_depth, task, target, None))


def _open_tree(
    tree: Tree,
    names: Sequence[str],
    path: Path,
    label_depth: int | None,
    task: str | None,
    target: Sequence[str],
    table: str | None,
) -> Dataset:
    kind = None if task is None else kind_of(task)
    if task is not None and task_of(task).reads == "clip":
        return read_clips(tree, names, task, table=table)
    theirs = read_installed(tree, names)
    if theirs is not None:
        return _of_found(tree, names, theirs, task)
    if task is None and (table is not None or holds_clips(names, tree)):
        return read_clips(tree, names, _usual(LABEL, reads="clip"), table=table)
    if not names:
        raise DatasetError(
            f"expected images, found an empty folder at {quoted(path)}", fix="put one folder per class into it"
        )
    if kind is None and holds_line_files(names):
        kind, task = TEXT, _usual(TEXT)
    if kind is TEXT:
        return _texts(tree, names, path, task or _usual(TEXT))
    if kind is None and has_captions(tree, names):
        kind, task = CAPTIONS, _usual(CAPTIONS)
    if kind is CAPTIONS and task is not None:
        captioned = read_captions(tree, names, task)
        if captioned is not None:
            return captioned
    if kind is PICTURES:
        return read_pictures(tree, names, task or "")
    whole = kind if kind in _TABLES else None
    if kind is None or whole is not None:
        dataset = _from_tables(tree, names, task, target)
        if dataset is not None:
            return dataset
    try:
        return _annotated_or_folders(tree, names, path, label_depth, task, whole)
    except DatasetError as error:
        texts = caption_table(tree, names) if task is None else None
        if texts is None:
            raise
        raise DatasetError(
            f"{error.message}; {texts!r} has a text for each image",
            fix=f"pass --task {_usual(CAPTIONS)} for captions, or --task {_usual(TEXT)} for texts on the images",
        ) from None


def _annotated_or_folders(
    tree: Tree, names: Sequence[str], path: Path, label_depth: int | None, task: str | None, whole: TargetKind | None
) -> Dataset:
    found = read_annotated(tree, names, outlines=_needs_outlines(task), whole=whole)
    if found is not None:
        return _of_found(tree, names, found, task)
    if whole is None:
        _refuse_suspects(tree, names, task)
        if task is not None:
            raise DatasetError(
                f"expected annotations for {task!r} in {quoted(path)} ({', '.join(ANNOTATED_FORMATS)}), found none",
                fix="see eyewright formats",
            )
    folders = {part for n in names for part in n.lower().split("/")[:-1]}
    if "img1" in folders and folders & {"gt", "det"}:
        raise DatasetError(
            "this looks like MOT tracking data, which holds boxes, not classes of images",
            fix=f"use --task {_usual(OBJECTS)}; gt/gt.txt holds the ground truth",
        )
    return _in_kind(read_folders(tree, names, label_depth, task or _usual(LABEL), sure=task is not None))


def _texts(tree: Tree, names: Sequence[str], path: Path, task: str) -> Dataset:
    """Read what lines say from tables, or from files next to the images.

    Raises:
        DatasetError: there is neither.
    """
    found = _from_tables(tree, names, task, ())
    if found is None:
        found = read_text_files(tree, names, task)
    if found is None:
        raise DatasetError(
            f"expected the texts of images in {quoted(path)}, found none",
            fix="list them in a CSV of path,text, or put NAME.gt.txt next to NAME.png",
        )
    return found


def _more_tables(kind: TargetKind | None) -> tuple[str, ...]:
    """Return the extensions that tables of a kind may have in addition to the usual ones."""
    return (".txt",) if kind is CAPTIONS else ()


def _is_table_of_clips(path: Path, task: str | None) -> bool:
    """Return whether a path is a table of clips: by the task, else by the first file that it names."""
    if not path.is_file() or path.suffix.lower() not in (".csv", ".tsv"):
        return False
    if task is not None:
        return task_of(task).reads == "clip"
    try:
        row = next(table_rows(FolderTree(path.parent), path.name), None)
    except DatasetError:
        return False
    if row is None:
        return False
    # Kinetics' table names its videos by their ids.
    named = any(v.lower().endswith(tuple(CLIP_EXTENSIONS)) for v in row[1].values())
    return named or lists_clips(FolderTree(path.parent), path.name)


def _is_list_of_clips(path: Path, task: str | None) -> bool:
    """Return whether a path is a list of clips that lie next to it, below it or in a folder next to its own."""
    if not path.is_file() or path.suffix.lower() != ".txt" or (task is not None and task_of(task).reads != "clip"):
        return False
    folder = path.absolute().parent
    if lists_clips(FolderTree(folder), path.name):
        return True
    # Above a folder that holds more than lists may be a whole disk.
    alone = all(p.is_file() and p.suffix.lower() == ".txt" for p in folder.iterdir() if not p.name.startswith("."))
    return alone and lists_clips(FolderTree(folder.parent), f"{folder.name}/{path.name}")


def _usual(kind: TargetKind, *, reads: str = "image") -> str:
    """Return the task that data of this kind is read for unless the user names another.

    Raises:
        DatasetError: no task learns from it.
    """
    tasks = tasks_of(kind, needs=frozenset(), reads=reads) or tasks_of(kind, reads=reads)
    if not tasks:
        raise DatasetError(f"no task learns from {kind} of {reads}s", fix="install a package that adds one")
    return tasks[0]


def _needs_outlines(task: str | None) -> bool:
    return task is not None and "outlines" in task_of(task).needs


def _from_tables(tree: Tree, names: Sequence[str], task: str | None, target: Sequence[str]) -> Dataset | None:
    """Read what says one thing of each whole image: idx files or tables; None where there is neither."""
    kind = None if task is None else kind_of(task)
    if idx := idx_pairs(names):
        return _in_kind(read_idx(tree, idx, task or _usual(LABEL)))
    read, fits = _TABLES[kind or LABEL]
    options = {"target": target} if target else {}
    images = Images(names)
    # A table of boxes names a path and a class too.
    tables = [n for n in names if n.lower().endswith((".csv", ".tsv", "metadata.jsonl"))]
    tables = [n for n in tables if not _boxes_count(kind) or not has_boxes(tree, n)]
    metadata = [n for n in tables if posixpath.basename(n) in ("metadata.csv", "metadata.jsonl")]
    if metadata:
        if task is None and not any(fits(tree, n, images) for n in metadata):
            _refuse_suspects(tree, [*metadata, *images.names], task)
        return read(tree, names, metadata, "hf-imagefolder", task or _usual(LABEL), **options)
    tables = [n for n in tables if not n.endswith(".jsonl") and fits(tree, n, images)]
    return read(tree, names, tables, "csv", task or _usual(LABEL), **options) if tables else None


def _boxes_count(kind: TargetKind | None) -> bool:
    """Return whether boxes are read as what is wanted, if there are any."""
    return kind is None or OBJECTS in kind.made_from


def _in_kind(dataset: Dataset) -> Dataset:
    """Return a dataset of labels with the targets that its task learns from.

    Raises:
        DatasetError: they cannot be made from labels.
    """
    if dataset.kind is LABEL:
        return dataset
    make = dataset.kind.made_from[LABEL]
    targets, names = make([s.target for s in dataset.samples], dataset.labels.names)
    samples = tuple(replace(s, target=t) for s, t in zip(dataset.samples, targets, strict=True))
    return replace(dataset, samples=samples, labels=LabelSpace(names))


def _from_annotations(path: Path, task: str | None) -> Dataset:
    """Read a single annotation file, whose images lie in its folder, below it or next to it."""
    root = path.parent
    tree: Tree = FolderTree(root)
    kind = None if task is None else kind_of(task)
    if kind is CAPTIONS and task is not None:
        if not Images(tree.names()).names and (above := _folder_above(root)):
            tree = FolderTree(above)
            return read_coco_captions(tree, tree.names(), [f"{root.resolve().name}/{path.name}"], task)
        return read_coco_captions(tree, tree.names(), [path.name], task)
    whole = kind if kind in _TABLES else None
    found = read_annotated(tree, tree.names(), outlines=_needs_outlines(task), whole=whole, only=path.name)
    if found is not None and not found.images and (above := _folder_above(root)):
        tree = FolderTree(above)
        only = f"{root.resolve().name}/{path.name}"
        found = read_annotated(tree, tree.names(), outlines=_needs_outlines(task), whole=whole, only=only)
    if found is None:
        raise DatasetError(f"{quoted(path)} is not a known annotation file", fix="see eyewright formats")
    return _of_found(tree, tree.names(), found, task)


def _folder_above(folder: Path) -> Path | None:
    """Return where images of annotations may lie that have none: as in COCO's own layout, annotations/ and images/ may
    be siblings. Of the root of a disk nothing is listed."""
    above = folder.resolve().parent
    return None if above == above.parent else above


def _refuse_suspects(tree: Tree, names: Sequence[str], task: str | None) -> None:
    """Refuse a folder of which a file looks like annotations that cannot be read: its folders are no classes.

    Raises:
        DatasetError: the file, with its line where that is known, and what is wrong with it.
    """
    from eyewright.data.readers.suspects import find_suspects

    images = Images(names)
    found = next(find_suspects(PlainTree(tree), names, images, set()), None)
    if found is not None:
        folders = {posixpath.dirname(n) for n in images.names} - {""}
        several = task is None and len(folders) > 1
        other = f"; or pass --task {_usual(LABEL)} to use the folders as classes" if several else ""
        raise DatasetError(found.message, fix=found.fix + other)


def _of_found(tree: Tree, names: Sequence[str], found: Found, task: str | None) -> Dataset:
    """Make a dataset of what a reader found, for the task that was asked for or that it is for.

    Raises:
        DatasetError: the task learns from something else, or from more than there is.
    """
    chosen = task or _meant(found)
    kind, needs = kind_of(chosen), task_of(chosen).needs
    make = None if found.kind is kind else kind.made_from.get(found.kind)
    if found.kind is not kind and make is None:
        where = "" if found.format == found.kind.name else f" ({found.format})"
        able = [t for t in task_names() if found.kind is kind_of(t) or found.kind in kind_of(t).made_from]
        raise DatasetError(
            f"expected {kind} for {chosen!r}, found {found.kind}{where}",
            fix=f"use --task {_either(able)}" if able else "see eyewright formats",
        )
    if not found.images:
        errors = [p for p in found.problems if p.severity == "error"]
        one = next(iter(errors or found.problems), None)
        first = "none is listed" if one is None else f"{one.path}: {one.message}"
        raise DatasetError(
            f"no image of this {found.format} dataset can be used; {first}",
            fix=one.fix if one is not None else "see eyewright doctor",
        )
    lacking = needs - found.kind.holds([m.target for m in found.images])
    if lacking:
        account = found.account or Account()
        why = f"none that can be used: {account.reduced[0]}" if account.reduced else f"{found.kind.bare} only"
        raise DatasetError(
            f"expected {' and '.join(sorted(lacking))} for {chosen!r}, found {why}",
            fix=f"use --task {_usual(found.kind)}, or export {' and '.join(sorted(lacking))}",
            details={"account": account.to_json()},
        )
    notes = [*found.notes, *([] if task is not None else _other_uses(found, chosen))]
    extra = Notes()
    used_labels(found, extra, next(iter(sorted(found.files)), ""))
    found.problems += extra.all()
    if make is not None:
        targets, found.names = make([m.target for m in found.images], found.names)
        found.images = [m._replace(target=t) for m, t in zip(found.images, targets, strict=True)]
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
        notes.append("only some images name their part, so the split is chosen again")
    taken = {s.id for s in samples} | found.files
    skipped = tuple(n for n in names if n not in taken and posixpath.splitext(n)[1].lower() not in EXTENSIONS)
    return Dataset(
        tree,
        samples,
        LabelSpace(found.names),
        found.format,
        chosen,
        notes=tuple(notes),
        skipped=tuple(n for n in skipped if posixpath.splitext(n)[1].lower() not in _TEXTS),
        problems=tuple(found.problems),
        account=found.account or Account(sum(m.target.annotations for m in found.images)),
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


def _either(tasks: Sequence[str]) -> str:
    return " or ".join([", ".join(tasks[:-1]), tasks[-1]] if len(tasks) > 1 else tasks)


def _meant(found: Found) -> str:
    """Return the task that data is for where the user names none."""
    with_outlines = tasks_of(found.kind, needs=frozenset({"outlines"}))
    on_purpose = found.outlined and found.format in _OUTLINED and with_outlines
    return with_outlines[0] if on_purpose else _usual(found.kind)


def _other_uses(found: Found, chosen: str) -> list[str]:
    """Say for which other tasks the objects of a dataset can be read where they have outlines."""
    if not found.outlined:
        return []
    others = [t for t in task_names() if t != chosen and found.kind in (kind_of(t), *kind_of(t).made_from)]
    painted = [f"--task {t}" for t in sorted(others, key=lambda t: kind_of(t) is not found.kind) if _needs_outlines(t)]
    if not _needs_outlines(chosen):
        return [f"outlines are there too: {' or '.join(painted)} uses them"] if painted else []
    bare = [f"--task {t}" for t in others if not _needs_outlines(t)]
    said = [f"{' or '.join(bare)} leaves them out"] if bare else []
    said += [f"{' or '.join(painted)} paints them into one mask per image"] if painted else []
    return [f"outlines are used: {', '.join(said)}"] if said else []
