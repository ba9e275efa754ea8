"""The parts of doctor's page: what is counted, which groups and classes are shown, what the charts say."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.evaluation.test_results import counted

from eyewright.core.report import Finding
from eyewright.data.grouping import Group, Grouping, Proposal
from eyewright.evaluation import audit_page
from eyewright.evaluation.audit_page import (
    _charts,
    _class_chart,
    _group_sections,
    _Pictures,
    _proposal,
    _rank,
    _summary,
    _tiles,
    _worst,
)


def found(code: str, *paths: str, severity: Any = "warning") -> Finding:
    return Finding(code, "m", "f", paths[0] if paths else "", severity=severity, paths=paths)


def test_the_worst_severity_of_a_code_counts() -> None:
    kinds = {k: found("c", severity=k) for k in ("note", "warning", "error")}
    assert _rank([kinds["note"], kinds["error"], kinds["warning"]]) == "error"
    assert _rank([kinds["note"], kinds["warning"]]) == "warning"
    assert _rank([kinds["note"]]) == "note"


def test_the_summary_counts_by_severity_and_asks_about_groupings() -> None:
    one = Proposal("x", "why", 3, 7, 0.001)
    text = _summary(Counter({"error": 1, "warning": 1200, "note": 0}), Grouping())
    assert text.startswith("1 error · 1,200 warnings. ")
    assert _summary(Counter(), Grouping()).startswith("Nothing to fix. ")
    assert _summary(Counter(note=2), Grouping(proposals=(one,))).endswith(
        "1 further grouping is likely and asked about below."
    )
    assert _summary(Counter(note=2), Grouping(proposals=(one, one))).endswith(
        "2 further groupings are likely and asked about below."
    )
    words = _summary(Counter(), Grouping()).removeprefix("Nothing to fix. ")
    assert words[0].isupper()
    assert words.endswith(".")


def scan(n: int, readable: int, sizes: Any = None) -> Any:
    return SimpleNamespace(
        readable=np.arange(n) < readable,
        sizes_hw=np.array(sizes if sizes is not None else [(6, 9)] * readable).reshape(-1, 2),
        thumbnails=np.full((n, 64, 64), 100, np.uint8),
    )


def test_the_tiles_count_images_classes_groups_and_what_is_to_fix() -> None:
    data = counted(12)
    split = replace(
        data, samples=tuple(replace(s, split="train" if i < 9 else "test") for i, s in enumerate(data.samples))
    )
    grouping = Grouping(groups=(Group("copy", (0, 1, 2), "r"), Group("copy", (4, 5), "r")))
    tiles = {t: (v, h) for t, v, h in _tiles(split, scan(12, 10), grouping, Counter(error=2, warning=3, note=1))}
    assert tiles["images"][0] == "12"
    assert set(tiles["images"][1].split(" · ")) == {"train 9", "test 3"}
    assert tiles["classes"] == ("3", "classify")
    assert tiles["groups"] == ("2", "5 images in them")
    assert tiles["unreadable"] == ("2", "files")
    assert tiles["to fix"] == ("5", "and 1 note")
    bare = {t: (v, h) for t, v, h in _tiles(data, scan(12, 12), Grouping(), Counter(note=2))}
    assert bare["images"] == ("12", "no split")
    assert bare["to fix"] == ("0", "and 2 notes")


def test_classes_are_drawn_from_the_most_frequent_and_of_many_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(audit_page, "bar_chart", lambda rows, **given: drawn.append((rows, given)) or "")
    data = SimpleNamespace(counts=lambda: {"b": 2, "a": 2, "c": 5})
    _class_chart(data)  # type: ignore[arg-type]
    assert drawn[0] == ([("c", 5.0), ("a", 2.0), ("b", 2.0)], {"title": "class balance", "width": 330})
    for n, kept in ((40, list(range(40))), (41, [*range(20), *range(21, 41)])):
        many = {f"{k:02}": 100 - k for k in range(n)}
        _class_chart(SimpleNamespace(counts=lambda many=many: many))  # type: ignore[arg-type]
        assert [name for name, _ in drawn[-1][0]] == [f"{k:02}" for k in kept]


def test_sizes_are_named_up_to_eight_kinds_and_binned_beyond() -> None:
    def first(sizes: list[tuple[int, int]]) -> tuple[str, str]:
        title, note, _ = _charts(counted(3), scan(len(sizes), len(sizes), sizes))[0]
        return title, note

    assert first([(6, 9)] * 3) == ("Sizes", "all are 9×6")
    assert first([(6, 9), (6, 9), (7, 9)]) == ("Sizes", "9×6 is the most frequent of 2 sizes")
    assert first([(6, 10 + k) for k in range(8)])[0] == "Sizes"
    title, note = first([(6, 10 + k) for k in range(9)])
    assert title == "Longer side in pixels"
    assert note == "10×6 is the most frequent of 9 sizes"


def test_brightness_is_that_of_readable_images() -> None:
    some = scan(6, 4)
    some.thumbnails[4:] = 0
    titles = {t: n for t, n, _ in _charts(counted(6), some)}
    assert titles["Brightness"] == "mean grey value, 0 black to 255 white; median 100"
    none = scan(3, 0)
    assert not {"Sizes", "Brightness"} & {t for t, _, _ in _charts(counted(3), none)}


def test_groups_are_shown_largest_first_and_share_the_space(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = _Pictures(counted(70))
    ids = [f"x/{i:06d}" for i in range(70)]
    by_code = {
        "duplicate": [found("duplicate", *ids[:2]), found("duplicate", *ids[:9]), Finding("duplicate", "m", "f")],
        "leak": [found("leak", *ids[k : k + 1]) for k in range(30)],
        "other": [found("other", *ids[:3])],
    }
    leak, duplicate = _group_sections(by_code, shown)
    assert (leak["code"], leak["title"], leak["n"], len(leak["rows"])) == ("leak", "On both sides of the split", 30, 20)
    assert (duplicate["n"], [len(r["pictures"]) for r in duplicate["rows"]]) == (2, [6, 2])
    assert [r["more"] for r in duplicate["rows"]] == [3, 0]
    monkeypatch.setattr(audit_page, "_GROUPS", 6)
    assert [len(s["rows"]) for s in _group_sections(by_code, shown)] == [4, 2]
    assert _group_sections({}, shown) == []


def test_a_picture_is_made_once_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    data = counted(6)
    shown = _Pictures(data)
    first = shown.of("x/000000")
    assert first is not None
    assert (first["id"], first["split"]) == ("x/000000", "")
    assert first["src"].startswith("data:image/webp")
    assert shown.of("x/000000") is first
    assert shown.of("x/999999") is None
    monkeypatch.setattr(audit_page, "_PICTURES", 2)
    assert shown.of("x/000001") is not None
    assert shown.of("x/000002") is None
    assert shown.of("x/000000") is first
    small = _Pictures(data)
    monkeypatch.setattr(audit_page, "_BYTES", len(first["src"]))
    assert small.of("x/000000") is not None
    assert small.of("x/000001") is None
    assert [p["id"] for p in _Pictures(data).some(["x/000000", "no"], 2)] == ["x/000000"]


def test_the_worst_files_are_those_with_a_picture() -> None:
    shown = _Pictures(counted(12))
    names = [f"x/{i:06d}" for i in range(12)]
    by_code = {
        "blank": [Finding("blank", "m", "f", n) for n in names],
        "truncated": [Finding("truncated", "m", "f", "")],
    }
    assert [r["picture"]["id"] for r in _worst(by_code, shown)] == names[:8]
    assert _worst({"other": by_code["blank"]}, shown) == []


def test_a_proposal_shows_up_to_six_of_its_examples() -> None:
    examples = tuple(tuple(range(k, k + 7)) for k in range(7))
    text = _proposal(
        Proposal("--group-by x", "why", 3, 7, 0.25, members=examples), _Pictures(counted(20))
    )  # fmt: skip
    assert (text["option"], text["evidence"], text["groups"], text["images"], text["p"]) == (
        "--group-by x", "why", 3, 7, 0.25,
    )  # fmt: skip
    assert all(len(e) <= 6 for e in text["examples"])
    assert len(text["examples"]) <= 6
