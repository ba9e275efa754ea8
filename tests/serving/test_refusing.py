"""`serve --refuse`, and the sets that a client may ask for: over HTTP, with a bundle that compares features too."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.serving.conftest import Served, serving

import eyewright as ew
from eyewright.bundle.load import Bundle
from eyewright.imaging import encode_image
from eyewright.serving.worker import _Served

PREDICT = "/v1/models/wide/predict"


@pytest.fixture(scope="module")
def refusing(wide: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    cwd = tmp_path_factory.mktemp("refusing")
    with serving(f"wide={wide.folder}", "--refuse", "both", "--coverage", "0.8", "--workers", "1", cwd=cwd) as served:
        yield served


def noise() -> bytes:
    return encode_image(np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8))


def test_the_bundle_compares_what_the_net_knows(wide: Bundle) -> None:
    about = wide.manifest.familiarity["features"]
    assert about["images"] == about["groups"] == 252
    assert wide.reference["familiar_features"].shape == (252, about["dimensions"])
    again = ew.load_bundle(wide.folder)
    pixels = again.preparation.batch([np.zeros((32, 32, 3), np.uint8)])[0]
    assert again.raw_with_features(pixels)[1] is None
    raw, features = ew.load_bundle(wide.folder, features=True).raw_with_features(pixels)
    assert features is not None
    assert features.shape == (1, about["dimensions"])
    np.testing.assert_array_equal(raw["probabilities"], again.raw(pixels)["probabilities"])
    assert "by their appearance and the net's features" in (wide.folder / "README.md").read_text()


def test_an_unfamiliar_image_is_refused_in_every_form_and_counted(refusing: Served, shapes: Path) -> None:
    answer = refusing.post(PREDICT, noise())
    assert answer.status == 200
    assert answer.json["accepted"] == []
    assert answer.json["unfamiliar"]["flagged"]
    reasons = {one["reason"]: one["text"] for one in answer.json["refused"]}
    assert reasons["unfamiliar"].startswith("the image is unlike those that the model knows (p = 0.0")
    # What the model says is still told: a person may look at it.
    assert answer.json["labels"]
    assert refusing.post("/predict/wide", noise()).json == []
    counted = refusing.get("/metrics").body.decode()
    assert 'eyewright_refused_total{model="wide",reason="unfamiliar"} 2.0' in counted
    accepted = [refusing.post(PREDICT, p.read_bytes()).json for p in sorted(shapes.rglob("*.png"))[::9]]
    kept = [a for a in accepted if a["accepted"]]
    assert len(kept) >= len(accepted) / 2
    for one in kept:
        # Of a classifier those that reach their operating points.
        assert set(one["accepted"]) <= set(one["labels"])
        assert "refused" not in one
        assert one["set"]["labels"] == one["labels"][:1]


def test_a_client_chooses_how_sets_are_formed(refusing: Served, wide: Bundle, shapes: Path) -> None:
    image = next(shapes.rglob("*.png")).read_bytes()
    found = refusing.post(f"{PREDICT}?coverage=0.9&coverage_by=class&sets=adaptive", image).json["set"]
    assert (found["by"], found["method"], found["n"], found["groups"]) == ("class", "adaptive", 252, 252)
    assert set(found["labels"]) <= set(wide.labels.names)
    assert "open" not in found
    refused = refusing.post(f"{PREDICT}?coverage=0.999&coverage_by=class", image)
    assert refused.status == 400
    assert "which needs 999 of any class" in refused.json["error"]
    wrong = refusing.post(f"{PREDICT}?coverage=0.9&coverage_by=label", image)
    assert wrong.status == 400
    assert "expected coverage_by as one of all, class, image, found 'label'" in wrong.json["error"]
    alone = refusing.post(f"{PREDICT}?sets=adaptive", image)
    assert alone.status == 400
    assert "expected coverage with coverage_by and sets" in alone.json["error"]


def test_several_possible_labels_are_no_answer() -> None:
    served = SimpleNamespace(refuse=["unfamiliar", "ambiguous"])
    told = {
        "unfamiliar": {"p": 0.4, "flagged": False},
        "set": {"labels": [f"c{k}" for k in range(7)], "coverage": 0.8},
    }
    (one,) = _Served._refusals(served, told)  # type: ignore[arg-type]
    assert one == {
        "reason": "ambiguous",
        "text": "several labels are possible at a coverage of 0.8: c0, c1, c2, c3, c4 and 2 more",
    }
    served.refuse = ["unfamiliar"]
    assert _Served._refusals(served, told) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "refuse", "words"),
    [
        ("finished", "unfamiliar", "cannot refuse unfamiliar images: there are 57 reference images"),
        ("finished", "ambiguous", "are too few for a coverage of 0.99"),
        ("found", "ambiguous", "a set of labels is not supported for detection"),
    ],
)
def test_what_a_bundle_cannot_tell_is_refused_before_the_first_request(
    name: str, refuse: str, words: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bundle = request.getfixturevalue(name).paths["bundle"]
    command = [sys.executable, "-m", "eyewright", "serve", str(bundle), "--refuse", refuse]
    command += ["--coverage", "0.99"] if refuse == "ambiguous" else []
    done = subprocess.run([*command, "--port", "0"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode in (2, 4)
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_a_coverage_that_nothing_uses_is_refused(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    command = [sys.executable, "-m", "eyewright", "serve", str(finished.paths["bundle"]), "--coverage", "0.8"]
    done = subprocess.run([*command, "--port", "0"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "expected --refuse ambiguous with --coverage" in done.stderr
