"""Files of boxes over time: MOT text, CSV and JSON, read and written, with or without their frames."""

from eyewright.data.tracks.reading import TrackFile, TrackKind, read_tracks
from eyewright.data.tracks.sequences import Sequence, find_sequences
from eyewright.data.tracks.writing import tracks_to_csv, tracks_to_json, tracks_to_mot

__all__ = [
    "Sequence",
    "TrackFile",
    "TrackKind",
    "find_sequences",
    "read_tracks",
    "tracks_to_csv",
    "tracks_to_json",
    "tracks_to_mot",
]
