"""The verbs: each stage of a model's life as one function, and `run`, which walks through all of them."""

from eyewright.lifecycle.attacking import attack, certify, harden
from eyewright.lifecycle.attending import attend
from eyewright.lifecycle.compressing import CompressResult, compress
from eyewright.lifecycle.datasets import load_dataset
from eyewright.lifecycle.delivering import TARGETS, Delivered, bench, deliver, open_any, sign, sign_copy
from eyewright.lifecycle.doctoring import doctor
from eyewright.lifecycle.duplicates import find_duplicates
from eyewright.lifecycle.exchange import convert, import_onnx
from eyewright.lifecycle.explaining import explain
from eyewright.lifecycle.field import (
    challenge,
    drift,
    feedback_add,
    feedback_export,
    feedback_import,
    feedback_list,
    history,
    monitor_status,
    promote,
    rollback,
    select,
    serve,
)
from eyewright.lifecycle.folds import FoldsResult, cross_validate
from eyewright.lifecycle.opening import formats, info, load_model, load_run, models
from eyewright.lifecycle.reading import Page, PageLine, generate_lines, read_text
from eyewright.lifecycle.retraining import Retrained, retrain
from eyewright.lifecycle.searching import Indexed, Labelled, index_folder, label_images, search
from eyewright.lifecycle.stages import compare, evaluate, export, export_checked, predict, train, verify
from eyewright.lifecycle.tuning import TuneResult, tune
from eyewright.lifecycle.whole import RunResult, quickstart, run

__all__ = [
    "CompressResult",
    "Delivered",
    "FoldsResult",
    "Indexed",
    "Labelled",
    "Page",
    "PageLine",
    "Retrained",
    "RunResult",
    "TARGETS",
    "TuneResult",
    "attack",
    "attend",
    "bench",
    "certify",
    "challenge",
    "compare",
    "compress",
    "convert",
    "cross_validate",
    "deliver",
    "doctor",
    "drift",
    "evaluate",
    "explain",
    "export",
    "export_checked",
    "feedback_add",
    "feedback_export",
    "feedback_import",
    "feedback_list",
    "find_duplicates",
    "formats",
    "generate_lines",
    "harden",
    "history",
    "import_onnx",
    "index_folder",
    "info",
    "label_images",
    "load_dataset",
    "load_model",
    "load_run",
    "models",
    "monitor_status",
    "open_any",
    "predict",
    "promote",
    "quickstart",
    "read_text",
    "retrain",
    "rollback",
    "run",
    "search",
    "select",
    "serve",
    "sign",
    "sign_copy",
    "train",
    "tune",
    "verify",
]
