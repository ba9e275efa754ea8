"""Corrected numbers and tags count: errors by quantity, exact match and each tag; histograms against the reference."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.monitoring.test_monitoring import row

from eyewright.cli import main
from eyewright.imaging.appearance import LOOK
from eyewright.monitoring import image_path, open_store
from eyewright.monitoring.judged import has_tag, number_spread
from eyewright.monitoring.store import Row, feedback_id
from eyewright.monitoring.summary import quality, summarise_model

SCALE = ("regress", ("weight [g]", "count"))
PETS = ("tag", ("cat", "dog", "cat|big"))


def weighed(k: int, weight: float, count: float = 1.0) -> Row:
    text = f"weight [g]={weight}; count={count}"
    return row(k, digest="scale", label=text, score=weight, answer=np.array([weight, count], np.float32))


def tagged(k: int, *tags: str) -> Row:
    return row(k, digest="pets", label="|".join(tags), answer=np.array([0.9, 0.1, 0.1], np.float32))


def test_the_error_of_corrected_numbers_is_reported_with_its_unit() -> None:
    said = [(weighed(k, 10.0 + k), {"values": {"weight [g]": 10.0 + k - off, "count": 1.0}}, 0.0)
            for k, off in enumerate((0.0, 1.0, -3.0, 2.0))]  # fmt: skip
    found = quality([*said, (weighed(9, 5.0), {"correct": True}, 0.0)], {"scale": SCALE})
    mae = found["values"]["weight [g]"]["mae"]
    assert (mae["value"], mae["n"], mae["unit"]) == (pytest.approx(1.5), 4, "g")
    assert mae["low"] <= 1.5 <= mae["high"]
    assert found["values"]["weight [g]"]["bias"] == pytest.approx(0.0)
    assert found["values"]["count"]["mae"]["value"] == 0.0
    # Left as they were: the first, and the one that was called right.
    assert (found["n"], found["right"]) == (5, pytest.approx(2 / 5))
    # Of a model that the log does not know, nothing is said of numbers.
    assert "values" not in quality(said)


def test_tags_are_judged_together_and_each_by_itself() -> None:
    said: list[tuple[Row, dict[str, Any], float]] = [
        (tagged(0, "cat"), {"tags": {"cat": True, "dog": False}}, 0.0),
        (tagged(1, "cat"), {"tags": {"cat": True, "dog": True}}, 0.0),
        (tagged(2, "dog"), {"tags": {"dog": False}}, 0.0),
        (tagged(3), {"tags": {"dog": False}}, 0.0),
    ]
    found = quality(said, {"pets": PETS})
    assert found["tags"]["exact_match"]["value"] == pytest.approx(0.5)
    assert found["tags"]["exact_match"]["n"] == 4
    assert found["tags"]["each"] == {
        "dog": {"n": 4, "right": 2, "missed": 1, "false": 1},
        "cat": {"n": 2, "right": 2, "missed": 0, "false": 0},
    }
    assert (found["n"], found["right"]) == (4, pytest.approx(0.5))
    assert has_tag(tagged(0, "dog", "cat|big"), "cat|big")
    assert not has_tag(tagged(0, "cat"), "ca")


def test_what_is_watched_of_numbers_and_tags_are_no_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_store(tmp_path / "monitor.db")
    store.add_model("scale", *SCALE)
    store.add_model("pets", *PETS)
    store.add(
        [row(k, model="pets", digest="pets", label="|".join(t)) for k, t in enumerate([("cat", "dog"), ("cat",), ()])]
    )
    usual = np.array([[10.0, 1.0], [30.0, 1.0]], np.float32)
    wrong = {"values": {"weight [g]": 14.0, "count": 1.0}}
    rows = [weighed(100 + k, 10.0 + k) for k in range(21)]
    store.add(rows, [(feedback_id(rows[5].id, wrong), rows[5].id, 1.0, wrong)])
    pets = summarise_model(store, "pets", "pets", {}, "tag")
    assert pets["labels"] == {"cat": 2, "dog": 1, "(nothing)": 1}
    assert pets["labelled"] == {"noun": ["tag", "tags"], "of": 3}
    assert pets["values"] == {}
    scale = summarise_model(store, "m", "scale", {"values": usual}, "regress")
    assert (scale["labels"], scale["confidence"]) == ({}, [])
    weight = scale["values"]["weight [g]"]
    assert weight["median"] == 20.0
    assert (sum(weight["recent"]), sum(weight["usual"])) == (21, 2)
    assert scale["feedback"]["values"]["weight [g]"]["mae"]["value"] == pytest.approx(1.0)
    store.close()
    assert main(["monitor", "status", "--home", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "error     weight [g]: MAE of corrected values 1 g [" in said
    assert "values    weight [g]: median 20" in said
    assert "labels    cat 2, dog 1, (nothing) 1" in said


def test_numbers_to_label_next_are_shown_without_a_confidence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(tmp_path / "monitor.db")
    store.add_model("scale", *SCALE)
    rows = [replace(weighed(k, 100.0 * k), image=f"{k:064x}", look=np.full(LOOK, k, np.float32)) for k in range(4)]
    for one in rows:
        place = image_path(tmp_path, one.image)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"image")
    store.add(rows)
    store.close()
    assert main(["monitor", "select", "--home", str(tmp_path), "-n", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["selected"]
    assert len({f["prediction_id"] for f in found}) == 3
    assert {f["score"] for f in found} == {None}
    assert main(["monitor", "select", "--home", str(tmp_path), "-n", "3"]) == 0
    assert "%" not in capsys.readouterr().out


def test_a_value_far_off_does_not_hide_the_others() -> None:
    rows = [weighed(k, float(v)) for k, v in enumerate([*np.linspace(0, 1, 400), 1e9])]
    found = number_spread(rows, SCALE[1], None)["weight [g]"]
    assert found["edges"][-1] < 100
    assert sum(found["recent"]) == 401
    assert number_spread(rows, ("one",), None) == {}
