"""Regression as a task: what raw arrays mean, what is shown, how two runtimes are compared."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eyewright.core.errors import BundleError, UsageError
from eyewright.core.labels import LabelSpace
from eyewright.core.predictor import Answers
from eyewright.core.task import Limits, task_of
from eyewright.data.targets.numbers import Numbers, Quantity
from eyewright.imaging.preparation import Preparation
from eyewright.tasks.corrections import NotUsableError
from eyewright.testing import check_task

TASK = task_of("regress")
NAMES = LabelSpace(("weight [g]", "count"))
PLACES: Any = [None, None]
RAW = {"values": np.array([[12.5, 3], [-4, 0]], np.float32)}


def test_the_task_is_complete() -> None:
    check_task(TASK)


def test_values_are_told_by_name_with_unit_and_interval() -> None:
    first = TASK.decode(RAW, PLACES, NAMES)[0]
    assert first.to_json()["values"]["weight"] == {"value": 12.5, "unit": "g", "interval": None}
    assert "too few validation images" in first.to_json()["intervals"]
    shown = TASK.settle(first, np.array([0.5, 1.0])).to_json()["values"]
    assert shown["weight"] == {"value": 12.5, "unit": "g", "interval": [12.0, 13.0]}
    assert shown["count"] == {"value": 3.0, "unit": "", "interval": [2.0, 4.0]}


def test_small_units_keep_their_digits() -> None:
    found = TASK.decode({"values": np.array([[1.2345678e-9, 123456792.0]], np.float32)}, PLACES[:1], NAMES)[0]
    shown = TASK.settle(found, np.array([1e-10, 1.0])).to_json()["values"]
    assert shown["weight"]["value"] == pytest.approx(1.2345678e-9, rel=1e-7)
    assert shown["weight"]["interval"] == pytest.approx([1.1345678e-9, 1.3345678e-9], rel=1e-7)
    assert shown["count"]["value"] == 123456792.0


def test_other_arrays_are_refused() -> None:
    for wrong in ({}, {"values": RAW["values"][:1]}, {"values": np.full((2, 2), np.inf, np.float32)}):
        with pytest.raises(BundleError, match="expected"):
            TASK.decode(wrong, PLACES, NAMES)


def test_runtimes_agree_in_deviations_of_the_values() -> None:
    def answers(values: np.ndarray[Any, Any]) -> Answers:
        return Answers(SimpleNamespace(labels=NAMES), {"values": values}, PLACES)  # type: ignore[arg-type]

    ours = RAW["values"]
    off = ours.copy()
    off[0, 0] += 0.5 * ours[:, 0].std()
    found = TASK.agree(answers(ours), answers(off), TASK.limits["float32"])
    assert found.worst == pytest.approx(0.5, rel=1e-5)
    assert found.changed == 1
    assert dict(found.amounts) == {"weight [g]": pytest.approx(0.5 * ours[:, 0].std(), rel=1e-5), "count": 0.0}
    assert TASK.agree(answers(ours), answers(ours), TASK.limits["float32"]).worst == 0


def test_score_knows_the_intervals() -> None:
    found = [TASK.settle(p, np.array([1.0, 1.0])) for p in TASK.decode(RAW, PLACES, NAMES)]
    metrics = TASK.score(found, [[12.0, 3.0], [-1.0, 0.0]], rng=np.random.default_rng(0))
    assert metrics["mae"].value == pytest.approx((0.5 / 6.5 + 3.0 / 6.5) / 4)
    assert metrics["coverage"].value == pytest.approx(0.75)


def test_feedback_becomes_numbers() -> None:
    said: Any = SimpleNamespace(content={"values": {"weight [g]": 5, "count": 2}}, names=NAMES.names, right=False)
    assert TASK.feedback.corrected(said) == Numbers((5.0, 2.0), (Quantity("weight", "g"), Quantity("count")))
    first = TASK.decode(RAW, PLACES, NAMES)[0]
    right: Any = SimpleNamespace(content={}, names=NAMES.names, right=True, predicted=first.headline()[0])
    assert TASK.feedback.corrected(right).values == (12.5, 3.0)
    wrong: Any = SimpleNamespace(content={}, names=NAMES.names, right=False, predicted="")
    with pytest.raises(NotUsableError):
        TASK.feedback.corrected(wrong)


def test_parity_limits_are_in_deviations_of_the_values() -> None:
    limits = {p: (v.tolerance, v.same_iou) for p, v in TASK.limits.items()}
    assert limits == {"float32": (1e-3, 0.99), "float16": (0.02, 0.95), "int8": (0.1, 0.9)}


def test_errors_have_the_unit_of_the_quantity_and_several_that_of_none() -> None:
    assert TASK.unit(("weight [g]",), "mae") == "g"
    assert TASK.unit(("count",), "mae") == ""
    assert TASK.unit(NAMES.names, "rmse") == "SD"
    assert TASK.unit(("weight [g]",), "r2") == TASK.unit(("weight [g]",), "coverage") == ""


def test_amounts_in_several_units_are_never_joined() -> None:
    what, each = TASK.summary(np.array([[1.0, 100.0], [2.0, 300.0]]))
    assert what == "value"
    assert each.tolist() == [[1.0, 100.0], [2.0, 300.0]]
    assert TASK.summary(np.array([[1.0], [2.0]]))[1].tolist() == [1.0, 2.0]


def test_what_is_explained_is_said_in_its_value() -> None:
    (target,) = TASK.explained({"values": RAW["values"][:1]}, None, None, 1)
    assert (target.label, target.shown) == (1, "3")
    assert target({"values": np.array([[0, 3], [0, 3.3]], np.float32)}).tolist() == pytest.approx([1.0, 0.5])


def test_a_budget_of_errors_is_in_the_unit_or_in_per_cent_of_the_models_own() -> None:
    from eyewright.compression.budget import parse_budget
    from eyewright.compression.measuring import Judged
    from eyewright.core.errors import UsageError
    from eyewright.core.report import Metric

    judged = Judged({"mae": Metric(1.2)}, {"mae": Metric(0.2)}, (), 50)
    for text, broken in (
        ("mae=0.1", True),
        ("mae=0.3", False),
        ("mae=10%", True),
        ("mae=25%", False),
        ("mae=12", False),
    ):
        assert bool(parse_budget("regress", [text]).losses(judged)) is broken, text
    (said,) = parse_budget("regress", ["mae=0.1"], labels=("weight [g]",)).losses(judged)
    assert said == "mae rises by 0.2 g, 0.1 are allowed"
    assert parse_budget("regress").losses(judged), "by default 5 %"
    with pytest.raises(UsageError, match="in its unit"):
        parse_budget("regress", ["mae=much"])


def test_drift_names_the_quantity_that_moved() -> None:
    from eyewright.imaging.appearance import LOOK
    from eyewright.monitoring import Sample, drift_between

    rng = np.random.default_rng(0)

    def draw(n: int, moved: float) -> Sample:
        answers = rng.normal((10.0, 1000.0), (1.0, 100.0), (n, 2))
        answers[:, 0] += moved
        return Sample(rng.normal(size=(n, LOOK)).astype("f4"), answers.astype("f4"), "regress", NAMES.names)

    found = drift_between(draw(200, 0), draw(100, 2), rng=rng)
    assert found.moved == ("weight [g]",)
    assert drift_between(draw(200, 0), draw(100, 0), rng=rng).p > 0.05


def test_every_quantity_is_explained_unless_one_is_asked_for() -> None:
    raw = {"values": RAW["values"][:1]}
    assert [t.label for t in TASK.explained(raw, None, None, None)] == list(range(RAW["values"].shape[1]))


@pytest.mark.parametrize("option", ["conf", "top"])
def test_what_is_of_scores_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match=f"--{option} is not supported for regression"):
        TASK.require(option)


def agreed(ours: Any, theirs: Any, tolerance: float = 1e-3) -> tuple[float, int]:
    rows = [
        Answers(SimpleNamespace(labels=NAMES), {"values": np.array(v, np.float64).reshape(-1, 2)}, PLACES)  # type: ignore[arg-type]
        for v in (ours, theirs)
    ]
    found = TASK.agree(*rows, Limits(tolerance, 0.99))
    return found.worst, found.changed


def test_a_value_that_is_the_same_in_all_images_is_compared_in_thousandths_of_itself() -> None:
    same = [[100.0, 8.0], [100.0, 8.0]]
    # 0.05 of a unit of 0.1; 0.002 of one of 0.008.
    assert agreed(same, [[100.05, 8.0], [100.0, 8.0]]) == (pytest.approx(0.5), 1)
    assert agreed(same, [[100.0, 8.0], [100.0, 7.998]], 0.3) == (pytest.approx(0.25), 0)
    zero = [[0.0, 0.0], [0.0, 0.0]]
    # Where all are 0 the unit is a thousandth of a billionth.
    assert agreed(zero, [[1e-12, 0.0], [0.0, 0.0]]) == (pytest.approx(1.0), 1)
    assert agreed([], []) == (0.0, 0)


def test_an_image_has_changed_once_however_many_of_its_values_are_off() -> None:
    ours = [[0.0, 0.0], [2.0, 4.0], [0.0, 0.0], [2.0, 4.0]]
    theirs = [[0.5, 1.0], [2.0, 4.0], [0.0, 0.5], [2.0, 4.0]]
    # Deviations are 1 and 2: errors of a half, a half and a quarter.
    assert agreed(ours, theirs, 0.25) == (pytest.approx(0.5), 1)
    assert agreed(ours, theirs, 0.2) == (pytest.approx(0.5), 2)
    assert agreed(ours, theirs, 0.5) == (pytest.approx(0.5), 0)


def test_the_example_has_values_near_the_true_ones() -> None:
    raw, true = TASK.example(np.random.default_rng(0))
    apart = raw["values"] - np.stack(true)
    assert raw["values"].shape == (12, 3)
    assert 0.3 < apart.std() < 0.7
    assert 8 < np.mean(true) < 12
    assert 2 < np.std(true) < 4


def test_a_flip_is_the_mean_of_both_mirrors() -> None:
    seen: list[int] = []

    def raw(pixels: np.ndarray[Any, Any]) -> dict[str, Any]:
        seen.append(len(pixels))
        left = pixels[:, :, 0, 0].mean(1)
        return {"values": np.stack([left, left + 1], 1).astype(np.float32)}

    predictor: Any = SimpleNamespace(
        task_name="regress", labels=NAMES, preparation=Preparation((4, 4)), decoding={}, raw=raw
    )
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, 0] = 200
    options: Any = {"tile": None, "overlap": 0.2, "iou": None}
    assert TASK.views(predictor, image, flip=False, **options).numbers().tolist() == [200, 201]
    assert TASK.views(predictor, image, flip=True, **options).numbers().tolist() == [100, 101]
    assert seen == [1, 2]


def test_a_line_and_headline_name_each_value() -> None:
    one = TASK.settle(TASK.decode(RAW, PLACES, NAMES)[0], np.array([0.25, 1.5]))
    assert one.line() == "weight [g] 12.5 [12.25, 12.75]  count 3 [1.5, 4.5]"
    assert one.headline() == ("weight [g]=12.5; count=3", 12.5)
    assert one.to_hub() == [{"label": "weight [g]", "score": 12.5}, {"label": "count", "score": 3.0}]
