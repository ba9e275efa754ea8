"""A model of version 2 sees the same pixels of a large photograph in training, evaluation, prediction and serving."""

import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images

import eyewright as ew
from eyewright.evaluation.results import gather_results, predict_dataset
from eyewright.imaging.headers import Limits
from eyewright.imaging.reduction import Prepared
from eyewright.serving.messages import Job, ModelPlace
from eyewright.serving.worker import Orders, _Served
from eyewright.training.cache import build_cache


def photograph(i: int) -> bytes:
    """Return a crop of one of two photographs, 300 x 240 pixels, turned by its EXIF where `i` is odd."""
    whole = Image.fromarray(load_sample_images().images[i % 2])
    tag = Image.Exif()
    tag[0x0112] = 6 if i % 4 > 1 else 1
    buffer = io.BytesIO()
    whole.crop((9 * i, 5 * i, 9 * i + 301, 5 * i + 243)).save(buffer, "JPEG", quality=92, exif=tag)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    place = tmp_path_factory.mktemp("reduced")
    for part, n in (("train", 16), ("val", 8), ("test", 8)):
        for i in range(n):
            folder = place / "data" / part / ("temple" if i % 2 == 0 else "flower")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i}.jpg").write_bytes(photograph(i + {"train": 0, "val": 16, "test": 24}[part]))
    run = ew.train(place / "data", epochs=1, imgsz=24, out=place / "run", allow_leaks=True)
    # The export fails unless the bundle answers to files as the net does to the cache.
    return place, run, ew.export(run, place / "a.bundle")


def raw_scores(found) -> NDArray[np.float64]:  # type: ignore[no-untyped-def]
    return np.array([p.probabilities for p in found])


def test_training_evaluation_prediction_and_serving_agree_to_the_bit(trained, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    place, run, bundle = trained
    preparation = bundle.preparation
    assert preparation.version == run.preparation.version == 2
    assert preparation.reduction((243, 301)) == 4
    test = ew.load_dataset(place / "data").test
    seen = list(test.examples(preparation))
    assert all(isinstance(one, Prepared) for one in seen)
    pixels = preparation.batch(seen)[0]
    assert np.array_equal(build_cache(test, run.preparation, quiet=True), pixels)
    # Not what decoding whole would give.
    assert not np.array_equal(pixels, preparation.batch(list(test.images()))[0])

    expected = raw_scores(bundle.read(bundle.raw(pixels), [preparation.place(one.source_hw) for one in seen]))
    monkeypatch.chdir(place)
    paths = [Path("data") / s.id for s in test.samples]
    several = bundle.predict(paths)
    assert [p.index for p in several] == list(range(8))
    ways = {
        "list": several,
        "one by one": [bundle.predict(str(p)) for p in paths],
        "bytes": [bundle.predict(p.read_bytes()) for p in paths],
        "files": [found for _, found in bundle.predict_files(paths)],
        "dataset": predict_dataset(bundle, test, quiet=True),
    }
    for name, found in ways.items():
        assert raw_scores(found) == pytest.approx(expected, abs=1e-6), name
    (results,) = gather_results([bundle], test)
    assert results.scores == pytest.approx(expected, abs=1e-6)  # type: ignore[attr-defined]
    assert np.array_equal(several[3].image, ew.read_image(paths[3]))

    digest = hashlib.sha256((bundle.folder / "bundle.json").read_bytes()).hexdigest()
    orders = Orders([], 1, 2**30, scaled_decode=True, limits=asdict(Limits()))
    served = _Served(ModelPlace("m", str(bundle.folder), digest), orders)
    for wants in (("prediction",), ("prediction", "picture")):
        for path, wanted, one in zip(paths, pixels, seen, strict=True):
            given, (placement,), *_ = served._prepared(Job(0, path.read_bytes(), 1e12, wants))
            assert np.array_equal(given["image"][0], wanted)
            assert placement.source_hw == one.source_hw


def test_a_bundle_of_version_1_is_measured_on_whole_images(trained) -> None:  # type: ignore[no-untyped-def]
    place, _, bundle = trained
    test = ew.load_dataset(place / "data").test
    about = bundle.preparation.to_json()
    del about["version"]
    old = ew.Preparation.from_json(json.loads(json.dumps(about)))
    assert not any(isinstance(one, Prepared) for one in test.examples(old))
    assert old.batch(list(test.examples(old)))[1] == bundle.preparation.batch(list(test.images()))[1]
