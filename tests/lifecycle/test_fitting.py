"""`import --data`: operating points and calibration of a foreign model, fitted on labelled images."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.lifecycle.test_exchange import write_model

import eyewright as ew
from eyewright.bundle import Contract
from eyewright.cli import main
from eyewright.core.errors import UsageError
from eyewright.core.rng import generator
from eyewright.data import open_dataset
from eyewright.evaluation.results import gather_results
from eyewright.metrics.calibration import fit_temperature
from eyewright.metrics.detection import best_points
from eyewright.metrics.points import group_numbers

_OURS = {"layout": "NHWC", "dtype": "uint8"}


def _import(made, tmp_path: Path, name: str, **more):  # type: ignore[no-untyped-def]
    bundle = made.bundle
    model = bundle.folder / "onnx" / "model.onnx"
    about = {"task": bundle.task_name, "labels": list(bundle.labels.names), "imgsz": bundle.preparation.size_hw[0]}
    return ew.import_onnx(model, out=tmp_path / name, fit=bundle.preparation.fit, **about, **_OURS, **more)


def test_points_of_a_detector_are_those_of_its_validation_images(found, scenes: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    more = {"outputs": "boxes_scores", "iou": 0.6}
    bare = _import(found, tmp_path, "bare", **more)
    assert bare.thresholds is None
    fitted = _import(found, tmp_path, "fitted", **more, data=scenes)
    val = open_dataset(scenes, task="detect").val
    (results,) = gather_results([bare], val, looks=False)
    points = best_points(
        results.matched(np.array([0.5])), groups=group_numbers([None] * len(val)), rng=generator(0, "import", "points")
    )
    assert fitted.thresholds == pytest.approx([p.threshold for p in points], abs=0.05)
    held = fitted.manifest.evidence["thresholds"]
    assert held["images"] == 10
    assert held["groups"] <= 10
    card = (fitted.folder / "README.md").read_text()
    assert f"on 10 images in\n{held['groups']} groups (the validation part)" in card
    assert "| operating point |" in card
    assert fitted.manifest.provenance["fitted"]["data"] == "scenes"
    # On images that neither saw, as many are right among fewer that are shown.
    test = open_dataset(scenes, task="detect").test
    before, after = ew.evaluate(bare, test), ew.evaluate(fitted, test)
    assert after.metrics["f1"].value >= before.metrics["f1"].value - 0.05


def test_probabilities_of_a_classifier_are_tempered(finished, shapes: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    bare = _import(finished, tmp_path, "bare")
    fitted = _import(finished, tmp_path, "fitted", data=shapes)
    (results,) = gather_results([bare], open_dataset(shapes), looks=False)
    logits = np.log(np.maximum(results.scores.astype(np.float64), 1e-12))
    temperature = fit_temperature(logits, results.targets)
    held = fitted.manifest.calibration
    assert held["temperature"] == pytest.approx(temperature, rel=1e-6)
    assert held["groups"] <= held["n"] == 72
    image = np.full((32, 32, 3), 90, np.uint8)
    before, after = bare.predict(image).probabilities, fitted.predict(image).probabilities
    expected = before.astype(np.float64) ** (1 / temperature)
    assert after == pytest.approx(expected / expected.sum(), abs=1e-5)
    assert ew.verify(fitted.folder)


def test_a_temperature_is_part_of_the_contract() -> None:
    assert "temperature" not in Contract().to_json()
    one = Contract(temperature=2.0)
    assert Contract.from_json(one.to_json()) == one
    found = one.answers([np.array([[0.9, 0.1]], np.float32)], (4, 4))["probabilities"]
    assert found[0].tolist() == pytest.approx([0.75, 0.25])
    with pytest.raises(UsageError, match="temperature"):
        Contract(temperature=0)


def test_data_of_a_task_whose_points_are_not_fitted_is_refused(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    write_model(tmp_path / "m.onnx", shape=(1, 2, 32, 32))
    wanted = ["import", str(tmp_path / "m.onnx"), "--task", "segment", "--labels", "a,b", "--out", str(tmp_path / "b")]
    assert main([*wanted, "--outputs", "pixels", "--activation", "softmax", "--data", str(tmp_path)]) == 2
    assert "import --data is not supported for segmentation" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_the_command_says_how_much_the_points_rest_on(
    finished, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:  # type: ignore[no-untyped-def]
    bundle = finished.bundle
    monkeypatch.chdir(shapes.parent)
    wanted = ["import", str(bundle.folder / "onnx" / "model.onnx"), "--task", "classify", "--out", str(tmp_path / "b")]
    wanted += ["--labels", ",".join(bundle.labels.names), "--layout", "NHWC", "--dtype", "uint8"]
    wanted += ["--imgsz", str(bundle.preparation.size_hw[0]), "--data", shapes.name, "--group-by", "none"]
    assert main([*wanted, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fitted"] == {"images": 72, "groups": 72}
