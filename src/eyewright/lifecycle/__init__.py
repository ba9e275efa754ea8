"""The verbs: each stage of a model's life as one function, and `run`, which walks through all of them.

A module is imported when one of its names is used: whoever predicts needs no data sets.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eyewright.lifecycle.attacking import attack, certify, harden
    from eyewright.lifecycle.attending import attend
    from eyewright.lifecycle.compressing import CompressResult, compress
    from eyewright.lifecycle.datasets import load_dataset
    from eyewright.lifecycle.delivering import TARGETS, Delivered, bench, deliver, sign, sign_copy
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
    from eyewright.lifecycle.inpainting import Inpainting, inpaint
    from eyewright.lifecycle.loading import open_any
    from eyewright.lifecycle.opening import formats, info, load_model, load_run, models
    from eyewright.lifecycle.reading import Page, PageLine, generate_lines, read_text
    from eyewright.lifecycle.restoring import Restoration, RestoredFile, restore
    from eyewright.lifecycle.retraining import Retrained, retrain
    from eyewright.lifecycle.searching import Indexed, Labelled, index_folder, label_images, search
    from eyewright.lifecycle.stages import compare, errors_in, evaluate, export, export_checked, predict, train, verify
    from eyewright.lifecycle.tuning import TuneResult, tune
    from eyewright.lifecycle.whole import RunResult, quickstart, run

_HOMES = {
    "CompressResult": "compressing",
    "Delivered": "delivering",
    "FoldsResult": "folds",
    "Indexed": "searching",
    "Inpainting": "inpainting",
    "Labelled": "searching",
    "Page": "reading",
    "PageLine": "reading",
    "Restoration": "restoring",
    "RestoredFile": "restoring",
    "Retrained": "retraining",
    "RunResult": "whole",
    "TARGETS": "delivering",
    "TuneResult": "tuning",
    "attack": "attacking",
    "attend": "attending",
    "bench": "delivering",
    "certify": "attacking",
    "challenge": "field",
    "compare": "stages",
    "compress": "compressing",
    "convert": "exchange",
    "cross_validate": "folds",
    "deliver": "delivering",
    "doctor": "doctoring",
    "drift": "field",
    "errors_in": "stages",
    "evaluate": "stages",
    "explain": "explaining",
    "export": "stages",
    "export_checked": "stages",
    "feedback_add": "field",
    "feedback_export": "field",
    "feedback_import": "field",
    "feedback_list": "field",
    "find_duplicates": "duplicates",
    "formats": "opening",
    "generate_lines": "reading",
    "harden": "attacking",
    "history": "field",
    "import_onnx": "exchange",
    "index_folder": "searching",
    "info": "opening",
    "inpaint": "inpainting",
    "label_images": "searching",
    "load_dataset": "datasets",
    "load_model": "opening",
    "load_run": "opening",
    "models": "opening",
    "monitor_status": "field",
    "open_any": "loading",
    "predict": "stages",
    "promote": "field",
    "quickstart": "whole",
    "read_text": "reading",
    "restore": "restoring",
    "retrain": "retraining",
    "rollback": "field",
    "run": "whole",
    "search": "searching",
    "select": "field",
    "serve": "field",
    "sign": "delivering",
    "sign_copy": "delivering",
    "train": "stages",
    "tune": "tuning",
    "verify": "stages",
}

__all__ = [
    "CompressResult",
    "Delivered",
    "FoldsResult",
    "Indexed",
    "Inpainting",
    "Labelled",
    "Page",
    "PageLine",
    "Restoration",
    "RestoredFile",
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
    "errors_in",
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
    "inpaint",
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
    "restore",
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


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'eyewright.lifecycle' has no attribute {name!r}")
    value = getattr(import_module(f"eyewright.lifecycle.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
