"""How the change of a metric is written."""

import pytest

from eyewright.evaluation.changes import change_unit, changed_by


def test_a_rate_changes_in_points_and_an_error_in_its_unit() -> None:
    assert changed_by("accuracy", 0.01) == pytest.approx(-1.0)
    assert changed_by("mae", 0.5) == 0.5
    assert changed_by("accuracy", 0.0) == changed_by("mae", 0.0) == 0.0
    assert str(changed_by("accuracy", 0.0)) == "0.0", "no minus before nothing"
    assert (change_unit("accuracy", "g"), change_unit("mae", "g")) == ("points", "g")
