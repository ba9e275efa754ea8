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

from importlib import import_module

from eyewright.core.telemetry import switch_off_telemetry

switch_off_telemetry()

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "eyewright.bundle",
    "Dataset": "eyewright.data",
    "EyewrightError": "eyewright.core.errors",
    "FORMATS": "eyewright.imaging",
    "LabelSpace": "eyewright.core",
    "Limits": "eyewright.imaging",
    "Preparation": "eyewright.imaging",
    "Recipe": "eyewright.training",
    "Report": "eyewright.core",
    "Tracker": "eyewright.tracking",
    "TrackerSettings": "eyewright.tracking",
    "attack": "eyewright.lifecycle",
    "attend": "eyewright.lifecycle",
    "bench": "eyewright.lifecycle",
    "certify": "eyewright.lifecycle",
    "compare": "eyewright.lifecycle",
    "compress": "eyewright.lifecycle",
    "convert": "eyewright.lifecycle",
    "cross_validate": "eyewright.lifecycle",
    "deliver": "eyewright.lifecycle",
    "doctor": "eyewright.lifecycle",
    "evaluate": "eyewright.lifecycle",
    "explain": "eyewright.lifecycle",
    "export": "eyewright.lifecycle",
    "find_duplicates": "eyewright.lifecycle",
    "formats": "eyewright.lifecycle",
    "generate_lines": "eyewright.lifecycle",
    "harden": "eyewright.lifecycle",
    "import_onnx": "eyewright.lifecycle",
    "index_folder": "eyewright.lifecycle",
    "info": "eyewright.lifecycle",
    "inpaint": "eyewright.lifecycle",
    "label_images": "eyewright.lifecycle",
    "load_bundle": "eyewright.bundle",
    "load_dataset": "eyewright.lifecycle",
    "load_run": "eyewright.lifecycle",
    "models": "eyewright.lifecycle",
    "open_source": "eyewright.imaging.sources",
    "predict": "eyewright.lifecycle",
    "probe_image": "eyewright.imaging",
    "process": "eyewright.imaging.steps",
    "quickstart": "eyewright.lifecycle",
    "read_image": "eyewright.imaging",
    "read_text": "eyewright.lifecycle",
    "restore": "eyewright.lifecycle",
    "run": "eyewright.lifecycle",
    "search": "eyewright.lifecycle",
    "serve": "eyewright.lifecycle",
    "tasks": "eyewright.tasks.table",
    "track": "eyewright.lifecycle.following",
    "track_detections": "eyewright.lifecycle.following",
    "train": "eyewright.lifecycle",
    "tune": "eyewright.lifecycle",
    "verify": "eyewright.lifecycle",
    "write_image": "eyewright.imaging",
}

__all__ = [
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
    "attack",
    "attend",
    "bench",
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
    "find_duplicates",
    "formats",
    "generate_lines",
    "harden",
    "import_onnx",
    "index_folder",
    "info",
    "inpaint",
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
    from eyewright.bundle import Bundle, load_bundle
    from eyewright.core import LabelSpace, Report
    from eyewright.core.errors import EyewrightError
    from eyewright.data import Dataset
    from eyewright.imaging import FORMATS, Limits, Preparation, probe_image, read_image, write_image
    from eyewright.imaging.sources import open_source
    from eyewright.imaging.steps import process
    from eyewright.lifecycle import (
        attack,
        attend,
        bench,
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
        find_duplicates,
        formats,
        generate_lines,
        harden,
        import_onnx,
        index_folder,
        info,
        inpaint,
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
        train,
        tune,
        verify,
    )
    from eyewright.lifecycle.following import track, track_detections
    from eyewright.tasks.table import tasks
    from eyewright.tracking import Tracker, TrackerSettings
    from eyewright.training import Recipe


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'eyewright' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
