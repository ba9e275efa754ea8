"""`eyewright predict --save csv`: predictions of every kind as a table."""

import csv
from pathlib import Path

import numpy as np
import pytest
from tests.cli.test_predicting import write_video

from eyewright.cli import main
from eyewright.cli.prediction_table import PredictionTable
from eyewright.core.labels import LabelSpace
from eyewright.tasks.embed import EmbedPrediction


def _read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_boxes_have_a_line_each_and_an_empty_image_has_one() -> None:
    table = PredictionTable()
    about = {"source": "a.png", "index": 0, "track_ids": []}
    text = table.lines({**about, "labels": [], "scores": [], "boxes_xyxy": []})
    boxes = {"labels": ["car", "=x"], "scores": [0.9, 0.5], "boxes_xyxy": [[-1.5, 2, 3, 4], [5, 6, 7, 8]]}
    text += table.lines({**about, "source": "b.png", "index": 1, **boxes, "track_ids": [7, 8]})
    rows = _read(text)
    assert [(r["source"], r["object"], r["label"], r["x0"], r["y1"], r["track_id"]) for r in rows] == [
        ("a.png", "", "", "", "", ""),
        ("b.png", "0", "car", "-1.5", "4", "7"),
        ("b.png", "1", "'=x", "5", "8", "8"),
    ]


def test_masks_quantities_tags_and_texts_have_their_columns() -> None:
    def first(**row: object) -> dict[str, str]:
        return _read(PredictionTable().lines({"source": "a", "index": 0, **row}))[0]

    assert first(labels=["sky"], scores=[0.8], areas=[0.25], segmentations=[{}])["area"] == "0.25"
    said = first(values={"weight": {"value": 41.5, "unit": "g", "interval": [40.0, 43.0]}, "n": {"value": 2.0}})
    assert (said["weight"], said["weight low"], said["weight high"], said["n low"]) == ("41.5", "40.0", "43.0", "")
    assert first(labels=["a", "b"], scores=[0.9, 0.8], present=["a", "b"])["present"] == "a;b"
    assert first(text="=1 pie", probability=0.5)["text"] == "'=1 pie"
    assert first(labels=["a"], scores=[1.0], time_s=0.5)["time_s"] == "0.5"


def test_a_vector_has_a_column_for_each_number_exact_as_float32() -> None:
    vector = np.random.default_rng(0).standard_normal(5).astype(np.float32)
    space = LabelSpace(("typicality",))
    row = EmbedPrediction(vector, np.array([0.5], np.float32), space, "a.png").to_json()
    (found,) = _read(PredictionTable().lines(row))
    assert list(found) == ["source", "index", "typicality", *(f"embedding_{k}" for k in range(5))]
    assert [float(np.float32(found[f"embedding_{k}"])) for k in range(5)] == vector.tolist()


@pytest.mark.parametrize("name", ["finished", "found", "painted", "tagged"])
def test_a_folder_and_a_video_are_tables(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    bundle = str(request.getfixturevalue(name).paths["bundle"])
    video = write_video(tmp_path / "in.webm", times=(0.0, 0.1))
    wanted = ["predict", bundle, "--source", str(video), "--out", str(tmp_path / "o"), "--save", "csv", "--quiet"]
    assert main(wanted) == 0
    assert [p.name for p in (tmp_path / "o").iterdir()] == ["predictions.csv"]
    rows = _read((tmp_path / "o" / "predictions.csv").read_text())
    assert {r["time_s"] for r in rows} == {"0.0", "0.1"}
    assert all(r["source"] and "label" in r for r in rows)


def test_a_table_of_images_lies_next_to_the_json(finished, shapes: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "o"
    wanted = ["predict", str(finished.paths["bundle"]), "--source", str(shapes / "disc"), "--out", str(out)]
    assert main([*wanted, "--save", "json,csv", "--quiet"]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["predictions.csv", "predictions.json"]
    rows = _read((out / "predictions.csv").read_text())
    assert len(rows) == len(list((shapes / "disc").iterdir()))
    assert all(r["label"] and 0 < float(r["score"]) <= 1 for r in rows)
