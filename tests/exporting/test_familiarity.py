"""What a bundle needs to recognise unfamiliar images, and says of it; for every task, compressed or not."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import write_shapes

import eyewright as ew
from eyewright.bundle import Bundle
from eyewright.bundle.trust import familiarity_in
from eyewright.compression.quantising import quantise_weights
from eyewright.compression.trials import Precise
from eyewright.compression.writer import write_compressed
from eyewright.exporting.familiarity import familiarity_of
from eyewright.imaging.appearance import LOOK
from eyewright.training.looks import Looks, read_looks


def drawn(n: int, *, seed: int, groups: int | None = None, shift: float = 0.0) -> Looks:
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=(n, LOOK)) + shift).astype(np.float32)
    names = (None,) * n if groups is None else tuple(f"{seed}-{i % groups}" for i in range(n))
    return Looks(values, names)


def test_training_and_validation_images_are_the_reference_together() -> None:
    arrays, about = familiarity_of(drawn(30, seed=1), drawn(90, seed=2))
    assert (about["method"], about["images"], about["groups"]) == ("cross-conformal", 120, 120)
    assert (about["training_images"], about["validation_images"]) == (90, 30)
    assert arrays["familiar"].shape == (120, LOOK)
    assert sorted(arrays["familiar_groups"].tolist()) == list(range(120))
    # Which fold an image lies in does not depend on where it came from.
    assert not np.array_equal(np.sort(arrays["familiar_groups"][:90]), np.arange(90))


def test_too_few_images_or_groups_are_told_in_words() -> None:
    arrays, about = familiarity_of(drawn(30, seed=1), drawn(60, seed=2))
    assert (arrays, about["method"], about["images"], about["groups"]) == ({}, "none", 90, 90)
    assert "there are 90 reference images; at least 100 are needed" in about["reason"]
    _, about = familiarity_of(drawn(400, seed=1, groups=8), drawn(2000, seed=2, groups=40))
    assert (about["images"], about["groups"]) == (2400, 48)
    assert "2400 reference images are of 48 groups" in about["reason"]


def test_a_group_on_both_sides_of_the_split_is_one_group() -> None:
    one, two = drawn(200, seed=5, groups=100), replace(drawn(100, seed=6), groups=("5-0",) * 100)
    assert familiarity_of(one, two)[1]["groups"] == 100


def test_validation_images_unlike_training_are_the_reference_alone() -> None:
    arrays, about = familiarity_of(drawn(150, seed=1, shift=4.0), drawn(900, seed=2))
    assert (about["training_images"], about["validation_images"]) == (0, 150)
    assert about["validation_flagged"] > 0.05
    known, _ = familiarity_in(arrays, about)
    assert known is not None
    assert np.mean([known.p(v) <= 0.01 for v in drawn(300, seed=7, shift=4.0).values]) <= 0.03
    # Too few of them cannot stand alone; what was found is written down.
    _, about = familiarity_of(drawn(50, seed=1, shift=4.0), drawn(900, seed=2))
    assert (about["training_images"], about["validation_images"]) == (900, 50)
    assert about["validation_flagged"] > 0.05


@pytest.mark.parametrize("name", ["finished", "found", "outlined", "painted"])
def test_every_task_says_what_its_numbers_rest_on(name: str, request: pytest.FixtureRequest) -> None:
    done = request.getfixturevalue(name)
    manifest, about = done.bundle.manifest, done.run.about
    images = about["dataset"]["images"]
    looks = read_looks(done.run.folder)
    assert looks is not None
    assert len(looks) == images["train"]
    rests = images["train"] + images["val"]
    assert manifest.evidence == {
        "metrics": {"images": images["test"], "groups": images["test"]},
        "calibration": {"images": images["val"], "groups": images["val"]},
        "thresholds": {"images": images["val"], "groups": images["val"]},
        "familiarity": {"images": rests, "groups": rests},
    }
    # These sets are small: it is told in words why nothing can be flagged, everywhere.
    assert manifest.familiarity["method"] == "none"
    assert f"there are {rests} reference images" in manifest.familiarity["reason"]
    assert familiarity_in(done.bundle.reference, manifest.familiarity) == (None, manifest.familiarity["reason"])
    for point in manifest.thresholds["classes"].values():
        assert point["images"] <= images["val"]
        assert point["low"] is None or point["low"] <= point["threshold"] <= point["high"]
    card = (done.bundle.folder / "README.md").read_text()
    assert f"| metrics | {images['test']} | {images['test']} |" in card
    assert manifest.familiarity["reason"] in card
    page = (done.run.folder / "report.html").read_text()
    assert "Operating points: the score above which a class is accepted" in page
    assert "| operating point | threshold [95 % interval] |" in (done.run.folder / "report.md").read_text()


@pytest.fixture(scope="module")
def knowing(finished, tmp_path_factory: pytest.TempPathFactory) -> Bundle:  # type: ignore[no-untyped-def]
    """The finished run exported with 120 validation images, of which each two are of one group."""
    folder = write_shapes(tmp_path_factory.mktemp("data") / "more", a_class=40, seed=3)
    data = ew.load_dataset(folder)
    samples = (replace(s, split="val", group=f"g{i % 100}") for i, s in enumerate(data.samples))
    out = tmp_path_factory.mktemp("bundles") / "knowing"
    return ew.export(finished.run, out, validation=replace(data, samples=tuple(samples)))


def test_a_bundle_of_enough_images_flags_strangers_and_keeps_no_name_of_a_group(knowing: Bundle, finished) -> None:  # type: ignore[no-untyped-def]
    about, images = knowing.manifest.familiarity, finished.run.about["dataset"]["images"]
    assert about["method"] == "cross-conformal"
    assert (about["images"], about["groups"]) == (120 + images["train"], 100 + images["train"])
    assert "1 in 100" in (knowing.folder / "README.md").read_text()
    known, reason = familiarity_in(knowing.reference, about)
    assert known is not None
    assert reason == ""
    from eyewright.imaging.appearance import appearance

    rng = np.random.default_rng(0)
    pixels, placements = knowing.preparation.batch([rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)] * 4)
    assert all(known.p(appearance(p, q)) <= 0.01 for p, q in zip(pixels, placements, strict=True))


def test_a_compressed_bundle_takes_its_parents_test_over(knowing: Bundle, finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    model = (finished.bundle.folder / "onnx" / "model.onnx").read_bytes()
    made = write_compressed(
        finished.bundle,
        Precise(quantise_weights(model), "weights"),
        tmp_path / "small",
        parent="0" * 64,
        policy={},
        compression={},
        validation=ew.load_dataset(finished.run.about["data_path"]).val,
        familiar=knowing,
    )
    assert made.manifest.familiarity == knowing.manifest.familiarity
    assert made.manifest.evidence["familiarity"] == knowing.manifest.evidence["familiarity"]
    for name in ("familiar", "familiar_groups"):
        np.testing.assert_array_equal(made.reference[name], knowing.reference[name])
    # What it answers is its own.
    assert len(made.reference["probabilities"]) == len(finished.bundle.reference["probabilities"])


def test_groups_are_known_again_when_a_run_is_exported_later(shapes: Path, tmp_path: Path) -> None:
    data = ew.load_dataset(shapes)
    grouped = replace(data, samples=tuple(replace(s, group=f"g{i // 4}") for i, s in enumerate(data.samples)))
    run = ew.train(grouped, out=tmp_path / "run", epochs=1, batch=16, allow_leaks=True)
    of_val = len({s.group for s in grouped.val.samples})
    assert run.about["thresholds"]["groups"] == run.about["calibration"]["groups"] == of_val
    assert run.about["dataset"]["groups"]["val"] == of_val
    report = ew.evaluate(run, out=run.folder)
    bundle = ew.export(run, tmp_path / "bundle")
    assert bundle.manifest.evidence["metrics"]["groups"] == len({s.group for s in grouped.test.samples})
    assert report.provenance["measured_on"]["groups"] < report.n
    assert bundle.manifest.evidence["familiarity"]["groups"] == len(
        {s.group for s in (*grouped.train.samples, *grouped.val.samples)}
    )
    assert json.loads((bundle.folder / "bundle.json").read_text())["evidence"]["thresholds"]["groups"] == of_val


def test_bundles_of_earlier_versions_are_asked_as_they_were(finished, bundle_copy: Path) -> None:  # type: ignore[no-untyped-def]
    from eyewright.exporting.bundle_writer import seal

    old = replace(finished.bundle.manifest, familiarity={}, evidence={})
    seal(bundle_copy, old, old.parity)
    again = ew.load_bundle(bundle_copy)
    text = (bundle_copy / "bundle.json").read_text()
    assert '"familiarity"' not in text
    assert '"evidence"' not in text
    known, reason = familiarity_in(again.reference, again.manifest.familiarity)
    assert known is None
    n = len(again.reference["appearance"])
    assert f"earlier version with {n} reference images, which needs 200" in reason
    # The values of the code before cross-conformal familiarity, commit f1693a9.
    reference = {"appearance": drawn(300, seed=11).values}
    known, reason = familiarity_in(reference, {})
    assert known is not None
    assert reason == ""
    found = [round(known.p(v), 4) for v in drawn(6, seed=12, shift=0.5).values]
    assert found == OLD


OLD = [0.543, 0.3046, 0.3576, 0.0861, 0.7152, 0.1854]
