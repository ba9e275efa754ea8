"""Read masks: a picture of class numbers for every image, in `masks` next to `images` or by Cityscapes' names."""

__all__ = [
    "CITYSCAPES",
    "CITYSCAPES_TRAINED",
    "is_cityscapes",
    "is_masks",
    "read_cityscapes",
    "read_masks",
]

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from eyewright.core.errors import DatasetError, EyewrightError, UnreadableImageError
from eyewright.core.quoting import quoted
from eyewright.data.readers.listing import Found, Images, Marked, Notes, split_of
from eyewright.data.readers.naming import folded
from eyewright.data.targets.mask import MASK, MaskFile, is_lossy
from eyewright.data.targets.target import IGNORE
from eyewright.data.texts import decode_text, json_problem, plain_json, word
from eyewright.data.tree import Tree
from eyewright.imaging.decode import read_labels

# What masks hold where nothing is labelled: 255, and -1 in the widths that files have.
_IGNORED = frozenset({IGNORE, -1, 0xFFFF, 0xFFFFFFFF})

_FOLDERS = (
    "masks",
    "mask",
    "labels",
    "annotations",
    "segmentation",
    "segmentationclass",
    "labelids",
    "gt",
    "ground_truth",
)
_CLASS_FILES = ("classes.txt", "labels.txt", "label_names.txt", "class_names.txt", "classes.json", "labels.json")
_SUFFIX = re.compile(r"[-_.]?(mask|label|labels|seg|gt|annotation|labelids|labeltrainids)$", re.IGNORECASE)

# The 34 ids of Cityscapes (Cordts et al. 2016) by the name of each, and the 19 that are trained on, in their order.
CITYSCAPES = (
    "unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road", "sidewalk",
    "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole", "polegroup",
    "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus",
    "caravan", "trailer", "train", "motorcycle", "bicycle",
)  # fmt: skip
CITYSCAPES_TRAINED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


def is_masks(names: Sequence[str], images: Images) -> bool:
    """Return whether there is a folder of masks next to a folder of images."""
    folders = {part.lower() for n in images.names for part in n.split("/")[:-1]}
    return bool(folders & {"images", "imgs", "image", "jpegimages", "img"}) and bool(folders & set(_FOLDERS))


def read_masks(tree: Tree, names: Sequence[str], images: Images) -> Found:
    """Read masks. Class names are those of `classes.txt` (one name per line, or a number and a name) or a JSON of
    numbers and names; without them the values that the masks hold are the classes.

    Masks that hold only 0 and 255 have one class, in white.

    Raises:
        DatasetError: no pair of image and mask.
    """
    notes = Notes()
    masks = {n for n in images.names if any(p.lower() in _FOLDERS for p in n.split("/")[:-1])}
    pairs: list[tuple[str, str]] = []
    by_stem: dict[tuple[str, str], str] = {}
    for name in sorted(masks):
        by_stem.setdefault(_key(name), name)
    used: set[str] = set()
    for name in images.names:
        if name in masks:
            continue
        mask = by_stem.get(_key(name))
        if mask is None:
            notes.leave_out("no mask of this name", "add a mask, all 0 if it shows nothing", name)
            continue
        used.add(mask)
        pairs.append((name, mask))
    for mask in sorted(masks - used):
        notes.drop("a mask without an image", "add the image, or remove it", mask, code="orphan_annotation")
    notes.read = len(used)
    if not pairs:
        raise DatasetError("expected an image for each mask, found no pair of one name", fix="give both the same name")
    listed, source = _class_names(tree, names)
    table, classes = _table(tree, pairs, listed, notes)
    splits = [split_of(name) for name, _ in pairs]
    marked = [
        Marked(name, split if all(splits) else None, MaskFile(tree, mask, table))
        for (name, mask), split in zip(pairs, splits, strict=True)
    ]
    files = {m for _, m in pairs} | ({source} if source else set())
    problems, account = notes.all(), notes.account()
    return Found("masks", marked, classes, kind=MASK, problems=problems, files=files, account=account)


def is_cityscapes(names: Sequence[str]) -> bool:
    """Return whether files are named as Cityscapes names them."""
    return any(n.endswith("_leftImg8bit.png") for n in names) and any(
        n.endswith(("_labelIds.png", "_labelTrainIds.png")) for n in names
    )


def read_cityscapes(tree: Tree, names: Sequence[str], images: Images) -> Found:
    """Read Cityscapes: the 19 classes that are trained on, everything else ignored."""
    notes = Notes()
    known = {posixpath.basename(n): n for n in names if n.endswith(("_labelIds.png", "_labelTrainIds.png"))}
    full = {value: k for k, value in enumerate(CITYSCAPES_TRAINED)}
    short = {k: k for k in range(len(CITYSCAPES_TRAINED))}
    marked, used = [], set()
    for name in images.names:
        if not name.endswith("_leftImg8bit.png"):
            continue
        stem = posixpath.basename(name).removesuffix("_leftImg8bit.png")
        of = {kind: known.get(f"{stem}_gtFine_{kind}.png") or known.get(f"{stem}_gtCoarse_{kind}.png") for kind in
              ("labelTrainIds", "labelIds")}  # fmt: skip
        mask = of["labelTrainIds"] or of["labelIds"]
        if mask is None:
            notes.leave_out("no mask", "add its labelIds", name)
            continue
        used |= {mask, *(m for m in of.values() if m is not None)}
        notes.read += 1
        table = short if mask == of["labelTrainIds"] else full
        marked.append(Marked(name, split_of(name), MaskFile(tree, mask, MappingProxyType(table))))
    for name in sorted(set(known.values()) - used):
        notes.drop("a mask without an image", "add the image, or remove it", name, code="orphan_annotation")
    classes = tuple(CITYSCAPES[i] for i in CITYSCAPES_TRAINED)
    problems, account = notes.all(), notes.account()
    return Found("cityscapes", marked, classes, kind=MASK, problems=problems, files=used, account=account)


def _key(name: str) -> tuple[str, str]:
    """Return what an image and its mask have in common: where they lie, without the folder's kind, and the name."""
    parts = name.split("/")
    kinds = {"images", "imgs", "image", "jpegimages", "img", *_FOLDERS}
    folder = "/".join(p for p in parts[:-1] if p.lower() not in kinds)
    stem = posixpath.splitext(parts[-1])[0]
    return folded(folder), _SUFFIX.sub("", folded(stem))


def _class_names(tree: Tree, names: Sequence[str]) -> tuple[dict[int, str], str]:
    path = next((n for n in sorted(names, key=lambda n: n.count("/")) if posixpath.basename(n) in _CLASS_FILES), "")
    if not path:
        return {}, ""
    found: dict[int, str] = {}
    if path.lower().endswith(".json"):
        data = plain_json(tree.content(path)).data
        try:
            content = json.loads(data)
        except (ValueError, RecursionError) as error:
            text, line = json_problem(error, data)
            at = "" if line is None else f" in line {line}"
            raise DatasetError(
                f"{quoted(path)} is not JSON: {text}{at}", fix="correct it, or export it again"
            ) from None
        try:
            items = enumerate(content) if isinstance(content, list) else content.items()
            found = {int(k): word(v["name"] if isinstance(v, dict) else v) or f"class_{k}" for k, v in items}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DatasetError(
                f"expected numbers and names of classes in {quoted(path)}, found something else",
                fix='write it as {"1": "cat", "2": "dog"}, or as a list of names',
            ) from None
    else:
        text = decode_text(tree.content(path), path)
        lines = [name for line in text.splitlines() if (name := word(line)) is not None]
        numbered = [re.match(r"^(\d+)[\s:,;=]+(.+)$", line) for line in lines]
        all_numbered = bool(lines) and all(numbered)
        found = {int(m[1]): m[2].strip() for m in numbered if m} if all_numbered else dict(enumerate(lines))
    if len(set(found.values())) < len(found):
        twice = next(v for v in found.values() if list(found.values()).count(v) > 1)
        raise DatasetError(f"two classes in {quoted(path)} are called {twice!r}", fix="give them different names")
    return found, path


def _table(
    tree: Tree, pairs: Sequence[tuple[str, str]], listed: Mapping[int, str], notes: Notes
) -> tuple[Mapping[int, int], tuple[str, ...]]:
    """Find out which values the masks hold, and so which classes there are; say what is wrong with them."""
    present: dict[int, int] = {}
    smeared: set[str] = set()
    for _, mask in pairs:
        if is_lossy(mask):
            # Values a little off are what JPEG does to every mask: one word for the file, not one for each value.
            smeared.add(mask)
            text = "a mask saved as JPEG: compression has changed its class numbers at every edge"
            notes.add("mask_lossy", text, "save masks as PNG from the source", mask)
            continue
        try:
            values = read_labels(tree.content(mask))
        except UnreadableImageError as error:
            code = "mask_rgb" if error.code == "mask_in_colour" else "unreadable"
            notes.add(code, error.message, error.fix or "save the mask again", mask)
            continue
        except EyewrightError as error:
            notes.add("unreadable", error.message, error.fix or "save the mask again", mask)
            continue
        held = np.unique(values).tolist()
        for value in held:
            present[value] = present.get(value, 0) + 1
        unknown = [v for v in held if listed and v not in listed and v not in _IGNORED]
        if unknown:
            text = (
                f"it holds the value{'s' * (len(unknown) > 1)} {', '.join(map(str, unknown[:5]))}, which no class has"
            )
            fix = "name the class in classes.txt, or correct the mask"
            notes.shorten("pixels of a value that no class has", fix, mask, message=text, code="mask_value")
    values_held = set(present)
    if listed:
        names = dict(sorted(listed.items()))
    elif values_held and values_held <= {0, 255}:
        names = {0: "background", 255: "foreground"}
    else:
        names = {v: "background" if v == 0 else f"class_{v}" for v in sorted(values_held - _IGNORED)}
    if len(names) > 254:
        raise DatasetError(
            f"expected at most 254 classes in masks, found {len(names)}",
            fix="check that the masks hold class numbers, and not object numbers or grey values",
        )
    for value, name in names.items():
        if listed and value not in values_held and not smeared:
            text = f"class {name!r} is listed but never used"
            notes.add("class_never_seen", text, "mark some, or leave it out of the list", "", severity="warning")
    return MappingProxyType({v: k for k, v in enumerate(names)}), tuple(names.values())
