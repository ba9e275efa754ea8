"""Classes that mean "no label": void, unlabelled, ignored. Their pixels and objects are neither learnt nor scored."""

__all__ = ["ignore_classes", "is_void_name"]

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError, UsageError, spelling_hint
from eyewright.core.labels import LabelSpace
from eyewright.data.dataset import Dataset

# What data sets call pixels and regions without a label: Cityscapes, CamVid, KITTI, Mapillary, VisDrone, LaRS, LabelMe.
_VOID = frozenset(
    {
        "void", "ignore", "ignored", "ignore region", "ignore regions", "ignored region", "ignored regions",
        "ignore area", "ignored area", "ignore label", "ignore index", "ignore class", "ignore mask", "to ignore",
        "dont care", "dontcare", "don t care", "do not care", "dont care region", "out of roi",
        "rectification border", "void class", "void label",
    }
)  # fmt: skip
# These too, unless masks use the word for their background.
_UNLABELLED = frozenset(
    {
        "unlabeled", "unlabelled", "un labeled", "un labelled", "not labeled", "not labelled", "unlabeled area",
        "unannotated", "not annotated", "no label", "nolabel",
    }
)  # fmt: skip
# Void in Cityscapes only: a license plate, or the ground, may be what another data set is about.
_CITYSCAPES = frozenset({"static", "dynamic", "ground", "ego vehicle", "license plate"})
_CITYSCAPES_SIGNS = frozenset({"rectification border", "out of roi"})
_BORDERS = frozenset({"border", "borders", "boundary", "contour", "edge", "object border"})
_MOST_SHOWN = 5


def is_void_name(name: str) -> bool:
    """Return whether a class of this name means "no label" in any data set.

    >>> [is_void_name(n) for n in ("Void", "DontCare", "Unlabelled(ignore)", "void--static", "license plate")]
    [True, True, True, True, False]
    """
    return any(part in _VOID or part in _UNLABELLED for part in _parts(name))


def ignore_classes(dataset: Dataset, ignore: Sequence[str] = ()) -> Dataset:
    """Return the dataset without the classes named in `ignore` and those whose names say that they are no class.

    In masks their pixels become 255; objects become ignore regions; images of such a class are left out. A note says
    so. With "none" in `ignore`, only the other names in it are ignored.

    Raises:
        DatasetError: a name that is not a class of the dataset.
        UsageError: no class would remain.
    """
    asked, habits = tuple(n for n in ignore if n != "none"), "none" not in ignore
    dataset = replace(dataset, ignore=tuple(ignore))
    names = dataset.labels.names
    chosen = {_named(dataset.labels, name) for name in asked}
    if habits:
        found = [i for i in (*_void_ids(names), *_borders(dataset)) if i not in chosen]
        kept = dataset.kind.backgrounds(dataset, found, [i for i in found if not _is_strong(names[i])])
        for i in sorted(kept):
            text = f"class {names[i]!r} is treated as the background (--ignore {names[i]!r} ignores it)"
            dataset = dataset.with_samples(dataset.samples, text)
        by_habit = set(found) - kept
        if len(by_habit) + len(chosen) < len(names):
            chosen |= by_habit
    if not chosen:
        return dataset
    if len(chosen) == len(names):
        raise UsageError("expected a class that is not ignored, found none", fix="remove an --ignore")
    return _without(dataset, chosen, asked)


def _parts(name: str) -> list[str]:
    """Return a name in plain words, and the words of its parts: before `--`, in brackets, around a slash."""
    plain = unicodedata.normalize("NFKC", name).casefold().replace("’", "'")
    plain = re.sub(r"(?<=[a-z])'(?=[a-z])", "", plain)
    pieces = [plain, *re.findall(r"[(\[<{]([^()\[\]<>{}]*)[)\]>}]", plain)]
    outside = re.sub(r"[(\[<{][^()\[\]<>{}]*[)\]>}]", " ", plain)
    pieces += [outside] if outside != plain and outside.strip() else []
    pieces += [plain.partition("--")[0]] if "--" in plain else []
    if "/" in plain or "|" in plain:
        split = re.split(r"[/|]", plain)
        # "void/unlabelled" is one idea twice; "ignore/cat" is a folder in a folder.
        if all(_words(p) in _VOID | _UNLABELLED for p in split):
            pieces.append(split[0])
    return [_words(p) for p in pieces]


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text))


def _is_strong(name: str) -> bool:
    return any(part in _VOID for part in _parts(name))


def _void_ids(names: Sequence[str]) -> list[int]:
    words = [_words(n.casefold()) for n in names]
    cityscapes = bool(_CITYSCAPES_SIGNS & set(words))
    return [i for i, name in enumerate(names) if is_void_name(name) or (cityscapes and words[i] in _CITYSCAPES)]


def _borders(dataset: Dataset) -> list[int]:
    """Return the class that stands for 255 in masks if it is called a border, as objects have in Pascal VOC."""
    names = dataset.labels.names
    found = None if len(names) < 3 else dataset.kind.border(dataset)
    return [found] if found is not None and _words(names[found].casefold()) in _BORDERS else []


def _named(labels: LabelSpace, name: str) -> int:
    if name in labels.names:
        return labels.id(name)
    alike = [i for i, n in enumerate(labels.names) if _words(n.casefold()) == _words(name.casefold())]
    if len(alike) == 1:
        return alike[0]
    raise DatasetError(f"--ignore {name!r} is not a class of the data", fix=spelling_hint(name, labels.names))


def _without(dataset: Dataset, gone: set[int], asked: Sequence[str]) -> Dataset:
    names = dataset.labels.names
    kept = [i for i in range(len(names)) if i not in gone]
    ids: NDArray[np.int64] = np.full(len(names), -1, np.int64)
    ids[kept] = np.arange(len(kept))
    shown = ", ".join(repr(names[i]) for i in sorted(gone)[:_MOST_SHOWN])
    shown += f" and {len(gone) - _MOST_SHOWN} more" if len(gone) > _MOST_SHOWN else ""
    classes, verb = ("class", "is") if len(gone) == 1 else ("classes", "are")
    undo = "" if len(asked) == len(gone) else "; --ignore none keeps what was ignored by name"
    labels = LabelSpace(tuple(names[i] for i in kept))
    left = ((s, s.target.without(ids)) for s in dataset.samples)
    samples = tuple(replace(s, target=target) for s, target in left if target is not None)
    if not samples:
        raise DatasetError(f"no image is left without the {classes} {shown}", fix="use --ignore none")
    what = dataset.kind.ignoring(len(gone), len(dataset) - len(samples))
    note = f"{classes} {shown} {verb} ignored{what}{undo}"
    unseen = {f"class {names[i]!r} is listed but never used" for i in gone}
    problems = tuple(p for p in dataset.problems if p.message not in unseen)
    return replace(
        dataset.with_samples(samples, note),
        labels=labels,
        problems=problems,
        ignored=tuple(names[i] for i in sorted(gone)),
    )
