"""Numbers from a table of a folder of images to a bundle that answers in its units."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.drawn_attacks import check_falls

from eyewright import lifecycle
from eyewright.bundle.load import load_bundle


def test_numbers_go_from_a_table_to_a_bundle_in_their_units(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["path,level [mm]"]
    (tmp_path / "data").mkdir()
    for i in range(160):
        level = int(rng.integers(2, 23))
        image = rng.integers(200, 230, (24, 24, 3)).astype(np.uint8)
        image[24 - level :] = rng.integers(20, 50, (level, 24, 3))
        Image.fromarray(image).save(tmp_path / "data" / f"{i}.png")
        rows.append(f"{i}.png,{1000 + 10 * level}")
    (tmp_path / "data" / "labels.csv").write_text("\n".join(rows))
    lifecycle.run(tmp_path / "data", out=tmp_path / "run", task="regress", epochs=8, quiet=True)
    bundle = load_bundle(tmp_path / "run" / "bundle")
    assert bundle.labels.names == ("level [mm]",)
    metrics = bundle.manifest.metrics
    assert metrics["mae"]["value"] < 30, "a guess is off by about 53 mm"
    assert "label" in (tmp_path / "run" / "split.csv").read_text()
    assert "level [mm]=1" in (tmp_path / "run" / "split.csv").read_text()
    told = bundle.predict(tmp_path / "data" / "0.png").to_json()["values"]["level"]
    assert told["unit"] == "mm"
    assert told["interval"][0] < told["value"] < told["interval"][1]
    assert told["value"] == pytest.approx(float(rows[1].rpartition(",")[2]), abs=100)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Predicted against true level [mm]" in page
    assert "Error by range of level [mm]" in page
    assert "mm" in page
    calibration = bundle.manifest.calibration
    assert (calibration["method"], calibration["n"]) == ("conformal", 9), "the other validation images chose the epoch"


def test_two_quantities_are_measured_each_in_its_unit(read) -> None:  # type: ignore[no-untyped-def]
    level, tint = read.report.per_class
    assert (level["label"], level["unit"], tint["unit"]) == ("level [mm]", "mm", "%")
    for row in (level, tint):
        assert row["mae"]["value"] < 0.4 * row["guess"], "the loss must not see millimetres alone"
    assert read.report.metrics["mae"].unit == "SD"
    assert read.report.metrics["mae"].value < 0.4
    assert set(read.parity.amounts) == {"level [mm]", "tint [%]"}
    assert read.run.recipe.huber_delta == 0.5


def test_errors_in_deviations_are_in_those_of_the_training_values(read) -> None:  # type: ignore[no-untyped-def]
    bundle = read.bundle
    assert bundle.spread == pytest.approx(read.run.predictor.spread)
    each = [row["mae"]["value"] / spread for row, spread in zip(read.report.per_class, bundle.spread, strict=True)]
    assert read.report.metrics["mae"].value == pytest.approx(np.mean(each), rel=1e-6)


def test_two_runtimes_of_one_model_do_not_differ(read) -> None:  # type: ignore[no-untyped-def]
    found = lifecycle.compare(read.run, read.bundle)
    assert (found.better, found.only_a, found.only_b, found.p_value) == ("neither", 0, 0, 1.0)
    assert "SD" in str(found)


def test_few_validation_images_give_no_interval_and_the_reason(gauges: Path, tmp_path: Path) -> None:
    rows = (gauges / "labels.csv").read_text().splitlines()[:61]
    few = tmp_path / "few"
    few.mkdir()
    for i in range(60):
        (few / f"{i}.png").write_bytes((gauges / f"{i}.png").read_bytes())
    (few / "labels.csv").write_text("\n".join(rows))
    made = lifecycle.run(few, out=tmp_path / "run", task="regress", epochs=1, quiet=True)
    calibration = made.bundle.manifest.calibration
    assert calibration["method"] == "none"
    told = made.bundle.predict(few / "0.png").to_json()
    assert told["values"]["level"]["interval"] is None
    assert "too few" in told["intervals"]
    assert "coverage" not in made.report.metrics


def test_the_card_tells_each_error_in_its_unit_and_names_no_foreign_pipeline(read) -> None:  # type: ignore[no-untyped-def]
    card = (read.bundle.folder / "README.md").read_text()
    assert "pipeline_tag" not in card
    assert "image-classification" not in card
    for row in read.report.per_class:
        (line,) = [one for one in card.splitlines() if one.startswith(f"| {row['label']} | ")]
        assert f" {row['unit']} " in line.removeprefix(f"| {row['label']} |") or row["unit"] == "%"


def test_the_main_metric_falls_under_attack(read: Any, tmp_path: Path) -> None:
    check_falls(read.run, tmp_path)
