"""The options of a job of predict; apart from `predicting`, so that a driver loads nothing that only workers need."""

__all__ = ["PREDICT_OPTIONS", "check_model"]

from eyewright.bundle.manifest import Manifest
from eyewright.core.errors import UsageError
from eyewright.core.task import task_of
from eyewright.scaling.plan import Value

PREDICT_OPTIONS = ("conf", "iou", "top")
"""The options of predict that a plan holds."""


def check_model(manifest: Manifest, options: dict[str, Value]) -> None:
    """Check before anything is planned that a model predicts single images and supports the options.

    Raises:
        UsageError: it does not.
    """
    task = task_of(manifest.task)
    if manifest.preparation.clip is not None:
        raise UsageError(f"--on is not supported for {task.words.noun}", fix="predict videos without --on")
    for name in PREDICT_OPTIONS:
        if options.get(name) is not None:
            task.require(name)
