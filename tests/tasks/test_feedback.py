"""Feedback is checked in one place, whatever way it came in."""

import math
from typing import Any

import pytest

from eyewright.core.errors import UsageError
from eyewright.core.task import task_of
from eyewright.imaging.rasters import pack_counts
from eyewright.tasks import feedback
from eyewright.tasks.feedback import VERDICTS, check_feedback, check_label


def test_an_unknown_label_is_refused_with_the_labels_and_a_suggestion_unless_declared() -> None:
    options = {"task": "classify", "labels": ("cross", "disc"), "predicted": "disc"}
    with pytest.raises(UsageError, match="unknown label 'dsic', expected one of: cross, disc; did you mean 'disc'"):
        check_feedback({"label": "dsic"}, **options)
    assert check_feedback({"label": "ring"}, **options, new_classes=["ring"]) == {
        "label": "ring", "new_classes": ["ring"],
    }  # fmt: skip
    with pytest.raises(UsageError, match="contradicts itself"):
        check_feedback({"label": "cross", "correct": True}, **options)


def test_boxes_are_cut_to_their_image_and_masks_must_fit_it() -> None:
    options = {"task": "instance", "labels": ("disc",), "size_hw": (10, 20)}
    (one,) = check_feedback({"objects": [{"label": "disc", "box_xyxy": [-5, 1, 30, 4]}]}, **options)["objects"]
    assert one["box_xyxy"] == [0.0, 1.0, 20.0, 4.0]
    for row in ({"label": "disc", "box_xyxy": [30, 1, 40, 4]}, {"label": "disc", "box_xyxy": [1, 1, 1, 4]},
                {"label": "disc", "segmentation": {"size": [10, 20], "counts": "13"}}):  # fmt: skip
        with pytest.raises(UsageError):
            check_feedback({"objects": [row]}, **options)


def test_composed_letters_are_one_label_and_other_case_is_not() -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    options = {"task": "classify", "labels": (composed, "tea")}
    assert check_feedback({"label": apart}, **options) == {"label": composed}
    with pytest.raises(UsageError, match="did you mean 'tea'"):
        check_feedback({"label": "Tea"}, **options)
    for name in ("TEA", f" {apart}", "Cafe\u0301"):
        with pytest.raises(UsageError, match=r"differs from .* only in case or spaces"):
            check_feedback({"label": name}, **options, new_classes=[name])


@pytest.mark.parametrize(
    "said",
    [
        {"correct": True, "objects": [{"label": "a", "box_xyxy": [0, 0, 4, 4], "verdict": "missing"}]},
        {"objects": [{"label": "a", "box_xyxy": [0, 0, 4, 4], "verdict": "right", "predicted": "b"}]},
        {"objects": [{"label": "a", "box_xyxy": [0, 0, 4, 4], "verdict": "wrong_label", "predicted": "a"}]},
    ],
)
def test_feedback_that_contradicts_itself_is_refused(said: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="contradicts itself"):
        check_feedback(said, task="detect", labels=("a", "b"), size_hw=(8, 8))


def test_an_object_said_twice_counts_once_and_a_box_of_another_image_is_refused() -> None:
    options = {"task": "detect", "labels": ("a",), "size_hw": (100, 100)}
    box = {"label": "a", "box_xyxy": [10, 10, 30, 30]}
    assert len(check_feedback({"objects": [box, dict(box)]}, **options)["objects"]) == 1
    with pytest.raises(UsageError, match="in the image of 100x100 pixels"):
        check_feedback({"objects": [{"label": "a", "box_xyxy": [80, 80, 160, 160]}]}, **options)


DETECT = {"task": "detect", "labels": ("a", "b"), "size_hw": (100, 50)}
BOX = {"label": "a", "box_xyxy": [10, 20, 30, 40]}


def objects(*rows: object, **options: object) -> list[dict[str, object]]:
    given = {**DETECT, **options}
    found: list[dict[str, object]] = check_feedback({"objects": list(rows)}, **given)["objects"]  # type: ignore[arg-type]
    return found


def refused(match: str, content: dict[str, object], **options: object) -> None:
    with pytest.raises(UsageError, match=match):
        check_feedback(content, **{**DETECT, **options})  # type: ignore[arg-type]


def test_what_is_stored_is_what_is_known_and_nothing_else() -> None:
    said = {"correct": False, "objects": [{**BOX, "colour": "red"}], "comment": "x" * 3000, "user": "me", "label": None}
    found = check_feedback(said, **DETECT)
    assert set(found) == {"correct", "objects", "comment"}
    assert found["comment"] == "x" * 2000
    assert found["objects"] == [{"label": "a", "box_xyxy": [10.0, 20.0, 30.0, 40.0]}]
    for content in ({}, {"comment": "?"}, {"label": None, "correct": None}, {"new_classes": ["c"]}):
        refused("found none", content)


@pytest.mark.parametrize(
    ("key", "value"),
    [("label", 3), ("correct", 1), ("comment", ["x"]), ("objects", {}), ("classes", ["a"]), ("new_classes", "c")],
)
def test_a_value_of_another_type_is_refused(key: str, value: object) -> None:
    refused(f"expected {key} as", {"correct": True, key: value})


@pytest.mark.parametrize(
    ("task", "key", "value"),
    [
        ("classify", "objects", []), ("classify", "classes", {}), ("detect", "label", "a"), ("detect", "classes", {}),
        ("segment", "label", "a"), ("instance", "label", "a"), ("instance", "classes", {}),
    ],
)  # fmt: skip
def test_a_task_takes_only_what_can_be_said_of_it(task: str, key: str, value: object) -> None:
    refused(f"for a prediction of '{task}', found {key}", {key: value}, task=task)
    assert check_feedback({"correct": True}, **{**DETECT, "task": task}) == {"correct": True}


def test_without_a_task_or_labels_anything_of_the_right_form_is_taken() -> None:
    free = {"task": "", "labels": None}
    assert check_feedback({"label": "x", "classes": {}, "objects": [BOX]}, **free)["label"] == "x"
    assert check_feedback({"objects": [{**BOX, "label": "new"}]}, **free)["objects"][0]["label"] == "new"
    for name in ("", None, 3):
        with pytest.raises(UsageError, match=r"expected (a label as text|label as text|objects as)"):
            check_feedback({"label": name} if isinstance(name, int) else {"objects": [{**BOX, "label": name}]}, **free)


def test_a_label_must_agree_with_whether_the_prediction_was_right() -> None:
    options = {"task": "classify", "labels": ("a", "b")}
    for label, correct, fits in (("a", True, True), ("a", False, False), ("b", True, False), ("b", False, True)):
        content = {"label": label, "correct": correct}
        assert check_feedback(content, **options) == content
        if fits:
            assert check_feedback(content, **options, predicted="a") == content
        else:
            with pytest.raises(UsageError, match="contradicts itself"):
                check_feedback(content, **options, predicted="a")
    assert check_feedback({"label": "b"}, **options, predicted="a") == {"label": "b"}


def test_classes_are_judged_by_true_or_false_in_the_model_s_spelling() -> None:
    options = {"task": "segment", "labels": ("caf\u00e9", "b")}
    found = check_feedback({"classes": {"cafe\u0301": True, "b": False}}, **options)
    assert found == {"classes": {"caf\u00e9": True, "b": False}}
    for value in (1, "true", None):
        with pytest.raises(UsageError, match="expected true or false for class 'b'"):
            check_feedback({"classes": {"b": value}}, **options)
    # Even a declared class has no pixels that the model could have been right about.
    with pytest.raises(UsageError, match="unknown label 'c'"):
        check_feedback({"classes": {"c": True}, "new_classes": ["c"]}, **options)
    assert check_feedback({"classes": {"b": True}, "correct": True}, **options)["correct"] is True
    with pytest.raises(UsageError, match="'b' is called wrong"):
        check_feedback({"classes": {"b": False}, "correct": True}, **options)


def test_new_classes_are_kept_where_they_are_used() -> None:
    options = {"task": "classify", "labels": ("a", "b")}
    found = check_feedback({"label": "c", "new_classes": ["d", "c"]}, **options)
    assert found == {"label": "c", "new_classes": ["c"]}
    assert check_feedback({"label": "a", "new_classes": ["c"]}, **options) == {"label": "a"}
    # Declared twice, or known already: said once or not at all.
    assert check_feedback({"label": "c", "new_classes": ["c", "a"]}, **options, new_classes=["c"])["new_classes"] == [
        "c"
    ]
    assert objects({**BOX, "label": "c"}, new_classes=("c",)) == [{**BOX, "label": "c"}]
    assert check_feedback({"objects": [{**BOX, "label": "c"}]}, **DETECT, new_classes=["c"])["new_classes"] == ["c"]
    for name in ("", "  ", "x" * 201, "a\nb", 3):
        with pytest.raises(UsageError, match=r"new class as text of 1 to 200 characters"):
            check_feedback({"label": "a", "new_classes": [name]}, **options)
    long = "x" * 200
    assert check_feedback({"label": long}, **options, new_classes=[long])["label"] == long
    with pytest.raises(UsageError, match="differs from 'c' only in case"):
        check_feedback({"label": "c", "new_classes": ["c", " C"]}, **options)


def test_of_many_labels_an_error_lists_forty() -> None:
    names = [f"n{k:02}" for k in range(42)]
    with pytest.raises(UsageError) as many:
        check_label("other", names)
    assert "n39 and 2 more" in str(many.value)
    assert "n40" not in str(many.value)
    assert many.value.code == "unknown_label"
    with pytest.raises(UsageError) as few:
        check_label("other", names[:40])
    assert "more" not in str(few.value)
    assert "choose one of them" in str(few.value.fix)
    with pytest.raises(UsageError, match="unknown label 'list'"):
        check_label(["a"], names)


@pytest.mark.parametrize("row", ["a", None, {"label": "a"}, {"label": "a", "box_xyxy": "1234"},
    {"label": "a", "box_xyxy": [1, 2, 3]}, {"label": "a", "box_xyxy": [1, 2, 3, 4, 5]},
    {"label": "a", "box_xyxy": [1, 2, 3, "4"]}, {"label": "a", "box_xyxy": [True, 2, 3, 4]},
    {"label": "a", "box_xyxy": [1, 2, 3, 1e9]}, {"label": "a", "box_xyxy": [-1e9, 2, 3, 4]},
    {"label": "a", "box_xyxy": [1, 2, 3, float("nan")]}])  # fmt: skip
def test_an_object_without_four_numbers_is_refused(row: object) -> None:
    refused("expected objects as", {"objects": [row]})


def test_a_box_is_cut_to_its_image_if_half_of_it_lies_there() -> None:
    for given, kept in (
        ([-10, 0, 10, 10], [0, 0, 10, 10]), ([40, 0, 60, 10], [40, 0, 50, 10]),
        ([0, -10, 10, 10], [0, 0, 10, 10]), ([0, 90, 10, 110], [0, 90, 10, 100]), ([0, 0, 50, 100], [0, 0, 50, 100]),
    ):  # fmt: skip
        assert objects({"label": "a", "box_xyxy": given})[0]["box_xyxy"] == kept
    for given in ([-10.5, 0, 10, 10], [39, 0, 61.5, 10], [0, -10.5, 10, 10], [0, 89, 10, 111.5],
                  [10, 0, 10, 5], [10, 0, 9, 5],
                  [0, 5, 10, 5], [0, 5, 10, 4], [60, 0, 70, 5], [9, 9, 4, 4]):  # fmt: skip
        refused(r"in the image of 50x100 pixels, found", {"objects": [{"label": "a", "box_xyxy": given}]})
    # Without the image's size it is taken as it is.
    assert objects({"label": "a", "box_xyxy": [-10, 0, 900, 5]}, size_hw=None)[0]["box_xyxy"] == [-10, 0, 900, 5]
    refused(r"y0 < y1, found", {"objects": [{"label": "a", "box_xyxy": [9, 0, 3, 5]}]}, size_hw=None)
    assert objects({"label": "a", "box_xyxy": (1, 2, 3, 4)})[0]["box_xyxy"] == [1, 2, 3, 4]


def test_verdicts_and_predicted_labels_are_checked() -> None:
    for verdict in VERDICTS:
        assert objects({**BOX, "verdict": verdict})[0]["verdict"] == verdict
    refused("unknown verdict 'rihgt'", {"objects": [{**BOX, "verdict": "rihgt"}]})
    assert objects({**BOX, "predicted": "b", "verdict": "wrong_label"})[0]["predicted"] == "b"
    assert objects({**BOX, "predicted": "a", "verdict": "right"})[0]["predicted"] == "a"
    assert objects({**BOX, "predicted": "b", "verdict": "wrong_box"})[0]["predicted"] == "b"
    assert objects({**BOX, "predicted": "b"})[0]["predicted"] == "b"
    refused("unknown label 'c'", {"objects": [{**BOX, "predicted": "c"}]})
    said = {"correct": True, "objects": [{**BOX, "verdict": "right"}, {**BOX, "label": "b"}]}
    assert check_feedback(said, **DETECT) == said


def test_objects_are_the_same_only_if_all_that_was_said_of_them_is() -> None:
    other = {**BOX, "box_xyxy": [10, 20, 30, 41]}
    assert len(objects(BOX, dict(BOX), other, {**BOX, "label": "b"}, {**BOX, "verdict": "right"})) == 4
    same = {"label": "a", "segmentation": {"size": [100, 50], "counts": pack_counts([0, 5000])}}
    part = {"label": "a", "segmentation": {"size": [100, 50], "counts": pack_counts([1, 4999])}}
    assert len(objects(same, dict(same), part, task="instance")) == 2


def test_there_are_limits_to_how_much_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"label": "a", "box_xyxy": [0, 0, 1, 1 + k / 100]} for k in range(2000)]
    assert len(objects(*rows)) == 2000
    refused("at most 2000 objects, found 2001", {"objects": [*rows, BOX]})
    mask = {"size": [100, 50], "counts": pack_counts([1, 4999])}
    length = len(str(mask["counts"]))
    one, two = [{"label": "a", "segmentation": mask}], [{"label": n, "segmentation": mask} for n in "ab"]
    monkeypatch.setattr(feedback, "_MOST_RUNS", 2 * length)
    assert len(objects(*two, task="instance")) == 2
    monkeypatch.setattr(feedback, "_MOST_RUNS", 2 * length - 1)
    refused("characters in all", {"objects": two}, task="instance")
    monkeypatch.setattr(feedback, "_MOST_RUNS", length)
    assert len(objects(*one, task="instance")) == 1
    monkeypatch.setattr(feedback, "_MOST_RUNS", length - 1)
    refused(f"a mask of at most {length - 1} characters", {"objects": one}, task="instance")


def test_what_marks_an_object_is_what_the_task_knows() -> None:
    mask = {"size": [100, 50], "counts": pack_counts([10, 4990])}
    both = {"label": "a", "box_xyxy": [0, 0, 4, 4], "segmentation": mask}
    stored = {"label": "a", "box_xyxy": [0.0, 0.0, 4.0, 4.0]}
    assert objects(both) == [stored]
    assert objects(both, task="instance") == [{**stored, "segmentation": mask}]
    assert objects({"label": "a", "segmentation": mask}, task="instance") == [{"label": "a", "segmentation": mask}]
    assert objects({"label": "a", "segmentation": mask}, task="segment") == [{"label": "a", "segmentation": mask}]
    refused(r"\{label, segmentation\} for masks", {"objects": [both]}, task="segment")
    refused(r"\{label, segmentation\} for masks", {"objects": [BOX]}, task="segment")


@pytest.mark.parametrize(("given", "match"), [
    ("13", "another form"), ({"size": [100, 50], "counts": [1, 3]}, "another form"),
    ({"size": [100, 50]}, "another form"),
    ({"size": [100], "counts": "1"}, "another size"), ({"size": [100, 50, 3], "counts": "1"}, "another size"),
    ({"size": [100.0, 50], "counts": "1"}, "another size"), ({"size": [True, 50], "counts": "1"}, "another size"),
    ({"size": [0, 50], "counts": "1"}, "another size"), ({"size": [100, 2**20], "counts": "1"}, "another size"),
    ({"size": "ab", "counts": "1"}, "another size"),
    ({"size": [50, 100], "counts": pack_counts([0, 5000])}, "the image's size, 50x100, found 100x50"),
    ({"size": [100, 50], "counts": pack_counts([0, 4999])}, "counts of 5000 pixels, found 4999"),
    ({"size": [100, 50], "counts": pack_counts([0, 5001])}, "counts of 5000 pixels, found 5001"),
    ({"size": [100, 50], "counts": "~"}, "damaged"),
])  # fmt: skip
def test_a_mask_of_another_form_or_size_is_refused(given: object, match: str) -> None:
    refused(match, {"objects": [{"label": "a", "segmentation": given}]}, task="instance")


def test_a_mask_needs_no_known_image() -> None:
    mask = {"size": (1, 2**20 - 1), "counts": pack_counts([2**20 - 1])}
    found = objects({"label": "a", "segmentation": mask}, task="instance", size_hw=None)
    assert found[0]["segmentation"] == {"size": [1, 2**20 - 1], "counts": mask["counts"]}


@pytest.mark.parametrize("name", ["..", ".", "../../etc", "a/../b", "/a", "a//b", "a/", "a\\b"])
def test_a_new_class_is_no_path_out_of_a_folder(name: str) -> None:
    with pytest.raises(UsageError, match="that a folder can have"):
        check_feedback({"label": name}, task="classify", labels=("cat",), new_classes=[name])
    # What the model was trained on can be said again, whatever it is called.
    assert check_feedback({"label": name}, task="classify", labels=(name,)) == {"label": name}
    assert check_feedback({"label": "a/b"}, task="classify", labels=("cat",), new_classes=["a/b"])["new_classes"] == [
        "a/b"
    ]


def test_tags_are_judged_each_by_itself() -> None:
    def checked(tags: Any, **more: Any) -> Any:
        return check_feedback({"tags": tags, **more}, task="", labels=["cat", "dog"])

    assert checked({"cat": True, "dog": False})["tags"] == {"cat": True, "dog": False}
    with pytest.raises(UsageError, match="unknown label 'dgo'"):
        checked({"dgo": True})
    with pytest.raises(UsageError, match="expected true or false for the tag 'cat'"):
        checked({"cat": 1})
    with pytest.raises(UsageError, match="expected tags as an object"):
        checked(["cat"])
    declared = checked({"emu": True}, new_classes=["emu"])
    assert declared == {"tags": {"emu": True}, "new_classes": ["emu"]}
    with pytest.raises(UsageError, match="expected label or correct for a prediction of 'classify', found tags"):
        check_feedback({"tags": {"cat": True}}, task="classify", labels=["cat", "dog"])


@pytest.mark.parametrize("names", [("pressure", "count"), ("pressure [bar]", "count"), ("pressure_bar", "count")])
def test_a_quantity_is_named_with_or_without_its_unit(names: tuple[str, str]) -> None:
    labels = ("pressure [bar]", "count")
    kept = check_feedback({"values": dict(zip(names, (1, 2), strict=True))}, task="regress", labels=labels)
    assert kept == {"values": {"pressure [bar]": 1.0, "count": 2.0}}


@pytest.mark.parametrize(("values", "match"), [
    ({"presure": 1.0, "count": 2}, "unknown quantity 'presure'"),
    ({"pressure": 1.0}, "a number for every quantity, found none for 'count'"),
    ({"pressure": 1.0, "pressure [bar]": 1.0, "count": 2}, "one number for 'pressure .bar.', found two"),
    ({}, "expected values that say something"),
    ({"pressure": True, "count": 2}, "expected a number for 'pressure', found True"),
    ({"pressure": "1", "count": 2}, "expected a number for 'pressure', found '1'"),
    ({"pressure": float("nan"), "count": 2}, "expected a number for 'pressure', found nan"),
    ({"pressure": -math.inf, "count": 2}, "expected a number for 'pressure', found -inf"),
])  # fmt: skip
def test_numbers_that_nothing_is_learnt_from_are_refused(values: dict[str, float], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        check_feedback({"values": values}, task="regress", labels=("pressure [bar]", "count"))


def test_a_quantity_that_does_not_exist_is_not_called_a_class() -> None:
    task = task_of("regress")
    assert task.label_id("pressure", ("count", "pressure [bar]")) == 1
    with pytest.raises(UsageError, match="unknown quantity 'presure'"):
        task.label_id("presure", ("count", "pressure [bar]"))
