"""The open connections of the server, how many there is room for, and which one gives way."""

__all__ = ["Connection", "Connections", "room", "unread"]

import itertools
from collections.abc import Iterable
from typing import Any, Protocol

from eyewright.core.machine import limits

# Files and sockets that are no client's: the log, the workers, the nursery.
_OWN_FILES = 128
# Of a crowd these are asked first: to ask all for each new connection would take longer than to answer it.
_ASKED_FIRST = 16


class Connection(Protocol):
    """What the table of connections asks of one."""

    def answering(self) -> bool: ...
    def stalled(self) -> bool: ...
    def evict(self) -> None: ...


class Connections:
    """The open connections, the one that has been quiet longest first, in all and by client."""

    def __init__(self, most: int, most_of_client: int) -> None:
        self.most, self.most_of_client = most, most_of_client
        self._all: dict[Connection, str] = {}
        self._of: dict[str, dict[Connection, None]] = {}

    def add(self, one: Connection, client: str) -> bool:
        """Take a connection up; return whether there is room for it, if need be that of an idle or a stalled one."""
        of_client = self._of.get(client, {})
        crowded: dict[Connection, Any] | None = None
        if len(of_client) >= self.most_of_client:
            crowded = of_client
        elif len(self._all) >= self.most:
            # Whoever has most gives way.
            crowded = max(self._of.values(), key=len)
        if crowded is not None:
            gives_way = _giving_way(itertools.islice(crowded, _ASKED_FIRST)) or _giving_way(crowded)
            if gives_way is None:
                return False
            self.discard(gives_way)
            gives_way.evict()
        self._all[one] = client
        self._of.setdefault(client, {})[one] = None
        return True

    def moved(self, one: Connection) -> None:
        """Note that a request began or was answered: the connection is idle from now."""
        client = self._all.get(one)
        if client is not None:
            self._of[client].pop(one, None)
            self._of[client][one] = None

    def discard(self, one: Connection) -> None:
        client = self._all.pop(one, None)
        if client is not None:
            left = self._of[client]
            left.pop(one, None)
            if not left:
                del self._of[client]


def _giving_way(connections: Iterable[Connection]) -> Connection | None:
    """Return the first idle connection, else the first that waits for its client or its turn; None if all answer."""
    waits: Connection | None = None
    for one in connections:
        if not one.answering():
            return one
        if waits is None and one.stalled():
            waits = one
    return waits


def unread(transport: Any) -> bool:
    """Return whether bytes wait in a connection's socket: many connections may be taken up before the first is read."""
    door = transport.get_extra_info("socket")
    if door is None:
        return False
    return limits.unread(door.fileno())


def room(connections: int) -> int:
    """Return how many connections there is room for, after raising the soft limit of open files."""
    most = limits.open_files(connections + _OWN_FILES)
    return connections if most is None else max(16, min(connections, most - _OWN_FILES))
