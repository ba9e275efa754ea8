"""Objects over time: trackers over detections, crossings of lines, zones, gaps filled; numpy, no torch."""

from eyewright.tracking.filling import FillSettings, fill_tracks
from eyewright.tracking.tracker import BoxTracker, Tracker, TrackerSettings, TrackPrediction

__all__ = ["BoxTracker", "FillSettings", "TrackPrediction", "Tracker", "TrackerSettings", "fill_tracks"]
