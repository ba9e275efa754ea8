import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyewright.core import LabelSpace, dumps_json, generator, parse_duration_s
from eyewright.core.errors import DatasetError, EyewrightError, UsageError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_json_never_holds_nan_and_can_be_read_again(value: object) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    json.loads(dumps_json(value), parse_constant=refuse)


@given(st.binary(min_size=1, max_size=40))
def test_a_file_name_of_any_bytes_becomes_valid_json(name: bytes) -> None:
    text = dumps_json({"path": name.decode("utf-8", "surrogateescape")})
    json.loads(text.encode("utf-8"))


def test_json_refuses_a_type_without_an_agreed_form() -> None:
    with pytest.raises(TypeError, match="no JSON form for object"):
        dumps_json(object())


def test_numpy_values_become_plain_numbers() -> None:
    assert json.loads(dumps_json([np.float64(math.inf), np.int8(3), np.bool_(True)])) == [None, 3, True]


@given(st.lists(st.text(min_size=1), unique=True, min_size=1), st.randoms())
def test_labels_meet_by_name_whatever_their_order(names: list[str], random) -> None:  # type: ignore[no-untyped-def]
    other = names.copy()
    random.shuffle(other)
    ours, theirs = LabelSpace(tuple(names)), LabelSpace(tuple(other))
    assert [theirs.names[i] for i in ours.mapping_to(theirs)] == names


def test_a_class_that_the_model_does_not_know_is_refused_by_name() -> None:
    with pytest.raises(DatasetError, match="'owl'"):
        LabelSpace(("cat", "owl")).mapping_to(LabelSpace(("cat", "dog")))


def test_two_classes_of_one_name_are_refused() -> None:
    with pytest.raises(DatasetError, match="found twice: cat"):
        LabelSpace(("cat", "cat"))


@pytest.mark.parametrize(
    "text",
    ["", "ten", "-5", "0", "10x", "1m1h", "nan", "inf", "1d2d", "10:00", "1-", "00:00:00", "1:60:00", "1-2-3", "4000d"],
)
def test_a_duration_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a duration"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "hours"),
    [("400d", 9600), ("1d12h", 36), ("1.5D", 36), ("2-00:00:00", 48), ("02:00:00", 2), ("1-06", 30), ("1-06:30", 30.5)],
)
def test_days_and_times_of_slurm_are_durations(text: str, hours: float) -> None:
    assert parse_duration_s(text) == hours * 3600


@given(st.integers(0, 50), st.integers(0, 59), st.integers(1, 59))
def test_durations_add_up(hours: int, minutes: int, seconds: int) -> None:
    assert parse_duration_s(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


def test_an_error_stays_on_one_line_whatever_a_file_is_called() -> None:
    error = EyewrightError("cannot read 'a\nb\x1b[31m'")
    assert "\n" not in str(error)
    assert "\x1b" not in str(error)


def test_a_named_stream_does_not_depend_on_other_streams() -> None:
    first = generator(7, "a").random(4)
    generator(7, "b").random(100)
    assert np.array_equal(first, generator(7, "a").random(4))
    assert not np.array_equal(first, generator(8, "a").random(4))
