"""Regions as others read them: COCO run-length encoding and polygons, and as people see them: drawn over the image."""

__all__ = ["coco_annotations", "decode_rle", "draw_regions", "encode_rle", "polygons_of"]

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.imaging.rasters import decode_counts, encode_counts
from eyewright.imaging.segmentation.regions import Region
from eyewright.imaging.steps.arrays import Pixels, opencv

Labels = NDArray[np.int32]


def encode_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return COCO's uncompressed run-length encoding of a mask (H, W): column by column, beginning with zeros.

    >>> encode_rle(np.array([[0, 1], [1, 1]], bool))
    {'size': [2, 2], 'counts': [1, 3]}
    """
    return {"size": [int(v) for v in mask.shape], "counts": encode_counts(mask)}


def decode_rle(rle: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return the mask of an uncompressed run-length encoding.

    >>> decode_rle({"size": [2, 2], "counts": [1, 3]}).tolist()
    [[False, True], [True, True]]
    """
    height, width = rle["size"]
    return decode_counts(np.asarray(rle["counts"], np.int64), (height, width))


def polygons_of(mask: NDArray[np.bool_], *, tolerance: float = 0.5) -> list[list[float]]:
    """Return the outer outlines of a mask as COCO polygons, [x, y, x, y, ...] in pixel centres.

    Points closer than `tolerance` pixels to the line are left out. Holes are not expressed: use run-length encoding
    for those.
    """
    cv2 = opencv()
    outlines, _ = cv2.findContours(
        np.ascontiguousarray(mask).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    found = []
    for outline in outlines:
        line = cv2.approxPolyDP(outline, tolerance, True).reshape(-1, 2)
        if len(line) >= 3:
            found.append([float(v) for v in line.ravel()])
    return found


def coco_annotations(labels: Labels, regions: Sequence[Region], name: str) -> dict[str, Any]:
    """Return a COCO dictionary of one image: every region is an annotation with box, area, RLE and polygons."""
    annotations = []
    for k, r in enumerate(regions):
        part = np.zeros(labels.shape, bool)
        part[r.y0 : r.y1, r.x0 : r.x1] = labels[r.y0 : r.y1, r.x0 : r.x1] == r.label
        annotations.append(
            {
                "id": k + 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": r.area,
                "bbox": [r.x0, r.y0, r.x1 - r.x0, r.y1 - r.y0],
                "segmentation": encode_rle(part), "polygons": polygons_of(part),
            }
        )  # fmt: skip
    image = {"id": 1, "file_name": name, "height": int(labels.shape[0]), "width": int(labels.shape[1])}
    return {"images": [image], "annotations": annotations, "categories": [{"id": 1, "name": "region"}]}


def draw_regions(image: Pixels, labels: Labels, *, strength: float = 0.45) -> NDArray[np.uint8]:
    """Colour the regions over the image, mostly in other colours than their neighbours, and outline them.

    Label 0 is left as it is.
    """
    cv2 = opencv()
    eight = (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image
    rgb = np.repeat(eight[..., None], 3, 2) if eight.ndim == 2 else eight.copy()
    n = int(labels.max()) + 1
    # Hues by the golden angle: any few numbers in a row are far apart.
    hues = (np.arange(n) * 137.508) % 360
    wheel = np.stack([hues, np.full(n, 0.75), np.full(n, 1.0)], 1).astype(np.float32)
    colours = cv2.cvtColor(wheel[None], cv2.COLOR_HSV2RGB)[0] * 255
    inside = labels > 0
    rgb[inside] = (rgb[inside] * (1 - strength) + colours[labels[inside]] * strength).astype(np.uint8)
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    rgb[edge & (inside | np.roll(inside, 1, 0) | np.roll(inside, 1, 1))] = (255, 255, 255)
    return rgb
