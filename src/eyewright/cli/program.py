"""The command line: parse, call one function of the same name, print its result."""

__all__ = ["main"]

import argparse
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Sequence

from eyewright.cli.parser import build_parser
from eyewright.cli.terminal import Result, drop_stdout, is_quiet, print_json, printable, warn
from eyewright.core.errors import EyewrightError, UsageError
from eyewright.core.stopping import exit_when_stuck


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; give its exit code.

    0 done · 1 done, with findings · 2 usage · 3 input that cannot be read · 4 the model or bundle refused · 5 out of
    a budget that was asked for · 70 a fault of ours · 130 interrupted · 143 terminated, checkpoint written.
    """
    if argv is None:
        _keep_stderr_to_ourselves()
    args = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in args
    # What decoders say of damaged files is said by us, once and in one line.
    warnings.simplefilter("ignore")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    verb = next((a for a in args if not a.startswith("-")), "")
    started = time.monotonic()
    try:
        options = build_parser().parse_args(args)
        verb = options.verb
        # SIGTERM outside the training loop, which handles its own, still ends with the documented code.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        if argv is None:
            exit_when_stuck({signal.SIGTERM: 143, signal.SIGINT: 130})
        result = options.call(options)
    except EyewrightError as error:
        return _fail(verb, error, started, as_json)
    except KeyboardInterrupt:
        return _fail(verb, _EndedError("interrupted", "run it again, or go on with --resume", 130), started, as_json)
    except SystemExit as end:
        if end.code == 143:
            return _fail(verb, _EndedError("terminated", "go on with --resume", 143), started, as_json)
        return end.code if isinstance(end.code, int) else 0
    except BrokenPipeError:
        drop_stdout()
        return 0
    except MemoryError:
        short = UsageError("there is not enough memory", fix="use a smaller --batch or --imgsz", code="memory")
        return _fail(verb, short, started, as_json)
    except Exception as fault:
        if os.environ.get("EYEWRIGHT_DEBUG"):
            raise
        text = f"a fault of ours: {type(fault).__name__}: {fault}"
        return _fail(
            verb, _EndedError(text, "please report it with what EYEWRIGHT_DEBUG=1 shows", 70), started, as_json
        )
    try:
        return _finish(verb, result, started, options)
    except BrokenPipeError:
        drop_stdout()
        return 0


def _keep_stderr_to_ourselves() -> None:
    """Let only Python write to stderr: libtiff and others print lines there whose words come from the file."""
    if os.environ.get("EYEWRIGHT_DEBUG"):
        return
    ours = os.dup(2)
    sys.stderr = os.fdopen(ours, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


class _EndedError(EyewrightError):
    """An end that is nobody's input error: a signal, or a fault of ours."""

    def __init__(self, message: str, fix: str, exit_code: int) -> None:
        super().__init__(message, fix=fix, code={130: "interrupted", 143: "terminated"}.get(exit_code, "fault"))
        self.exit_code = exit_code


def _finish(verb: str, result: Result, started: float, o: argparse.Namespace) -> int:
    code: int = result.pop("exit", 0)
    text: list[str] = result.pop("text", [])
    if o.json and not result.pop("silent", False):
        print_json({"verb": verb, "ok": True, "seconds": round(time.monotonic() - started, 3), **result})
    elif not o.json and (not is_quiet(o) or verb in ("doctor", "models", "formats", "info", "steps", "monitor")):
        for line in text:
            print(printable(line))
    sys.stdout.flush()
    return code


def _fail(verb: str, error: EyewrightError, started: float, as_json: bool) -> int:
    if as_json:
        content = {"code": error.code, "message": error.message, "fix": error.fix}
        print_json(
            {
                "verb": verb,
                "ok": False,
                "seconds": round(time.monotonic() - started, 3),
                "error": content,
                **error.details,
            }
        )
    warn(str(error))
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
