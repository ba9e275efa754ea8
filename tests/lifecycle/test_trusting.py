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
    assert said[0].startswith("Sets of labels that should hold the true one in 90.0% of cases, each class for itself")
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
    with pytest.raises(UsageError, match="not supported for detection"):
        ew.evaluate(found.bundle, found.run.about["data_path"], split="val", coverage=0.5, allow_leaks=True)
