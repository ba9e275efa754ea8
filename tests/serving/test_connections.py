"""Which connection makes room where there are too many, and what it costs to find it."""

import select
import socket

import pytest

from eyewright.serving.connections import Connections
from eyewright.serving.listening import open_port
from eyewright.serving.settings import Settings


class _One:
    """A connection in a fixed state, which counts how often it is asked."""

    asked = 0

    def __init__(self, state: str) -> None:
        self.state, self.evicted = state, False

    def answering(self) -> bool:
        _One.asked += 1
        return self.state != "idle"

    def stalled(self) -> bool:
        return self.state == "stalled"

    def evict(self) -> None:
        self.evicted = True


def _crowd(*states: str, room: int | None = None) -> tuple[Connections, list[_One]]:
    table = Connections(10_000, room or len(states))
    ones = [_One(s) for s in states]
    assert all(table.add(one, "client") for one in ones)
    _One.asked = 0
    return table, ones


@pytest.mark.parametrize(
    ("states", "gives_way"),
    [
        (("stalled", "answering", "idle", "idle"), 2),
        (("answering", "stalled", "stalled"), 1),
        (("answering",) * 40 + ("stalled", "idle"), 41),
        (("answering",) * 40 + ("stalled",), 40),
        (("stalled",) * 40 + ("idle",), 0),
    ],
)
def test_the_quietest_that_nobody_waits_for_makes_room(states: tuple[str, ...], gives_way: int) -> None:
    table, ones = _crowd(*states)
    assert table.add(_One("idle"), "client")
    assert [k for k, one in enumerate(ones) if one.evicted] == [gives_way]


def test_where_all_are_answered_a_new_one_finds_no_room() -> None:
    table, ones = _crowd(*["answering"] * 40)
    assert not table.add(_One("idle"), "client")
    assert table.add(_One("idle"), "another client")
    assert not any(one.evicted for one in ones)


def test_to_find_room_in_a_crowd_that_waits_not_all_are_asked() -> None:
    table, _ = _crowd(*["stalled"] * 1000)
    for _ in range(1000):
        assert table.add(_One("stalled"), "client")
    # To ask all 1,000 each time would be a million.
    assert _One.asked <= 20_000


def test_one_that_was_answered_last_stays_longest() -> None:
    table, ones = _crowd("idle", "idle", "idle")
    table.moved(ones[0])
    table.add(_One("idle"), "client")
    assert [one.evicted for one in ones] == [False, True, False]


@pytest.mark.skipif(not hasattr(socket, "TCP_DEFER_ACCEPT"), reason="only Linux holds silent connections itself")
def test_a_connection_that_has_sent_nothing_is_not_seen_by_the_server() -> None:
    with open_port(Settings(port=0)) as door:
        door.setblocking(False)
        clients = [socket.create_connection(door.getsockname(), 5) for _ in range(8)]
        with pytest.raises(BlockingIOError):
            door.accept()
        clients[5].sendall(b"GET")
        select.select([door], [], [], 5)
        accepted, _ = door.accept()
        assert accepted.recv(3) == b"GET"
        with pytest.raises(BlockingIOError):
            door.accept()
        for one in (*clients, accepted):
            one.close()
