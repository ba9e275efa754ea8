"""Everything that happens to pixels before and without a network.

A module is imported when one of its names is used: a decoder needs neither fonts nor encoders.
"""

from typing import TYPE_CHECKING

from eyewright.core.late import late_names

if TYPE_CHECKING:
    from eyewright.imaging.decode import ImageInfo, probe_image, read_thumbnail
    from eyewright.imaging.encode import data_uri, encode_image, write_image
    from eyewright.imaging.given import given_source, read_image
    from eyewright.imaging.headers import FORMATS, Limits
    from eyewright.imaging.overlay import colour_map, overlay_heatmap, shrink
    from eyewright.imaging.preparation import Placement, Preparation

_HOMES = {
    "decode": ("ImageInfo", "probe_image", "read_thumbnail"),
    "encode": ("data_uri", "encode_image", "write_image"),
    "given": ("given_source", "read_image"),
    "headers": ("FORMATS", "Limits"),
    "overlay": ("colour_map", "overlay_heatmap", "shrink"),
    "preparation": ("Placement", "Preparation"),
}

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


__getattr__ = late_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
