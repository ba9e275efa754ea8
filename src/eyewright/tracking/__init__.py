"""Objects over time: trackers over detections, crossings of lines, zones, gaps filled; numpy, no torch."""

from eyewright.tracking.filling import FillSettings, fill_tracks
from eyewright.tracking.tracker import Tracker, TrackerSettings, TrackingMethod, TrackPrediction

__all__ = ["Tracker", "FillSettings", "TrackPrediction", "TrackingMethod", "TrackerSettings", "fill_tracks"]
