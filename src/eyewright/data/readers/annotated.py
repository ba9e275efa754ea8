"""Find out which format annotations are in, and read them."""

__all__ = ["ANNOTATED_FORMATS", "ANNOTATED_KINDS", "has_boxes", "installed_readers", "read_annotated", "read_installed"]

import posixpath
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from eyewright.core.errors import DatasetError, EyewrightError, UnreadableImageError, UsageError
from eyewright.core.installed import installed, open_installed, what_was_raised
from eyewright.core.quoting import quoted
from eyewright.data.readers.listing import Found, Images, Reader
from eyewright.data.readers.masks import is_cityscapes, is_masks, read_cityscapes, read_masks
from eyewright.data.readers.mot import is_mot, read_mot
from eyewright.data.readers.plain import PlainTree, head_text
from eyewright.data.readers.yolo import is_yolo, read_yolo
from eyewright.data.targets.label import LABEL
from eyewright.data.targets.mask import MASK
from eyewright.data.targets.objects import OBJECTS
from eyewright.data.targets.tags import TAGS
from eyewright.data.targets.target import IGNORE, TargetKind
from eyewright.data.tree import Tree

ANNOTATED_FORMATS = MappingProxyType(
    {
        "coco": "COCO JSON: boxes, polygons and run-length encoding; any category ids",
        "yolo": "YOLO: one text file per image, data.yaml as Ultralytics and Roboflow write it; boxes and polygons",
        "voc": "Pascal VOC: one XML file per image, parts by ImageSets/Main",
        "labelme": "LabelMe: one JSON file per image; rectangles, polygons, circles",
        "label-studio": "Label Studio's JSON export: rectangles, polygons, ellipses, brush strokes",
        "cvat": "CVAT's XML 1.1: boxes, polygons, ellipses and masks; tracks by their frames",
        "via": "VGG Image Annotator 1 and 2: JSON or CSV; rectangles, polygons, circles, ellipses",
        "fiftyone": "FiftyOne's labels.json or samples.json next to data/: classes of images, or boxes",
        "createml": "Create ML's JSON: a list of images with labels and coordinates",
        "csv-boxes": "a CSV of boxes, as TensorFlow, RetinaNet and Open Images have it, and tables like them",
        "masks": "images/ and masks/ with pictures of class numbers, classes.txt next to them",
        "cityscapes": "Cityscapes: leftImg8bit/ and gtFine/ with labelIds or labelTrainIds",
        "mot": "MOTChallenge: one folder per sequence with img1/ and gt/gt.txt",
    }
)
"""Formats of detection and segmentation data by name, with what each looks like."""

ANNOTATED_KINDS: Mapping[str, tuple[TargetKind, ...]] = MappingProxyType(
    {
        **dict.fromkeys(ANNOTATED_FORMATS, (OBJECTS, MASK, TAGS)),
        "label-studio": (OBJECTS, MASK, TAGS, LABEL),
        "fiftyone": (OBJECTS, TAGS, LABEL),
        "masks": (MASK,),
        "cityscapes": (MASK,),
        "csv-boxes": (OBJECTS, TAGS),
        "mot": (OBJECTS, TAGS),
    }
)
"""The kinds of target that each of them can be read as; objects become masks where they have outlines."""

# Of thousands of files, one an image, the first few tell what they are.
_LOOKED_AT = 8
_HEAD = 65536
_REPORT = "correct the reader, or report it to those who maintain its package"
_TABLES = (".csv", ".tsv")


def read_annotated(
    tree: Tree, names: Sequence[str], *, outlines: bool, whole: TargetKind | None = None, only: str | None = None
) -> Found | None:
    """Read annotations of any known format; None where there are none. `only` names a single file that is meant.

    With `outlines` COCO's shapes are read too; the other formats always give theirs. `whole` is the kind of target that
    is wanted of whole images, if it is one: choices of Label Studio are read as such, and objects if it can be made
    from them; a single file (`only`) is read anyway, so that what it holds can be said. Files that look like
    annotations and cannot be read are among the problems of what was found.

    Raises:
        DatasetError: annotations that cannot be read at all.
    """
    images = Images(names)
    tree = PlainTree(tree)
    if only is not None:
        return _read_one(tree, names, images, only, outlines=outlines, whole=whole)
    found = _read_any(tree, names, images, outlines=outlines, whole=whole)
    return None if found is None else _with_suspects(tree, names, images, found)


def _with_suspects(tree: Tree, names: Sequence[str], images: Images, found: Found) -> Found:
    """Add the files that look like annotations and cannot be read to the problems of what was found."""
    from eyewright.data.readers.suspects import find_suspects

    faults = [s.finding() for s in find_suspects(tree, names, images, found.files) if not s.aside]
    said = {(f.path, f.line) for f in found.problems} | {(f.path, None) for f in found.problems}
    found.problems += [f for f in faults if (f.path, None) not in said]
    return found


def read_installed(tree: Tree, names: Sequence[str]) -> Found | None:
    """Read annotations by the first reader of an installed package that knows them; None where none does.

    Raises:
        DatasetError: the reader raised something else than an error of Eyewright, or returned what it must not.
    """
    readers = installed_readers()
    if not readers:
        return None
    images, plain = Images(names), PlainTree(tree)
    for name, reader in readers.items():
        try:
            found = reader.read(plain, names, images) if reader.reads(plain, names) else None
        except EyewrightError:
            raise
        except Exception as error:
            raise DatasetError(
                f"the installed reader {name!r} failed: {what_was_raised(error)}", fix=_REPORT
            ) from error
        if found is not None:
            found.format = found.format or name
            _check_found(name, found)
            return _with_suspects(plain, names, images, found)
    return None


def _check_found(reader: str, found: Found) -> None:
    """Refuse what an installed reader must not return: an image twice, or class ids without a name."""
    seen = set[str]()
    for marked in found.images:
        if marked.name in seen:
            raise DatasetError(
                f"the installed reader {reader!r} returned the image {quoted(marked.name)} twice", fix=_REPORT
            )
        seen.add(marked.name)
        for label_id in marked.target.mentioned:
            if label_id != IGNORE and not 0 <= label_id < len(found.names):
                raise DatasetError(
                    f"the installed reader {reader!r} returned the class id {label_id} for {quoted(marked.name)}, "
                    f"and {len(found.names)} class names",
                    fix=_REPORT,
                )


def installed_readers() -> dict[str, Reader]:
    """Return the readers of installed packages by name.

    Raises:
        UsageError: an entry that is no reader, or cannot be imported.
    """
    readers = {}
    for name in installed("eyewright.readers"):
        found = open_installed("eyewright.readers", name)
        if not isinstance(found, Reader):
            raise UsageError(f"expected the installed reader {name!r} as a Reader, found {type(found).__name__}")
        readers[name] = found
    return readers


def _read_any(
    tree: Tree, names: Sequence[str], images: Images, *, outlines: bool, whole: TargetKind | None
) -> Found | None:
    files = [n for n in names if n.lower().endswith(".json")]
    if whole is not None and OBJECTS not in whole.made_from:
        return _read_json(tree, files, images, outlines, whole, alone=False)
    if is_cityscapes(names):
        return read_cityscapes(tree, names, images)
    if is_mot(names):
        return read_mot(tree, names, images)
    found = _read_json(tree, files, images, outlines, whole, alone=False)
    if found is None and (is_yolo(names, images) or _has_labels(tree, names, images)):
        found = read_yolo(tree, names, images)
    if found is None:
        found = _read_xml(tree, names, [n for n in names if n.lower().endswith(".xml")], images)
    if found is None:
        found = _read_tables(tree, names, [n for n in names if n.lower().endswith(_TABLES)], images)
    if found is None and is_masks(names, images):
        found = read_masks(tree, names, images)
    return found


def _read_one(
    tree: Tree, names: Sequence[str], images: Images, only: str, *, outlines: bool, whole: TargetKind | None
) -> Found | None:
    extension = posixpath.splitext(only)[1].lower()
    if extension == ".xml":
        found = _read_xml(tree, [only], [only], images)
    elif extension in _TABLES:
        found = _read_tables(tree, names, [only], images)
    elif extension == ".json":
        found = _read_json(tree, [only], images, outlines, whole, alone=True)
    else:
        return read_yolo(tree, names, images)
    if found is not None:
        return found
    from eyewright.data.readers.suspects import find_suspects

    suspect = next(find_suspects(tree, [only], images, set()), None)
    if suspect is not None:
        raise DatasetError(suspect.message, fix=suspect.fix)
    known = {".xml": "Pascal VOC or CVAT", ".json": "COCO, LabelMe, Label Studio, VIA or Create ML"}
    what = known.get(extension, "a CSV of boxes, or VIA's")
    raise DatasetError(f"{only!r} is not {what}", fix="pass a folder, or export it again")


def has_boxes(tree: Tree, table: str) -> bool:
    """Return whether a CSV holds boxes, even if a column of them is missing, or VIA's regions."""
    from eyewright.data.readers.box_tables import box_table, columns_of, has_coordinates
    from eyewright.data.readers.via import is_via_table

    try:
        head = head_text(_bytes_of(tree, table), _HEAD)
    except EyewrightError:
        return False
    return is_via_table(head) or box_table(head) is not None or has_coordinates(columns_of(head))


def _bytes_of(tree: Tree, name: str) -> bytes:
    """Return a file's bytes, nothing where it cannot be read: one bad file must not hide what the others are."""
    try:
        return tree.content(name)
    except UnreadableImageError:
        return b""


def _read_json(
    tree: Tree, files: Sequence[str], images: Images, outlines: bool, whole: TargetKind | None, *, alone: bool
) -> Found | None:
    if not files:
        return None
    # msgspec is imported with these readers, and most datasets need none of them.
    from eyewright.data.readers.coco import is_coco, read_coco
    from eyewright.data.readers.createml import is_createml, read_createml
    from eyewright.data.readers.fiftyone import is_fiftyone, read_fiftyone
    from eyewright.data.readers.label_studio import is_label_studio, read_choices, read_label_studio
    from eyewright.data.readers.labelme import is_labelme, read_labelme
    from eyewright.data.readers.via import is_via, read_via

    few = sorted(files, key=lambda n: (n.count("/"), n))[:_LOOKED_AT]
    if len(files) <= _LOOKED_AT * 4:
        few = list(files)
    studio = [f for f in few if is_label_studio(_bytes_of(tree, f))]
    if studio and whole is not None:
        chosen = read_choices(tree, studio, images, whole)
        if chosen is not None:
            return chosen
    fiftyone = [f for f in few if is_fiftyone(_bytes_of(tree, f))]
    if fiftyone and (theirs := read_fiftyone(tree, fiftyone, images, whole)) is not None:
        return theirs
    if whole is not None and OBJECTS not in whole.made_from and not alone:
        return None
    coco = [f for f in few if is_coco(_bytes_of(tree, f))]
    if coco:
        return read_coco(tree, _one_each(coco), images, outlines=outlines, alone=alone)
    if studio:
        return read_label_studio(tree, studio, images)
    via = [f for f in few if is_via(_bytes_of(tree, f))]
    if via:
        return read_via(tree, via, images)
    createml = [f for f in few if is_createml(_bytes_of(tree, f))]
    if createml:
        return read_createml(tree, createml, images)
    if any(is_labelme(_bytes_of(tree, f)) for f in few):
        return read_labelme(tree, files, images)
    return None


def _read_xml(tree: Tree, names: Sequence[str], files: Sequence[str], images: Images) -> Found | None:
    few = sorted(files, key=lambda n: (n.count("/"), n))[: _LOOKED_AT * 4]
    heads = {n: head_text(_bytes_of(tree, n), _HEAD) for n in few}
    if any("<annotations" in head for head in heads.values()):
        from eyewright.data.readers.cvat import read_cvat

        return read_cvat(tree, [n for n in few if "<annotations" in heads[n]], images)
    if any(re.search(r"<annotation[\s>/]", head) for head in heads.values()):
        from eyewright.data.readers.voc import read_voc

        return read_voc(tree, names, images)
    return None


def _read_tables(tree: Tree, names: Sequence[str], files: Sequence[str], images: Images) -> Found | None:
    if not files:
        return None
    from eyewright.data.readers.box_tables import box_table, read_box_tables
    from eyewright.data.readers.via import is_via_table, read_via

    heads = {n: head_text(_bytes_of(tree, n), _HEAD) for n in files}
    via = [n for n in files if is_via_table(heads[n])]
    if via:
        return read_via(tree, via, images)
    boxes = [n for n in files if box_table(heads[n]) is not None]
    return read_box_tables(tree, boxes, names, images) if boxes else None


def _has_labels(tree: Tree, names: Sequence[str], images: Images) -> bool:
    """Return whether text files next to the images are YOLO's, by what the first few hold: a class and fractions."""
    stems = {posixpath.splitext(n)[0] for n in images.names}
    beside = [n for n in names if n.lower().endswith(".txt") and posixpath.splitext(n)[0] in stems]
    rows = [line.split() for n in beside[:_LOOKED_AT] for line in head_text(_bytes_of(tree, n), 4096).splitlines()[:5]]
    rows = [r for r in rows if r]
    return bool(rows) and all(_is_label(r) for r in rows)


def _is_label(words: Sequence[str]) -> bool:
    try:
        values = [float(w) for w in words]
    except ValueError:
        return False
    return len(values) >= 5 and values[0].is_integer() and all(-0.5 <= v <= 1.5 for v in values[1:5])


def _one_each(files: Sequence[str]) -> list[str]:
    """Leave out what COCO's own folder has next to the objects' boxes: key points of the same images."""
    kept = [f for f in files if "keypoints" not in posixpath.basename(f).lower()]
    return kept or list(files)
