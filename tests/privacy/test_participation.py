"""What a client keeps: private updates are counted before they are made, and repeated only where all is the same."""

import stat
from pathlib import Path

import pytest

from eyewright.core.errors import BudgetError, CheckpointError
from eyewright.privacy.participation import Done, Participation, read_participation

WHO = {"federation": "f", "name": "north", "images": "d"}


def test_a_repeated_round_costs_nothing_and_another_one_does() -> None:
    mine = Participation(**WHO)
    assert mine.begin(0, "w0", 5, 12) == 0
    # The same weights and rates again: the same noise.
    assert mine.begin(0, "w0", 5, 12) == 0
    assert mine.steps == 5
    # The same round from other weights is another release: noise that is used twice would cancel.
    assert mine.begin(0, "w1", 5, 12) == 5
    with pytest.raises(BudgetError, match="10 private updates of 12"):
        mine.begin(1, "w2", 5, 12)
    assert mine.steps == 10


def test_what_is_kept_is_found_again_and_of_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "client"
    mine = read_participation(folder, **WHO)
    mine.key, mine.secret = "k", "00ff"
    mine.begin(3, "w", 4, 100)
    mine.note(Done(3, 80, None, True, "", 1.5))
    mine.note(Done(3, 80, None, False, "late", 1.5))
    mine.write(folder)
    assert read_participation(folder, **WHO) == mine
    assert [d.why for d in mine.done] == ["late"]
    assert stat.S_IMODE((folder / "client.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("what", sorted(WHO))
def test_another_federation_client_or_data_is_not_continued(tmp_path: Path, what: str) -> None:
    Participation(**WHO).write(tmp_path / "c")
    with pytest.raises(CheckpointError, match=f"of another {what}"):
        read_participation(tmp_path / "c", **{**WHO, what: "other"})


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "client.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        read_participation(tmp_path, **WHO)
