"""Objects over time: trackers over detections, crossings of lines, zones, gaps filled; numpy, no torch."""

from eyewright.tracking.filling import FillSettings, fill_tracks
from eyewright.tracking.lines import Crossing, Line, LineCounter, Visit, Zone, ZoneCounter
from eyewright.tracking.methods import METHODS, method_of
from eyewright.tracking.recording import Recorder, Watch
from eyewright.tracking.tracker import Tracker, TrackerSettings, TrackingMethod, TrackPrediction

__all__ = [
    "METHODS",
    "Crossing",
    "FillSettings",
    "Line",
    "LineCounter",
    "Recorder",
    "TrackPrediction",
    "Tracker",
    "TrackerSettings",
    "TrackingMethod",
    "Visit",
    "Watch",
    "Zone",
    "ZoneCounter",
    "fill_tracks",
    "method_of",
]
