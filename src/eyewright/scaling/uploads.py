"""A folder that a command has written, as objects below an address."""

__all__ = ["claim_prefix", "upload_folder"]

import os
from pathlib import Path

from eyewright.core.errors import UsageError
from eyewright.core.quoting import quoted
from eyewright.scaling.stores import open_store


def claim_prefix(address: str) -> None:
    """Check that objects can be written below an address, and are not replaced.

    Raises:
        OutputError: they cannot.
    """
    open_store(address).check_written(address.rstrip("/"))


def upload_folder(folder: Path, address: str) -> int:
    """Write the files of a folder below an address and return how many; none is replaced. One that is there with the
    same content counts as written, so that an upload that was interrupted can be repeated.

    Raises:
        UsageError: an object with other content is there.
        OutputError: the store cannot be written.
    """
    store, base = open_store(address), address.rstrip("/")
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    # Large files first: what describes them is there when they are.
    for path in sorted(files, key=lambda p: -os.path.getsize(p)):
        target = f"{base}/{path.relative_to(folder).as_posix()}"
        if not store.put_file_new(target, path):
            raise UsageError(
                f"{quoted(target)} is there with other content", fix="choose another --out", code="output_not_empty"
            )
    return len(files)
