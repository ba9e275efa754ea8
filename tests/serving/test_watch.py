"""A model's run is ended at its deadline, whatever the thread that watches it slept for."""

import time
from typing import Any

from eyewright.serving.worker import _Watch


def ended_after(watch: _Watch, seconds: float, *, at_most: float) -> float | None:
    """Return after how many seconds a run with a deadline was ended, None if it was not."""
    started = time.monotonic()
    with watch.over(started + seconds) as options:
        while time.monotonic() - started < at_most:
            if options.terminate:
                return time.monotonic() - started
            time.sleep(0.005)
    return None


def test_a_run_that_ends_sooner_than_the_one_before_is_ended_in_time() -> None:
    watch = _Watch()
    assert ended_after(watch, 60.0, at_most=0.05) is None
    spent = ended_after(watch, 0.1, at_most=10.0)
    assert spent is not None
    assert spent >= 0.1


def test_a_run_after_the_watch_woke_for_nothing_is_ended_in_time() -> None:
    watch = _Watch()
    assert ended_after(watch, 0.2, at_most=0.02) is None
    time.sleep(0.4)  # it wakes, and nothing runs
    assert ended_after(watch, 0.1, at_most=10.0) is not None
    assert ended_after(watch, 0.1, at_most=10.0) is not None


def test_runs_one_after_another_do_not_wake_the_watch() -> None:
    watch = _Watch()
    woken: list[Any] = []
    assert ended_after(watch, 60.0, at_most=0.05) is None
    notify = watch._changed.notify
    watch._changed.notify = lambda n=1: (woken.append(n), notify(n))[1]  # type: ignore[method-assign]
    for _ in range(20):
        with watch.over(time.monotonic() + 60.0):
            pass
    assert not woken
