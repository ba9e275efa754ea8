"""A bundle logged to MLflow and loaded by MLflow alone, in another process."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import eyewright as ew
from eyewright.core.errors import BundleError, InputError, MissingExtraError
from eyewright.core.labels import LabelSpace
from eyewright.delivery import mlflow_model
from eyewright.tasks.regress import NumberPrediction

mlflow = pytest.importorskip("mlflow.pyfunc", reason="MLflow is not installed: pip install 'eyewright[mlflow]'")
pandas = pytest.importorskip("pandas", reason="pandas is not installed: pip install 'eyewright[mlflow]'")

pytestmark = pytest.mark.filterwarnings("ignore")

STRANGER = """
import json, sys
from pathlib import Path
import mlflow, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
images = [Path(p).read_bytes() for p in sys.argv[2:]]
print(json.dumps(model.predict(pandas.DataFrame({"image": images})).to_dict("list")))
"""


@pytest.fixture(scope="module")
def files(finished) -> list[Path]:  # type: ignore[no-untyped-def]
    return sorted(Path(finished.run.about["data_path"]).rglob("*.png"))[::9]


def test_another_process_gets_our_answers_from_a_logged_bundle(
    finished, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    from mlflow import set_tracking_uri

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    info = mlflow_model.log_bundle(finished.paths["bundle"], name="shapes")
    folders = {p.parent for p in tmp_path.rglob("MLmodel")}
    assert len(folders) == 1
    (folder,) = folders
    # From code: no pickle of any kind lies in it.
    assert not [p for p in folder.rglob("*") if p.suffix in (".pkl", ".pickle", ".cloudpickle", ".joblib")]
    assert "bundle_model.py" in (folder / "MLmodel").read_text()
    asked = subprocess.run(
        [sys.executable, "-c", STRANGER, info.model_uri, *map(str, files)], capture_output=True, text=True, cwd=tmp_path
    )
    assert asked.returncode == 0, asked.stderr
    found = json.loads(asked.stdout.splitlines()[-1])
    wanted = finished.bundle.predict(files)
    assert found["label"] == [p.top1 for p in wanted]
    assert np.allclose(found["score"], [p.scores[0] for p in wanted], atol=1e-6)
    assert [json.loads(a)["labels"] for a in found["answer"]] == [list(p.labels) for p in wanted]


def test_every_form_of_an_image_gives_the_same_row(finished, files: list[Path], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    mlflow_model.save_bundle(finished.paths["bundle"], tmp_path / "m")
    model = mlflow.load_model(str(tmp_path / "m")).unwrap_python_model()
    data = files[0].read_bytes()
    text = base64.b64encode(data).decode()
    forms = [
        pandas.DataFrame({"image": [data]}), pandas.DataFrame({"image": [text]}), [data],
        [f"data:image/png;base64,{text}"], {"image": [data]}, np.stack([ew.read_image(data)]), ew.read_image(data),
    ]  # fmt: skip
    rows = [model.predict(None, given).values.tolist() for given in forms]
    assert rows[0][0][0] == finished.bundle.predict(data).top1
    assert all(r[0][:2] == rows[0][0][:2] for r in rows)
    assert model.predict(None, []).empty
    # A path is text like any other, and is not opened.
    with pytest.raises(InputError, match="paths are not opened"):
        model.predict(None, [str(files[0])])
    with pytest.raises(InputError, match="expected one column 'image', found picture"):
        model.predict(None, pandas.DataFrame({"picture": [data]}))


def test_objects_and_no_objects_are_rows_too(found, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    mlflow_model.save_bundle(found.paths["bundle"], tmp_path / "m")
    model = mlflow.load_model(str(tmp_path / "m")).unwrap_python_model()
    data = ew.load_dataset(found.run.about["data_path"]).test
    images = [data.image(0), np.zeros((64, 64, 3), np.uint8)]
    rows = model.predict(None, images)
    for image, row in zip(images, rows.itertuples(), strict=True):
        (wanted,) = found.bundle.predict_images([image])
        assert len(json.loads(row.answer)["boxes_xyxy"]) == len(wanted)
        assert pandas.isna(row.label) == pandas.isna(row.score) == (len(wanted) == 0)
        assert len(wanted) == 0 or row.label == wanted.labels[0]


def test_a_changed_bundle_is_neither_logged_nor_loaded(finished, bundle_copy: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    mlflow_model.save_bundle(bundle_copy, tmp_path / "m")
    (card,) = (tmp_path / "m").rglob("README.md")
    card.write_text("other")
    with pytest.raises(BundleError):
        mlflow.load_model(str(tmp_path / "m"))
    (bundle_copy / "README.md").write_text("other")
    with pytest.raises(BundleError):
        mlflow_model.save_bundle(bundle_copy, tmp_path / "n")


def test_without_mlflow_the_extra_is_named(finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"eyewright\[mlflow\]"):
        mlflow_model.save_bundle(finished.paths["bundle"], tmp_path / "m")


def test_a_prediction_of_numbers_is_a_row_without_a_label() -> None:
    found = NumberPrediction(np.array([12.5], np.float32), LabelSpace(("weight [g]",)))
    label, score, answer = mlflow_model._row(found)
    assert (label, score) == (None, None)
    assert json.loads(answer)["values"]["weight"]["value"] == 12.5
