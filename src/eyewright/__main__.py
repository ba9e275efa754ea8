"""The program `eyewright`, and `python -m eyewright`."""

__all__ = ["run"]

import os
import signal
from typing import Any


def run() -> int:
    """Run the command line. A signal that comes while modules are imported ends the process in one line, too."""

    def end(number: int, _: Any) -> None:
        what, code = ("interrupted", 130) if number == signal.SIGINT else ("terminated", 143)
        os.write(2, f"eyewright: {what}; run it again\n".encode())
        os._exit(code)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)
    from eyewright.cli import main

    return main()


if __name__ == "__main__":
    raise SystemExit(run())
