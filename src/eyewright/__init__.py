"""Eyewright builds eyes: from a folder of images to a vision model that a person can trust and run anywhere.

>>> import eyewright as ew
>>> data = ew.load_dataset("photos/")  # doctest: +SKIP
>>> run = ew.train(data, budget="10m")  # doctest: +SKIP
>>> report = ew.evaluate(run, data.test)  # doctest: +SKIP
>>> bundle = ew.export(run, "photos.bundle")  # doctest: +SKIP
>>> bundle.predict("cat.jpg").top1  # doctest: +SKIP
'cat'

Nothing is imported until it is used: `import eyewright` is quick, and a bundle predicts without torch.
"""

from eyewright.core.late import late_names
from eyewright.core.telemetry import switch_off_telemetry

switch_off_telemetry()

__version__ = "0.1.0"

_HOMES = {
    "bundle": ("Bundle", "guarantees_of", "load_bundle"),
    "core": ("LabelSpace", "Report"),
    "core.errors": ("EyewrightError",),
    "data": ("Dataset",),
    "imaging": ("FORMATS", "Limits", "Preparation", "probe_image", "read_image", "write_image"),
    "imaging.sources": ("open_source",),
    "imaging.steps": ("process",),
    "lifecycle": (
        "AddGenerated", "anonymize", "attack", "attend", "audit_privacy", "bench", "browse", "certify", "compare",
        "compress", "convert", "cross_validate", "deliver", "doctor", "evaluate", "explain", "export", "export_vectors",
        "federate", "find_duplicates", "forget", "formats", "generate_images", "generate_lines", "harden",
        "import_onnx", "import_vectors", "index_folder", "info", "inpaint", "join_federation", "label_images",
        "load_dataset", "load_run", "models", "predict", "quickstart", "read_text", "restore", "run", "search", "serve",
        "serve_federation", "train", "tune", "verify",
    ),
    "lifecycle.following": ("track", "track_detections"),
    "tasks.table": ("tasks",),
    "tracking": ("Tracker", "TrackerSettings"),
    "training": ("Recipe",),
}  # fmt: skip

__all__ = [
    "AddGenerated",
    "Bundle",
    "Dataset",
    "EyewrightError",
    "FORMATS",
    "LabelSpace",
    "Limits",
    "Preparation",
    "Recipe",
    "Report",
    "Tracker",
    "TrackerSettings",
    "__version__",
    "anonymize",
    "attack",
    "attend",
    "audit_privacy",
    "bench",
    "browse",
    "certify",
    "compare",
    "compress",
    "convert",
    "cross_validate",
    "deliver",
    "doctor",
    "evaluate",
    "explain",
    "export",
    "export_vectors",
    "federate",
    "find_duplicates",
    "forget",
    "formats",
    "generate_images",
    "generate_lines",
    "guarantees_of",
    "harden",
    "import_onnx",
    "import_vectors",
    "index_folder",
    "info",
    "inpaint",
    "join_federation",
    "label_images",
    "load_bundle",
    "load_dataset",
    "load_run",
    "models",
    "open_source",
    "predict",
    "probe_image",
    "process",
    "quickstart",
    "read_image",
    "read_text",
    "restore",
    "run",
    "search",
    "serve",
    "serve_federation",
    "tasks",
    "track",
    "track_detections",
    "train",
    "tune",
    "verify",
    "write_image",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from eyewright.bundle import Bundle, guarantees_of, load_bundle
    from eyewright.core import LabelSpace, Report
    from eyewright.core.errors import EyewrightError
    from eyewright.data import Dataset
    from eyewright.imaging import FORMATS, Limits, Preparation, probe_image, read_image, write_image
    from eyewright.imaging.sources import open_source
    from eyewright.imaging.steps import process
    from eyewright.lifecycle import (
        AddGenerated,
        anonymize,
        attack,
        attend,
        audit_privacy,
        bench,
        browse,
        certify,
        compare,
        compress,
        convert,
        cross_validate,
        deliver,
        doctor,
        evaluate,
        explain,
        export,
        export_vectors,
        federate,
        find_duplicates,
        forget,
        formats,
        generate_images,
        generate_lines,
        harden,
        import_onnx,
        import_vectors,
        index_folder,
        info,
        inpaint,
        join_federation,
        label_images,
        load_dataset,
        load_run,
        models,
        predict,
        quickstart,
        read_text,
        restore,
        run,
        search,
        serve,
        serve_federation,
        train,
        tune,
        verify,
    )
    from eyewright.lifecycle.following import track, track_detections
    from eyewright.tasks.table import tasks
    from eyewright.tracking import Tracker, TrackerSettings
    from eyewright.training import Recipe


__getattr__ = late_names("eyewright", _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
