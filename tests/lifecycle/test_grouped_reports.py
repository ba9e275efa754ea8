"""What is said of groups wherever a number is shown: other data, comparisons, bundles, cards, smaller models."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import write_shapes

import eyewright as ew
from eyewright.compression.measuring import Judge
from eyewright.core.errors import LeakError, UsageError
from eyewright.evaluation.validation import say_validated, validation_facts


@pytest.fixture(scope="module")
def thrice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images that no model has seen, each saved three times."""
    folder = write_shapes(tmp_path_factory.mktemp("other") / "thrice", a_class=8, seed=77)
    for path in sorted(folder.rglob("*.png")):
        for k in range(2):
            # Names that say nothing, so that the bytes alone make the groups.
            name = hashlib.sha256(f"{path.parent.name} {path.stem} {k}".encode()).hexdigest()[:12]
            shutil.copy(path, path.with_name(f"again-{name}.png"))
    return folder


def test_other_data_is_measured_over_its_groups(finished, thrice: Path, tmp_path: Path) -> None:
    report = ew.evaluate(finished.bundle, thrice, out=tmp_path)
    assert report.metrics["accuracy"].groups == 24
    assert report.metrics["accuracy"].n == 72
    assert report.provenance["measured_on"] == {"images": 72, "groups": 24}
    page = (tmp_path / "report.html").read_text()
    assert "The 72 images form 24 groups" in page
    assert "72 images in 24 groups are kept together: 24 of identical images" in page
    once = ew.evaluate(finished.bundle, ew.load_dataset(thrice).select(lambda s: "again" not in s.id))
    width = [m.high - m.low for m in (report.metrics["accuracy"], once.metrics["accuracy"])]
    # Three copies of an image say no more than one.
    assert width[0] > 0.8 * width[1]


def test_a_rule_for_the_measured_images_can_be_given(finished, thrice: Path) -> None:
    report = ew.evaluate(finished.bundle, thrice, group_by=r"(^\w+)/")
    assert report.metrics["accuracy"].groups == 3
    with pytest.raises(UsageError, match="matches none"):
        ew.evaluate(finished.bundle, thrice, group_by="zebra")


def test_a_comparison_is_over_groups_and_counts_what_was_trained_on(finished, thrice: Path, shapes: Path) -> None:
    found = ew.compare(finished.bundle, finished.run, thrice)
    assert (found.n, found.groups, found.trained_on) == (72, 24, 0)
    assert "72 images in 24 groups" in str(found)
    with pytest.raises(LeakError) as met:
        ew.compare(finished.bundle, finished.run, shapes)
    assert "--allow-leaks" in str(met.value.fix)
    allowed = ew.compare(finished.bundle, finished.run, shapes, allow_leaks=True)
    learnt = sum(r["split"] in ("train", "val") for r in finished.run.split_rows())
    assert allowed.trained_on == allowed.to_json()["trained_on"] == learnt
    assert f"{learnt} of these images were trained on" in str(allowed)


def test_a_smaller_model_is_judged_over_groups(finished, thrice: Path) -> None:
    data = ew.load_dataset(thrice)
    flat = data.with_samples(s for s in data.samples if "again" not in s.id)
    judged, alone = (Judge(finished.bundle, d).compare(finished.bundle) for d in (data, flat))
    assert judged.groups == judged.metrics["accuracy"].groups == judged.drops["accuracy"].groups == 24
    # Three copies of an image say no more than one: no loss seen in 24 groups is as sure as in 24 images.
    assert judged.drops["accuracy"].value == 0
    assert judged.drops["accuracy"].high == pytest.approx(alone.drops["accuracy"].high, abs=0.02)
    assert judged.drops["worst_class_recall"].high > judged.drops["accuracy"].high


def test_a_bundle_keeps_what_was_said_of_its_groups(shapes: Path, thrice: Path, tmp_path: Path) -> None:
    made = ew.run(shapes, out=tmp_path / "run", epochs=2, batch=16, group_by="none")
    about = json.loads((made.paths["bundle"] / "bundle.json").read_text())["provenance"]
    assert about["grouping"]["rule"] == "none"
    assert about["measured"]["newest_third"]["n"] > 0
    card = (made.paths["bundle"] / "README.md").read_text()
    warning = "related images may be on both sides of the split (--group-by none)"
    assert f"**Warning: {warning}.**" in card
    assert "On the third of the images least like training: accuracy" in card
    assert say_validated(made.run.about) in card
    assert "which tends to be too high" in card
    report = ew.evaluate(made.paths["bundle"], thrice)
    assert warning in report.sections["warnings"]
    assert "(rule: none)" in report.sections["facts"]["what belongs together"]
    assert "24 of identical images" in report.sections["facts"]["groups of these images"]
    facts = validation_facts(made.run.about)
    assert facts is not None
    assert facts["epochs"] == 2
    assert "trust the test part" in facts["said"]


def test_the_run_itself_is_measured_over_the_groups_it_was_split_by(finished) -> None:
    again = ew.evaluate(finished.run, finished.run.about["data_path"], split=None, allow_leaks=True)
    assert again.n == len(finished.run.split_rows())
    assert np.isfinite(again.metrics["accuracy"].value)
