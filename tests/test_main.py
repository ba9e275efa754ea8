"""The program around the command line: what it sets before anything is imported."""

import os
import subprocess
import sys

import pytest

from eyewright.__main__ import SPINS, share_the_cores

CHOICES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def told(code: str, **more: str) -> str:
    """Return what GNU OpenMP says of itself when torch is loaded after `code`."""
    clean = {k: v for k, v in os.environ.items() if k not in CHOICES}
    environment = {**clean, "OMP_DISPLAY_ENV": "verbose", **more}
    command = [sys.executable, "-c", f"{code}\nimport torch"]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stderr


def test_waiting_threads_sleep_early_in_the_libgomp_that_torch_loads() -> None:
    said = told("from eyewright.__main__ import share_the_cores\nshare_the_cores()")
    if "GOMP_SPINCOUNT" not in said:
        pytest.skip("this torch does not use GNU OpenMP")
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in said


@pytest.mark.parametrize("name", CHOICES)
def test_the_choice_of_the_user_is_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in CHOICES:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "7")
    share_the_cores()
    assert {other: os.environ.get(other) for other in CHOICES} == {**dict.fromkeys(CHOICES), name: "7"}


def test_importing_the_library_changes_no_environment() -> None:
    code = "import os; before = dict(os.environ); import eyewright; assert dict(os.environ) == before"
    subprocess.run([sys.executable, "-c", code], check=True)
