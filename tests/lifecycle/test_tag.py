"""Every verb on images with any number of tags: from a table to a bundle, and on from there."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import draw_shape

import eyewright as ew
from eyewright import lifecycle
from eyewright.core.errors import DatasetError, EyewrightError, UsageError
from eyewright.data import open_dataset
from eyewright.imaging import encode_image
from eyewright.learners import tag as learning
from eyewright.training.recipe import Recipe

KINDS = ("cross", "disc", "square")


def draw(kinds: tuple[str, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw each shape in a quarter of its own, uint8 (48, 48, 3)."""
    image = rng.integers(0, 70, (48, 48, 3)).astype(np.uint8)
    for kind, quarter in zip(kinds, rng.permutation(4), strict=False):
        row, column = divmod(int(quarter), 2)
        image[24 * row : 24 * row + 24, 24 * column : 24 * column + 24] = draw_shape(kind, rng, side=24)
    return image


def write(folder: Path, n: int) -> Path:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    lines = ["path,tags"]
    for i in range(n):
        kinds = tuple(k for k in KINDS if rng.random() < 0.45)
        (folder / f"{i:03d}.png").write_bytes(encode_image(draw(kinds, rng)))
        lines.append(f"{i:03d}.png,{'|'.join(kinds)}")
    (folder / "tags.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tags") / "data", 120)


@pytest.fixture(scope="module")
def tagged(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return ew.run(data, task="tag", out=tmp_path_factory.mktemp("tagged") / "run", epochs=10, batch=16)


def test_a_run_finds_tags_better_than_their_frequency(tagged: Any, data: Path) -> None:
    found = tagged.report.metrics["map"]
    assert found.value > tagged.report.tables["guess"] + 0.15
    assert found.low > tagged.report.tables["guess"]
    points = tagged.bundle.manifest.thresholds["classes"]
    assert set(points) == set(KINDS)
    assert all(p["low"] <= p["threshold"] <= p["high"] for p in points.values())
    assert (
        json.loads((tagged.bundle.folder / "config.json").read_text())["problem_type"] == "multi_label_classification"
    )
    split = (tagged.run.folder / "split.csv").read_text()
    assert "cross|disc" in split
    page = (tagged.run.folder / "report.html").read_text()
    assert "Tags that occur together" in page
    told = tagged.bundle.predict(data / "000.png").to_json()
    assert set(told["present"]) <= set(told["labels"])
    assert told["scores"] == sorted(told["scores"], reverse=True)


def test_doctor_and_convert(data: Path, tmp_path: Path) -> None:
    assert not [f for f in lifecycle.doctor(data, task="tag", out=tmp_path / "page") if f.severity == "error"]
    assert "tags given" in next((tmp_path / "page").glob("*.html")).read_text()
    assert ew.convert(data, to="csv", task="tag", out=tmp_path / "csv").images == 120
    first, again = open_dataset(data, task="tag"), open_dataset(tmp_path / "csv", task="tag")
    assert sorted(s.target.held for s in again.samples) == sorted(s.target.held for s in first.samples)


def test_evaluate_compare_and_explain(tagged: Any, data: Path, tmp_path: Path) -> None:
    report = ew.evaluate(tagged.run, out=tmp_path / "report")
    assert report.metrics["map"].value == tagged.report.metrics["map"].value
    compared = ew.compare(tagged.run, tagged.bundle)
    assert compared.better == "neither"
    assert abs(compared.differences["map"].value or 0) < 1e-3
    assert ew.explain(tagged.run, data / "000.png", label="disc", method="gradcam")[0].label == "disc"
    assert ew.explain(tagged.bundle, data / "000.png", label="disc", method="occlusion")


def test_folds_with_an_ensemble_and_tuning(data: Path, tmp_path: Path) -> None:
    found = ew.cross_validate(data, folds=2, task="tag", epochs=1, ensemble=True, out=tmp_path / "folds")
    image = np.asarray(ew.read_image(data / "000.png"))
    (joined,) = found.ensemble.predictor.predict_images([image])
    each = [r.predictor.predict_images([image])[0].probabilities for r in found.runs]
    assert joined.probabilities == pytest.approx(np.mean(each, 0), abs=1e-4)
    assert ew.tune(data, trials=1, task="tag", epochs=1, out=tmp_path / "tune").run.recipe.task == "tag"


def test_compress_export_and_import(tagged: Any, data: Path, tmp_path: Path) -> None:
    small = ew.compress(tagged.run, out=tmp_path / "small", max_drop=["map=60%"], budget="2s").bundle
    assert small.task_name == "tag"
    pytest.importorskip("openvino")
    assert ew.deliver(tagged.bundle.folder, tmp_path / "openvino", to="openvino")
    for target in ("transformers.js", "web"):
        with pytest.raises(EyewrightError, match="tag"):
            ew.deliver(tagged.bundle.folder, tmp_path / target, to=target)
    assert ew.verify(tagged.bundle.folder)
    image = data / "000.png"
    said = subprocess.run(
        [sys.executable, "-m", "eyewright", "predict", tagged.bundle.folder, "--source", image, "--json"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert '"present"' in said.stdout


def test_serve_and_learn_from_what_people_say(tagged: Any, data: Path, tmp_path: Path) -> None:
    from tests.serving.conftest import serving

    from eyewright.bundle import bundle_digest
    from eyewright.monitoring import Recorder, RecorderSettings

    image = (data / "000.png").read_bytes()
    with serving(f"t={tagged.bundle.folder}", cwd=tmp_path) as served:
        told = served.post("/v1/models/t/predict", image).json
        assert set(told["present"]) <= set(KINDS)
        assert {r["label"] for r in served.post("/predict/t", image).json} == set(KINDS)
        config = '<View><Image name="i" value="$image"/><Choices name="c" toName="i"{}/></View>'
        one, several = ({"project": "1", "schema": config.format(more)} for more in ("", ' choice="multiple"'))
        assert served.post("/setup", json.dumps(several).encode(), type="application/json").status == 200
        assert served.post("/setup", json.dumps(one).encode(), type="application/json").status == 400
    digest = bundle_digest(tagged.bundle.folder)
    known = {digest: ("tag", tagged.bundle.labels.names)}
    recorder = Recorder(tmp_path / "home", settings=RecorderSettings(keep_images=1.0), classes=lambda: known)
    for k, content in enumerate(({"tags": {"disc": True, "cross": False}}, {"correct": True})):
        picture = draw(("disc",), np.random.default_rng(100 + k))
        (answer,) = tagged.bundle.predict_images([picture])
        seen = SimpleNamespace(
            look=np.zeros(34, "f4").tobytes(), answer=answer.numbers().tobytes(), size_hw=picture.shape[:2],
            label=answer.headline()[0], score=0.9, unfamiliar=None,
        )  # fmt: skip
        recorder.note(
            SimpleNamespace(
                id=f"p{k}", time=1e9 + k, model="t", digest=digest, seen=seen, total_ms=1.0,
                picture=encode_image(picture), shadow_of="",
            )
        )  # fmt: skip
        assert recorder.feedback(f"p{k}", content)
    with pytest.raises(UsageError, match="unknown label"):
        recorder.feedback("p0", {"tags": {"dsic": True}})
    recorder.close()
    made = lifecycle.retrain(
        data, out=tmp_path / "again", home=tmp_path / "home", bundle=tagged.bundle.folder, epochs=1
    )
    assert made.new_images == 2


def _learning(**options: Any) -> learning.TagLearning:
    train = np.array([[1, 0], [0.1, 0], [np.nan, 1], [0, 0]], np.float32)
    recipe = Recipe(task="tag", augment="none", **options)
    fit: Any = SimpleNamespace(train_targets=train)
    return learning.TagLearning(fit, recipe, ("a", "b"), SimpleNamespace(channels=3))  # type: ignore[arg-type]


def test_what_nobody_has_judged_teaches_nothing() -> None:
    logits = torch.zeros(2, 2, requires_grad=True)
    targets = torch.tensor([[1.0, float("nan")], [float("nan"), 0.0]])
    for options in ({}, {"loss": "focal"}, {"class_weights": True}, {"label_smoothing": 0.1}):
        (gradient,) = torch.autograd.grad(_learning(**options).objective(logits, targets), logits)
        assert gradient[0, 1] == gradient[1, 0] == 0
        assert gradient[0, 0] < 0 < gradient[1, 1]


def test_a_rare_tag_weighs_more_and_an_assumed_absence_less() -> None:
    logits = torch.zeros(1, 2, requires_grad=True)

    def pull(targets: list[float], **options: Any) -> Any:
        return torch.autograd.grad(_learning(**options).objective(logits, torch.tensor([targets])), logits)[0][0]

    plain, weighted = pull([1.0, 1.0]), pull([1.0, 1.0], class_weights=True)
    assert (weighted / plain).tolist() == pytest.approx([2.0, 3.0])
    known, assumed = pull([0.0, 0.0]), pull([0.1, 0.0])
    assert 0 < assumed[0] < known[0]


def test_data_without_a_tag_to_learn_are_refused(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for i in range(12):
        (folder / f"{i}.png").write_bytes((data / f"{i:03d}.png").read_bytes())
    (folder / "tags.csv").write_text("path,tags\n" + "\n".join(f"{i}.png,a" for i in range(12)))
    with pytest.raises(DatasetError, match="there is nothing to tell apart"):
        ew.run(folder, task="tag", out=tmp_path / "run", epochs=1)
