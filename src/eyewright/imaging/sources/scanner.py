"""Scanners by SANE, through its own program `scanimage`: a process that can be killed when a device hangs."""

__all__ = ["Scanner"]

import re
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from eyewright.core.errors import InputError, MissingExtraError, UsageError
from eyewright.core.machine import children
from eyewright.imaging.decode import read_image
from eyewright.imaging.headers import Limits
from eyewright.imaging.sources.frames import Frame

_WALL_S = 300.0
_OPTION = re.compile(r"[a-z][a-z0-9-]{0,40}", re.ASCII)
# What scanimage may be told beside the scanner's own options would let an address write files or run long.
_FORBIDDEN = frozenset(
    {
        "batch",
        "batch-script",
        "output-file",
        "format",
        "icc-profile",
        "list-devices",
        "formatted-device-list",
        "device-name",
        "test",
    }
)
_ENDED = re.compile(r"out of documents|feeder", re.IGNORECASE)


class Scanner:
    """Pages of a scanner: `sane:DEVICE?option=value&...`; every page of a feeder, one from a glass plate.

    Options are the device's own, as `scanimage --help -d DEVICE` lists them (`mode`, `resolution`, `source`, ...).
    """

    live = False

    def __init__(self, text: str, *, limits: Limits) -> None:
        program = shutil.which("scanimage")
        if program is None:
            raise MissingExtraError("scanners need scanimage, which is not installed", fix="apt install sane-utils")
        self._device, _, query = text.partition("?")
        if self._device.startswith("-"):
            raise UsageError(f"expected a scanner's name, found {self._device!r}", fix="see scanimage -L")
        self._limits = limits
        self._options: list[str] = []
        feeder = False
        for name, value in parse_qsl(query, keep_blank_values=True):
            if not _OPTION.fullmatch(name) or name in _FORBIDDEN:
                raise UsageError(
                    f"expected a scanner's option, found {name!r}", fix=f"see scanimage --help -d {self._device}"
                )
            self._options.append(f"--{name}={value}")
            feeder = feeder or (name == "source" and re.search(r"feeder|adf", value, re.IGNORECASE) is not None)
        self._feeder = feeder
        self._program = program
        self._process: children.Child | None = None

    def frames(self) -> Iterator[Frame]:
        origin = f"sane:{self._device}"
        with tempfile.TemporaryDirectory(prefix="eyewright-scan-") as folder, tempfile.TemporaryFile() as said:
            # In a batch, one process feeds page after page and prints the name of each that is done.
            pages = ["--batch=page-%d.pnm", "--batch-print"] if self._feeder else ["--output-file=page-1.pnm"]
            device = ["-d", self._device] if self._device else []
            self._process = children.start_child(
                [self._program, "--format=pnm", *device, *pages, *self._options],
                stdin=children.DEVNULL,
                stderr=said,
                folder=folder,
                tied=False,
            )
            index, code = 0, None
            try:
                while code is None:
                    name = self._next_page(folder)
                    code = self._process.wait(_WALL_S) if name is None else None
                    if name is not None:
                        yield Frame(self._read(Path(folder, name)), origin, index)
                        index += 1
            except subprocess.TimeoutExpired:
                raise self._silent() from None
            finally:
                self.close()
            said.seek(0)
            text = said.read(65_536).decode("utf-8", "replace")
        if index and (code == 0 or _ENDED.search(text)):
            return
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        reason = lines[-1].removeprefix("scanimage: ") if lines else f"it ended with {code}"
        after = f" after {index} pages" if index else ""
        raise InputError(
            f"the scanner {self._device!r} stopped{after}: {reason}",
            fix="clear the scanner, and see scanimage -L",
            code="scanner",
        )

    def _next_page(self, folder: str) -> str | None:
        """Wait for the next page that is whole; None when the scanner has ended."""
        process = self._process
        if process is None or process.stdout is None:
            return None
        deadline = time.monotonic() + _WALL_S
        # A backend's own child may hold the pipe open when scanimage has ended, so its end is asked for as well.
        while not select.select((process.stdout,), (), (), 0.1)[0]:
            if process.poll() is not None:
                break
            if time.monotonic() > deadline:
                raise self._silent()
        ended = process.poll() is not None and not select.select((process.stdout,), (), (), 0)[0]
        line = "" if ended else process.stdout.readline().decode("utf-8", "replace").strip()
        if line:
            return Path(line).name
        if not self._feeder and process.wait(_WALL_S) == 0 and Path(folder, "page-1.pnm").exists():
            return "page-1.pnm"
        return None

    def _read(self, page: Path) -> Any:
        image = np.asarray(read_image(page, limits=self._limits))
        page.unlink()
        return image

    def _silent(self) -> InputError:
        return InputError(
            f"the scanner {self._device!r} gave no page in {_WALL_S:g} s", fix="turn it off and on", code="scanner"
        )

    def close(self) -> None:
        """End a scan that runs."""
        process, self._process = self._process, None
        if process is None:
            return
        # Its children too: a backend may read in a process of its own.
        children.end_child(process, group=True)
