"""The verbs: each stage of a model's life as one function, and `run`, which walks through all of them.

A module is imported when one of its names is used: whoever predicts needs no data sets.
"""

from typing import TYPE_CHECKING

from eyewright.core.late import late_names

if TYPE_CHECKING:
    from eyewright.lifecycle.adding import AddGenerated
    from eyewright.lifecycle.anonymizing import Anonymized, anonymize
    from eyewright.lifecycle.attacking import attack, certify, harden
    from eyewright.lifecycle.attending import attend
    from eyewright.lifecycle.auditing import audit_privacy
    from eyewright.lifecycle.browsing import browse
    from eyewright.lifecycle.compressing import CompressResult, compress
    from eyewright.lifecycle.datasets import load_dataset
    from eyewright.lifecycle.delivering import TARGETS, Delivered, bench, deliver, sign, sign_copy
    from eyewright.lifecycle.doctoring import doctor
    from eyewright.lifecycle.duplicates import find_duplicates
    from eyewright.lifecycle.exchange import convert, import_onnx
    from eyewright.lifecycle.explaining import explain, explain_each
    from eyewright.lifecycle.federated_client import Joining, join_federation
    from eyewright.lifecycle.federating import Federated, federate
    from eyewright.lifecycle.federating_apart import serve_federation
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
    from eyewright.lifecycle.forgetting import Forgotten, forget
    from eyewright.lifecycle.generating import GeneratedFile, Generation, generate_images
    from eyewright.lifecycle.inpainting import Inpainting, bundles_by_role, inpaint
    from eyewright.lifecycle.loading import open_any
    from eyewright.lifecycle.opening import formats, info, load_model, load_run, models, training_steps
    from eyewright.lifecycle.reading import Page, PageLine, generate_lines, read_text
    from eyewright.lifecycle.replicating import serve_replicas
    from eyewright.lifecycle.restoring import Restoration, RestoredFile, restore
    from eyewright.lifecycle.retraining import Retrained, retrain
    from eyewright.lifecycle.searching import Indexed, Labelled, index_folder, label_images, search
    from eyewright.lifecycle.stages import compare, errors_in, evaluate, export, export_checked, predict, train, verify
    from eyewright.lifecycle.tuning import TuneResult, tune
    from eyewright.lifecycle.vector_exchange import export_vectors, import_vectors
    from eyewright.lifecycle.whole import RunResult, quickstart, run

_HOMES = {
    "adding": ("AddGenerated",),
    "anonymizing": ("Anonymized", "anonymize"),
    "attacking": ("attack", "certify", "harden"),
    "auditing": ("audit_privacy",),
    "attending": ("attend",),
    "browsing": ("browse",),
    "compressing": ("CompressResult", "compress"),
    "datasets": ("load_dataset",),
    "delivering": ("Delivered", "TARGETS", "bench", "deliver", "sign", "sign_copy"),
    "doctoring": ("doctor",),
    "duplicates": ("find_duplicates",),
    "exchange": ("convert", "import_onnx"),
    "explaining": ("explain", "explain_each"),
    "federated_client": ("Joining", "join_federation"),
    "federating": ("Federated", "federate"),
    "federating_apart": ("serve_federation",),
    "replicating": ("serve_replicas",),
    "field": (
        "challenge", "drift", "feedback_add", "feedback_export", "feedback_import", "feedback_list", "history",
        "monitor_status", "promote", "rollback", "select", "serve",
    ),
    "folds": ("FoldsResult", "cross_validate"),
    "forgetting": ("Forgotten", "forget"),
    "generating": ("GeneratedFile", "Generation", "generate_images"),
    "inpainting": ("Inpainting", "bundles_by_role", "inpaint"),
    "loading": ("open_any",),
    "opening": ("formats", "info", "load_model", "load_run", "models", "training_steps"),
    "reading": ("Page", "PageLine", "generate_lines", "read_text"),
    "restoring": ("Restoration", "RestoredFile", "restore"),
    "retraining": ("Retrained", "retrain"),
    "searching": ("Indexed", "Labelled", "index_folder", "label_images", "search"),
    "stages": ("compare", "errors_in", "evaluate", "export", "export_checked", "predict", "train", "verify"),
    "tuning": ("TuneResult", "tune"),
    "vector_exchange": ("export_vectors", "import_vectors"),
    "whole": ("RunResult", "quickstart", "run"),
}  # fmt: skip

__all__ = [
    "AddGenerated",
    "Anonymized",
    "CompressResult",
    "Delivered",
    "Federated",
    "Joining",
    "FoldsResult",
    "Forgotten",
    "GeneratedFile",
    "Generation",
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
    "anonymize",
    "attack",
    "audit_privacy",
    "attend",
    "bench",
    "bundles_by_role",
    "browse",
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
    "explain_each",
    "export",
    "export_checked",
    "export_vectors",
    "feedback_add",
    "feedback_export",
    "feedback_import",
    "feedback_list",
    "federate",
    "find_duplicates",
    "forget",
    "formats",
    "generate_images",
    "generate_lines",
    "harden",
    "history",
    "import_onnx",
    "import_vectors",
    "index_folder",
    "info",
    "inpaint",
    "join_federation",
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
    "serve_federation",
    "serve_replicas",
    "sign",
    "sign_copy",
    "train",
    "training_steps",
    "tune",
    "verify",
]


__getattr__ = late_names("eyewright.lifecycle", _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
