"""Who works on which shard: leases that are renewed while a process lives, and that others take when it has died.

A lease saves double work; it does not make results unique, which the commits do. Clocks of machines need not agree: a
process that wants a lease watches by its own clock whether the holder still renews it. On the machine of the holder it
is enough that the process is gone.
"""

__all__ = ["Leases"]

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from eyewright.core.errors import EyewrightError
from eyewright.core.files import checked_output
from eyewright.core.machine.limits import boot_name, started
from eyewright.scaling.places import FolderPlace, Place


class Leases:
    """The leases that this process holds of a job, in files of a folder or below an address; call `renew` at least
    every `ttl_s` / 3."""

    def __init__(self, place: Path | Place, *, ttl_s: float = 60.0) -> None:
        self._place = FolderPlace(place) if isinstance(place, Path) else place
        self.ttl_s = ttl_s
        self._me = {
            "token": secrets.token_hex(8), "boot": boot_name(), "pid": os.getpid(), "started": started(os.getpid())
        }  # fmt: skip
        self._held: set[int] = set()
        self._seen: dict[int, tuple[bytes, float]] = {}
        self._renewed = time.monotonic()
        self._beats = 0
        if isinstance(self._place, FolderPlace):
            with checked_output(self._place.folder):
                self._place.folder.mkdir(parents=True, exist_ok=True)

    def take(self, number: int) -> bool:
        """Take the lease of a shard; return False where another process, which may live, holds it.

        Raises:
            OutputError: the folder cannot be written.
        """
        if number in self._held:
            return True
        name = _name(number)
        if not self._place.write_new(name, self._content(), sync=False):
            if self.is_held(number):
                return False
            self._seen.pop(number, None)
            self._expire(name)
            if not self._place.write_new(name, self._content(), sync=False):
                return False
        self._held.add(number)
        return True

    def is_held(self, number: int) -> bool:
        """Return whether another process holds the lease of a shard, or may hold it."""
        if number in self._held:
            return False
        try:
            content = self._place.read(_name(number))
        except FileNotFoundError:
            return False
        with contextlib.suppress(ValueError, KeyError, TypeError):
            holder = json.loads(content)
            if holder["boot"] == self._me["boot"] and started(int(holder["pid"])) != holder["started"]:
                return False
        now = time.monotonic()
        before = self._seen.get(number)
        if before is None or before[0] != content:
            self._seen[number] = (content, now)
            return True
        return now - before[1] < self.ttl_s

    def holders(self) -> dict[int, tuple[str, int]]:
        """Return which processes work on which shards, or may: the name of the machine's start and the process id, by
        the number of the shard."""
        found: dict[int, tuple[str, int]] = {}
        for number in self._numbers():
            if number not in self._held and not self.is_held(number):
                continue
            # One that was returned meanwhile, or is damaged, is none.
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                holder = json.loads(self._place.read(_name(number)))
                found[number] = (str(holder["boot"]), int(holder["pid"]))
        return found

    def renew(self) -> None:
        """Renew the leases that are held, if it is time to. One that another process has taken is given up: its work
        is done twice, and committed once."""
        now = time.monotonic()
        if now - self._renewed < self.ttl_s / 4:
            return
        self._renewed, self._beats = now, self._beats + 1
        for number in sorted(self._held):
            try:
                mine = json.loads(self._place.read(_name(number)))["token"] == self._me["token"]
            except (OSError, ValueError, KeyError, TypeError):
                mine = False
            if not mine:
                self._held.discard(number)
                continue
            self._place.replace(_name(number), self._content())

    def release(self, number: int) -> None:
        """Return a lease, so that another process can take it."""
        if number in self._held:
            self._held.discard(number)
            with contextlib.suppress(OSError, EyewrightError):
                self._place.remove(_name(number))

    def release_all(self) -> None:
        """Return every lease."""
        for number in sorted(self._held):
            self.release(number)

    def sweep(self, is_done: Callable[[int], bool]) -> None:
        """Remove the leases of shards that are done, which processes have left that were killed after their commit."""
        for number in self._numbers():
            if is_done(number):
                with contextlib.suppress(OSError):
                    self._place.remove(_name(number))

    def _expire(self, name: str) -> None:
        """Remove a lease that nobody renews. In a store two processes that see it at once may both get a new one: the
        work is done twice, and committed once."""
        if not isinstance(self._place, FolderPlace):
            self._place.remove(name)
            return
        # Moved away first: of several that see it expired, each removes what it has moved and takes a new one.
        place = self._place.folder / name
        expired = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        with contextlib.suppress(FileNotFoundError):
            os.rename(place, expired)
            expired.unlink()

    def _numbers(self) -> list[int]:
        names = self._place.names("")
        return [int(stem) for name in names if (stem := name.removesuffix(".json")).isdecimal()]

    def _content(self) -> bytes:
        return json.dumps({**self._me, "beats": self._beats}).encode()


def _name(number: int) -> str:
    return f"{number:08d}.json"
