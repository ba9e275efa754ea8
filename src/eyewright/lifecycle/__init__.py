"""The verbs: each stage of a model's life as one function, and `run`, which walks through all of them."""

from eyewright.lifecycle.datasets import doctor, load_dataset
from eyewright.lifecycle.opening import formats, info, load_model, load_run, models
from eyewright.lifecycle.stages import compare, evaluate, explain, export, export_checked, predict, train, verify
from eyewright.lifecycle.whole import RunResult, quickstart, run

__all__ = [
    "RunResult",
    "compare",
    "doctor",
    "evaluate",
    "explain",
    "export",
    "export_checked",
    "formats",
    "info",
    "load_dataset",
    "load_model",
    "load_run",
    "models",
    "predict",
    "quickstart",
    "run",
    "train",
    "verify",
]
