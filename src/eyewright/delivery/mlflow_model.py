"""A bundle as an MLflow model of the flavour pyfunc, logged from code: nothing in it is a pickle."""

__all__ = ["bundle_model", "log_bundle", "save_bundle"]

import base64
import binascii
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from eyewright.bundle import load_bundle
from eyewright.core.errors import InputError, MissingExtraError
from eyewright.core.files import write_text

# MLflow copies this file into the model and runs it where the model is loaded.
_CODE = """from mlflow.models import set_model

from eyewright.delivery.mlflow_model import bundle_model

set_model(bundle_model())
"""
_IMAGE = "image"


def log_bundle(bundle: str | Path, *, name: str = "model", **options: Any) -> Any:
    """Log a bundle to the active MLflow run, or to a new one, and return MLflow's `ModelInfo`.

    The bundle is loaded first: every digest and its golden pairs are checked, and so they are wherever the model is
    loaded. `options` are those of `mlflow.pyfunc.log_model`, such as `registered_model_name`.

    Raises:
        BundleError: it is not what was exported.
        MissingExtraError: MLflow or pandas is not installed.
    """
    pyfunc = _pyfunc()
    with _given(bundle) as given:
        return pyfunc.log_model(name=name, **(given | options))


def save_bundle(bundle: str | Path, path: str | Path, **options: Any) -> None:
    """Write a bundle as an MLflow model to the folder `path`, which must not exist, without a tracking server.

    Raises:
        BundleError: it is not what was exported.
        MissingExtraError: MLflow or pandas is not installed.
    """
    pyfunc = _pyfunc()
    with _given(bundle) as given:
        pyfunc.save_model(path=str(path), **(given | options))


@contextmanager
def _given(bundle: str | Path) -> Iterator[dict[str, Any]]:
    """Yield the arguments that describe the model to MLflow; its code lies in a folder that is there until then."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    loaded = load_bundle(bundle)
    answers = [ColSpec(DataType.string, "label"), ColSpec(DataType.double, "score"), ColSpec(DataType.string, "answer")]
    signature = ModelSignature(Schema([ColSpec(DataType.binary, _IMAGE)]), Schema(answers))
    about = {"bundle": loaded.manifest.name, "task": loaded.task_name, "labels": json.dumps(loaded.labels.names)}
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / "bundle_model.py"
        write_text(code, _CODE)
        yield {
            "python_model": str(code),
            "artifacts": {"bundle": str(Path(bundle).resolve())},
            "pip_requirements": [f"eyewright[mlflow]=={version('eyewright')}"],
            "signature": signature,
            "metadata": about,
        }


def bundle_model() -> Any:
    """Return the `PythonModel` that MLflow runs: images in, one row per image out.

    It takes a DataFrame with a column "image", which MLflow's signature asks for; unwrapped, a list or an array uint8
    (N, H, W, 3) too. An image is the bytes of a file (of a video, where the model takes clips), their base64, or uint8
    (H, W, 3) RGB. A path is never opened: a server's clients could name any. The rows hold the first `label`, its
    `score` (none where nothing was found, or the prediction is of numbers), and the whole `answer` as JSON, as `predict
    --json` gives it.

    Raises:
        MissingExtraError: MLflow or pandas is not installed.
    """
    pyfunc = _pyfunc()
    import pandas

    class BundleModel(pyfunc.PythonModel):  # type: ignore[misc, name-defined]
        def load_context(self, context: Any) -> None:
            self._bundle = load_bundle(context.artifacts["bundle"])

        # MLflow reads types of arguments as a contract of its own, so there are none.
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            images = [_image(given) for given in _column(model_input)]
            found = self._bundle.predict(images) if images else []
            return pandas.DataFrame([_row(one) for one in found], columns=["label", "score", "answer"])

    return BundleModel()


def _column(given: Any) -> list[Any]:
    if hasattr(given, "columns"):
        if list(given.columns) != [_IMAGE]:
            raise InputError(
                f"expected one column {_IMAGE!r}, found {', '.join(map(str, given.columns)) or 'none'}",
                fix=f"name the column {_IMAGE!r}",
            )
        return list(given[_IMAGE])
    if isinstance(given, Mapping):
        return _column_of_mapping(given)
    if isinstance(given, bytes | str) or (isinstance(given, np.ndarray) and given.ndim == 3):
        return [given]
    return list(given)


def _column_of_mapping(given: Mapping[str, Any]) -> list[Any]:
    if list(given) != [_IMAGE]:
        raise InputError(
            f"expected {_IMAGE!r} alone, found {', '.join(map(str, given)) or 'nothing'}",
            fix=f"name the column {_IMAGE!r}",
        )
    return _column(given[_IMAGE])


def _image(given: Any) -> Any:
    """Return the bytes of a file, or pixels."""
    if isinstance(given, str):
        head, comma, text = given.partition(",")
        text = text if comma and head.startswith("data:") else given
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise InputError(
                "expected an image as bytes, base64 or uint8 (H, W, 3), found other text",
                fix="send the file's content; paths are not opened",
            ) from None
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given)
    return np.asarray(given)


def _row(one: Any) -> tuple[str | None, float | None, str]:
    # A prediction of numbers has neither: its row has the whole answer alone.
    labels, scores = list(getattr(one, "labels", ())), [float(s) for s in getattr(one, "scores", ())]
    first = (str(labels[0]), scores[0]) if labels and scores else (None, None)
    return (*first, json.dumps(one.to_json()))


def _pyfunc() -> Any:
    """Import MLflow's pyfunc without telemetry."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    try:
        import pandas  # noqa: F401
        from mlflow import pyfunc
    except ImportError as error:
        raise MissingExtraError(
            f"MLflow models need {error.name or 'mlflow'}, which is not installed",
            fix="pip install 'eyewright[mlflow]'",
        ) from error
    return pyfunc
