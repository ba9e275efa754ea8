"""A lease has one holder, and passes on when that one has died: at once on one machine, by its silence on another."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eyewright.scaling import leases as module
from eyewright.scaling.leases import Leases


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def pretend_elsewhere(folder: Path, number: int) -> None:
    """Make a lease one of another machine, whose processes cannot be looked at."""
    place = folder / f"{number:08d}.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "boot": "another", "token": "another"}))


def test_a_lease_has_one_holder_until_it_is_returned(tmp_path: Path) -> None:
    one, other = Leases(tmp_path), Leases(tmp_path)
    assert one.take(3)
    assert one.take(3)
    assert not other.take(3)
    assert other.take(4)
    one.release(3)
    assert other.take(3)
    other.release_all()
    assert os.listdir(tmp_path) == []


def test_the_lease_of_a_process_that_is_gone_is_free_at_once(tmp_path: Path) -> None:
    code = f"from eyewright.scaling import Leases; from pathlib import Path; Leases(Path({str(tmp_path)!r})).take(1)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert os.listdir(tmp_path) == ["00000001.json"]
    assert Leases(tmp_path).take(1)


def test_a_lease_of_another_machine_is_free_when_it_was_not_renewed_for_its_time(tmp_path: Path, clock) -> None:  # type: ignore[no-untyped-def]
    Leases(tmp_path).take(1)
    pretend_elsewhere(tmp_path, 1)
    waiting = Leases(tmp_path, ttl_s=60)
    assert not waiting.take(1)
    clock[0] += 59
    assert not waiting.take(1)
    # Its holder renews: the clock of the one that waits begins again, whatever the time is elsewhere.
    place = tmp_path / "00000001.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "beats": 7}))
    clock[0] += 59
    assert not waiting.take(1)
    clock[0] += 61
    assert waiting.take(1)


def test_a_lease_that_is_held_is_renewed_and_one_that_was_taken_is_given_up(tmp_path: Path, clock) -> None:  # type: ignore[no-untyped-def]
    one = Leases(tmp_path, ttl_s=60)
    one.take(1)
    one.take(2)
    before = (tmp_path / "00000001.json").read_bytes()
    pretend_elsewhere(tmp_path, 2)
    taken = (tmp_path / "00000002.json").read_bytes()
    clock[0] += 16
    one.renew()
    assert (tmp_path / "00000001.json").read_bytes() != before
    assert (tmp_path / "00000002.json").read_bytes() == taken
    one.release_all()
    assert os.listdir(tmp_path) == ["00000002.json"]


def test_leases_of_shards_that_are_done_are_swept(tmp_path: Path) -> None:
    Leases(tmp_path).take(1)
    Leases(tmp_path).take(2)
    Leases(tmp_path).sweep(lambda number: number == 1)
    assert os.listdir(tmp_path) == ["00000002.json"]
