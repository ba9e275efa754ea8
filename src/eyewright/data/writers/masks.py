"""Write pictures of class numbers, by folders or by Cityscapes' names, and folders of classes or of objects."""

__all__ = ["encode_classes", "write_cityscapes", "write_class_folders", "write_crops", "write_masks"]

import io
import posixpath
import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import DatasetError
from eyewright.core.files import write_staged
from eyewright.data.readers.masks import CITYSCAPES, CITYSCAPES_TRAINED
from eyewright.data.targets.label import Label
from eyewright.data.targets.mask import Painted
from eyewright.data.writers.class_folders import folder_names
from eyewright.data.writers.work import IGNORED, PNG_LEVEL, Work, part_of, printable_names
from eyewright.imaging.encode import encode_image

# A city, a sequence and a frame, as Cityscapes names its files.
_NAMED = re.compile(r"^(?P<city>[a-z-]+)_\d{6}_\d{6}$")


def write_masks(work: Work) -> None:
    dataset = work.dataset
    for i, sample, size in work.each():
        part = "" if sample.split is None else f"{sample.split}/"
        name = work.image(i, f"{part}images")
        mask = dataset.mask(i, size)
        if isinstance(sample.target, Painted):
            work.objects += len(sample.target)
            several = len(sample.target) - len(np.unique(mask[(mask > 0) & (mask != IGNORED)]))
            if several > 0:
                work.lost["which object of a class a pixel belongs to"] += 1
        data = encode_classes(mask)
        write_staged(work.root / f"{part}masks" / f"{posixpath.splitext(name)[0]}.png", data)
    lines = [f"{i} {n}" for i, n in enumerate(printable_names(work))]
    write_staged(work.root / "classes.txt", "\n".join(lines) + "\n")


def encode_classes(mask: NDArray[np.uint8]) -> bytes:
    """Return class ids (H, W) as an 8-bit grey PNG, in which a number is a number."""
    buffer = io.BytesIO()
    Image.fromarray(mask, "L").save(buffer, "PNG", optimize=False)
    return buffer.getvalue()


def write_class_folders(work: Work) -> None:
    """Sort images by class."""
    names = _folders(work)
    for i, sample in work.samples():
        part = "" if sample.split is None else f"{sample.split}/"
        work.image(i, f"{part}{names[sample.marked(Label)]}")


def _folders(work: Work) -> tuple[str, ...]:
    given = work.dataset.labels.names
    names = folder_names(given)
    if renamed := sum(name != folder for name, folder in zip(given, names, strict=True)):
        work.lost["the names of classes that no folder can have: some characters are replaced"] += renamed
    return names


def write_crops(work: Work) -> None:
    """Write every object as an image of its own, sorted by class."""
    dataset = work.dataset
    names = _folders(work)
    for i, sample in work.samples():
        part = "" if sample.split is None else f"{sample.split}/"
        image = dataset.image(i)
        objects = work.marks(i, image.shape[:2])
        stem = posixpath.splitext(sample.id)[0].replace("/", "_")
        for k in range(len(objects)):
            if objects.crowd[k]:
                work.lost["ignore regions"] += 1
                continue
            x0, y0 = np.floor(objects.boxes_xyxy[k, :2]).astype(int)
            x1, y1 = np.ceil(objects.boxes_xyxy[k, 2:]).astype(int)
            data = encode_image(np.ascontiguousarray(image[y0:y1, x0:x1]), png_level=PNG_LEVEL)
            write_staged(work.root / f"{part}{names[objects.label_ids[k]]}" / f"{stem}_{k:03d}.png", data)
    work.lost["where objects are: each is cut out as an image of its own"] += work.objects


def write_cityscapes(work: Work) -> None:
    """Write Cityscapes' folders and names; pixels of no class are 0, "unlabeled", which its own scripts ignore."""
    dataset = work.dataset
    trained = {CITYSCAPES[i]: i for i in CITYSCAPES_TRAINED}
    strange = [dataset.labels.names[i] for i in dataset.foreground if dataset.labels.names[i] not in trained]
    if strange:
        raise DatasetError(
            f"expected only Cityscapes' 19 classes, found {strange[0]!r}", fix="use --to masks, which takes any"
        )
    table = np.zeros(256, np.uint8)
    for i in dataset.foreground:
        table[i] = trained[dataset.labels.names[i]]
    for k, (i, sample, size) in enumerate(work.each()):
        stem = posixpath.splitext(posixpath.basename(sample.id))[0].removesuffix("_leftImg8bit")
        named = _NAMED.match(stem)
        if named is None:
            work.lost["the names of images: Cityscapes' are a city, a sequence and a frame"] += 1
            stem = f"{part_of(sample)}_000000_{k:06d}"
        place = f"{part_of(sample)}/{named['city'] if named else part_of(sample)}"
        image = work.root / "leftImg8bit" / place / f"{stem}_leftImg8bit.png"
        write_staged(image, encode_image(np.ascontiguousarray(dataset.image(i)), png_level=PNG_LEVEL))
        mask = table[dataset.mask(i, size)]
        write_staged(work.root / "gtFine" / place / f"{stem}_gtFine_labelIds.png", encode_classes(mask))
        if isinstance(sample.target, Painted):
            work.objects += len(sample.target)
