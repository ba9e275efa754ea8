"""A process that does units: the trainings of a study, one after another, as it is asked to in lines of JSON."""

__all__ = ["do_unit", "main"]

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from eyewright.core.errors import EyewrightError
from eyewright.core.machine import limits
from eyewright.core.machine.lifeline import hold_lifeline
from eyewright.imaging.workers import told
from eyewright.lifecycle.folds import do_fold
from eyewright.lifecycle.trials import do_trial

_UNITS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {"fold": do_fold, "trial": do_trial}


def main() -> None:
    """Do units until there are no more; the answer to each is a line, `done`, `refused`, or `lost` after a fault."""
    hold_lifeline()
    # Ctrl-C reaches the driver, which decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limits.no_core_dump()
    # A print from a library must not land between answers.
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin.buffer:
        _say(out, do_unit(json.loads(line)))


def do_unit(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a unit that is asked for."""
    try:
        return {"done": _UNITS[asked["unit"]](asked)}
    except EyewrightError as error:
        return {"refused": told(error)}
    except Exception as fault:  # noqa: BLE001 - as if its process had died of it, but with the reason
        return {"lost": f"{type(fault).__name__}: {fault}"[:2000]}


def _say(out: TextIO, answer: Mapping[str, Any]) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
