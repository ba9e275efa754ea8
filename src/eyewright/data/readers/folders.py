"""Read folders of images: a folder per class, with or without train, val and test above them."""

__all__ = ["read_folders"]

import posixpath
import unicodedata
from collections.abc import Iterable, Sequence
from types import MappingProxyType

from eyewright.core.errors import DatasetError
from eyewright.core.labels import LabelSpace
from eyewright.core.quoting import quoted
from eyewright.core.task import task_of
from eyewright.data.account import Account, Reason
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.readers.naming import EXTENSIONS, SPLITS, Images
from eyewright.data.tables import left_out_images, names_images, read_label_tables
from eyewright.data.targets import NUMBERS, TAGS
from eyewright.data.targets.label import Label
from eyewright.data.targets.target import kind_of
from eyewright.data.texts import as_text, is_text
from eyewright.data.tree import Tree
from eyewright.imaging.headers import FORMATS

_OTHER_IMAGES = frozenset({".svg", ".psd", ".eps", ".pdf", ".dng", ".cr2", ".nef", ".arw", ".fits", ".exr", ".hdr"})

_LEARNT = MappingProxyType({NUMBERS: ("a number", "value"), TAGS: ("the tags", "tags")})
"""What a table should hold, and how its column is called, where that is not the label of an image."""


def read_folders(tree: Tree, names: Sequence[str], label_depth: int | None, task: str, *, sure: bool) -> Dataset:
    """Read folders of images. A class is the highest folder that directly holds images, or `label_depth` folders.

    Where the folders tell nothing, a table with columns of less usual names is read; not with `sure`, which says that
    the user has called a single folder a class.

    Raises:
        DatasetError: no images, or images without a class.
    """
    images = [n for n in names if posixpath.splitext(n)[1].lower() in EXTENSIONS]
    skipped = tuple(n for n in names if posixpath.splitext(n)[1].lower() not in EXTENSIONS)
    if not images:
        kinds = sorted({posixpath.splitext(n)[1].lower() or n for n in names})[:5]
        raise DatasetError(
            f"expected images ({', '.join(FORMATS)}), found none in {quoted(tree.root)} (only {', '.join(kinds)})",
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
    alone: list[str] = []
    for name, p in parts.items():
        folders = p[int(has_splits) : -1]
        if not folders or (has_splits and p[0].lower() not in SPLITS):
            outside.append(name)
            continue
        depth = label_depth or next(d for d in range(1, len(folders) + 1) if "/".join(folders[:d]) in direct)
        # Two systems may write one name in two ways: é as one character, or as e and an accent.
        names_of[name] = unicodedata.normalize("NFC", as_text("/".join(folders[:depth])))
    if not names_of:
        instead = f"expected one folder per class, found {len(images)} images without one"
        if (read := _labelled_by_table(tree, names, instead, task)) is not None:
            return read
        if not task_of(task).one_class:
            raise DatasetError(
                f"expected one folder per class, found {len(images)} images without one",
                fix="sort them into folders named after their class, or pass a CSV of path,label",
            )
        only = _class_of_all(tree)
        names_of = {n: only for n in outside if not has_splits or parts[n][0].lower() in SPLITS}
        outside = [n for n in outside if n not in names_of]
        alone.append(f"the images are not sorted into classes: they are one class, {only!r}")
    if len(set(names_of.values())) == 1 and not sure:
        only = next(iter(names_of.values()))
        instead = f"expected folders of several classes, found {only!r} alone"
        if (read := _labelled_by_table(tree, names, instead, task)) is not None:
            return read
    empty = _empty_classes(tree, common, has_splits, set(names_of.values()))
    labels = LabelSpace(tuple(sorted(set(names_of.values()))))
    ids = {n: i for i, n in enumerate(labels.names)}
    for name, label in names_of.items():
        split = SPLITS[parts[name][0].lower()] if has_splits else None
        samples.append(Sample(name, Label(ids[label]), split))
    odd = sum(not is_text(posixpath.dirname(name)) for name in names_of)
    notes = alone
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
        task,
        notes=tuple(notes),
        skipped=(*skipped, *outside),
        empty_classes=empty,
        account=Account(
            len(samples),
            repaired=(Reason("a folder whose name is not UTF-8, read as Windows-1252", odd),) if odd else (),
            left_out=left_out_images(outside, "it lies outside every class folder"),
        ),
    )


def _class_of_all(tree: Tree) -> str:
    """Return what the images of a folder or an archive are called where they have no classes: its name."""
    name = tree.root.resolve().name
    stem = name.rpartition(".")[0] if tree.root.is_file() else name
    return unicodedata.normalize("NFC", as_text(stem)).strip() or "image"


def _labelled_by_table(tree: Tree, names: Sequence[str], instead: str, task: str) -> Dataset | None:
    """Read tables whose columns have less usual names, for images in a single folder, or in none.

    Raises:
        DatasetError: there are none, and a file that was not read may hold the labels.
    """
    from eyewright.data.readers.suspects import unread_tables

    images = Images(names)
    learnt, column = _LEARNT.get(kind_of(task), ("the label", "label"))
    tables = [n for n in names if n.lower().endswith((".csv", ".tsv")) and names_images(tree, n, images)]
    if tables and column == "label":
        return read_label_tables(tree, names, tables, "csv", task)
    found = next(unread_tables(tree, names, images, learnt, column), None)
    if found is not None:
        raise DatasetError(f"{instead}; {found.message}", fix=found.fix)
    return None


def _instead_of(kinds: Sequence[str]) -> str:
    if set(kinds) & _OTHER_IMAGES:
        return "convert them to PNG or JPEG"
    return "pass the zip itself, or unpack it" if ".zip" in kinds else "check the path"


def _has_splits(parts: Iterable[Sequence[str]]) -> bool:
    """Return whether the top folders are splits: all are named so, or train is and holds folders only.

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


def _common_folder(names: Sequence[str]) -> str:
    """Return the folder that holds all names, with its slash; a split folder is never part of it."""
    common = posixpath.commonpath([posixpath.dirname(n) for n in names]) if names else ""
    parts = common.split("/") if common else []
    for i, part in enumerate(parts):
        if part.lower() in SPLITS:
            parts = parts[:i]
            break
    return "/".join(parts) + "/" if parts else ""
