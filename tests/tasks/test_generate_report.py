"""What is measured of generated images, by hand: which are covered, copied and of their class, and what is listed."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eyewright.core.drawing import ClassInput, NoiseInput, noise_of
from eyewright.core.errors import UsageError
from eyewright.core.labels import LabelSpace
from eyewright.core.predictor import Answers
from eyewright.core.task import Limits, task_of
from eyewright.data import Dataset, Sample
from eyewright.evaluation.reporting import Batch
from eyewright.tasks.generate import GeneratedImage, _small
from eyewright.tasks.generate_report import REPORTING, GenerateResults, judge_of, real_sample

TASK = task_of("generate")
NAMES = ("cat", "dog")


def made(
    real: list[float], generated: list[float], seen: list[int], *, train: list[float], held_out: list[float],
    targets: list[int] | None = None,
) -> GenerateResults:  # fmt: skip
    """Return results whose features are one number an image."""
    classes = targets if targets is not None else [k % 2 for k in range(len(real))]
    samples = tuple(Sample(f"d/{k}.png", c) for k, c in enumerate(classes))
    dataset = Dataset(None, samples, LabelSpace(NAMES), "drawn", "generate")  # type: ignore[arg-type]

    def column(values: list[float]) -> Any:
        return np.array(values, np.float32)[:, None]

    judge: Any = SimpleNamespace(
        digest="a" * 64, accuracy={"value": 0.9}, axes=np.eye(1), train=column(train), held_out=column(held_out),
        labels=dataset.labels,
    )  # fmt: skip
    return GenerateResults(dataset, column(real), column(generated), np.array(seen), judge)


def small() -> GenerateResults:
    """Three real images at 0, 10 and 30, so that each one's neighbourhood reaches to the further of the others."""
    return made([0, 10, 30], [0.5, 31, 100], [0, 0, 0], train=[0.5, 60], held_out=[10, 20])


def test_an_image_is_covered_where_a_generated_one_lies_within_its_neighbours() -> None:
    results = small()
    # By hand: with two neighbours the radii of the real images are 30, 20 and 30, of the generated ones 99.5, 69, 99.5.
    assert results.near.covered.tolist() == [True, True, True]
    assert results.near.precise.tolist() == [True, True, False]
    assert results.near.recalled.tolist() == [True, True, True]
    # Held-out images are 9.5 and 19.5 from training ones; one per cent of them are below 9.6.
    assert results.copied.limit == pytest.approx(9.6)
    assert results.copied.distance.tolist() == pytest.approx([0, 29, 40])
    assert results.copied.near.tolist() == [True, False, False]
    assert results.agrees.tolist() == [True, False, True]


def test_numbers_are_means_under_weights() -> None:
    results = small()
    found = results.numbers()(np.array([[1.0, 1, 1], [2, 2, 0], [0, 0, 5]]))
    assert {k: v.tolist() for k, v in found.items()} == {
        "coverage": [1, 1, 1],
        "label_agreement": pytest.approx([2 / 3, 0.5, 1]),
        "copies": pytest.approx([1 / 3, 0.5, 0]),
        "precision": pytest.approx([2 / 3, 1, 0]),
        "recall": [1, 1, 1],
    }
    followed = results.followed()
    assert followed.number(np.array([[1.0, 1, 1], [2, 2, 0], [0, 0, 5]])).tolist() == pytest.approx([2 / 3, 0.5, 1])
    assert followed.hits is not None
    assert followed.hits.tolist() == [True, False, True]


def test_rows_and_items_name_what_was_asked_for_and_seen() -> None:
    results = small()
    assert list(results.rows()) == [
        ("id", "seed", "asked", "seen", "covered", "nearest_training", "copy"),
        ("d/0.png", "0", "cat", "cat", "1", "0", "1"),
        ("d/1.png", "1", "dog", "cat", "1", "29", "0"),
        ("d/2.png", "2", "cat", "cat", "1", "40", "0"),
    ]
    far = made([0, 10, 30], [100, 0.5, 31], [1, 0, 0], train=[0.5, 60], held_out=[10, 20])
    assert REPORTING.items(far) == [
        {"id": "d/1.png", "index": 1, "seed": 1, "label": "dog", "seen": "cat", "copy": True, "distance": 0.0,
         "score": 1.0},
        {"id": "d/2.png", "index": 2, "seed": 2, "label": "cat", "seen": "cat", "copy": False, "distance": 29.0,
         "score": 1.0},
        {"id": "d/0.png", "index": 0, "seed": 0, "label": "cat", "seen": "dog", "copy": False, "distance": 40.0,
         "score": 1.0},
    ]  # fmt: skip
    assert results.answers().tolist() == [[1, 0]] * 3
    assert far.answers().tolist() == [[0, 1], [1, 0], [1, 0]]
    assert results.asked("coverage").tolist() == [True] * 3


def test_joined_results_are_those_of_all_images() -> None:
    one, two = small(), made([5], [6], [1], train=[0.5, 60], held_out=[10, 20])
    both = one.joined(two)
    assert len(both.dataset) == 4
    assert both.real[:, 0].tolist() == [0, 10, 30, 5]
    assert both.generated[:, 0].tolist() == [0.5, 31, 100, 6]
    assert both.seen.tolist() == [0, 0, 0, 1]
    assert both.judge is one.judge


def test_images_of_which_the_judge_sees_another_class_have_changed() -> None:
    before = small()
    after = replace(before, seen=np.array([0, 1, 1]))
    assert REPORTING.changed(before, after) == [
        {"id": "d/1.png", "before": "cat", "after": "dog"}, {"id": "d/2.png", "before": "cat", "after": "dog"},
    ]  # fmt: skip
    assert REPORTING.changed(after, before)[0] == {"id": "d/1.png", "before": "dog", "after": "cat"}
    assert REPORTING.changed(before, before) == []


def twelve(n: int = 12) -> GenerateResults:
    rng = np.random.default_rng(0)
    return made(
        rng.normal(size=n).tolist(), rng.normal(size=n).tolist(), [0] * n, train=rng.normal(size=40).tolist(),
        held_out=rng.normal(size=20).tolist(), targets=[0] * 9 + [1] * (n - 9),
    )  # fmt: skip


def test_twelve_images_are_enough_to_measure_a_generator_on() -> None:
    results = twelve()
    metrics = REPORTING.metrics(results, 0)
    assert list(metrics)[:4] == ["coverage", "fid", "label_agreement", "copies"]
    assert metrics["label_agreement"].value == 0.75
    assert metrics["copies"].value == pytest.approx(results.copied.near.mean())
    assert metrics["coverage_floor"].n == metrics["fid_floor"].n == 12
    with pytest.raises(UsageError, match="expected 12 images or more to measure a generator on, found 11"):
        REPORTING.metrics(twelve(11), 0)


def test_real_images_take_the_place_of_generated_ones_where_there_are_six() -> None:
    few = replace(twelve(), judge=SimpleNamespace(**{**vars(twelve().judge), "train": twelve().judge.train[:5]}))
    assert "fid_floor" not in REPORTING.metrics(few, 0)
    six = replace(few, judge=SimpleNamespace(**{**vars(few.judge), "train": twelve().judge.train[:6]}))
    assert REPORTING.metrics(six, 0)["fid_floor"].n == 6
    taken = real_sample(twelve(), np.random.default_rng(3))
    order = np.random.default_rng(3).permutation(40)[:12]
    assert np.array_equal(taken, twelve().judge.train[order])


def test_a_report_has_a_row_of_each_class() -> None:
    results = twelve()
    report = REPORTING.report(results)
    cat, dog = report.per_class
    assert (cat["label"], cat["n"], dog["label"], dog["n"]) == ("cat", 9, "dog", 3)
    assert (cat["label_agreement"]["value"], dog["label_agreement"]["value"]) == (1.0, 0.0)
    covered = results.near.covered
    assert cat["coverage"]["value"] == pytest.approx(covered[:9].mean())
    assert dog["coverage"]["value"] == pytest.approx(covered[9:].mean())
    assert report.tables["judge"] == {"digest": "a" * 64, "accuracy": {"value": 0.9}, "features": 1}
    assert (report.tables["training_images"], report.tables["copy_limit"]) == (40, results.copied.limit)
    assert (report.tables["dropped_features"], report.n) == (0, 12)


def test_a_model_without_a_judge_and_folds_are_refused() -> None:
    judge = twelve().judge
    assert judge_of(SimpleNamespace(judge=judge)) is judge  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="has no judge"):
        judge_of(SimpleNamespace())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--folds is not supported for generation"):
        REPORTING.together([twelve()], 2, twelve().dataset)


def test_the_doctor_says_the_class_below_a_picture() -> None:
    small_picture = np.zeros((2, 2, 3), np.uint8)
    data = twelve().dataset
    assert [REPORTING.audit.caption(data, k) for k in (0, 11)] == ["cat", "dog"]
    assert REPORTING.audit.drawn(data, 0, (4, 4), small_picture) is small_picture
    assert (list(REPORTING.audit.tiles(data)), list(REPORTING.audit.charts(data, None))) == ([], [])  # type: ignore[arg-type]


def image(value: int, *, label: int = 1, channels: int = 1) -> GeneratedImage:
    return GeneratedImage(np.full((2, 3, channels), value, np.uint8), label, LabelSpace(NAMES), "a.png", 4)


def test_a_generated_image_says_its_class_size_and_brightness() -> None:
    one = image(51)
    assert one.numbers().tolist() == pytest.approx([0.0, 0.2])
    assert (one.line(), one.headline()) == ("generated dog", ("dog", 1.0))
    assert one.to_json() == {"source": "a.png", "index": 4, "label": "dog", "width": 3, "height": 2}
    assert one.rgb.tolist() == [[[51] * 3] * 3] * 2
    assert one.drawn_on(np.zeros((9, 9, 3), np.uint8)).shape == one.plot().shape == (2, 3, 3)
    (row,) = one.to_hub()
    import base64
    import io

    from PIL import Image

    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(row["image"]))).convert("RGB")), one.rgb)


def test_levels_are_rounded_and_clipped_to_bytes() -> None:
    raw = {"image": np.array([[-3.0, 0.6], [254.4, 300.0]], np.float32).reshape(1, 2, 2, 1)}
    (found,) = TASK.decode(raw, [{"class": 1}], LabelSpace(NAMES))
    assert found.pixels[..., 0].tolist() == [[0, 1], [254, 255]]
    assert found.label == "dog"
    for place in ({}, None, {"class": None}):
        assert TASK.decode(raw, [place], LabelSpace(NAMES))[0].label == "cat"


def test_images_are_compared_in_64_means_of_a_picture() -> None:
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:2, :3] = (30, 60, 90)
    pixels[14:, 21:] = 255
    # Each of 8 x 8 parts is the sum of its 2 x 3 pixels, of the mean of the channels, in fractions of the range.
    found = _small(pixels)
    assert found.shape == (64,)
    assert (found[0], found[-1]) == (pytest.approx(6 * 60 / 255), pytest.approx(6.0))
    assert found.sum() == pytest.approx(6 * 60 / 255 + 6)


def agreed(a: float, b: list[float], tolerance: float) -> Any:
    """Compare an image of level a with one whose pixels are b, and another pair that is the same."""
    first = np.full((2, 1, len(b), 1), a, np.float32)
    second = first.copy()
    second[1, 0, :, 0] = b
    rows = [Answers(None, {"image": v}, [None, None]) for v in (first, second)]  # type: ignore[arg-type]
    return TASK.agree(*rows, Limits(tolerance, 0.99))


def test_runtimes_agree_by_the_mean_difference_and_an_image_changes_by_a_tenth_of_the_range() -> None:
    found = agreed(102, [102, 102, 102, 51], 1e-3)
    # One of four pixels is 51 levels off: a fifth of the range, a twentieth on average.
    assert (found.worst, found.changed) == (pytest.approx(0.05), 1)
    assert found.amounts == {"levels of pixels": pytest.approx(51)}
    assert agreed(102, [127, 102], 1e-3).changed == 0
    assert agreed(102, [129, 102], 1e-3).changed == 1
    # At a larger tolerance ten times that.
    assert (agreed(102, [51, 102], 0.02).changed, agreed(102, [50, 102], 0.019).changed) == (0, 1)


def test_what_is_said_of_answers() -> None:
    answers = np.array([[0.0, 0.25], [0.5, 0.0], [0.0, 0.0]])
    name, values = TASK.summary(answers)
    assert (name, values.tolist()) == ("brightness", [0.25, 0.5, 0.0])
    assert TASK.labelled(answers).tolist() == [[0, 1], [1, 0], [0, 0]]
    assert sorted(TASK.counted([1, 0, 1])) == [0, 1]
    assert TASK.asked is not None
    assert TASK.asked([1, 0]) == [{"noise": 0, "class": 1}, {"noise": 1, "class": 0}]
    assert TASK.score([], [], rng=np.random.default_rng(0)) == {}
    raw, real = TASK.example(np.random.default_rng(0))
    assert (raw["image"].shape, len(real), real[0].shape, real[0].dtype) == ((12, 16, 16, 3), 12, (16, 16, 3), np.uint8)
    assert 0 <= raw["image"].min() < raw["image"].max() <= 255


def test_what_generation_cannot_do_is_refused() -> None:
    options: Any = {"flip": True, "tile": None, "overlap": 0.2, "iou": None}
    with pytest.raises(UsageError, match="flip is not supported for generation"):
        TASK.views(None, np.zeros((2, 2, 3), np.uint8), **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="an explanation is not supported for generation"):
        TASK.explained({}, None, None, None)


def test_an_image_is_drawn_for_each_real_one_of_its_class_with_its_row_as_the_seed() -> None:
    samples = tuple(Sample(f"d/{k}.png", c) for k, c in enumerate((1, 0, 1)))
    whole = Dataset(None, samples, LabelSpace(NAMES), "drawn", "generate")  # type: ignore[arg-type]
    asked: list[Any] = []

    class Sees:
        """Sees in each picture the class that its first pixel is, and its mean as the only feature."""

        def prepared(self, images: Any) -> Any:
            return np.stack(images)

        def __call__(self, pixels: Any) -> Any:
            return pixels.reshape(len(pixels), -1).mean(1, keepdims=True), pixels[:, 0, 0, 0].astype(np.int64)

    def raw(given: Any) -> Any:
        asked.append(given)
        levels = np.array([0.6, -5.0, 300.0], np.float32)[: len(given["class"])]
        return {"image": np.broadcast_to(levels[:, None, None, None], (len(levels), 2, 2, 1))}

    inputs = {"noise": NoiseInput((4,)), "class": ClassInput(2)}
    predictor: Any = SimpleNamespace(judge=Sees(), labels=whole.labels, inputs=inputs, raw=raw)
    real = [np.full((2, 2, 1), k, np.uint8) for k in (10, 20, 30)]
    found = REPORTING.gather(predictor, Batch(whole, [0, 1, 2], real, ()))
    (given,) = asked
    assert np.asarray(given["class"]).ravel().tolist() == [1, 0, 1]
    assert np.array_equal(given["noise"], np.stack([noise_of(seed, (4,)) for seed in range(3)]))
    assert found.real[:, 0].tolist() == [10, 20, 30]
    # What is drawn is rounded and cut to bytes before it is judged.
    assert found.generated[:, 0].tolist() == [1, 0, 255]
    assert found.seen.tolist() == [1, 0, 255]
