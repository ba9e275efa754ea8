"""Segmenting a file: what is written, and that it says the same thing everywhere."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyewright.cli.program import main
from eyewright.core.errors import InputError, UsageError
from eyewright.imaging import read_image, write_image
from eyewright.processing import segment_file

cv2 = pytest.importorskip("cv2")
pytest.importorskip("skimage")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    image = np.full((60, 90), 30, np.uint8)
    cv2.circle(image, (25, 30), 12, 200, -1)
    cv2.circle(image, (65, 30), 15, 220, -1)
    return write_image(tmp_path / "spots.png", image)


def test_labels_table_json_and_coco_agree(picture: Path, tmp_path: Path) -> None:
    done = segment_file(picture, out=tmp_path / "out")
    labels = read_image(done.paths["labels"])[..., 0]
    assert np.array_equal(labels, done.labels)
    rows = list(csv.DictReader(done.paths["table"].read_text().splitlines()))
    about = json.loads(done.paths["regions"].read_text())
    coco = json.loads(done.paths["coco"].read_text())
    assert [int(r["area"]) for r in rows] == [r["area"] for r in about["regions"]]
    assert [a["area"] for a in coco["annotations"]] == [int((labels == k).sum()) for k in (1, 2)]
    assert read_image(done.paths["overlay"]).shape == (60, 90, 3)


def test_a_truth_gives_scores(picture: Path, tmp_path: Path) -> None:
    done = segment_file(picture)
    truth = write_image(tmp_path / "truth.png", (done.labels * 40).astype(np.uint8))
    assert segment_file(picture, truth=truth).scores["boundary_f"] == 1.0
    other = write_image(tmp_path / "other.png", np.zeros((10, 10), np.uint8))
    with pytest.raises(InputError, match="10x10"):
        segment_file(picture, truth=other)


def test_steps_come_first_and_may_not_change_the_size(picture: Path) -> None:
    assert len(segment_file(picture, steps="invert", values={"dark": "true"}).regions) == 2
    with pytest.raises(UsageError, match="keep the picture's size"):
        segment_file(picture, steps="resize:30")


def test_what_was_taken_for_the_ground_is_said(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from eyewright.cli import main

    done = segment_file(picture, steps="invert", out=tmp_path / "out")
    assert (len(done.regions), done.dark) == (2, True)
    assert json.loads(done.paths["regions"].read_text())["dark"] is True
    assert segment_file(picture).dark is False
    assert segment_file(picture, method="slic", values={"regions": 4}).dark is None
    assert segment_file(picture, method="watershed", values={"markers": "25 30/65 30"}).dark is None
    assert main(["segment", str(picture)]) == 0
    assert "bright objects on a dark background, decided from the picture; --set dark=true" in capsys.readouterr().out
    assert main(["segment", str(picture), "--set", "dark=true"]) == 0
    assert "dark objects on a bright background, as given" in capsys.readouterr().out


def test_outputs_that_exist_are_kept(picture: Path, tmp_path: Path) -> None:
    segment_file(picture, out=tmp_path / "out")
    with pytest.raises(UsageError, match="exists"):
        segment_file(picture, out=tmp_path / "out")
    segment_file(picture, out=tmp_path / "out", overwrite=True)


def test_many_regions_need_sixteen_bits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = write_image(tmp_path / "noise.png", (rng.random((80, 80)) > 0.7).astype(np.uint8) * 255)
    done = segment_file(noise, method="components", values={"smallest": 1}, out=tmp_path / "out")
    assert done.labels.max() > 255
    assert np.array_equal(read_image(done.paths["labels"], depth="native")[..., 0], done.labels)


def test_further_pages_of_a_document_are_not_left_out_silently(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    pages = [Image.fromarray(np.full((20, 20), 60 * k, np.uint8)) for k in range(3)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    (found,) = segment_file(tmp_path / "pages.tif", method="otsu").findings
    assert (found.code, found.message) == ("lost", "left out: 2 further frames")
    assert main(["segment", str(tmp_path / "pages.tif")]) == 0
    assert "2 further frames" in capsys.readouterr().err
