"""Classical segmentation: from pixels to labelled regions, measured, and to the formats that others read."""

from eyewright.imaging.segmentation.methods import SEGMENTERS, Segmenter, segment, settle
from eyewright.imaging.segmentation.outlines import coco_annotations, decode_rle, draw_regions, encode_rle, polygons_of
from eyewright.imaging.segmentation.regions import COLUMNS, Region, connected, measure_regions

__all__ = [
    "COLUMNS",
    "SEGMENTERS",
    "Region",
    "Segmenter",
    "coco_annotations",
    "connected",
    "decode_rle",
    "draw_regions",
    "encode_rle",
    "measure_regions",
    "polygons_of",
    "segment",
    "settle",
]
