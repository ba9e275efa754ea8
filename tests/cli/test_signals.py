"""Signals that come where their exception is lost: while modules are imported, in C code, in finalisers."""

import signal
import subprocess
import sys
import textwrap

import pytest

from eyewright import lifecycle
from eyewright.cli import main


def _ended(code: str, number: signal.Signals | None = None) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-c", textwrap.dedent(code))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if number is not None:
            assert process.stdout.readline()
            process.send_signal(number)
        out, err = process.communicate(timeout=30)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("module", ["eyewright.cli", "eyewright.cli.parser"])
def test_a_signal_while_the_program_is_imported_is_one_line(name: str, code: int, module: str) -> None:
    found = _ended(
        f"""
        import os, signal, sys

        class Sender:
            def find_spec(self, name, path=None, target=None):
                if name == {module!r}:
                    os.kill(os.getpid(), signal.{name})

        # A program that was started in the background is told to ignore SIGINT, and so it does.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.meta_path.insert(0, Sender())
        sys.argv = ["eyewright", "models"]
        from eyewright.__main__ import run
        sys.exit(run())
        """
    )
    assert found.returncode == code, found.stderr
    assert found.stderr.count("\n") == 1
    assert found.stderr.startswith("eyewright: ")


def test_a_signal_whose_exception_is_lost_is_told_again() -> None:
    found = _ended(
        """
        import signal, sys, time
        from eyewright.core.stopping import exit_when_stuck

        def leave(*_):
            sys.exit(143)

        signal.signal(signal.SIGTERM, leave)
        exit_when_stuck({signal.SIGTERM: 143}, again=(leave,), again_s=0.2)
        print("ready", flush=True)
        try:
            time.sleep(30)
        except SystemExit:
            pass
        time.sleep(30)
        """,
        signal.SIGTERM,
    )
    assert found.returncode == 143


@pytest.mark.parametrize("error", [ImportError("numpy"), ValueError("x"), OSError(2, "x", "y")])
def test_a_signal_that_became_another_error_ends_with_its_code(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def importing() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except SystemExit:
            raise error from None

    monkeypatch.setattr(lifecycle, "formats", importing)
    try:
        assert main(["formats"]) == 143
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err == "eyewright: terminated; run it again\n"
