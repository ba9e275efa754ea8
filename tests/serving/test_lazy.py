"""A server of many bundles: some are opened at their first request, and every one is checked at the start."""

import hashlib
import shutil
from pathlib import Path

import pytest
from tests.serving.conftest import serving

from eyewright.bundle import trial
from eyewright.core.errors import BundleError
from eyewright.serving import lazy
from eyewright.serving.lazy import LazyModels
from eyewright.serving.messages import ModelPlace


@pytest.fixture(scope="module")
def bundle(finished) -> Path:  # type: ignore[no-untyped-def]
    return Path(finished.paths["bundle"])


def _places(bundle: Path, n: int) -> list[ModelPlace]:
    digest = hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()
    return [ModelPlace(f"m{k}", str(bundle), digest) for k in range(n)]


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "is_known", lambda digest: True)


@pytest.mark.usefixtures("known")
def test_of_many_models_all_but_the_first_are_opened_at_their_first_request(bundle: Path) -> None:
    opened: list[str] = []

    def load(place: ModelPlace) -> str:
        opened.append(place.name)
        return place.name.upper()

    models = LazyModels(_places(bundle, 11), load, all_at_once=False)
    assert opened == ["m0"]
    assert models.reserved > 10 * (bundle / "onnx" / "model.onnx").stat().st_size
    assert models.waits("m9")
    assert [models["m9"], models["m9"], models["m0"]] == ["M9", "M9", "M0"]
    assert not models.waits("m9")
    assert opened == ["m0", "m9"]


@pytest.mark.usefixtures("known")
def test_few_models_and_those_that_a_condition_is_checked_of_are_opened_at_once(bundle: Path) -> None:
    opened: list[str] = []
    LazyModels(_places(bundle, 8), lambda p: opened.append(p.name), all_at_once=False)
    assert len(opened) == 8
    LazyModels(_places(bundle, 11), lambda p: opened.append(p.name), all_at_once=True)
    assert len(opened) == 8 + 11


def test_a_model_that_this_machine_does_not_know_is_tested_at_the_start(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "is_known", lambda digest: False)
    opened: list[str] = []
    LazyModels(_places(bundle, 10), lambda p: opened.append(p.name), all_at_once=False)
    assert len(opened) == 10


@pytest.mark.usefixtures("known")
def test_a_large_model_is_opened_at_the_start(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "_MOST_BYTES", 10)
    opened: list[str] = []
    LazyModels(_places(bundle, 10), lambda p: opened.append(p.name), all_at_once=False)
    assert len(opened) == 10


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("name", ["onnx/model.onnx", "bundle.json"])
def test_a_damaged_bundle_that_would_wait_is_refused_at_the_start(bundle: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    places = [*_places(bundle, 9), *(ModelPlace("bad", str(copy), p.digest) for p in _places(bundle, 1))]
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[:-2] + b" " + data[-1:])
    with pytest.raises(BundleError):
        LazyModels(places, lambda place: None, all_at_once=False)


@pytest.mark.usefixtures("known")
def test_a_model_that_cannot_be_opened_is_tried_again(bundle: Path) -> None:
    broken = [True]

    def load(place: ModelPlace) -> str:
        if place.name == "m9" and broken[0]:
            raise BundleError("away", fix="")
        return place.name

    models = LazyModels(_places(bundle, 10), load, all_at_once=False)
    with pytest.raises(BundleError, match="away"):
        models["m9"]
    assert models.waits("m9")
    broken[0] = False
    assert models["m9"] == "m9"


def test_a_model_that_has_waited_answers_as_the_others(bundle: Path, tmp_path: Path, picture: bytes) -> None:
    copy = tmp_path / "gone"
    shutil.copytree(bundle, copy)
    names = [f"m{k}={bundle}" for k in range(9)]
    with serving(*names, f"gone={copy}", "--workers", "1", "--no-log", cwd=tmp_path) as served:
        answers = [served.post(f"/v1/models/m{k}/predict", picture) for k in (0, 8, 8)]
        assert [a.status for a in answers] == [200] * 3
        assert len({str((a.json["labels"], a.json["scores"], a.json["unfamiliar"])) for a in answers}) == 1
        shutil.rmtree(copy)
        refused = served.post("/v1/models/gone/predict", picture)
        assert refused.status in (409, 422, 500)
        assert str(tmp_path) not in str(refused.json)
        # The worker goes on.
        assert served.post("/v1/models/m0/predict", picture).status == 200


@pytest.mark.usefixtures("known")
def test_what_another_worker_has_checked_is_not_read_again(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    (copy / "README.md").write_text("changed")
    places = [ModelPlace(p.name, str(copy), p.digest) for p in _places(bundle, 10)]
    with pytest.raises(BundleError):
        LazyModels(places, lambda place: place.name, all_at_once=False)
    models = LazyModels(places, lambda place: place.name, all_at_once=False, checked=True)
    assert models.waits("m9")
