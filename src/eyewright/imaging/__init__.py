"""Everything that happens to pixels before and without a network."""

from eyewright.imaging.decode import ImageInfo, probe_image, read_thumbnail
from eyewright.imaging.encode import data_uri, encode_image, write_image
from eyewright.imaging.given import given_source, read_image
from eyewright.imaging.headers import FORMATS, Limits
from eyewright.imaging.overlay import colour_map, overlay_heatmap, shrink
from eyewright.imaging.preparation import Placement, Preparation

__all__ = [
    "FORMATS",
    "ImageInfo",
    "Limits",
    "Placement",
    "Preparation",
    "colour_map",
    "data_uri",
    "encode_image",
    "given_source",
    "overlay_heatmap",
    "probe_image",
    "read_image",
    "read_thumbnail",
    "shrink",
    "write_image",
]
