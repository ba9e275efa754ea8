"""The verbs: each stage of a model's life as one function, and `run`, which walks through all of them."""

from eyewright.lifecycle.datasets import doctor, load_dataset
from eyewright.lifecycle.exchange import convert, import_onnx
from eyewright.lifecycle.folds import FoldsResult, cross_validate
from eyewright.lifecycle.opening import formats, info, load_model, load_run, models
from eyewright.lifecycle.stages import compare, evaluate, explain, export, export_checked, predict, train, verify
from eyewright.lifecycle.tuning import TuneResult, tune
from eyewright.lifecycle.whole import RunResult, quickstart, run

__all__ = [
    "FoldsResult",
    "RunResult",
    "TuneResult",
    "compare",
    "convert",
    "cross_validate",
    "doctor",
    "evaluate",
    "explain",
    "export",
    "export_checked",
    "formats",
    "import_onnx",
    "info",
    "load_dataset",
    "load_model",
    "load_run",
    "models",
    "predict",
    "quickstart",
    "run",
    "train",
    "tune",
    "verify",
]
