"""Make the judge of a generator: a trained classifier as ONNX with its features, and those of the real images."""

__all__ = ["export_judge"]

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.judge import run_judge, write_judge
from eyewright.bundle.session import open_session
from eyewright.core.inputs import IMAGE
from eyewright.data.dataset import Dataset
from eyewright.exporting.features import with_features
from eyewright.exporting.onnx_model import export_onnx
from eyewright.metrics.bootstrap import wilson_interval
from eyewright.training.run import Run

_DIMENSIONS = 64
_MOST = 20_000
_AT_ONCE = 500


def export_judge(run: Run, dataset: Dataset, folder: Path, *, learnt: Dataset | None = None) -> None:
    """Write the classifier of a run as the judge of generated images, with the features of at most 20,000 training and
    5,000 validation images, and its accuracy on the test part, else on the validation part, of what it has `learnt`:
    by default these images."""
    with TemporaryDirectory() as place:
        path = Path(place) / "model.onnx"
        inputs = {IMAGE: run.preparation}
        export_onnx(run.net, path, temperature=1.0, task=run.task_name, inputs=inputs, metadata={})
        model, output = with_features(path.read_bytes())
    session = open_session(model)

    def measured(part: Dataset, most: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        rows = np.unique(np.linspace(0, len(part) - 1, min(most, len(part))).round().astype(int)).tolist()
        features, right = [], []
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            pixels = run.preparation.batch(list(part.images(some)))[0]
            found, ids = run_judge(session, output, pixels)
            features.append(found)
            right.append(ids == part.targets[some])
        return np.concatenate(features), np.concatenate(right)

    train, _ = measured(dataset.train, _MOST)
    held, right = measured(dataset.val, _MOST // 4)
    tested = learnt or dataset
    if "test" in tested.splits:
        right = measured(tested.test, _MOST // 4)[1]
    elif learnt is not None:
        right = measured(learnt.val, _MOST // 4)[1]
    centre = train.mean(0)
    values, vectors = np.linalg.eigh(np.cov(train, rowvar=False))
    axes = vectors[:, np.argsort(values)[::-1][:_DIMENSIONS]]
    low, high = wilson_interval(float(right.sum()), len(right))
    write_judge(
        folder,
        model=model,
        output=output,
        preparation=run.preparation,
        labels=run.labels,
        accuracy={"value": float(right.mean()), "low": low, "high": high, "n": float(len(right))},
        arrays={
            "centre": centre,
            "axes": axes,
            "train": ((train - centre) @ axes).astype(np.float32),
            "held_out": ((held - centre) @ axes).astype(np.float32),
        },
    )
