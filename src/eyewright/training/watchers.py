"""Where others watch training: every epoch's row, written for TensorBoard or MLflow."""

__all__ = ["WATCHERS", "watch"]

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from eyewright.core.errors import MissingExtraError, UsageError, spelling_hint

WATCHERS = MappingProxyType(
    {
        "tensorboard": "event files in the run's folder, for tensorboard --logdir",
        "mlflow": "an MLflow run: at MLFLOW_TRACKING_URI if that is set, else in a database in the run's folder",
    }
)
"""What `--log` takes."""

Observe = Callable[[Mapping[str, str]], None]


@contextlib.contextmanager
def watch(kind: str | None, folder: Path, about: Mapping[str, Any]) -> Iterator[Observe]:
    """Return a function that takes every epoch's row; `about` is the recipe, kept with the numbers.

    Raises:
        UsageError: an unknown kind.
        MissingExtraError: the package is not installed.
    """
    if kind is None:
        yield lambda row: None
        return
    if kind not in WATCHERS:
        raise UsageError(f"unknown --log {kind!r}", fix=spelling_hint(kind, WATCHERS))
    if find_spec(kind) is None:
        raise MissingExtraError(f"{kind} is not installed", fix=f"pip install 'eyewright[{kind}]'")
    with (_tensorboard if kind == "tensorboard" else _mlflow)(folder, about) as observe:
        yield observe


@contextlib.contextmanager
def _tensorboard(folder: Path, about: Mapping[str, Any]) -> Iterator[Observe]:
    from torch.utils.tensorboard.writer import SummaryWriter

    writer: Any = SummaryWriter(str(folder / "tensorboard"))
    try:
        text = "\n".join(f"    {k} = {v!r}" for k, v in about.items() if v is not None)
        writer.add_text("recipe", text, 0)

        def observe(row: Mapping[str, str]) -> None:
            for name, value in _numbers(row).items():
                writer.add_scalar(name, value, int(row["epoch"]))
            writer.flush()

        yield observe
    finally:
        writer.close()


@contextlib.contextmanager
def _mlflow(folder: Path, about: Mapping[str, Any]) -> Iterator[Observe]:
    # Local first: nothing is told to anybody but the tracking store.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    from mlflow.tracking import MlflowClient

    given = os.environ.get("MLFLOW_TRACKING_URI")
    folder.mkdir(parents=True, exist_ok=True)
    client: Any = MlflowClient(tracking_uri=given or f"sqlite:///{folder.resolve() / 'mlflow.db'}")
    name = "eyewright"
    known = client.get_experiment_by_name(name)
    where = None if given else (folder.resolve() / "mlartifacts").as_uri()
    experiment = known.experiment_id if known else client.create_experiment(name, artifact_location=where)
    run = client.create_run(experiment, run_name=folder.name)
    status = "FAILED"
    try:
        for key, value in about.items():
            if value is not None:
                client.log_param(run.info.run_id, key, value)

        def observe(row: Mapping[str, str]) -> None:
            for name, value in _numbers(row).items():
                client.log_metric(run.info.run_id, name, value, step=int(row["epoch"]))

        yield observe
        status = "FINISHED"
    finally:
        client.set_terminated(run.info.run_id, status)


def _numbers(row: Mapping[str, str]) -> dict[str, float]:
    """Return a row's numbers: the very strings of `metrics.csv`, read."""
    return {k: float(v) for k, v in row.items() if k not in ("epoch", "best") and v}
