"""The program `eyewright`, and `python -m eyewright`."""

__all__ = ["SPINS", "run", "share_the_cores"]

import os
import signal
from typing import Any

# Rounds that a waiting thread of GNU OpenMP spins before it sleeps. Its default is 300,000 (some milliseconds): when
# other programs use the cores, the threads of a net spin away the time that the last one of them needs.
SPINS = "1000"


def share_the_cores() -> None:
    """Let torch's waiting threads sleep early, unless the user has chosen otherwise.

    Next to two other nets, training takes half the time that it does by GNU's default; alone it costs nothing that
    can be measured (`benchmarks/sharing.py`). GNU OpenMP reads the variable once, when torch is loaded, so this comes
    first. The program does it, not the library: importing `eyewright` changes no environment.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS


def run() -> int:
    """Run the command line. A signal that comes while modules are imported ends the process in one line, too."""

    def end(number: int, _: Any) -> None:
        what, code = ("interrupted", 130) if number == signal.SIGINT else ("terminated", 143)
        os.write(2, f"eyewright: {what}; run it again\n".encode())
        os._exit(code)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)
    share_the_cores()
    from eyewright.cli import main

    return main()


if __name__ == "__main__":
    raise SystemExit(run())
