"""The history of champions after a full disk, a kill in the middle of a line, and a changed line."""

import errno
import os
from pathlib import Path

import pytest

from eyewright.core.errors import OutputError, RefusedError
from eyewright.monitoring import history as module
from eyewright.monitoring.history import History


@pytest.fixture
def history(tmp_path):
    module._said.clear()
    found = History(tmp_path)
    found.add("promote", "champion", Path("a.bundle"), "d1", {})
    return found


def test_a_full_disk_during_promote_leaves_the_history_usable(history, monkeypatch) -> None:
    real = os.write

    def write(descriptor, data):
        if len(data) < 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, bytes(data)[: len(data) // 2])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        with pytest.raises(OutputError, match="no space left"):
            history.add("promote", "champion", Path("b.bundle"), "d2", {})
    assert [e.digest for e in history.events()] == ["d1"]
    history.add("promote", "champion", Path("b.bundle"), "d2", {})
    assert history.rollback().digest == "d1"


def test_a_line_that_was_cut_off_is_left_out_with_a_warning_and_replaced(history, caplog) -> None:
    history.add("promote", "champion", Path("b.bundle"), "d2", {})
    whole = history.path.read_bytes()
    history.path.write_bytes(whole[:-40])
    assert [e.digest for e in history.events()] == ["d1"]
    assert history.current("champion").digest == "d1"
    assert [r.levelname for r in caplog.records] == ["WARNING"], "said once"
    assert "cut off" in caplog.text
    history.add("promote", "champion", Path("c.bundle"), "d3", {})
    assert [e.digest for e in history.events()] == ["d1", "d3"]
    assert history.path.read_bytes().endswith(b"\n")


def test_a_line_in_the_middle_that_is_cut_off_is_a_changed_history(history) -> None:
    history.add("promote", "champion", Path("b.bundle"), "d2", {})
    first, second, _ = history.path.read_bytes().split(b"\n")
    history.path.write_bytes(first[:-9] + b"\n" + second + b"\n")
    with pytest.raises(RefusedError, match="line 1"):
        history.events()
