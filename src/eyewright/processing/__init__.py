"""Work on many pictures at once: process, compress, segment, and report the result of each."""

from eyewright.processing.batch import Processed, process_source
from eyewright.processing.compression import Encoded, Target, encode_files
from eyewright.processing.segments import Segmented, segment_file
from eyewright.processing.study import Study, study_folder

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
