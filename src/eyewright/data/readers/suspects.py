"""Find files that look like annotations and were not read, and say what is wrong with each.

A folder whose annotations cannot be read must not become a classification dataset in silence.
"""

__all__ = ["Suspect", "find_suspects", "unread_tables"]

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from eyewright.core.errors import DatasetError, EyewrightError
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.data.readers.box_tables import box_table, columns_of, has_coordinates
from eyewright.data.readers.createml import is_createml
from eyewright.data.readers.label_studio import is_label_studio
from eyewright.data.readers.labelme import is_labelme
from eyewright.data.readers.listing import BAD_JSON, Images
from eyewright.data.readers.markup import read_elements
from eyewright.data.readers.plain import head_text
from eyewright.data.readers.via import is_via
from eyewright.data.texts import decode_text, json_reason
from eyewright.data.tree import Tree

_MOST_FILES = 32
_EDGE = 65536
_JSONS = (".json", ".jsonl", ".ndjson", ".manifest", ".geojson")
_NAMED = re.compile(r"annot|instances|coco|label|bbox|boxes|createml|detection|via[_-]|segment|polygon|ground.?truth")
_KEY = re.compile(r"""["']([A-Za-z_][\w \-]{0,40})["']\s*:""")
# What exporters put round the name of an image to name its annotations.
_ROUND = re.compile(r"^(gt|label|labels|ann|annotation|res)_|_(gt|label|labels|ann|annotation|annotations|mask|bbox)$")
_NO_NUMBER = re.compile(r"[-+]?(?:NaN|nan|Infinity|inf(?:inity)?)\b")
_POINTER = "version https://git-lfs"

# Formats by the keys that all must be there; the first that fits counts.
_KINDS: tuple[tuple[str, frozenset[str]], ...] = tuple(
    (kind, frozenset(keys.split()))
    for kind, keys in (
        ("VIA 2", "_via_img_metadata"),
        ("VIA 2", "filename regions"),
        ("VIA 2", "shape_attributes region_attributes"),
        ("VIA 3", "project config attribute file view metadata"),
        ("Label Studio", "rectanglelabels"),
        ("Label Studio", "polygonlabels"),
        ("Label Studio", "brushlabels"),
        ("Label Studio", "ellipselabels"),
        ("Label Studio", "from_name to_name"),
        ("LabelMe", "shapes shape_type"),
        ("LabelMe", "shapes imagePath"),
        ("LabelMe", "shapes imageData"),
        ("LabelMe", "shapes points"),
        ("Create ML", "coordinates label"),
        ("Datumaro", "dm_format_version"),
        ("Datumaro", "items categories info"),
        ("Supervisely", "classTitle"),
        ("Supervisely", "size objects"),
        ("VoTT", "asset regions"),
        ("BDD100K", "box2d"),
        ("BDD100K", "poly2d"),
        ("Labelbox", "data_row projects"),
        ("V7 Darwin", "bounding_box annotations item"),
        ("SageMaker", "source-ref"),
        ("Hasty", "export_format_version"),
        ("COCO", "images annotations"),
        ("COCO", "images categories"),
        ("COCO", "annotations categories"),
        ("COCO", "image_id category_id"),
        ("COCO", "image_id bbox"),
        ("COCO", "info licenses"),
        ("boxes", "bbox"),
        ("boxes", "bboxes"),
        ("boxes", "bounding_box"),
        ("boxes", "bounding_boxes"),
        ("boxes", "boundingBox"),
        ("boxes", "xmin ymin"),
        ("boxes", "x_min y_min"),
        ("boxes", "x1 y1 x2 y2"),
        ("outlines", "polygon"),
        ("outlines", "polygons"),
        ("outlines", "segmentation"),
    )
)
_READ_JSON = ("COCO", "LabelMe", "Label Studio", "VIA 2", "Create ML")
# Files of other kinds that labels are kept in; with a single folder of images they may be its labels.
_TABLES = (
    ".xlsx", ".xls", ".ods", ".parquet", ".arrow", ".mat", ".pkl", ".pickle", ".npz", ".npy", ".h5", ".hdf5",
    ".tfrecord", ".tfrecords", ".record", ".db", ".sqlite", ".sqlite3", ".feather", ".lst",
)  # fmt: skip

_ARCHIVES = (".zip", ".gz", ".tar", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")
_MARKED = (".json", ".jsonl", ".ndjson", ".xml")
_TEXTS = ("", ".txt", ".json", ".jsonl", ".ndjson", ".yaml", ".yml", ".xml", ".log", ".dat", ".md5", ".toml")


@dataclass(frozen=True)
class Suspect:
    """A file that looks like annotations of a `kind` and was not read: why, in which line, and what to do.

    `aside` is a file for something else, such as captions, and no fault where annotations are read.
    """

    path: str
    kind: str
    why: str
    fix: str
    line: int | None = None
    aside: bool = False

    @property
    def message(self) -> str:
        place = f" line {self.line}" if self.line is not None else ""
        return f"{quoted(self.path)}{place} looks like {self.kind} and cannot be read: {self.why}"

    def finding(self) -> Finding:
        text = f"looks like {self.kind} and cannot be read: {self.why}"
        return Finding("annotation", text, self.fix, self.path, self.line, "error")


def find_suspects(tree: Tree, names: Sequence[str], images: Images, known: set[str]) -> Iterator[Suspect]:
    """Yield the files that look like annotations and are not among the `known`, of each type the first in the tree."""
    stems = {posixpath.splitext(posixpath.basename(n))[0] for n in images.names}
    for extensions, look in ((_JSONS, _json), ((".xml",), _xml), ((".csv", ".tsv"), _table), ((".txt",), _text)):
        files = [n for n in names if n.lower().endswith(extensions) and n not in known]
        for name in sorted(files, key=lambda n: (not _NAMED.search(n.lower()), n.count("/"), n))[:_MOST_FILES]:
            paired = _is_paired(name, stems)
            try:
                data = tree.content(name)
            except EyewrightError as error:
                if _NAMED.search(name.lower()):
                    yield Suspect(name, "annotations", error.message, error.fix)
                continue
            if data[: len(_POINTER)] == _POINTER.encode() and (paired or _NAMED.search(name.lower())):
                yield Suspect(name, "annotations", "it is a Git LFS pointer, not the file", "run git lfs pull")
            elif (found := look(name, data, paired)) is not None:
                yield found


def _is_paired(name: str, stems: set[str]) -> bool:
    """Return whether a file is named like an image: by its stem, its whole name, or with a word added."""
    stem = posixpath.splitext(posixpath.basename(name))[0]
    return any(s in stems for s in (stem, posixpath.splitext(stem)[0], _ROUND.sub("", stem)))


def unread_tables(
    tree: Tree, names: Sequence[str], images: Images, learnt: str = "the label", column: str = "label"
) -> Iterator[Suspect]:
    """Yield files that may hold the labels of images and were not read, with what is expected of a table.

    They are tables, archives, and texts that name one of the first images. `learnt` says what a table should hold, and
    `column` how that is called.
    """
    called = [posixpath.basename(n) for n in images.names[:_MOST_FILES]]
    for name in names:
        extension = posixpath.splitext(name)[1].lower()
        if extension in _ARCHIVES:
            yield Suspect(name, "packed annotations", f"{extension} files in a folder are not opened", "unpack it")
        elif extension in _TABLES:
            yield Suspect(
                name, "a table of labels", f"{extension} files are not read", f"save it as a CSV of path,{column}"
            )
        elif extension in (".csv", ".tsv"):
            try:
                text = decode_text(tree.content(name))
            except EyewrightError as error:
                yield Suspect(name, "a table of labels", error.message, error.fix)
                continue
            columns = columns_of(text)
            why = f"expected columns for the path and {learnt}, found {', '.join(columns[:8]) or 'an empty file'}"
            yield Suspect(name, "a table of labels", why, f"name them 'path' and {column!r}")
        elif extension in _TEXTS:
            try:
                text = head_text(tree.content(name))
            except EyewrightError:
                continue
            if not text.strip() and extension in _MARKED:
                yield Suspect(name, "annotations", "it is empty", "export it again")
                continue
            first = next((n for n in called if n in text), None)
            if first is not None:
                why = f"it names images, such as {first!r}, in a layout that is not known"
                yield Suspect(name, "labels", why, f"write a CSV of path,{column}")


def _json(name: str, data: bytes, paired: bool) -> Suspect | None:
    named = paired or _NAMED.search(name.lower()) is not None
    if not data.strip():
        return Suspect(name, "annotations", "it is empty", "export it again") if named else None
    keys = set(_KEY.findall(head_text(data))) | set(_KEY.findall(data[-_EDGE:].decode("utf-8", "replace")))
    kind = next((k for k, wanted in _KINDS if wanted <= keys), None)
    lines = name.lower().endswith((".jsonl", ".ndjson", ".manifest"))
    fault = None if lines else _json_fault(data)
    if fault is not None and (kind is not None or named):
        line, why, fix = fault
        return Suspect(name, kind or "annotations in JSON", why, fix, line)
    if kind is None:
        return None
    if lines or kind not in _READ_JSON:
        what = kind if kind not in ("boxes", "outlines") else f"JSON with {kind}"
        why = "this layout is not known" if what != kind else f"{kind}'s format is not read"
        return Suspect(name, what, why, "export the annotations as COCO, YOLO or Pascal VOC")
    return _structure(name, kind, data, keys)


def _json_fault(data: bytes) -> tuple[int | None, str, str] | None:
    """Return the line and the reason for which bytes are not JSON; None where they are."""
    try:
        text = decode_text(data)
    except DatasetError as error:
        stated = re.match(r"line (\d+) is", error.message)
        return (int(stated[1]) if stated else None), "it is not UTF-8", error.fix
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
        return None
    except BAD_JSON as error:
        at = re.search(r"byte (\d+)", str(error))
        encoded = text.encode("utf-8", "replace")
        if at is None:
            why = "it ends too early" if "truncated" in str(error) else json_reason(error)
            return encoded.count(b"\n") + 1, why, "export the annotations again"
        byte = int(at[1])
        line = encoded.count(b"\n", 0, byte) + 1
        around = encoded[max(0, byte - 12) : byte + 12].decode("utf-8", "replace")
        return line, *_json_reason(around, encoded[byte : byte + 12].decode("utf-8", "replace"))


def _json_reason(around: str, rest: str) -> tuple[str, str]:
    number = _NO_NUMBER.search(around)
    if number is not None:
        return f"{number[0]} is not JSON", "write a number, or remove that annotation"
    if rest.startswith("'"):
        return "keys and text are in single quotes, as Python prints them", 'write it with json.dump: JSON has " only'
    if re.search(r",\s*[\]}]", around):
        return "a comma stands before a closing bracket", "remove it"
    if rest.startswith(("/", "#")):
        return "JSON has no comments", "remove them"
    if rest.startswith(("True", "False", "None")):
        return f"{rest.split(',')[0].strip()} is Python's, not JSON's", "write it with json.dump"
    return f"it is not JSON at {rest.strip()!r}", "export the annotations again"


def _structure(name: str, kind: str, data: bytes, keys: set[str]) -> Suspect | None:
    """Say which part of a JSON file that parses is not as its format has it; None where the file is as it should be."""
    try:
        text = decode_text(data)
        # Of an object the parts are looked at one by one: a file may hold millions of annotations.
        top = msgspec.json.decode(text, type=dict[str, msgspec.Raw] if kind == "COCO" else Any)
    except (*BAD_JSON, DatasetError):
        if kind != "COCO" or not data.lstrip().startswith(b"["):
            return None
        top = msgspec.json.decode(data)
    first = next((x for x in top if isinstance(x, dict)), {}) if isinstance(top, list) else {}
    if kind == "COCO":
        return _coco_structure(name, top, first)
    if kind == "Label Studio":
        if isinstance(top, list) and first and "data" not in first:
            why = "it is the short export (JSON-MIN), without the tasks' data"
            return Suspect(name, "Label Studio's JSON-MIN", why, "export it from Label Studio as JSON")
        if isinstance(top, dict) and "result" in top:
            why = "it is one annotation of a storage, not an export"
            return Suspect(name, kind, why, "export the project from Label Studio as JSON")
        if first and "annotations" not in first and "completions" not in first:
            why = "its tasks have no annotations"
            return Suspect(name, kind, why, "annotate them, and export JSON again", aside=True)
        return _unless_known(name, kind, "expected a list of tasks with data and annotations", top, list)
    if kind == "LabelMe":
        if isinstance(top, dict):
            for key, wanted in (("shapes", list), ("imagePath", str)):
                if not isinstance(top.get(key), wanted):
                    what = "is missing" if key not in top else f"is no {'list' if wanted is list else 'text'}"
                    return Suspect(name, kind, f"the key {key!r} {what}", f"add {key!r} to the file")
            if not top["imagePath"]:
                return Suspect(name, kind, "the key 'imagePath' is empty", "write the image's name there")
        return _unless_known(name, kind, "a key has a value of another type than LabelMe writes", top, None)
    if kind == "VIA 2":
        return _unless_known(name, kind, "expected images with filename and regions", top, None)
    why = "expected a list of images, each with annotations of label and coordinates"
    return _unless_known(name, kind, why, top, list)


def _coco_structure(name: str, top: object, first: dict[str, object]) -> Suspect | None:
    wanted = ("images", "annotations", "categories")
    if isinstance(top, list):
        if "image_id" in first and ("score" in first or "bbox" in first or "segmentation" in first):
            why = "it is a list of results, without images and categories"
            fix = "pass the annotation file; results are for evaluation"
            return Suspect(name, "COCO results", why, fix, aside="score" in first)
        return Suspect(name, "COCO", "expected an object with images, annotations and categories", "export it again")
    if not isinstance(top, dict):
        return None
    missing = [k for k in wanted if k not in top]
    if len(missing) == len(wanted):
        inner = next((k for k, v in top.items() if b'"annotations"' in bytes(memoryview(v))), None)
        if inner is None:
            why = f"the keys {', '.join(wanted)} are missing; found {', '.join(map(str, list(top)[:6]))}"
        else:
            why = f"its content is inside the key {inner!r}"
        return Suspect(name, "COCO", why, "put images, annotations and categories at the top level")
    if missing:
        spelt = {k.lower(): k for k in top}
        other = next((spelt[k] for k in missing if k in spelt), None)
        what = f"{'keys' if len(missing) > 1 else 'key'} {', '.join(map(repr, missing))}"
        why = f"the {what} {'are' if len(missing) > 1 else 'is'} missing; found {', '.join(map(str, list(top)[:6]))}"
        fix = f"rename {other!r} to {other.lower()!r}" if other else f"add {missing[0]!r}: " + _COCO_PARTS[missing[0]]
        # Without annotations it lists images to be predicted, as COCO's image_info files do.
        return Suspect(name, "COCO", why, fix, aside=missing == ["annotations"])
    if b'"caption"' in bytes(memoryview(top["annotations"])[:2000]):
        why = "it holds captions, no boxes or outlines"
        return Suspect(name, "COCO captions", why, "pass an instances file", aside=True)
    return None


_COCO_PARTS = {
    "images": '[{"id": 1, "file_name": "a.jpg", "width": 640, "height": 480}, …]',
    "annotations": '[{"id": 1, "image_id": 1, "category_id": 1, "bbox": [x, y, width, height]}, …]',
    "categories": '[{"id": 1, "name": "cat"}, …]',
}


def _unless_known(name: str, kind: str, why: str, top: object, wanted: type | None) -> Suspect | None:
    """Say `why` of a file that its own reader does not take."""
    data = msgspec.json.encode(top)
    takes = {"LabelMe": is_labelme, "Label Studio": is_label_studio, "VIA 2": is_via, "Create ML": is_createml}
    if takes[kind](data):
        return None
    if wanted is not None and not isinstance(top, wanted):
        why += f", found {'an object' if isinstance(top, dict) else type(top).__name__}"
    return Suspect(name, kind, why, "export the annotations again")


def _xml(name: str, data: bytes, paired: bool) -> Suspect | None:
    named = paired or _NAMED.search(name.lower()) is not None
    if not data.strip():
        return Suspect(name, "an annotation in XML", "it is empty", "export it again") if named else None
    head = head_text(data)
    marked = re.search(r"<(object|bndbox|polygon|box|image|track)[\s>]", head) is not None
    kind = "CVAT" if "<annotations" in head else ("Pascal VOC" if "<annotation" in head else "annotations in XML")
    if not (marked or named or kind != "annotations in XML"):
        return None
    roots: list[str] = []
    try:
        read_elements(data, lambda n, a, line: roots.append(n) if not roots else None, lambda n, text: None)
    except DatasetError as error:
        line = re.match(r"line (\d+) is not XML: ", error.message)
        why = error.message[line.end() :] if line else error.message
        return Suspect(name, kind, f"it is not XML: {why}" if line else why, error.fix, int(line[1]) if line else None)
    if roots and roots[0] in ("annotation", "annotations"):
        return None
    if not marked:
        return None
    why = f"expected the top element 'annotation' (Pascal VOC) or 'annotations' (CVAT), found {roots[0]!r}"
    return Suspect(name, kind, why, "export the annotations as Pascal VOC, COCO or CVAT for images 1.1")


def _table(name: str, data: bytes, paired: bool) -> Suspect | None:
    head = head_text(data)
    columns = columns_of(head)
    if not has_coordinates(columns):
        if "shape_attributes" in head:
            return Suspect(name, "VIA's CSV", f"its columns are {', '.join(columns[:8])}", "export it again from VIA")
        return None
    if box_table(head) is not None:
        try:
            decode_text(data)
        except DatasetError as error:
            return Suspect(name, "a CSV of boxes", error.message, error.fix)
        return None
    why = f"expected columns for the image and for four numbers of a box, found {', '.join(columns[:10])}"
    return Suspect(name, "a CSV of boxes", why, "name them filename, xmin, ymin, xmax, ymax, class")


def _text(name: str, data: bytes, paired: bool) -> Suspect | None:
    line = next((r for r in head_text(data, 4096).splitlines() if r.strip()), "")
    words = line.split()
    if re.match(r"^\S.*\.(jpe?g|png|bmp|tiff?|webp)\s+\d+,\d+,\d+,\d+,\d+", line, re.IGNORECASE):
        why = "a list of images with boxes behind each name is not read"
        return Suspect(name, "boxes in a text file", why, "convert it to a CSV of filename,xmin,ymin,xmax,ymax,class")
    if not paired:
        return None
    numbers = [_is_number(w) for w in words]
    export = "export the annotations as YOLO, COCO or Pascal VOC"
    if len(words) >= 5 and all(numbers):
        why = "there is no image next to it, or in 'images' if it is in 'labels'"
        return Suspect(name, "YOLO", why, "put the images into images/ and the label files into labels/ next to it")
    if len(words) in (15, 16) and not numbers[0] and all(numbers[1:]):
        return Suspect(name, "KITTI", "KITTI's format is not read", export)
    if (len(words) in (9, 10) and all(numbers[:8])) or line.startswith(("imagesource:", "gsd:")):
        return Suspect(name, "DOTA", "DOTA's format is not read", export)
    cells = line.split(",")
    if len(cells) >= 4 and sum(map(_is_number, cells)) >= 4:
        return Suspect(name, "boxes in a text file", "numbers with commas between them are not read", export)
    if len(words) == 5 and sum(numbers) == 4:
        return Suspect(
            name, "YOLO", f"expected a class number, found {line[:40]!r}", "write numbers, and names to data.yaml", 1
        )
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
