"""Where images come from: files, folders, videos, cameras, streams, scanners, standard input."""

from eyewright.imaging.sources.files import iter_images, list_sources, read_files, read_named
from eyewright.imaging.sources.frames import Frame, Source
from eyewright.imaging.sources.opening import is_endless, is_moving, is_stream, open_source

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
