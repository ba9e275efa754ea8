import sys
from types import SimpleNamespace

import numpy as np
import pytest

from eyewright.core import LabelSpace
from eyewright.core.errors import BundleError, MissingExtraError
from eyewright.core.task import Agreement, Limits, task_names, task_of
from eyewright.imaging.preparation import Placement, Preparation
from eyewright.tasks import ClassPrediction
from eyewright.testing import check_task


@pytest.mark.parametrize("name", task_names())
def test_every_task_conforms(name: str) -> None:
    check_task(task_of(name))


@pytest.fixture
def prediction() -> ClassPrediction:
    labels = LabelSpace(("cat", "dog", "owl"))
    return ClassPrediction(np.array([0.2, 0.5, 0.3], np.float32), labels, image=np.zeros((10, 10, 3), np.uint8))


def test_labels_ids_and_scores_are_parallel_and_sorted(prediction: ClassPrediction) -> None:
    assert prediction.top1 == "dog"
    assert prediction.labels == ("dog", "owl", "cat")
    assert prediction.label_ids.tolist() == [1, 2, 0]
    assert prediction.scores.tolist() == pytest.approx([0.5, 0.3, 0.2])


def test_json_holds_the_top_labels(prediction: ClassPrediction) -> None:
    found = prediction.to_json(top=2)
    assert found["labels"] == ["dog", "owl"]
    assert found["scores"] == pytest.approx([0.5, 0.3])


def test_it_can_be_drawn_and_saved(prediction: ClassPrediction, tmp_path) -> None:  # type: ignore[no-untyped-def]
    drawn = prediction.plot()
    assert drawn.shape[0] > 10
    assert (drawn[10:] < 128).any(), "the caption is dark on white"
    assert prediction.save(tmp_path / "a.png").stat().st_size > 0


def test_without_an_image_there_is_nothing_to_draw() -> None:
    with pytest.raises(BundleError, match="without keeping its image"):
        ClassPrediction(np.array([1.0], np.float32), LabelSpace(("a",))).plot()


def test_a_missing_extra_names_its_install_line(prediction: ClassPrediction, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtraError, match="pip install supervision"):
        prediction.to_supervision()


LABELS = LabelSpace(("cat", "dog", "owl"))
WHOLE = Placement((4, 6), (1.0, 1.0), (0.0, 0.0))


def one(*probabilities: float, **more: object) -> ClassPrediction:
    return ClassPrediction(np.array(probabilities, np.float32), LABELS, **more)  # type: ignore[arg-type]


def test_labels_of_one_score_keep_their_order() -> None:
    assert one(0.25, 0.5, 0.25).labels == ("dog", "cat", "owl")
    assert one(0.4, 0.2, 0.4).top1 == "cat"
    assert one(0.4, 0.2, 0.4).label_ids.dtype == np.int64


def test_accepted_labels_reach_the_operating_point_of_their_class() -> None:
    settle = task_of("classify").settle
    prediction = one(0.25, 0.5, 0.25)
    assert prediction.accepted == ("dog",)
    assert settle(prediction, None).accepted == ("dog",)
    assert settle(prediction, np.array([0.25, 0.5, 0.26])).accepted == ("dog", "cat")
    assert settle(prediction, np.array([0.3, 0.6, 0.3])).accepted == ()
    assert settle(prediction, np.array([0.9, 0.9, 0.9]), conf=0.25).accepted == ("dog", "cat", "owl")
    assert settle(prediction, None, conf=0.5).accepted == ("dog",)
    assert prediction.thresholds is None


def test_a_prediction_says_what_clients_drift_and_logs_need(prediction: ClassPrediction) -> None:
    assert prediction.confidence == 0.5
    assert prediction.headline() == ("dog", 0.5)
    assert prediction.numbers().tolist() == pytest.approx([0.2, 0.5, 0.3])
    assert prediction.numbers().dtype == np.float32
    assert prediction.line() == "dog 50.0%  owl 30.0%  cat 20.0%"
    names = LabelSpace(tuple("abcdefg"))
    many = ClassPrediction(np.array([0.02, 0.4, 0.2, 0.1, 0.15, 0.08, 0.05], np.float32), names)
    assert many.line() == "b 40.0%  c 20.0%  e 15.0%"
    assert [r["label"] for r in many.to_hub()] == ["b", "c", "e", "d", "f"]
    assert [r["label"] for r in many.to_hub(top=2)] == ["b", "c"]
    assert many.to_hub(top=1) == [{"label": "b", "score": pytest.approx(0.4)}]
    assert many.to_json()["labels"] == ["b", "c", "e", "d", "f"]
    assert many.to_json(top=None)["labels"] == ["b", "c", "e", "d", "f", "g", "a"]


def test_json_has_every_field_and_six_digits() -> None:
    prediction = one(0.1234567, 0.5, 0.3765433, source="a.png", index=3)
    assert prediction.to_json(top=2) == {
        "source": "a.png", "index": 3, "labels": ["dog", "owl"], "label_ids": [1, 2], "scores": [0.5, 0.376543],
    }  # fmt: skip
    settled = task_of("classify").settle(one(0.1, 0.5, 0.4, time_s=0.5), np.array([0.0, 0.5, 0.5]))
    found = settled.to_json(top=1)
    assert (found["accepted"], found["time_s"]) == (["dog", "cat"], 0.5)
    assert one(0.2, 0.5, 0.3, time_s=0.0).to_json()["time_s"] == 0.0


def test_arrays_that_were_not_promised_are_refused() -> None:
    decode = task_of("classify").decode
    good = np.array([[0.2, 0.5, 0.3], [1, 0, 0]], np.float32)
    found = decode({"probabilities": good}, [WHOLE, WHOLE], LABELS)
    assert [p.top1 for p in found] == ["dog", "cat"]
    assert decode({"probabilities": good[:0]}, [], LABELS) == []
    for moved, fits in ((9e-4, True), (1.1e-3, False), (-9e-4, True), (-1.1e-3, False)):
        other = good.copy()
        other[1, 2] += moved
        if fits:
            assert len(decode({"probabilities": other}, [WHOLE, WHOLE], LABELS)) == 2
        else:
            with pytest.raises(BundleError, match="sum to 1"):
                decode({"probabilities": other}, [WHOLE, WHOLE], LABELS)
    for wrong in ({}, {"probabilities": good[:1]}, {"probabilities": good[:, :2]}, {"probabilities": good[None]}):
        with pytest.raises(BundleError, match=r"expected probabilities \(2, 3\)"):
            decode(wrong, [WHOLE, WHOLE], LABELS)
    for value in (np.nan, np.inf):
        with pytest.raises(BundleError, match="sum to 1"):
            decode({"probabilities": np.full((2, 3), value, np.float32)}, [WHOLE, WHOLE], LABELS)


def agreed(a: list[list[float]], b: list[list[float]], tolerance: float) -> Agreement:
    rows = [SimpleNamespace(raw={"probabilities": np.array(r, np.float64).reshape(-1, 3)}) for r in (a, b)]
    return task_of("classify").agree(rows[0], rows[1], Limits(tolerance, 0.99))  # type: ignore[arg-type]


def test_answers_that_change_are_counted_unless_two_classes_were_level() -> None:
    same = [[0.2, 0.5, 0.3], [0.6, 0.2, 0.2]]
    assert agreed(same, same, 1e-4) == agreed([], [], 1e-4) == Agreement(0.0, 0)
    found = agreed(same, [[0.2, 0.4, 0.4], [0.1, 0.7, 0.2]], 1e-4)
    assert (found.worst, found.changed) == (pytest.approx(0.5), 1)
    both_ways = agreed([[0.1, 0.2, 0.7], [0.6, 0.2, 0.2]], [[0.7, 0.2, 0.1], [0.2, 0.2, 0.6]], 1e-4)
    assert (both_ways.worst, both_ways.changed) == (pytest.approx(0.6), 2)
    # In float32 two classes are level within a millionth; at other precisions within the tolerance.
    for gap, tolerance, changed in ((5e-7, 1e-4, 0), (2e-6, 1e-4, 1), (0.019, 0.02, 0), (0.021, 0.02, 1)):
        level, swapped = [[0.4 + gap, 0.4, 0.2 - gap]], [[0.4, 0.4 + gap, 0.2 - gap]]
        assert agreed(level, swapped, tolerance).changed == changed


def test_parity_limits_are_those_that_are_written() -> None:
    limits = {name: {p: (v.tolerance, v.same_iou) for p, v in task_of(name).limits.items()} for name in task_names()}
    rest = {"float16": (0.02, 0.95), "int8": (0.05, 0.9)}
    assert limits.pop("classify") == {"float32": (1e-4, 0.99), **rest}
    assert all(limits[name] == {"float32": (1e-3, 0.99), **rest} for name in ("detect", "segment", "instance"))


def test_a_class_is_explained_by_its_probability() -> None:
    task = task_of("classify")
    raw = {"probabilities": np.array([[0.2, 0.5, 0.3], [0.7, 0.1, 0.2]], np.float32)}
    (target,) = task.explained(raw, None, None, None)
    assert (target.label, target.box, target.cells) == (1, None, 8)
    assert target(raw).tolist() == pytest.approx([0.5, 0.1])
    (asked,) = task.explained(raw, None, None, 0)
    assert asked(raw).tolist() == pytest.approx([0.2, 0.7])
    assert asked(raw).dtype == np.float64


def test_what_is_counted_and_said_of_answers() -> None:
    task = task_of("classify")
    answers = np.array([[0.2, 0.5, 0.3], [0.7, 0.1, 0.2]])
    name, values = task.summary(answers)
    assert (name, values.tolist()) == ("confidence", [0.5, 0.7])
    assert task.labelled(answers).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert sorted(task.counted([2, 0, 2])) == [0, 2]
    assert task.feedback is not None
    assert task.feedback.taught(one(0.2, 0.5, 0.3), np.array([4, 6, 5]), None) == 6


def test_scores_are_those_of_the_probabilities_and_of_none_are_empty() -> None:
    task = task_of("classify")
    found = task.score([one(0.2, 0.5, 0.3), one(0.6, 0.3, 0.1)], [1, 2], rng=np.random.default_rng(0))
    assert (found["accuracy"].value, found["accuracy"].n) == (0.5, 2)
    assert task.score([], [], rng=np.random.default_rng(0)) == {}
    raw, truth = task.example(np.random.default_rng(0))
    assert raw["probabilities"].shape == (12, 3)
    assert raw["probabilities"].sum(1) == pytest.approx(np.ones(12))
    assert truth == [0, 1, 2] * 4


def test_a_flip_is_the_mean_of_both_mirrors_and_without_it_one_image_is_predicted() -> None:
    seen: list[int] = []

    def raw(pixels: np.ndarray) -> dict[str, np.ndarray]:
        seen.append(len(pixels))
        left = pixels[:, :, 0, 0].mean(1) / 255
        return {"probabilities": np.stack([left, 1 - left, left * 0], 1).astype(np.float32)}

    predictor = SimpleNamespace(
        task_name="classify", labels=LABELS, preparation=Preparation((4, 4)), decoding={}, raw=raw
    )
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, 0] = 255
    options = {"tile": None, "overlap": 0.2, "iou": None}
    views = task_of("classify").views
    assert views(predictor, image, flip=False, **options).probabilities.tolist() == [1.0, 0.0, 0.0]  # type: ignore[arg-type]
    assert views(predictor, image, flip=True, **options).probabilities.tolist() == [0.5, 0.5, 0.0]  # type: ignore[arg-type]
    assert seen == [1, 2]


def test_a_window_of_a_video_says_its_times() -> None:
    found = one(0.2, 0.5, 0.3, start_s=1.23456, end_s=2.5).to_json()
    assert (found["start_s"], found["end_s"]) == (1.235, 2.5)
    assert "start_s" not in one(0.2, 0.5, 0.3, start_s=1.0).to_json()
    assert "end_s" not in one(0.2, 0.5, 0.3, end_s=1.0).to_json()
