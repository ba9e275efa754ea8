"""What TensorBoard and MLflow are told is what metrics.csv says."""

import csv
from pathlib import Path

import pytest

import eyewright as ew
from eyewright.core.errors import UsageError

FAST = {"epochs": 2, "batch": 16, "model": "mlp", "imgsz": 16}


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_tensorboard_reads_the_numbers_of_metrics_csv(shapes: Path, tmp_path: Path) -> None:
    ew.train(shapes, out=tmp_path / "r", log="tensorboard", **FAST)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "r/tensorboard"))
    events.Reload()
    for name in ("train_loss", "val_accuracy", "lr"):
        expected = [(int(r["epoch"]), float(r[name])) for r in rows(tmp_path / "r")]
        assert [(e.step, e.value) for e in events.Scalars(name)] == [(s, pytest.approx(v)) for s, v in expected]


@pytest.mark.filterwarnings("ignore")
def test_mlflow_reads_the_numbers_of_metrics_csv(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    ew.train(shapes, out=tmp_path / "r", log="mlflow", **FAST)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'r/mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("eyewright").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["model"] == "mlp"
    found = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "val_accuracy")]
    assert found == [(int(r["epoch"]), float(r["val_accuracy"])) for r in rows(tmp_path / "r")]
    # Nothing was left beside the run.
    assert {p.name for p in tmp_path.iterdir()} == {"r"}


def test_an_unknown_watcher_is_refused_before_anything_is_trained(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'tensorboard'"):
        ew.train(shapes, out=tmp_path / "r", log="tensorbord", **FAST)
    assert not (tmp_path / "r").exists()
