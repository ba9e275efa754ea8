"""What a classifier's report holds of each class, in curves and in its list of images, by hand and by scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as oracle
from tests.tasks.test_class_results import made

from eyewright.core import LabelSpace
from eyewright.data import Dataset, Sample
from eyewright.data.tree import ArrayTree
from eyewright.evaluation import reporting_of
from eyewright.tasks.class_results import ClassResults, compare_scores

REPORTING = reporting_of("classify")
# Four cats and two dogs; a third class has no image, and is given to one.
SCORES = [[0.75, 0.25, 0.0], [0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.0, 0.75], [0.125, 0.875, 0.0],
          [0.625, 0.375, 0.0]]  # fmt: skip
TARGETS = [0, 0, 0, 0, 1, 1]


def results() -> ClassResults:
    return made(SCORES, TARGETS, names=("cat", "dog", "owl"))


def test_a_class_has_its_counts_and_rates() -> None:
    cat, dog, owl = REPORTING.report(results()).per_class
    # Of 3 images called cat 2 are; of 2 called dog 1 is; owl is called once and never there.
    assert [(r["label"], r["n"], r["answered"]) for r in (cat, dog, owl)] == [
        ("cat", 4, 3),
        ("dog", 2, 2),
        ("owl", 0, 1),
    ]
    assert [cat[k]["value"] for k in ("precision", "recall", "f1")] == pytest.approx([2 / 3, 2 / 4, 4 / 7])
    assert [dog[k]["value"] for k in ("precision", "recall", "f1")] == pytest.approx([1 / 2, 1 / 2, 1 / 2])
    assert all(row[k]["low"] <= row[k]["value"] <= row[k]["high"] for row in (cat, dog) for k in ("precision", "f1"))
    assert (owl["auc"], owl["average_precision"]) == (None, None)


def test_ranks_of_a_class_are_scikit_learns() -> None:
    scores, targets = np.array(SCORES), np.array(TARGETS)
    for k, row in enumerate(REPORTING.report(results()).per_class[:2]):
        assert row["auc"] == pytest.approx(oracle.roc_auc_score(targets == k, scores[:, k]))
        assert row["average_precision"] == pytest.approx(oracle.average_precision_score(targets == k, scores[:, k]))


def test_a_class_without_a_mistake_has_a_lower_end_below_1() -> None:
    report = REPORTING.report(made([[0.75, 0.25], [0.25, 0.75]] * 6, [0, 1] * 6))
    for row in report.per_class:
        assert row["f1"]["value"] == row["f1"]["high"] == 1.0
        assert row["f1"]["low"] == row["recall"]["low"]
        # Wilson's interval of 6 of 6 begins at n / (n + z²).
        assert row["f1"]["low"] == pytest.approx(6 / (6 + 1.959964**2), abs=1e-6)


def test_curves_are_of_classes_that_some_and_not_all_images_are_of() -> None:
    curves = REPORTING.report(results()).tables["curves"]
    assert sorted(curves) == [0, 1]
    scores, targets = np.array(SCORES), np.array(TARGETS)
    for k, curve in curves.items():
        fpr, tpr, _ = oracle.roc_curve(targets == k, scores[:, k], drop_intermediate=False)
        assert {tuple(p) for p in curve["roc"].tolist()} == {
            (round(a, 5), round(b, 5)) for a, b in zip(fpr, tpr, strict=True)
        }
        precision, recall, _ = oracle.precision_recall_curve(targets == k, scores[:, k])
        wanted = {(round(r, 5), round(p, 5)) for p, r in zip(precision[:-1], recall[:-1], strict=True)}
        assert {tuple(p) for p in curve["pr"][1:].tolist()} == wanted
        # It begins at a recall of 0 with the precision of the highest score.
        assert curve["pr"][0].tolist() == [0.0, curve["pr"][1][1]]
    assert REPORTING.report(made([[0.75, 0.25]] * 3, [0] * 3)).tables["curves"] == {}


def test_a_curve_of_many_points_keeps_200_and_its_ends() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(700)
    many = REPORTING.report(made(np.stack([p, 1 - p], 1).tolist(), rng.integers(0, 2, 700).tolist()))
    for curve in many.tables["curves"].values():
        assert len(curve["roc"]) == len(curve["pr"]) == 200
        assert (curve["roc"][0].tolist(), curve["roc"][-1].tolist()) == ([0.0, 0.0], [1.0, 1.0])
        assert curve["pr"][-1][0] == 1.0


def test_tables_hold_the_confusion_and_reliability() -> None:
    tables = REPORTING.report(results()).tables
    assert tables["confusion"].tolist() == [[2, 1, 1], [1, 1, 0], [0, 0, 0]]
    assert int(np.sum(tables["reliability"]["count"])) == 6
    used = np.asarray(tables["reliability"]["count"]) > 0
    # Confidences 0.5, 0.5, 0.625, 0.75, 0.75 and 0.875; of them 1 of 2, 0 of 1, 1 of 2 and 1 of 1 are right.
    assert np.asarray(tables["reliability"]["confidence"])[used].tolist() == pytest.approx([0.5, 0.625, 0.75, 0.875])
    assert np.asarray(tables["reliability"]["accuracy"])[used].tolist() == pytest.approx([0.5, 0.0, 0.5, 1.0])


def test_items_begin_with_confident_mistakes_and_end_with_confident_answers() -> None:
    items = REPORTING.items(results())
    assert [(i["index"], i["right"], i["confidence"], i["true_score"]) for i in items] == [
        (3, False, 0.75, 0.25), (5, False, 0.625, 0.375), (2, False, 0.5, 0.25), (1, True, 0.5, 0.5),
        (0, True, 0.75, 0.75), (4, True, 0.875, 0.875),
    ]  # fmt: skip
    assert [(i["true"], i["predicted"]) for i in items[:3]] == [("cat", "owl"), ("dog", "cat"), ("cat", "dog")]
    assert REPORTING.image_scores(items).tolist() == [1, 1, 0, 0, 1, 0]


def test_images_that_are_given_another_class_have_changed_in_both_directions() -> None:
    before = results()
    scores = np.array(SCORES, np.float32)
    scores[[0, 2, 3]] = [[0.0, 0.25, 0.75], [0.75, 0.25, 0.0], [0.25, 0.75, 0.0]]
    after = ClassResults(before.dataset, scores, before.looks)
    assert [(c["id"], c["before"], c["after"], c["true"]) for c in REPORTING.changed(before, after)] == [
        ("x/000000", "cat", "owl", "cat"), ("x/000002", "dog", "cat", "cat"), ("x/000003", "owl", "dog", "cat"),
    ]  # fmt: skip


def test_two_models_are_compared_by_the_images_that_one_alone_has_right() -> None:
    targets = np.array([0] * 8)
    a, b = np.tile([0.75, 0.25], (8, 1)), np.tile([0.75, 0.25], (8, 1))
    a[:5], b[5] = (0.25, 0.75), (0.25, 0.75)
    found = compare_scores(targets, a, b)
    assert (found.only_a, found.only_b, found.lead, found.n, found.groups) == (1, 5, 4.0, 8, None)
    # McNemar's exact test of 1 and 5: twice the chance of at most 1 head in 6 throws.
    assert found.p_value == pytest.approx(2 * 7 / 64)
    grouped = compare_scores(targets, a, b, groups=np.array([f"g{k // 2}" for k in range(8)]))
    # Differences of the four groups: 2, 2, 0 (one each) and 0. Signs of two are flipped: 2 of 4 draws are as extreme.
    assert (grouped.groups, grouped.p_value) == (4, pytest.approx(0.5))


def test_the_weakest_recall_is_that_of_a_class_that_is_there() -> None:
    tree = ArrayTree(Path("."), {"x": np.zeros((3, 4, 4, 3), np.uint8)})
    data = Dataset(tree, tuple(Sample(f"x/{i:06d}", 1) for i in range(3)), LabelSpace(("a", "b")), "drawn", "classify")
    one = ClassResults(data, np.array([[0.25, 0.75], [0.75, 0.25], [0.0, 1.0]], np.float32), ((1.0, 1.0),) * 3)
    weights = np.array([[1.0, 1, 1], [1, 3, 0]])
    found = one.numbers()(weights)
    # The recall of the one class that is there; classes without an image have none.
    assert found["worst_class_recall"].tolist() == pytest.approx([2 / 3, 1 / 4])
    assert one.answers().tolist() == [[0, 1], [1, 0], [0, 1]]
    followed = one.followed()
    assert followed.number(weights).tolist() == pytest.approx([2 / 3, 1 / 4])
    assert followed.hits is not None
    assert followed.hits.tolist() == [True, False, True]
