"""`evaluate` with --coverage and --unfamiliar: metrics, the table, sentences, the page; and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from tests.conftest import write_shapes

import eyewright as ew
from eyewright.bundle.load import Bundle
from eyewright.cli import main
from eyewright.core.errors import RefusedError, UsageError
from eyewright.evaluation import say_trust
from eyewright.imaging import encode_image
from eyewright.metrics.conformal_boxes import match_objects
from eyewright.metrics.matching import Detected


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    for k in range(12):
        (folder / f"{k}.png").write_bytes(encode_image(rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)))
    return folder


def test_sets_and_unfamiliar_images_are_measured(wide: Bundle, noise: Path, tmp_path: Path) -> None:
    test = write_shapes(tmp_path / "test", a_class=20, seed=5)
    report = ew.evaluate(wide, test, coverage=0.9, coverage_by="class", unfamiliar=noise, out=tmp_path / "out")
    sets, other = report.tables["trust"]["sets"], report.tables["trust"]["unfamiliar"]
    assert (sets["by"], sets["images"], sets["groups"]) == ("class", 252, 252)
    assert sum(sets["sizes"].values()) == 60 == sum(row["n"] for row in sets["classes"])
    shown = [p.probabilities for p in wide.predict_images(list(ew.load_dataset(test).images()))]
    true = np.array(
        [wide.labels.names.index(ew.load_dataset(test).labels.names[t]) for t in ew.load_dataset(test).targets]
    )
    scores = 1 - np.array(shown)[np.arange(60), true]
    limits = {}
    for k, name in enumerate(wide.labels.names):
        own = np.sort(wide.reference["nonconformity"][wide.reference["set_labels"] == k])
        limits[name] = own[int(np.ceil((len(own) + 1) * 0.9)) - 1]
    held = np.mean(
        [
            s <= limits[wide.labels.names[t]] + 1e-6 or np.argmax(p) == t
            for s, t, p in zip(scores, true, shown, strict=True)
        ]
    )
    assert report.metrics["set_coverage"].value == pytest.approx(held)
    assert other["n"] == 12
    assert other["features"]
    assert report.metrics["unfamiliar_flagged"].value == 1.0
    assert report.metrics["unfamiliar_auroc"].value > 0.99  # type: ignore[operator]
    assert report.metrics["familiar_flagged"].value < 0.1  # type: ignore[operator]
    confidence = [p.max() for p in shown], [p.confidence for p in wide.predict(noise)]
    area = roc_auc_score(np.r_[np.zeros(60), np.ones(12)], -np.concatenate(confidence))
    assert other["by_confidence"] == pytest.approx(area)
    said = say_trust(report)
    assert said[0].startswith(
        "Prediction sets that should contain the true label in 90.0% of cases, separately for each class"
    )
    assert "Of 12 unfamiliar images 100.0% [" in said[-1]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "How far single predictions can be trusted" in page
    assert "## How far single predictions can be trusted" in (tmp_path / "out" / "report.md").read_text()
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    assert told["tables"]["trust"]["sets"]["coverage"] == 0.9


def test_the_command_says_it_in_words_and_in_json(
    wide: Bundle, noise: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = write_shapes(tmp_path / "test", a_class=4, seed=6)
    asked = ["evaluate", str(wide.folder), str(test), "--coverage", "0.8", "--unfamiliar", str(noise)]
    assert main(asked) == 0
    assert "unfamiliar_auroc" in capsys.readouterr().out
    assert main([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["metrics"]["unfamiliar_flagged"]["value"] == 1.0
    assert told["trust"]["sets"]["coverage"] == 0.8


def test_what_cannot_be_measured_is_refused(finished, found, noise: Path, shapes: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    test = write_shapes(tmp_path / "test", a_class=4, seed=6)
    with pytest.raises(UsageError, match="measured for bundles only"):
        ew.evaluate(finished.run, coverage=0.9)
    with pytest.raises(RefusedError, match=r"cannot recognise unfamiliar images: there are 57"):
        ew.evaluate(finished.bundle, test, unfamiliar=noise)
    with pytest.raises(UsageError, match=r"too few for a coverage of 0\.99"):
        ew.evaluate(finished.bundle, test, coverage=0.99)
    for option in ({"coverage_by": "class"}, {"sets": "adaptive"}):
        with pytest.raises(UsageError, match="expected --coverage with"):
            ew.evaluate(finished.bundle, test, **option)
    data = {"data": found.run.about["data_path"], "split": "val", "allow_leaks": True}
    with pytest.raises(UsageError, match="a set of labels is not supported for detection"):
        ew.evaluate(found.bundle, **data, coverage=0.5, sets="adaptive")
    with pytest.raises(UsageError, match="--miss-rate is not supported for classification"):
        ew.evaluate(finished.bundle, test, miss_rate=0.1)


def test_margins_and_the_miss_rate_of_a_detector_are_measured(found, scenes: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    asked = {"coverage": 0.8, "coverage_by": "image", "miss_rate": 0.5}
    report = ew.evaluate(found.bundle, scenes, split="test", **asked, out=tmp_path / "out")
    table = report.tables["trust"]["boxes"]
    conf = table["miss_rate"]["conf"]
    test = ew.load_dataset(scenes).part("test")
    shown = found.bundle.predict_images(list(test.images()), conf=conf)
    objects = [test.objects(i, p.size_hw) for i, p in enumerate(shown)]
    # The oracle is the IoU of each pair, counted here.
    taken = [
        match_objects(p.detected(), Detected(o.boxes_xyxy, o.label_ids)) for p, o in zip(shown, objects, strict=True)
    ]
    missed = [(t < 0).mean() for t in taken if len(t)]
    assert report.metrics["missed_objects"].value == pytest.approx(np.mean(missed))
    side, whole = table["margins"]["side"], []
    for p, o, t in zip(shown, objects, taken, strict=True):
        if not (t >= 0).any():
            continue
        boxes = p.boxes_xyxy[t[t >= 0]]
        grow = side * np.concatenate([boxes[:, :2] - boxes[:, 2:], boxes[:, 2:] - boxes[:, :2]], 1)
        outer, true = boxes + grow, o.boxes_xyxy[t >= 0]
        whole.append(bool((outer[:, :2] <= true[:, :2] + 1e-3).all() and (outer[:, 2:] >= true[:, 2:] - 1e-3).all()))
    assert report.metrics["margin_coverage"].value == pytest.approx(np.mean(whole))
    assert (table["margins"]["images"] <= 10, table["margins"]["by"]) == (True, "image")
    said = say_trust(report)
    assert "all found objects of an image together" in said[0]
    assert f"A confidence threshold of {conf:.3f}" in said[1]
    assert "Margins of boxes by class" in (tmp_path / "out/report.html").read_text()
    assert "| class | found |" in (tmp_path / "out/report.md").read_text()


def test_predict_adds_boxes_with_margins(found, scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    source = [str(found.paths["bundle"]), "--source", str(scenes / "test"), "--json", "--top", "2"]
    assert main(["predict", *source, "--coverage", "0.8", "--miss-rate", "0.5"]) == 0
    rows = json.loads(capsys.readouterr().out)["predictions"]
    for row in rows:
        assert len(row["outer_boxes_xyxy"]) == len(row["boxes_xyxy"])
        for (x0, y0, x1, y1), (u0, v0, u1, v1) in zip(row["boxes_xyxy"], row["outer_boxes_xyxy"], strict=True):
            assert 0 <= u0 <= x0 < x1 <= u1 <= 96
            assert 0 <= v0 <= y0 < y1 <= v1 <= 96
        assert min(row["scores"], default=1) >= row["miss_rate"]["conf"] - 1e-6
    assert sum(len(row["labels"]) for row in rows) > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--coverage", "0.99"), "too few for a coverage of 0.99, which needs 99"),
        (("--miss-rate", "0.001"), "no threshold achieves a miss rate of 0.001"),
        (("--coverage", "0.5", "--sets", "adaptive"), "a set of labels is not supported"),
        (("--miss-rate", "0.5", "--conf", "0.2"), "expected conf or miss_rate, found both"),
        (("--miss-rate", "0.5", "--tile", "64"), "expected no --tile with --coverage or --miss-rate"),
        (("--coverage-by", "image"), "expected coverage with coverage_by and sets"),
    ],
)
def test_promises_that_a_detector_cannot_keep_are_refused(
    options: tuple[str, ...],
    words: str,
    found,  # type: ignore[no-untyped-def]
    scenes: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["predict", str(found.paths["bundle"]), "--source", str(scenes / "test"), *options]
    assert main(command) == 2
    assert words in capsys.readouterr().err


def test_predict_adds_the_set_of_a_classifier(wide: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_shapes(tmp_path / "few", a_class=2, seed=9)
    assert main(["predict", str(wide.folder), "--source", str(data / "disc"), "--json", "--coverage", "0.9"]) == 0
    for row in json.loads(capsys.readouterr().out)["predictions"]:
        assert row["labels"][0] in row["set"]["labels"]
        assert (row["set"]["coverage"], row["set"]["n"]) == (0.9, 252)
    assert main(["predict", str(wide.folder), "--source", str(data / "disc"), "--miss-rate", "0.1"]) == 2
    assert "--miss-rate is not supported for classification" in capsys.readouterr().err
