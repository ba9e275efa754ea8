"""Find out which format annotations are in, and read them."""

__all__ = ["ANNOTATED_FORMATS", "read_annotated"]

import posixpath
from collections.abc import Sequence
from types import MappingProxyType

from eyewright.core.errors import DatasetError
from eyewright.data.readers.listing import Found, Images
from eyewright.data.readers.masks import is_cityscapes, is_masks, read_cityscapes, read_masks
from eyewright.data.readers.mot import is_mot, read_mot
from eyewright.data.readers.yolo import is_yolo, read_yolo
from eyewright.data.tree import Tree

ANNOTATED_FORMATS = MappingProxyType(
    {
        "coco": "COCO JSON: boxes, polygons and run lengths; any category ids",
        "yolo": "YOLO: a text file an image, data.yaml as Ultralytics and Roboflow write it; boxes and polygons",
        "voc": "Pascal VOC: an XML file an image, parts by ImageSets/Main",
        "labelme": "LabelMe: a JSON file an image; rectangles, polygons, circles",
        "label-studio": "Label Studio's JSON export: rectangles, polygons, ellipses, brush strokes",
        "masks": "images/ and masks/ with pictures of class numbers, classes.txt beside them",
        "cityscapes": "Cityscapes: leftImg8bit/ and gtFine/ with labelIds or labelTrainIds",
        "mot": "MOTChallenge: a folder a sequence with img1/ and gt/gt.txt",
    }
)
"""Formats of detection and segmentation data by name, with what each looks like."""

# Of thousands of JSON files, one an image, the first few tell what they are.
_LOOKED_AT = 8


def read_annotated(tree: Tree, names: Sequence[str], *, outlines: bool, only: str | None = None) -> Found | None:
    """Read annotations of any known format; None where there are none. `only` names a single file that is meant.

    With `outlines` COCO's shapes are read too; the other formats always give theirs.

    Raises:
        DatasetError: annotations that cannot be read at all.
    """
    images = Images(names)
    if only is not None and not only.endswith(".json"):
        return read_yolo(tree, names, images)
    if is_cityscapes(names):
        return read_cityscapes(tree, names, images)
    if is_mot(names):
        return read_mot(tree, names, images)
    files = [only] if only is not None else [n for n in names if n.lower().endswith(".json")]
    found = _read_json(tree, files, images, outlines, alone=only is not None)
    if found is None and only is not None:
        raise DatasetError(f"{only!r} is not COCO, LabelMe or Label Studio", fix="pass a folder, or export it again")
    if found is None and is_yolo(names, images):
        found = read_yolo(tree, names, images)
    if found is None and any(n.lower().endswith(".xml") for n in names):
        from eyewright.data.readers.voc import is_voc, read_voc

        found = read_voc(tree, names, images) if is_voc(tree, names) else None
    if found is None and is_masks(names, images):
        found = read_masks(tree, names, images)
    return found


def _read_json(tree: Tree, files: Sequence[str], images: Images, outlines: bool, *, alone: bool) -> Found | None:
    if not files:
        return None
    # msgspec is imported with these readers, and most datasets need none of them.
    from eyewright.data.readers.coco import is_coco, read_coco
    from eyewright.data.readers.label_studio import is_label_studio, read_label_studio
    from eyewright.data.readers.labelme import is_labelme, read_labelme

    few = sorted(files, key=lambda n: (n.count("/"), n))[:_LOOKED_AT]
    if len(files) <= _LOOKED_AT * 4:
        few = list(files)
    coco = [f for f in few if is_coco(tree.content(f))]
    if coco:
        return read_coco(tree, _one_each(coco), images, outlines=outlines, alone=alone)
    studio = [f for f in few if is_label_studio(tree.content(f))]
    if studio:
        return read_label_studio(tree, studio, images)
    if any(is_labelme(tree.content(f)) for f in few):
        return read_labelme(tree, files, images)
    return None


def _one_each(files: Sequence[str]) -> list[str]:
    """Leave out what COCO's own folder has beside the objects' boxes: key points of the same images."""
    kept = [f for f in files if "keypoints" not in posixpath.basename(f).lower()]
    return kept or list(files)
