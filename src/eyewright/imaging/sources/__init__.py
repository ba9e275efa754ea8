"""Where images come from: files, folders, videos, cameras, streams, scanners, standard input.

A module is imported when one of its names is used: most sources are files.
"""

from typing import TYPE_CHECKING

from eyewright.core.late import late_names

if TYPE_CHECKING:
    from eyewright.imaging.sources.files import iter_images, list_sources, read_files, read_named
    from eyewright.imaging.sources.frames import Frame, Source
    from eyewright.imaging.sources.opening import is_endless, is_moving, is_stream, open_source

_HOMES = {
    "files": ("iter_images", "list_sources", "read_files", "read_named"),
    "frames": ("Frame", "Source"),
    "opening": ("is_endless", "is_moving", "is_stream", "open_source"),
}

__all__ = [
    "Frame",
    "Source",
    "is_endless",
    "is_moving",
    "is_stream",
    "iter_images",
    "list_sources",
    "open_source",
    "read_files",
    "read_named",
]


__getattr__ = late_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
