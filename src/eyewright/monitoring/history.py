"""Which model is in use and how it came to be: an append-only history, each line sealed by the one before."""

__all__ = ["Event", "History"]

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from eyewright.core.errors import RefusedError, UsageError
from eyewright.core.files import append_line, held_lock
from eyewright.core.jsonable import dumps_json
from eyewright.core.quoting import quoted

_log = logging.getLogger("eyewright.monitoring")
_said: set[tuple[Path, int]] = set()

Alias = Literal["champion", "challenger"]


@dataclass(frozen=True)
class Event:
    """One line: what was done, to which bundle, why; `seal` is the SHA-256 of the line before and of this one."""

    time: float
    action: str
    alias: str
    folder: str
    digest: str
    reason: Mapping[str, Any]
    before: str
    seal: str


class History:
    """The history in `home/history.jsonl`; nothing in it is ever changed, and a changed line is found.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     history = History(Path(folder))
    ...     _ = history.add("promote", "champion", Path("a.bundle"), "d1", {})
    ...     _ = history.add("promote", "champion", Path("b.bundle"), "d2", {})
    ...     _ = history.rollback()
    ...     history.current("champion").digest, len(history.events())
    ('d1', 3)
    """

    def __init__(self, home: Path) -> None:
        self.home, self.path = home, home / "history.jsonl"

    def events(self) -> list[Event]:
        """Return every event, oldest first; an incomplete last line was never acknowledged, and is left out.

        Raises:
            RefusedError: a line was changed or removed.
        """
        found: list[Event] = []
        if not self.path.exists():
            return found
        *lines, torn = self.path.read_bytes().split(b"\n")
        if torn and (self.path, len(torn)) not in _said:
            _said.add((self.path, len(torn)))
            _log.warning(
                "the last line of %r was cut off while it was written and is left out; the change it was for did not"
                " happen",
                str(self.path),
            )
        for number, line in enumerate(lines, 1):
            try:
                content = json.loads(line)
                event = Event(**content)
            except (ValueError, TypeError):
                raise self._changed(number) from None
            if event.before != (found[-1].seal if found else "") or event.seal != _seal(content):
                raise self._changed(number)
            found.append(event)
        return found

    def _changed(self, number: int) -> RefusedError:
        return RefusedError(
            f"line {number} of {quoted(self.path)} has been changed since it was written", fix="restore it from a copy",
            code="history_changed",
        )  # fmt: skip

    def add(self, action: str, alias: str, folder: Path, digest: str, reason: Mapping[str, Any]) -> Event:
        """Append an event; it is on disk when this returns."""
        with held_lock(self.home / "history.lock", busy="another process is changing the history", code="history_busy"):
            before = self.events()
            content: dict[str, Any] = {
                "time": time.time(),
                "action": action,
                "alias": alias,
                "folder": str(folder.resolve()),
                "digest": digest,
                "reason": json.loads(dumps_json(reason)),
                "before": before[-1].seal if before else "",
            }
            content["seal"] = _seal(content)
            append_line(self.path, dumps_json(content).encode())
        return Event(**content)

    def current(self, alias: Alias) -> Event | None:
        """Return the event by which an alias means what it means now; None if it means nothing."""
        for event in reversed(self.events()):
            if event.alias == alias:
                return None if event.action == "clear" else event
        return None

    def before(self) -> tuple[Event, Event]:
        """Return the events that made the champion and the one before it.

        Raises:
            UsageError: there was none before.
        """
        stack: list[Event] = []
        for event in self.events():
            if event.alias != "champion":
                continue
            if event.action == "rollback":
                stack = stack[:-1]
            elif not stack or stack[-1].digest != event.digest:
                # The champion promoted again is no step that could be taken back.
                stack.append(event)
        if len(stack) < 2:
            raise UsageError("there is no champion before this one", fix="promote another bundle")
        return stack[-1], stack[-2]

    def rollback(self) -> Event:
        """Make the champion what it was before; one step further at every call.

        Raises:
            UsageError: there was none before.
        """
        last, wanted = self.before()
        return self.add("rollback", "champion", Path(wanted.folder), wanted.digest, {"from": last.digest})


def _seal(content: Mapping[str, Any]) -> str:
    plain = {k: v for k, v in content.items() if k != "seal"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
