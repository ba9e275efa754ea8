"""Files of boxes over time, with or without frames: MOT text, CSV, JSON, COCO of videos and YOLO labels."""

from eyewright.data.tracks.reading import read_tracks
from eyewright.data.tracks.rows import TrackFile, TrackKind
from eyewright.data.tracks.sequences import Sequence, find_sequences
from eyewright.data.tracks.writing import (
    tracks_to_coco,
    tracks_to_csv,
    tracks_to_json,
    tracks_to_mot,
    tracks_to_yolo,
)

__all__ = [
    "Sequence",
    "TrackFile",
    "TrackKind",
    "find_sequences",
    "read_tracks",
    "tracks_to_coco",
    "tracks_to_csv",
    "tracks_to_json",
    "tracks_to_mot",
    "tracks_to_yolo",
]
