"""Several runs as one run, whose net is the mean of theirs."""

__all__ = ["write_ensemble"]

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.files import write_bytes, write_json, write_text
from eyewright.core.jsonable import to_jsonable
from eyewright.lifecycle.opening import load_run
from eyewright.training.recipe import write_recipe

if TYPE_CHECKING:
    from eyewright.data.scan import Scan
    from eyewright.training.run import Run


def write_ensemble(
    runs: Sequence["Run"],
    folder: Path,
    *,
    rows: Sequence[Mapping[str, str]],
    scan: "Scan",
    learnt: NDArray[np.int64],
    notes: Mapping[str, Any] | None = None,
) -> "Run":
    """Write runs of one kind as one run: its weights are all of theirs, its answer the mean of their answers.

    `rows` are those of `split.csv`; `learnt` are the images of `scan` that some member learnt from. `notes` are written
    into `run.json`.
    """
    from eyewright.evaluation.known import FEATURES_FILE, pack_features
    from eyewright.nets.ensemble import Ensemble
    from eyewright.nets.pixels import PixelNet
    from eyewright.training.checkpoints import save_best
    from eyewright.training.learner import learner_of
    from eyewright.training.looks import LOOKS_FILE
    from eyewright.training.run import SPLIT_COLUMNS

    first = runs[0]
    net = PixelNet(
        Ensemble([r.net for r in runs], [r.temperature for r in runs], learner_of(first.task_name).mean),
        mean=[0.0] * first.preparation.channels,
        std=[1.0] * first.preparation.channels,
    )
    save_best(folder / "checkpoints", net.state_dict(), {"epoch": 0, "score": 0.0})
    write_recipe(folder / "recipe.toml", first.recipe)
    if (first.folder / "hub").is_dir():
        write_json(
            folder / "hub" / "config.json", json.loads((first.folder / "hub" / "config.json").read_text("utf-8"))
        )
    write_bytes(folder / FEATURES_FILE, pack_features(scan, learnt))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, SPLIT_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / "split.csv", buffer.getvalue())
    if (first.folder / LOOKS_FILE).is_file():
        write_bytes(folder / LOOKS_FILE, (first.folder / LOOKS_FILE).read_bytes())
    write_text(folder / "metrics.csv", (first.folder / "metrics.csv").read_text("utf-8"))
    n = sum(r.about["calibration"]["n"] for r in runs)
    own = str(first.about["calibration"]["method"])
    calibrated, scaled = (own, {}) if own == "none" else (f"{own}, each member", {"temperature": 1.0})
    about = {
        **first.about,
        "members": len(runs),
        "parameters": sum(r.about["parameters"] for r in runs),
        "scaling": {"mean": [0.0] * first.preparation.channels, "std": [1.0] * first.preparation.channels},
        "calibration": {**first.about["calibration"], "method": calibrated, "n": n, **scaled},
        **(notes or {}),
    }
    write_json(folder / "run.json", to_jsonable(about))
    return load_run(folder)
