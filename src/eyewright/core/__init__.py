"""The values that flow, errors, randomness and atomic files: the base of everything else.

Names are imported when they are used: the command line needs `errors` at once, and numpy only with work to do.
"""

from eyewright.core.late import late_names

TYPE_CHECKING = False
if TYPE_CHECKING:
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

_HOMES = {
    "durations": ("parse_duration_s", "show_duration"),
    "errors": ("EyewrightError",),
    "files": ("checked_output", "staged_folder", "write_bytes", "write_json", "write_text"),
    "jsonable": ("dumps_json", "to_jsonable"),
    "labels": ("LabelSpace",),
    "predictor": ("Predictor",),
    "progress": ("Progress", "track_progress"),
    "report": ("Finding", "Metric", "Report"),
    "rng": ("generator",),
}


__getattr__ = late_names("eyewright.core", _HOMES)
