"""Work on many pictures at once: process, compress, segment, and report the result of each."""

from typing import TYPE_CHECKING

from eyewright.core.late import late_names

if TYPE_CHECKING:
    from eyewright.processing.batch import Processed, process_source
    from eyewright.processing.compression import Encoded, Target, encode_files
    from eyewright.processing.segments import Segmented, segment_file
    from eyewright.processing.study import Study, study_folder

_HOMES = {
    "batch": ("Processed", "process_source"),
    "compression": ("Encoded", "Target", "encode_files"),
    "segments": ("Segmented", "segment_file"),
    "study": ("Study", "study_folder"),
}

__all__ = [
    "Encoded",
    "Processed",
    "Segmented",
    "Study",
    "Target",
    "encode_files",
    "process_source",
    "segment_file",
    "study_folder",
]

__getattr__ = late_names(__name__, _HOMES)
