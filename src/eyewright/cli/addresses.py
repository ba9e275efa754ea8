"""Which commands read from stores and write to them; others refuse an address in one line."""

__all__ = ["call_uploading", "check_addresses", "copy_inputs"]

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from eyewright.cli.scaling import is_job
from eyewright.cli.terminal import Result
from eyewright.core.errors import UsageError
from eyewright.core.quoting import quoted
from eyewright.scaling.addresses import is_address

_READ = {"predict": ("source",), "process": ("source",), "encode": ("images",), "cost": ("source",), "work": ("job",)}
_WRITTEN = ("predict", "process", "encode")
# What is written to a folder here, and uploaded when it is whole.
_UPLOADED = ("convert", "evaluate", "index")
# What is copied to the cache and read there.
_COPIED = {
    "doctor": "data", "evaluate": "data", "index": "folder", "train": "data", "run": "data", "convert": "data",
    "compare": "data", "search": "index",
}  # fmt: skip
# Words that are no places.
_WORDS = frozenset({"call", "words", "verb", "name", "label", "labels", "classes", "ignore", "policy"})


def check_addresses(options: argparse.Namespace) -> None:
    """Refuse an address in a store where a command takes paths only.

    Raises:
        UsageError: there is one.
    """
    verb = options.verb
    for name, value in vars(options).items():
        if name in _WORDS:
            continue
        for address in _addresses(value):
            if name == "out":
                _check_out(options, address)
            elif name == _COPIED.get(verb):
                continue
            elif name not in _READ.get(verb, ()):
                readers = ", ".join(sorted((*_READ, *_COPIED)))
                fix = f"copy it to a folder first; {readers} read from stores"
                if verb == "export":
                    fix = "have each task run eyewright work ADDRESS, or copy it to a folder first"
                raise UsageError(f"expected a path on this machine for {verb}, found {_shown(address)}", fix=fix)
            elif verb in _WRITTEN and not is_job(options):
                raise UsageError(f"images in a store are read by jobs: {_shown(address)}", fix="pass --on local")


def copy_inputs(options: argparse.Namespace) -> None:
    """Copy the data below an address to the cache, for a command that reads a folder, and have it read there.

    Raises:
        EyewrightError: as `mirror_address`.
    """
    name = _COPIED.get(options.verb)
    address = None if name is None else getattr(options, name)
    if name is None or not isinstance(address, str) or not is_address(address):
        return
    from eyewright.scaling.mirrors import mirror_address

    setattr(options, name, str(mirror_address(address)))


def call_uploading(options: argparse.Namespace) -> Result:
    """Call a command; where it writes a folder that belongs in a store, it writes one on this machine first, which is
    uploaded when it is whole.

    Raises:
        EyewrightError: as the command, or as `upload_folder`.
    """
    address = getattr(options, "out", None)
    if options.verb not in _UPLOADED or not isinstance(address, str) or not is_address(address):
        return cast("Result", options.call(options))
    import tempfile

    from eyewright.scaling.uploads import claim_prefix, upload_folder

    claim_prefix(address)
    with tempfile.TemporaryDirectory(prefix="eyewright-upload-") as temporary:
        folder = Path(temporary).resolve() / "out"
        options.out = str(folder)
        result: Result = options.call(options)
        upload_folder(folder, address)
    kept = address.rstrip("/")

    def moved(value: object) -> object:
        return str(value).replace(str(folder), kept) if isinstance(value, Path | str) else value

    out = {name: moved(value) for name, value in result.get("out", {}).items()}
    return {**result, "out": out, "text": [moved(line) for line in result.get("text", [])]}


def _of_job(options: argparse.Namespace) -> str:
    """Return the given options that make a command a job, or that change what is there."""
    names = ("on", "plan", "verify", "resume", "workers", "shard_size", "update")
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(options, name, None)]
    return " and ".join(part for part in (", ".join(given[:-1]), *given[-1:]) if part)


def _check_out(options: argparse.Namespace, address: str) -> None:
    if options.verb in _UPLOADED:
        if (options.verb != "convert" and is_job(options)) or getattr(options, "update", False):
            raise UsageError(
                f"a job of {options.verb} is kept in a folder, found {_shown(address)}",
                fix=f"choose a folder for --out, then upload it; or leave {_of_job(options)} out",
            )
        return
    if options.verb not in _WRITTEN:
        raise UsageError(
            f"{options.verb} does not write to stores, found {_shown(address)}",
            fix="write to a folder, then upload it",
        )
    if not is_job(options):
        raise UsageError(f"results are written to a store by jobs: {_shown(address)}", fix="pass --on local")
    if address.startswith("memory://") and options.verb != "predict":
        raise UsageError(
            "memory:// is seen by one process, and files are written by several",
            fix="write to a folder or another store",
        )


def _addresses(value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else (value,):
        if isinstance(one, str) and is_address(one):
            yield one


def _shown(address: str) -> str:
    """Return an address as a message may show it: one with credentials is not shown."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://…" if "@" in rest.partition("/")[0] else quoted(address)
