"""The values that flow, errors, randomness and atomic files: the ground everything stands on."""

from eyewright.core.durations import parse_duration_s, show_duration
from eyewright.core.errors import EyewrightError
from eyewright.core.files import checked_output, staged_folder, write_bytes, write_json, write_text
from eyewright.core.jsonable import dumps_json, to_jsonable
from eyewright.core.labels import LabelSpace
from eyewright.core.predictor import Predictor
from eyewright.core.progress import Progress, track_progress
from eyewright.core.report import Finding, Metric, Report
from eyewright.core.rng import generator

__all__ = [
    "EyewrightError",
    "Finding",
    "LabelSpace",
    "Metric",
    "Predictor",
    "Progress",
    "Report",
    "checked_output",
    "dumps_json",
    "generator",
    "parse_duration_s",
    "show_duration",
    "staged_folder",
    "to_jsonable",
    "track_progress",
    "write_bytes",
    "write_json",
    "write_text",
]
