"""Watching a model at work: the prediction log, drift, alerts, feedback, and which model is in use."""

from eyewright.monitoring.alerts import Alerts
from eyewright.monitoring.drift import ChangeDetector, Drift, Sample, drift_between
from eyewright.monitoring.exchange import choose_next, export_feedback, import_feedback
from eyewright.monitoring.history import Event, History
from eyewright.monitoring.recorder import Recorder, RecorderSettings, image_path
from eyewright.monitoring.store import Row, Said, Store, open_store
from eyewright.monitoring.summary import feedback_summary, gives_numbers

__all__ = [
    "Alerts",
    "ChangeDetector",
    "Drift",
    "Event",
    "History",
    "Recorder",
    "RecorderSettings",
    "Row",
    "Said",
    "Sample",
    "Store",
    "choose_next",
    "export_feedback",
    "feedback_summary",
    "gives_numbers",
    "image_path",
    "import_feedback",
    "open_store",
    "drift_between",
]
