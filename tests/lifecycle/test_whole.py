"""What `run` says of the data: many findings of one kind hide no other."""

from eyewright.core.report import Finding
from eyewright.lifecycle.whole import _told


def test_the_first_of_each_kind_is_said_and_the_rest_counted() -> None:
    leaks = [Finding("leak", f"{i}.png is on both sides", "move it", f"{i}.png") for i in range(7)]
    small = Finding("tiny_class", "class 'a' has 2 images", "collect more")
    lines = _told([*leaks, small])
    assert lines == [f"{leaks[0]} (6 more like it)", str(small), "every finding: see the report"]
    assert _told([small]) == [str(small)]
    assert _told([]) == []


def test_kinds_beyond_the_first_five_are_counted() -> None:
    several = [Finding(f"kind_{i}", "text", "fix") for i in range(8)]
    lines = _told(several)
    assert len(lines) == 7
    assert lines[5:] == ["and 3 more findings", "every finding: see the report"]
