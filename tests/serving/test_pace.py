"""Large bodies are taken in at a pace while small requests are answered, and at full speed otherwise."""

import socket
import threading
import time
from types import SimpleNamespace

import pytest

from eyewright.core.errors import UsageError
from eyewright.serving import jsontext
from eyewright.serving.connections import unread
from eyewright.serving.jsontext import check_json
from eyewright.serving.pace import Pace
from eyewright.serving.refusals import HttpError
from eyewright.serving.settings import Settings


def test_a_large_body_is_not_slowed_down_on_an_idle_server() -> None:
    now = [10.0]
    pace = Pace(2**20, clock=lambda: now[0])
    assert pace.delay(2**20, 2**20) == 0
    pace.answered(2**19)
    assert pace.delay(2**20, 2**20) == 0
    pace.answered(2**10)
    assert pace.delay(2**20, 2**20) == 1
    now[0] += 0.3
    assert pace.delay(2**20, 2**20) == 0


def test_large_bodies_share_one_rate_and_their_first_bytes_are_free() -> None:
    pace = Pace(2**20, clock=lambda: 10.0)
    pace.answered(0)
    assert [pace.delay(0, 2**18) for _ in range(50)] == [0] * 50
    assert [pace.delay(2**18, 2**19) for _ in range(3)] == [0.5, 1.0, 1.5]


def test_large_answers_have_a_rate_after_a_burst_and_small_ones_never_wait() -> None:
    now = [10.0]
    pace = Pace(2**20, small=2**14, burst_s=0.5, clock=lambda: now[0])
    assert [pace.delay(0, 2**18) for _ in range(4)] == [0, 0, 0.25, 0.5]
    assert pace.delay(0, 2**14) == 0
    now[0] += 10
    assert [pace.delay(0, 2**18) for _ in range(3)] == [0, 0, 0.25]


def test_a_flood_of_requests_for_large_answers_is_slowed_down(served) -> None:  # type: ignore[no-untyped-def]
    # Some 100 KB each at 48 MB/s after 12 MB at once: without a pace, they come as fast as the machine can.
    size = len(served.get("/openapi.json").body)
    assert size > 50_000
    began, got, rounds = time.monotonic(), 0, 40 * 2**20 // (12 * size)
    with socket.create_connection((served.host, served.port), 20) as line:
        for _ in range(rounds):
            line.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 12)
            aim = got + 12 * size
            while got < aim:
                got += len(line.recv(2**18))
    # Heads are counted with the bodies; a tenth is left for them and for what was earned meanwhile.
    assert time.monotonic() - began >= 0.9 * (rounds * 12 * size / (48 * 2**20) - 0.25)


def test_a_body_is_read_slowly_beside_small_requests(served, picture: bytes) -> None:
    # 24 MB at 48 MB/s: the time is the pace's, not the machine's.
    path, body = "/v1/models/shapes/predict", picture + bytes(24 * 2**20)
    assert served.post(path, picture).status == 200
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(0.02):
            assert served.post(path, picture).status == 200

    beside = threading.Thread(target=go_on)
    beside.start()
    try:
        began = time.monotonic()
        # Its zeros are read as chunks of the PNG: far too many.
        assert served.post(path, body).status == 413
        took = time.monotonic() - began
    finally:
        ended.set()
        beside.join()
    assert took >= 0.45


def test_a_connection_whose_request_waits_to_be_read_is_not_idle() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = SimpleNamespace(get_extra_info=lambda name: ours)
        assert not unread(transport)
        theirs.send(b"GET ")
        assert unread(transport)
    assert not unread(transport)


def test_a_pace_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="busy_bytes_per_s above 0"):
        Settings(busy_bytes_per_s=0)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 2**16])
def test_depth_is_counted_alike_wherever_the_slices_end(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsontext, "_SLICE", size)
    # By hand: within a text brackets are text, and only an odd number of backslashes escapes its end.
    for text, depth in ((rb'{"a\\": [[1]]}', 3), (rb'{"a\\\"[[[": [1]}', 2), (rb'["\\\\", "\"[", []]', 2)):
        check_json(text, Settings(json_depth=depth))
        with pytest.raises(HttpError, match="deep"):
            check_json(text, Settings(json_depth=depth - 1))


def test_a_flood_of_refused_requests_leaves_connections_for_others(served, picture: bytes) -> None:
    head = b"POST /v1/models/shapes/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    refused: list[bytes] = []

    def flood() -> None:
        for _ in range(150):
            with socket.create_connection((served.host, served.port), 10) as line:
                line.sendall(head + b"1\r\nx\r\n" * 2**15)
                refused.append(line.recv(65536)[9:12])

    floods = [threading.Thread(target=flood) for _ in range(3)]
    for one in floods:
        one.start()
    statuses = []
    while any(one.is_alive() for one in floods):
        statuses.append(served.post("/v1/models/shapes/predict", picture).status)
    for one in floods:
        one.join()
    assert set(refused) == {b"400"}
    assert len(refused) == 450
    assert set(statuses) == {200}
