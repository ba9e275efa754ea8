"""What is measured of tags image by image, by hand: missed and wrong tags, pairs, curves, slices, folds and changes."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eyewright.core.labels import LabelSpace
from eyewright.core.predictor import Answers
from eyewright.core.task import Limits, task_of
from eyewright.data import Dataset, Sample
from eyewright.data.targets.tags import Tags
from eyewright.evaluation import reporting_of
from eyewright.evaluation.reporting import Batch
from eyewright.imaging.preparation import Preparation
from eyewright.tasks.tag_report import TagResults

REPORTING, TASK = reporting_of("tag"), task_of("tag")
NAMES = LabelSpace(("cat", "dog", "fog"))


def made(
    rows: list[tuple[set[int], set[int], list[float]]], *, points: tuple[float, ...] = (0.5, 0.5, 0.5),
    names: list[str] | None = None, meta: list[dict[str, str]] | None = None,
    looks: list[tuple[float, float]] | None = None,
) -> TagResults:  # fmt: skip
    """Return results of images that have some tags, of which others are unknown, and their probabilities."""
    samples = tuple(
        Sample(
            (names or [f"d/{k}.png" for k in range(len(rows))])[k], Tags(frozenset(has), frozenset(unknown)),
            meta=(meta or [{}] * len(rows))[k],
        )
        for k, (has, unknown, _) in enumerate(rows)
    )  # fmt: skip
    data = Dataset(None, samples, NAMES, "csv", "tag")  # type: ignore[arg-type]
    scores = np.array([p for _, _, p in rows], np.float32)
    return TagResults(data, scores, np.array(points), tuple(looks or [(100.0, 90.0)] * len(rows)))


ROWS: list[tuple[set[int], set[int], list[float]]] = [
    ({0, 1}, set(), [0.75, 0.25, 0.5]),  # dog is missed, fog is wrong: 0.5 reaches its point
    ({0}, {2}, [0.5, 0.25, 0.75]),  # right, since nobody knows whether there is fog
    ({1, 2}, set(), [0.25, 0.75, 0.75]),  # right
    (set(), {0, 1, 2}, [0.75, 0.75, 0.75]),  # nothing is judged
]


def test_items_name_missed_and_wrong_tags_with_their_probabilities() -> None:
    items = REPORTING.items(made(ROWS))
    assert [(i["index"], i["right"], i["missed"], i["wrong"], i["unjudged"]) for i in items] == [
        (0, False, [["dog", 0.25]], [["fog", 0.5]], ""),
        (1, True, [], [], "fog"),
        (2, True, [], [], ""),
        (3, True, [], [], "cat, dog, fog"),
    ]
    assert [(i["true"], i["predicted"], i["name"]) for i in items] == [
        ("cat, dog", "cat, fog", "0.png"), ("cat", "cat, fog", "1.png"), ("dog, fog", "dog, fog", "2.png"),
        ("", "cat, dog, fog", "3.png"),
    ]  # fmt: skip
    # The geometric mean of what was given to what is right: 3/4 x 1/4 x 1/2, then of two tags 1/2 x 3/4, 3/4 thrice.
    assert [i["score"] for i in items] == pytest.approx([(3 / 32) ** (1 / 3), (3 / 8) ** 0.5, 0.75, 1.0], rel=1e-6)


def test_pairs_are_counted_where_both_are_judged() -> None:
    pairs = REPORTING.report(made(ROWS)).tables["pairs"]
    found = {tuple(p["tags"]): (p["judged"], p["there"], p["found"]) for p in pairs}
    assert found == {("cat", "dog"): (3, 1, 0), ("cat", "fog"): (2, 0, 1), ("dog", "fog"): (2, 1, 1)}
    # Cats are on 2 of 3 judged images and dogs on 2 of 3, both judged on 3; fog on 1 of 2.
    chance = {tuple(p["tags"]): p["chance"] for p in pairs}
    assert chance[("cat", "dog")] == pytest.approx(2 / 3 * 2 / 3 * 3)
    assert chance[("dog", "fog")] == pytest.approx(2 / 3 * 1 / 2 * 2)
    # Frequent pairs first, among them the one whose count is furthest off.
    assert [tuple(p["tags"]) for p in pairs] == [("cat", "dog"), ("dog", "fog"), ("cat", "fog")]


def test_tables_hold_the_guess_the_reliability_of_judged_tags_and_the_points() -> None:
    report = REPORTING.report(made(ROWS, points=(0.5, 0.25, 0.75)))
    assert [(r["label"], r["threshold"]) for r in report.per_class] == [("cat", 0.5), ("dog", 0.25), ("fog", 0.75)]
    # The fraction of judged images with each tag: 2/3, 2/3, 1/2.
    assert report.tables["guess"] == pytest.approx((2 / 3 + 2 / 3 + 1 / 2) / 3)
    assert report.tables["assumed"] == 0
    assert int(np.sum(report.tables["reliability"]["count"])) == 8


def test_curves_are_precision_over_recall_of_judged_images() -> None:
    curves = REPORTING.report(made(ROWS)).tables["curves"]
    assert sorted(curves) == [0, 1, 2]
    # Cat: scores 0.75 and 0.5 have it, 0.25 has not. Dog: 0.75 has it; of two at 0.25 one.
    assert curves[0].tolist() == [[0.0, 1.0], [0.5, 1.0], [1.0, 1.0], [1.0, 0.66667]]
    assert curves[1].tolist() == [[0.0, 1.0], [0.5, 1.0], [1.0, 0.66667]]


def test_results_of_parts_and_of_nets_keep_points_and_looks() -> None:
    one, two = made(ROWS[:2], points=(0.25, 0.5, 0.75)), made(ROWS[2:], points=(0.75, 0.5, 0.25))
    assert one.joined(one).points.tolist() == [0.25, 0.5, 0.75]
    both = one.joined(two)
    assert both.points.tolist() == [0.5, 0.5, 0.5]
    assert both.scores.tolist() == [p for _, _, p in ROWS]
    assert (len(both.dataset), len(both.looks)) == (4, 4)


def test_nets_of_a_cross_validation_are_averaged_in_the_order_of_the_dataset() -> None:
    whole = made(ROWS[:2])

    def net(rows: list[int], scores: list[list[float]], points: float) -> TagResults:
        part = whole.dataset.with_samples(whole.dataset.samples[i] for i in rows)
        looks = tuple((float(10 + i), float(i)) for i in rows)
        return TagResults(part, np.array(scores, np.float32), np.full(3, points), looks)

    # Two cuts into two folds: each image is seen by two nets that have not learnt from it.
    parts = [net([1], [[0.5, 0, 1]], 0.25), net([0], [[1, 0.5, 0]], 0.75)]
    parts += [net([0], [[0.5, 0, 0]], 0.5), net([1], [[0, 0, 1]], 0.5)]
    joined = REPORTING.together(parts, 2, whole.dataset)
    assert joined.scores.tolist() == [[0.75, 0.25, 0.0], [0.25, 0.0, 1.0]]
    assert joined.points.tolist() == [0.5, 0.5, 0.5]
    assert joined.looks == ((10.0, 0.0), (11.0, 1.0))


def test_images_that_are_given_other_tags_have_changed_whatever_their_order() -> None:
    before = made(ROWS[:3])
    names = LabelSpace(("fog", "cat", "dog"))
    scores = before.scores[:, [2, 0, 1]].copy()
    scores[0] = (0.25, 0.25, 0.25)
    scores[2, 1] = 0.5
    after = TagResults(before.dataset.relabelled(names), scores, before.points, before.looks)
    assert REPORTING.changed(before, after) == [
        {"id": "d/0.png", "before": "cat, fog", "after": "no tag", "true": "cat, dog"},
        {"id": "d/2.png", "before": "dog, fog", "after": "cat, dog, fog", "true": "dog, fog"},
    ]
    none = made([(set(), set(), [0.0, 0.0, 0.0])])
    assert REPORTING.changed(none, made([(set(), set(), [1.0, 0.0, 0.0])])) == [
        {"id": "d/0.png", "before": "no tag", "after": "cat", "true": "no tag"}
    ]


def test_f1_follows_all_tags_of_all_images_under_weights() -> None:
    results = made(ROWS)
    # Per image right, found and there: (1, 2, 2), (1, 1, 1), (2, 2, 2) and nothing that is judged.
    found = results.followed().number(np.array([[1.0, 1, 1, 1], [2, 0, 0, 0], [1, 0, 3, 5], [0, 0, 0, 1]]))
    assert found[:3].tolist() == pytest.approx([2 * 4 / 10, 2 * 1 / 4, 2 * 7 / 16])
    assert np.isnan(found[3])
    assert results.answers().tolist() == [[1, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]]
    assert results.asked("map").tolist() == [True] * 4


def test_rows_say_true_tags_those_that_are_given_and_every_probability() -> None:
    titles, first, *_ = made(ROWS[:1]).rows()
    assert titles == ("id", "tags", "predicted", "p:cat", "p:dog", "p:fog")
    assert first == ("d/0.png", "cat|dog", "cat|fog", "0.750000", "0.250000", "0.500000")


def sliced(n: int, **options: Any) -> list[dict[str, Any]]:
    """Return the slices of n images that are right, and ten of which a tag is missed."""
    rows: list[tuple[set[int], set[int], list[float]]] = [({0}, set(), [0.75, 0.0, 0.0])] * n
    rows += [({0, 1}, set(), [0.75, 0.0, 0.0])] * 10
    slices: list[dict[str, Any]] = REPORTING.report(made(rows, **options)).tables["slices"]
    return slices


def test_slices_are_folders_and_metadata_of_ten_images_or_more_the_weakest_first() -> None:
    names = [f"a/{k}.png" for k in range(10)] + [f"b/{k}.png" for k in range(10)]
    meta = [{"site": "north"}] * 10 + [{"site": "south"}] * 9 + [{}]
    rows = sliced(10, names=names, meta=meta)
    # Of b 10 of 20 tags are found: F1 2/3. Of nine images there is no slice.
    assert [(r["slice"], r["value"], r["n"], r["f1"], r["rest"]) for r in rows] == [
        ("folder", "b", 10, pytest.approx(2 / 3), 1.0),
        ("folder", "a", 10, 1.0, pytest.approx(2 / 3)),
        ("site", "north", 10, 1.0, pytest.approx(2 / 3)),
    ]
    assert sliced(9, names=["a/x.png"] * 19) == []


def test_slices_are_thirds_of_size_and_brightness() -> None:
    looks = [(10.0 + k, 200.0 - k) for k in range(30)]
    rows = sliced(20, looks=looks)
    assert {r["slice"] for r in rows} == {"longer side", "brightness"}
    assert all(r["n"] == 10 for r in rows)
    # The ten largest images are the darkest ones, and those of which a tag is missed.
    assert [(r["f1"], r["rest"]) for r in rows[:2]] == [(pytest.approx(2 / 3), 1.0)] * 2
    assert {r["slice"] for r in rows[:2]} == {"longer side", "brightness"}


def test_a_batch_is_kept_with_the_models_operating_points_or_a_half() -> None:
    whole = made(ROWS[:2])
    images = [np.zeros((4, 4, 3), np.uint8)] * 2
    batch = Batch(whole.dataset, [0, 1], images, ((1.0, 2.0), (3.0, 4.0)))
    predictor: Any = SimpleNamespace(
        task_name="tag", labels=NAMES, preparation=Preparation((4, 4)), decoding={},
        raw=lambda pixels: {"probabilities": np.tile(np.array([0.25, 0.5, 1.0], np.float32), (len(pixels), 1))},
    )  # fmt: skip
    found = REPORTING.gather(predictor, batch)
    assert found.scores.tolist() == [[0.25, 0.5, 1.0]] * 2
    assert found.points.tolist() == [0.5] * 3
    assert found.looks == ((1.0, 2.0), (3.0, 4.0))
    predictor.thresholds = [0.125, 0.25, 0.375]
    assert REPORTING.gather(predictor, batch).points.tolist() == [0.125, 0.25, 0.375]


def test_what_is_said_of_answers() -> None:
    answers = np.array([[0.25, 0.5, 0.75], [0.0, 0.25, 0.0]])
    name, values = TASK.summary(answers)
    assert (name, values.tolist()) == ("tags", [1.5, 0.25])
    assert TASK.labelled(answers).tolist() == [[0, 1, 1], [0, 0, 0]]
    assert sorted(TASK.counted([2, 1, 2])) == [1, 2]
    assert TASK.score([], [], rng=np.random.default_rng(0)) == {}


def test_the_example_has_images_with_one_two_and_three_tags_and_one_that_nobody_has_judged() -> None:
    raw, true = TASK.example(np.random.default_rng(0))
    assert raw["probabilities"].shape == (12, 3)
    np.testing.assert_array_equal(np.stack(true), [[1, 0, 1], [0, 1, np.nan], [1, 1, 0], [0, 0, 1]] * 3)


def test_tags_change_only_by_more_than_rounding() -> None:
    def changed(value: float, tolerance: float) -> int:
        """Return how many of three images change, of which one moves to `value` and one stays at its point."""
        first = np.array([[0.5, 0, 0], [0.5, 0, 0], [0.25, 0, 0]])
        second = first.copy()
        second[0, 0] = value
        rows = [
            Answers(SimpleNamespace(thresholds=None), {"probabilities": v}, [None] * 3)  # type: ignore[arg-type]
            for v in (first, second)
        ]
        return TASK.agree(*rows, Limits(tolerance, 0.99)).changed

    # At the limit of float32 a millionth is rounding, at a larger one the limit itself.
    assert [changed(0.5 - d, 1e-4) for d in (9e-7, 2e-6, 0.25)] == [0, 1, 1]
    assert [changed(0.5 - d, 0.25) for d in (0.125, 0.25, 0.375)] == [0, 0, 1]
    assert changed(0.75, 1e-4) == 0


def test_a_flip_is_the_mean_of_both_mirrors_and_without_it_one_image_is_predicted() -> None:
    seen: list[int] = []

    def raw(pixels: np.ndarray) -> dict[str, np.ndarray]:
        seen.append(len(pixels))
        left = pixels[:, :, 0, 0].mean(1) / 255
        return {"probabilities": np.stack([left, 1 - left, left * 0], 1).astype(np.float32)}

    predictor: Any = SimpleNamespace(
        task_name="tag", labels=NAMES, preparation=Preparation((4, 4)), decoding={}, raw=raw
    )
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, 0] = 255
    options: Any = {"tile": None, "overlap": 0.2, "iou": None}
    assert TASK.views(predictor, image, flip=False, **options).probabilities.tolist() == [1.0, 0.0, 0.0]
    assert TASK.views(predictor, image, flip=True, **options).probabilities.tolist() == [0.5, 0.5, 0.0]
    assert seen == [1, 2]
