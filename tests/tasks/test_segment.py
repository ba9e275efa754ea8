"""Segmentation: a class for every pixel, and what a person is shown of it."""

import base64
import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from eyewright.core import LabelSpace
from eyewright.core.errors import BundleError
from eyewright.core.task import Agreement, Limits, task_of
from eyewright.imaging.preparation import Placement
from eyewright.imaging.rasters import decode_counts, parse_counts
from eyewright.tasks.segment import MaskPrediction, paint

LABELS = LabelSpace(("background", "crack", "dent"))
WHOLE = Placement((4, 6), (1.0, 1.0), (0.0, 0.0))


def planes(mask: np.ndarray, sure: float = 0.8) -> np.ndarray:
    rest = (1 - sure) / 2
    return np.stack([np.where(mask == c, sure, rest) for c in range(3)]).astype(np.float32)


def test_every_pixel_gets_its_most_likely_class_and_the_next_one() -> None:
    mask = np.array([[0, 0, 0, 1, 1, 1]] * 4, np.uint8)
    (found,) = task_of("segment").decode({"probabilities": planes(mask)[None]}, [WHOLE], LABELS)
    assert np.array_equal(found.mask, mask)
    assert found.labels == ("background", "crack")
    assert found.areas.tolist() == [0.5, 0.5]
    assert found.second is not None
    assert not (found.second == found.mask).any()


def test_a_class_that_is_not_accepted_gives_its_pixels_to_the_next_one_and_background_keeps_its_own() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[:, 20:] = 1
    two = np.full((40, 40), 2, np.uint8)
    one = MaskPrediction(mask, np.array([0.1, 0.6, 0.0], np.float32), LABELS, two)
    settle = task_of("segment").settle
    shown = settle(one, np.array([0.5, 0.7, 0.0]))
    # The crack's half is the dent's now; the background was as unlikely, and stays.
    assert np.array_equal(shown.mask, np.where(mask == 1, 2, 0))
    # The next class may be refused too: then the first class takes the pixels.
    assert not settle(one, np.array([0.5, 0.7, 0.9])).mask.any()
    assert settle(one, np.array([0.5, 0.6, 0.9])) is one
    assert settle(one, None) is one
    assert not settle(one, None, conf=0.9).mask.any()


def test_few_pixels_make_a_class_less_certain() -> None:
    mask = np.zeros((30, 30), np.uint8)
    mask[0, :3] = 1
    found = paint(planes(mask, 0.9), Placement((30, 30), (1.0, 1.0), (0.0, 0.0)), LABELS)
    assert found.sureness[1] == pytest.approx(0.9 * 3 / 9, abs=1e-6)
    assert found.sureness[0] == pytest.approx(0.9, abs=1e-6)
    assert found.sureness[2] == 0


@pytest.mark.parametrize("wrong", [
    {}, {"probabilities": np.zeros((1, 2, 4, 6), np.float32)}, {"probabilities": np.zeros((1, 3, 4, 6), np.float32)},
    {"probabilities": np.full((1, 3, 4, 6), np.nan, np.float32)},
])  # fmt: skip
def test_arrays_that_were_not_promised_are_refused(wrong: dict[str, np.ndarray]) -> None:
    with pytest.raises(BundleError):
        task_of("segment").decode(wrong, [WHOLE], LABELS)


def test_a_prediction_says_what_clients_drift_and_logs_need() -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[:3] = 2
    one = MaskPrediction(mask, np.array([0.9, 0.0, 0.7], np.float32), LABELS)
    assert one.numbers().tolist() == pytest.approx([0.7, 0.0, 0.3])
    assert one.headline() == ("dent", pytest.approx(0.7))
    assert one.line() == "background 70.0%  dent 30.0%"
    assert [r["label"] for r in one.to_hub()] == ["background", "dent"]
    clean = MaskPrediction(np.zeros((4, 4), np.uint8), np.array([0.9, 0, 0], np.float32), LABELS)
    assert clean.headline() == ("", 0.0)


def one_of(mask: np.ndarray, sureness: tuple[float, ...] = (0.9, 0.8, 0.7), **more: object) -> MaskPrediction:
    return MaskPrediction(mask, np.array(sureness, np.float32), LABELS, **more)  # type: ignore[arg-type]


def striped() -> np.ndarray:
    """4x6 pixels: 4 of background, 12 of dents, 8 of cracks."""
    return np.repeat([[0, 2, 2, 2, 1, 1]], 4, 0).astype(np.uint8)


def test_classes_are_sorted_by_area_and_everything_is_in_their_order() -> None:
    found = one_of(striped())
    assert found.size_hw == (4, 6)
    assert found.label_ids.tolist() == [2, 1, 0]
    assert found.labels == ("dent", "crack", "background")
    assert found.areas.tolist() == pytest.approx([0.5, 1 / 3, 1 / 6])
    assert found.scores.tolist() == pytest.approx([0.7, 0.8, 0.9])
    assert found.masks.shape == (3, 4, 6)
    assert found.masks.sum((1, 2)).tolist() == [12, 8, 4]
    assert found.numbers().tolist() == pytest.approx([1 / 6, 1 / 3, 0.5])
    assert found.headline() == ("dent", pytest.approx(0.7))
    assert found.line() == "dent 50.0%  crack 33.3%  background 16.7%"
    # Of one area the lower id is first, and a class that is nowhere is not named.
    level = one_of(np.array([[2, 2, 0, 0]], np.uint8))
    assert level.labels == ("background", "dent")
    assert level.headline() == ("dent", pytest.approx(0.7))
    empty = one_of(np.zeros((0, 6), np.uint8))
    assert empty.masks.shape == (0, 0, 6)


def test_a_line_names_six_classes() -> None:
    names = LabelSpace(tuple("abcdefgh"))
    mask = np.repeat(np.arange(8), np.arange(9, 1, -1))[None].astype(np.uint8)
    found = MaskPrediction(mask, np.ones(8, np.float32), names)
    assert [part.split()[0] for part in found.line().split("  ")] == list("abcdef")


def test_json_and_the_hub_hold_each_class_with_its_mask() -> None:
    found = one_of(striped(), (0.1234567, 0.8, 0.7), source="a.png", index=2, time_s=0.0)
    row = found.to_json()
    assert {k: row[k] for k in ("source", "index", "width", "height", "labels", "label_ids", "time_s")} == {
        "source": "a.png", "index": 2, "width": 6, "height": 4, "labels": ["dent", "crack", "background"],
        "label_ids": [2, 1, 0], "time_s": 0.0,
    }  # fmt: skip
    assert row["scores"] == pytest.approx([0.7, 0.8, 0.123457], abs=1e-9)
    assert row["areas"] == [0.5, 0.333333, 0.166667]
    for given, mask in zip(row["segmentations"], found.masks, strict=True):
        assert given["size"] == [4, 6]
        assert np.array_equal(decode_counts(parse_counts(given["counts"]), (4, 6)), mask)
    few = one_of(striped()).to_json(top=1)
    assert (few["labels"], few["areas"], len(few["segmentations"]), len(few["scores"])) == (["dent"], [0.5], 1, 1)
    assert "time_s" not in few
    hub = one_of(striped()).to_hub()
    assert [r["score"] for r in hub] == pytest.approx([0.7, 0.8, 0.9])
    picture = Image.open(io.BytesIO(base64.b64decode(hub[0]["mask"])))
    assert np.array_equal(np.asarray(picture) > 0, striped() == 2)


def test_arrays_are_refused_from_a_hundredth_on() -> None:
    decode = task_of("segment").decode
    for moved, fits in ((0.009, True), (0.011, False), (-0.009, True), (-0.011, False)):
        raw = planes(striped())[None].copy()
        raw[0, 1, 2, 3] += moved
        if fits:
            assert len(decode({"probabilities": raw}, [WHOLE], LABELS)) == 1
        else:
            with pytest.raises(BundleError, match="sum to 1"):
                decode({"probabilities": raw}, [WHOLE], LABELS)
    none = np.zeros((0, 3, 4, 6), np.float32)
    assert decode({"probabilities": none}, [], LABELS) == []
    infinite = planes(striped())[None].copy()
    infinite[0, 0, 0, 0] = np.inf
    with pytest.raises(BundleError, match="sum to 1"):
        decode({"probabilities": infinite}, [WHOLE], LABELS)


def test_a_mask_comes_back_from_its_margins_to_the_size_of_the_source() -> None:
    """6x4 source pixels (high, wide) at twice their size, 2 rows below the top and 3 columns from the left."""
    source = np.zeros((6, 4), np.uint8)
    source[1:3, 2:], source[5, 0] = 1, 2
    prepared = np.full((16, 14), 2, np.uint8)
    prepared[2:14, 3:11] = source.repeat(2, 0).repeat(2, 1)
    found = paint(planes(prepared), Placement((6, 4), (2.0, 2.0), (2.0, 3.0)), LABELS)
    assert np.array_equal(found.mask, source)
    # Where the source reaches beyond the prepared image, what is there is stretched: as a cut at the centre.
    half = paint(planes(source), Placement((12, 8), (1.0, 1.0), (-3.0, -2.0)), LABELS)
    assert half.mask.shape == (12, 8)
    assert set(np.unique(half.mask)) == {0, 1, 2}


def test_the_next_class_is_the_second_largest_at_every_pixel() -> None:
    rng = np.random.default_rng(0)
    raw = rng.random((3, 4, 6)).astype(np.float32)
    found = paint(raw, WHOLE, LABELS)
    order = np.argsort(-raw, 0)
    assert np.array_equal(found.mask, order[0])
    assert found.second is not None
    assert np.array_equal(found.second, order[1])
    # Of level classes the first is taken.
    level = paint(np.full((3, 4, 6), 1 / 3, np.float32), WHOLE, LABELS)
    assert not level.mask.any()
    assert (level.second == 1).all()


@pytest.mark.parametrize(("size_hw", "few"), [((30, 30), 9), ((4, 6), 9), ((200, 120), 12)])
def test_a_class_is_as_certain_as_the_mean_of_its_few_most_certain_pixels(size_hw: tuple[int, int], few: int) -> None:
    """Nine pixels, or 0.05 % of the image where that is more."""
    rng = np.random.default_rng(1)
    raw = rng.dirichlet([1, 1, 1], size_hw).transpose(2, 0, 1).astype(np.float32)
    found = paint(raw, Placement(size_hw, (1.0, 1.0), (0.0, 0.0)), LABELS)
    for c in range(3):
        own = np.sort(raw[c][raw.argmax(0) == c])[::-1][:few]
        assert found.sureness[c] == pytest.approx(own.sum() / few, abs=1e-6)


def test_confidence_is_never_above_one() -> None:
    found = paint(
        planes(np.zeros((30, 30), np.uint8), 1.0) * 1.005, Placement((30, 30), (1.0, 1.0), (0.0, 0.0)), LABELS
    )
    assert found.sureness.tolist() == [1, 0, 0]


def test_an_operating_point_is_reached_by_equality_and_the_first_class_never_gives_way() -> None:
    settle = task_of("segment").settle
    one = MaskPrediction(np.array([[0, 1, 2]], np.uint8), np.array([0.0, 0.5, 0.25], np.float32), LABELS,
                         np.array([[1, 2, 1]], np.uint8))  # fmt: skip
    assert settle(one, np.array([1.0, 0.5, 0.25])).mask.tolist() == [[0, 1, 2]]
    assert settle(one, np.array([1.0, 0.5, 0.26])).mask.tolist() == [[0, 1, 1]]
    assert settle(one, np.array([1.0, 0.51, 0.25])).mask.tolist() == [[0, 2, 2]]
    assert settle(one, np.array([1.0, 0.9, 0.9])).mask.tolist() == [[0, 0, 0]]
    assert settle(one, np.array([0.0, 0.0, 0.0]), conf=0.4).mask.tolist() == [[0, 1, 1]]
    # Without a next class nothing can be given away.
    bare = one_of(np.array([[0, 1]], np.uint8), (0.1, 0.1, 0.1))
    assert settle(bare, np.array([0.5, 0.5, 0.5])) is bare
    # A class that is nowhere changes nothing.
    assert settle(one_of(np.zeros((2, 2), np.uint8), second=np.ones((2, 2), np.uint8)), np.ones(3)).mask.sum() == 0


def agreed(a: np.ndarray, b: np.ndarray, tolerance: float = 1e-3) -> Agreement:
    rows = [SimpleNamespace(raw={"probabilities": x}) for x in (a, b)]
    return task_of("segment").agree(rows[0], rows[1], Limits(tolerance, 0.99))  # type: ignore[arg-type]


def test_pixels_of_another_class_are_counted_unless_the_classes_were_level() -> None:
    a = np.zeros((2, 3, 2, 3))
    a[:, 0], a[:, 1], a[:, 2] = 0.5, 0.3, 0.2
    assert agreed(a, a) == agreed(a[:0], a[:0]) == Agreement(0.0, 0)
    b = a.copy()
    b[1, :, 0, 1] = 0.2, 0.7, 0.1
    b[0, :, 1, 2] = 0.3, 0.4, 0.3
    found = agreed(a, b)
    assert (found.worst, found.changed) == (pytest.approx(0.4), 2)
    assert agreed(b, a) == found
    for gap, changed in ((0.0009, 0), (0.0011, 1)):
        level, swapped = a.copy(), a.copy()
        level[0, :, 0, 0] = 0.4 + gap, 0.4, 0.2 - gap
        swapped[0, :, 0, 0] = 0.4, 0.4 + gap, 0.2 - gap
        assert agreed(level, swapped).changed == changed


def test_a_class_is_explained_by_its_mean_over_the_pixels_it_was_given() -> None:
    task = task_of("segment")
    mask = np.array([[0, 0, 1], [2, 1, 1]], np.uint8)
    raw = np.stack([planes(mask), planes(mask[:, ::-1])])
    prediction = one_of(mask)
    targets = task.explained({"probabilities": raw}, prediction, None, None)
    assert [(t.label, t.box, t.cells) for t in targets] == [(1, None, 12), (2, None, 12)]
    crack = targets[0]({"probabilities": raw})
    inside = mask == 1
    assert crack.tolist() == pytest.approx([0.8, float(raw[1, 1][inside].mean())])
    assert crack.dtype == np.float64
    (dent,) = task.explained({"probabilities": raw}, prediction, None, 2)
    assert dent.label == 2
    assert task.explained({"probabilities": raw}, prediction, None, 0) == []
    # A class that only the source's size shows has no pixels to hide.
    bare = planes(np.zeros((2, 3), np.uint8))[None]
    assert task.explained({"probabilities": bare}, prediction, None, None) == []


@pytest.mark.parametrize(("first", "expected"), [("_background_", 0.0), ("Background", 0.0), ("ground", 0.25)])
def test_the_mean_iou_leaves_the_background_out_if_there_is_one(first: str, expected: float) -> None:
    names = LabelSpace((first, "crack"))
    found, truth = np.array([[0, 0, 0, 1]], np.uint8), np.array([[0, 0, 1, 0]], np.uint8)
    predictions = [MaskPrediction(found, np.ones(2, np.float32), names)]
    metrics = task_of("segment").score(predictions, [truth], rng=np.random.default_rng(0))
    # IoU of the first class is 2 of 4, of the crack 0 of 2.
    assert metrics["miou"].value == pytest.approx(expected)
    assert task_of("segment").score([], [], rng=np.random.default_rng(0)) == {}


def test_what_is_counted_and_learnt_of_answers() -> None:
    task = task_of("segment")
    answers = np.array([[0.75, 0.25, 0.0], [0.0, 0.5, 0.5]])
    name, values = task.summary(answers)
    assert (name, values.tolist()) == ("amount", [0.25, 1.0])
    assert task.labelled(answers) is answers
    assert sorted(task.counted([2, 0, 2])) == [0, 2]
    assert task.feedback is not None
    kept = task.feedback.taught(one_of(striped()), np.array([1, 0, 4]), lambda mask: mask)
    assert kept[0].tolist() == [1, 4, 4, 4, 0, 0]
    assert kept.dtype == np.uint8
    raw, truth = task.example(np.random.default_rng(0))
    assert raw["probabilities"].shape == (12, 3, 16, 24)
    assert raw["probabilities"].sum(1) == pytest.approx(np.ones((12, 16, 24)), abs=1e-5)
    assert {(m.shape, m.dtype.name) for m in truth} == {((16, 24), "uint8")}
    assert len(truth) == 12
    assert set(np.unique(truth)) == {0, 1, 2}
