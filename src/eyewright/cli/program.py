"""The command line: parse, call one function of the same name, print its result."""

__all__ = ["main"]

import argparse
import contextlib
import errno
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Sequence

from eyewright.cli.addresses import call_uploading, check_addresses, copy_inputs
from eyewright.cli.ending import EndedError
from eyewright.cli.parser import build_parser
from eyewright.cli.places import check_texts, claimed_by, naming_option
from eyewright.cli.scaling import is_job
from eyewright.cli.streams import STDOUT_CODE, drop_stdout, own_streams
from eyewright.cli.terminal import Result, is_quiet, print_json, printable, warn
from eyewright.core.errors import EyewrightError, InputError, OutputError, UsageError
from eyewright.core.installed import blamed
from eyewright.core.stopping import end_process, exit_when_stuck


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. Without `argv` this is the program: it ends the process with that code.

    0 done · 1 done, with findings · 2 usage · 3 input that cannot be read · 4 the model or bundle refused · 5 requested
    budget cannot be met · 70 a bug in Eyewright · 130 interrupted · 143 terminated, checkpoint written.
    """
    _told.clear()
    code = _main(argv)
    if argv is None:
        end_process(code)
    return code


def _main(argv: Sequence[str] | None) -> int:
    if argv is None:
        own_streams()
    args = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in args
    # What decoders say of damaged files is said by us, once and in one line.
    warnings.simplefilter("ignore")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    verb = next((a for a in args if not a.startswith("-")), "")
    again = "run it again"
    started = time.monotonic()
    options: argparse.Namespace | None = None
    try:
        with _logged():
            options = build_parser(args[0] if args else None).parse_args(args)
            verb = options.verb
            if "resume" in options:
                again = "run it again, or continue with --resume"
            # For what starts the same command elsewhere.
            options.words = args
            check_texts(options)
            check_addresses(options)
            # SIGTERM outside the training loop, which handles its own, still ends with the documented code.
            signal.signal(signal.SIGTERM, _terminate)
            if argv is None:
                if verb in _ISOLATED:
                    # Imported here: help and models need no numpy.
                    from eyewright.imaging.isolation import isolate_decoding

                    # The driver of a job decodes nothing.
                    isolate_decoding(at_once=verb in _LOADS_FIRST and not is_job(options))
                if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
                    signal.signal(signal.SIGINT, _interrupt)
                exit_when_stuck({signal.SIGTERM: 143, signal.SIGINT: 130}, again=(_terminate, _interrupt))
            copy_inputs(options)
            with claimed_by(options):
                result = call_uploading(options)
            return _finish(verb, result, started, options)
    except EyewrightError as error:
        own = error if isinstance(error, EndedError) else _ended(again)
        return _fail(verb, own or naming_option(error, options), started, as_json)
    except KeyboardInterrupt:
        return _fail(verb, EndedError("interrupted", again, 130), started, as_json)
    except SystemExit as end:
        if end.code == 143:
            return _fail(verb, EndedError("terminated", again, 143), started, as_json)
        return _flushed(end.code if isinstance(end.code, int) else 0, started, as_json)
    except BrokenPipeError:
        drop_stdout()
        return 0
    except MemoryError:
        short = UsageError("there is not enough memory", fix="use a smaller --batch or --imgsz", code="memory")
        return _fail(verb, short, started, as_json)
    except Exception as fault:
        if (ended := _ended(again)) is not None:
            return _fail(verb, ended, started, as_json)
        if os.environ.get("EYEWRIGHT_DEBUG"):
            raise
        return _fail(verb, _refused_by_system(fault) or blamed(fault) or _fault(fault), started, as_json)


_told: list[int] = []
"""The exit codes of the signals that came."""


def _terminate(*_: object) -> None:
    _told.append(143)
    sys.exit(143)


def _interrupt(*_: object) -> None:
    _told.append(130)
    raise KeyboardInterrupt


def _ended(again: str) -> "EndedError | None":
    """Return what a signal asked for, where C code that imports a module has made another error of the exception."""
    if not _told:
        return None
    return EndedError("terminated" if _told[-1] == 143 else "interrupted", again, _told[-1])


def _fault(fault: Exception) -> "EndedError":
    text = f"a bug in Eyewright: {type(fault).__name__}: {fault}"
    return EndedError(text, "please report it with what EYEWRIGHT_DEBUG=1 shows", 70)


def _refused_by_system(error: BaseException) -> EyewrightError | None:
    """Return what the system did not let us do with a file that the user named, where that is what happened."""
    if not isinstance(error, OSError) or error.filename is None:
        return None
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
    shown = name if len(name) <= 80 else f"{name[:60]}…{name[-16:]}"
    if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        return UsageError(f"{shown!r}: {error.strerror}", fix="check the path", code="path")
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return OutputError(f"cannot write {shown!r}: {error.strerror}", fix="choose another place")
    return InputError(f"cannot read or write {shown!r}: {error.strerror}", fix="check the path and its permissions")


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    """Show what the product logs as lines of ours, unless whoever called has arranged that otherwise."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not logging.getLogger().handlers:
                warn(record.getMessage())

    handler = Handler(logging.WARNING)
    logger = logging.getLogger("eyewright")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


_ISOLATED = frozenset(
    {
        "quickstart", "run", "doctor", "browse", "train", "evaluate", "compare", "explain", "predict", "convert",
        "compress", "export", "import", "monitor", "process", "segment", "encode", "steps", "track", "attend",
        "index", "search", "read", "restore", "inpaint", "attack", "certify", "harden",
    }
)  # fmt: skip
"""The verbs that read images which nobody may have looked at."""

_LOADS_FIRST = frozenset({"explain", "predict"})
"""Those that load a model, and then wait for the first image."""


def _finish(verb: str, result: Result, started: float, o: argparse.Namespace) -> int:
    code: int = result.pop("exit", 0)
    text: list[str] = result.pop("text", [])
    if o.json and not result.pop("silent", False):
        print_json({"verb": verb, "ok": True, "seconds": round(time.monotonic() - started, 3), **result})
    elif not o.json and o.quiet and verb != "doctor" and result.get("account"):
        # What was left out is said even then.
        from eyewright.data.account import Account

        if summary := Account.from_json(result["account"]).summary():
            warn(summary)
    if not o.json and (
        not is_quiet(o) or verb in ("doctor", "models", "formats", "info", "steps", "monitor", "completion")
    ):
        for line in text:
            print(printable(line))
    sys.stdout.flush()
    return code


def _flushed(code: int, started: float, as_json: bool) -> int:
    """Write what --help and --version have left in the buffer."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        drop_stdout()
    except EyewrightError as error:
        return _fail("", error, started, as_json)
    return code


def _fail(verb: str, error: EyewrightError, started: float, as_json: bool) -> int:
    if error.code == STDOUT_CODE:
        drop_stdout()
    if as_json:
        content = {"code": error.code, "message": error.message, "fix": error.fix}
        seconds = round(time.monotonic() - started, 3)
        try:
            print_json({"verb": verb, "ok": False, "seconds": seconds, "error": content, **error.details})
        except (BrokenPipeError, OutputError):
            drop_stdout()
    warn(str(error))
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
