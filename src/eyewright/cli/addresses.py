"""Which commands read from stores and write to them; others refuse an address in one line."""

__all__ = ["check_addresses"]

import argparse
from collections.abc import Iterator
from typing import Any

from eyewright.cli.scaling import is_job
from eyewright.core.errors import UsageError
from eyewright.core.quoting import quoted
from eyewright.scaling.addresses import is_address

_READ = {"predict": ("source",), "process": ("source",), "encode": ("images",), "cost": ("source",), "work": ("job",)}
_WRITTEN = ("predict", "process", "encode")
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
            elif name not in _READ.get(verb, ()):
                raise UsageError(
                    f"expected a path on this machine for {verb}, found {_shown(address)}",
                    fix="copy it to a folder first; predict, process and encode read stores in place",
                )
            elif verb in _WRITTEN and not is_job(options):
                raise UsageError(f"images in a store are read by jobs: {_shown(address)}", fix="pass --on local")


def _check_out(options: argparse.Namespace, address: str) -> None:
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
