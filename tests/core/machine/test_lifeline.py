"""A child process ends when its parent is killed, in the middle of native code that holds the interpreter lock."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eyewright.core.machine.lifeline import hold_lifeline, lifeline, lifeline_options

HERE = Path(__file__).parent
NATIVE = "import ctypes; ctypes.PyDLL(None).sleep(600)"


def gone(pid: int, *, within_s: float = 5.0) -> bool:
    ends = time.monotonic() + within_s
    while time.monotonic() < ends:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("start", ["trial", "decoder", "nursery"])
def test_child_of_a_killed_parent_is_gone(start):
    path = os.pathsep.join([str(HERE), *(p for p in sys.path if p)])
    with subprocess.Popen(
        (sys.executable, str(HERE / "lifeline_jobs.py"), start),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as parent:
        child = int(parent.stdout.readline())
        time.sleep(1.5)
        assert not gone(child, within_s=0.0)
        parent.kill()
    assert gone(child)


def holder(then: str, *, session: bool = True) -> subprocess.Popen:
    """Start a parent of a child that holds its lifeline and then does `then`."""
    child = f"from eyewright.core.machine.lifeline import hold_lifeline; hold_lifeline(); import os; {then}"
    parent = (
        "import os, subprocess, sys, time\n"
        "from eyewright.core.machine.lifeline import lifeline, lifeline_options\n"
        f"subprocess.Popen((sys.executable, '-c', {child!r}), pass_fds=(lifeline(),),"
        f" env={{**os.environ, **lifeline_options()[0]}}, start_new_session={session})\n"
        "time.sleep(600)"
    )
    return subprocess.Popen((sys.executable, "-c", parent), stdout=subprocess.PIPE, text=True)


def test_forks_of_a_child_are_gone_too():
    with holder(f"fork = os.fork() or print(os.getpid(), flush=True); {NATIVE}") as parent:
        fork = int(parent.stdout.readline())
        parent.kill()
    assert gone(fork)


def test_child_in_its_parents_group_ends_alone():
    # The group is that of this very test.
    with holder(f"print(os.getpid(), flush=True); {NATIVE}", session=False) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
    assert gone(child)


def test_without_a_lifeline_nothing_changes(monkeypatch):
    monkeypatch.delenv("EYEWRIGHT_LIFELINE", raising=False)
    hold_lifeline()
    assert lifeline_options()[0] == {"EYEWRIGHT_LIFELINE": str(lifeline())}


def test_fork_does_not_keep_its_parents_children_alive():
    before = lifeline()
    pid = os.fork()
    if pid == 0:
        try:
            os.fstat(before)
        except OSError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_torchrun_process_ends_with_its_launcher():
    child = (
        "from eyewright.core.machine.lifeline import die_with_parent; die_with_parent();"
        f"import os; print(os.getpid(), flush=True); {NATIVE}"
    )
    parent = f"import subprocess, sys, time; subprocess.Popen((sys.executable, '-c', {child!r})); time.sleep(600)"
    with subprocess.Popen((sys.executable, "-c", parent), stdout=subprocess.PIPE, text=True) as launcher:
        pid = int(launcher.stdout.readline())
        launcher.kill()
    assert gone(pid)
