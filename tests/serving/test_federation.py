"""The coordinator over HTTP: a token, bounds, deadlines and TLS; and the client's side of them."""

import contextlib
import datetime
import http.server
import ipaddress
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from eyewright.core.errors import RefusedError, UsageError
from eyewright.privacy.coordinator import Coordinator
from eyewright.privacy.federated_messages import PROTOCOL, Description, Join, Update, pack_weights
from eyewright.privacy.rounds import ConflictError, ForeignError, Rounds
from eyewright.privacy.updates import digest_of
from eyewright.serving.federation import FederationServer
from eyewright.serving.settings import Settings

SIZE = 5
TOKEN = "a token of the test"
TOLD = Description(PROTOCOL, "f" * 64, "0.1.0", {}, ["a", "b"], {}, {}, SIZE, 1.0)


@pytest.fixture
def rounds() -> Rounds:
    made = Rounds(1)
    made.describe(TOLD)
    return made


@contextlib.contextmanager
def listening(rounds: Rounds, **options: Any) -> Iterator[FederationServer]:
    tls = {k: options.pop(k) for k in ("certificate", "key") if k in options}
    with FederationServer(rounds, Settings(port=0, body_bytes=2**30, **options), **tls).listening() as server:
        yield server


def join(coordinator: Coordinator, name: str = "a") -> None:
    coordinator.join(Join(PROTOCOL, TOLD.id, name, 20, SIZE))


def raw(server: FederationServer, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
    response = connection.getresponse()
    found = response.read()
    connection.close()
    return response.status, json.loads(found)


def test_a_round_over_http_gives_and_takes_weights(rounds: Rounds) -> None:
    with listening(rounds) as server:
        mine = Coordinator(server.address, patience_s=20)
        assert mine.description() == TOLD
        join(mine)
        members = rounds.gather(5, lambda: None)
        found: dict[str, Any] = {}
        start = np.arange(SIZE, dtype=np.float32)

        def run() -> None:
            found.update(rounds.run(0, start, lr=[0.5], progress=0.25, stop=lambda: None))

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        task = mine.task()
        while task.state == "wait":
            task = mine.task()
        assert (task.state, task.lr, task.progress, task.number) == ("learn", [0.5], 0.25, 0)
        assert mine.weights(task.model, numbers=SIZE) == pack_weights(start)
        with pytest.raises(ConflictError, match="no longer there"):
            mine.weights("0" * 64, numbers=SIZE)
        numbers = pack_weights(start + 1)
        assert mine.send(Update(0, task.model, digest_of(numbers), numbers)).accepted
        thread.join(10)
        assert found["a"].update.tolist() == (start + 1).tolist()
        assert [m.name for m in members] == ["a"]
        mine.leave()
        assert not rounds.members["a"].active


def test_every_request_needs_the_token(rounds: Rounds) -> None:
    with listening(rounds, token=TOKEN) as server:
        assert raw(server, "GET", "/v1/federation")[0] == 401
        assert raw(server, "POST", "/v1/join", b"{}", authorization="Bearer another one")[0] == 401
        assert raw(server, "GET", "/v1/federation", authorization=f"Bearer {TOKEN}")[0] == 200
        with pytest.raises(UsageError, match="expects a token"):
            Coordinator(server.address, patience_s=20).description()
        join(Coordinator(server.address, token=TOKEN, patience_s=20))
    with pytest.raises(UsageError, match="token"):
        Settings(host="0.0.0.0")


def test_other_names_and_pages_are_refused(rounds: Rounds) -> None:
    with listening(rounds) as server:
        assert raw(server, "GET", "/v1/federation", host="evil.example")[1]["code"] == "host_not_allowed"
        assert raw(server, "GET", "/v1/federation", origin="https://evil.example")[1]["code"] == "origin_not_allowed"


def test_requests_that_are_not_of_the_protocol_are_refused(rounds: Rounds) -> None:
    with listening(rounds) as server:
        mine = Coordinator(server.address, patience_s=20)
        join(mine)
        own = {"x_eyewright_client": "a", "x_eyewright_key": mine.key}
        assert raw(server, "GET", "/v1/nothing")[0] == 404
        assert raw(server, "POST", "/v1/join", b"not JSON")[0] == 400
        unknown = {"protocol": 1, "federation": TOLD.id, "name": "a", "images": 9, "parameters": SIZE, "x": 1}
        assert raw(server, "POST", "/v1/join", json.dumps(unknown).encode())[0] == 400
        assert raw(server, "POST", "/v1/join", b"[" * 60_000)[0] == 400
        assert raw(server, "GET", "/v1/task")[1]["code"] == "not_joined"
        assert raw(server, "GET", "/v1/task", **{**own, "x_eyewright_key": "guessed"})[0] == 403
        # Who has not joined sends no long body, and who has sends no longer one than an update.
        assert raw(server, "POST", "/v1/update", b"0" * 100)[0] == 403
        assert raw(server, "POST", "/v1/update", b"0" * (4 * SIZE + 5000), **own)[0] == 413
        assert raw(server, "POST", "/v1/update", b"\x93abc", **own)[0] == 400
        late = msgspec.msgpack.encode(Update(7, "m", digest_of(b""), b""))
        assert raw(server, "POST", "/v1/update", late, **own)[0] == 409
        with pytest.raises(ForeignError):
            join(Coordinator(server.address, patience_s=20))


@contextlib.contextmanager
def half_sent(server: FederationServer, headers: dict[str, str], body: bytes) -> Iterator[socket.socket]:
    """A connection on which an update was announced and begun."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as door:
        lines = [
            "POST /v1/update HTTP/1.1",
            f"host: 127.0.0.1:{server.port}",
            *(f"{k}: {v}" for k, v in headers.items()),
        ]
        door.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        yield door


def status_of(door: socket.socket) -> int:
    return int(door.recv(4096).split()[1])


def test_a_client_that_dies_in_the_middle_of_an_update_can_send_it_again(rounds: Rounds) -> None:
    with listening(rounds) as server:
        mine = Coordinator(server.address, patience_s=20)
        join(mine)
        rounds.gather(5, lambda: None)
        found: dict[str, Any] = {}
        start = np.zeros(SIZE, np.float32)
        thread = threading.Thread(
            target=lambda: found.update(rounds.run(0, start, lr=[0.5], progress=0.0, stop=lambda: None)), daemon=True
        )
        thread.start()
        task = mine.task()
        while task.state == "wait":
            task = mine.task()
        numbers = pack_weights(start + 1)
        whole = msgspec.msgpack.encode(Update(0, task.model, digest_of(numbers), numbers))
        own = {"x-eyewright-client": "a", "x-eyewright-key": mine.key, "content-length": str(len(whole))}
        with half_sent(server, own, whole[: len(whole) // 2]):
            pass
        assert not found
        assert mine.send(Update(0, task.model, digest_of(numbers), numbers)).accepted
        thread.join(10)
        assert found["a"].update.tolist() == [1.0] * SIZE


def test_ten_gigabytes_are_refused_before_they_are_read(rounds: Rounds) -> None:
    with listening(rounds) as server:
        mine = Coordinator(server.address, patience_s=20)
        join(mine)
        own = {"x-eyewright-client": "a", "x-eyewright-key": mine.key}
        with half_sent(server, {**own, "content-length": str(10 * 2**30)}, b"0" * 10) as door:
            assert status_of(door) == 413
        # Without a length, no more is read than an update is long.
        piece = b"1000\r\n" + b"0" * 4096 + b"\r\n"
        with half_sent(server, {**own, "transfer-encoding": "chunked"}, piece * 3) as door:
            assert status_of(door) == 413
        assert raw(server, "GET", "/v1/federation")[0] == 200


def test_many_updates_at_once_fill_the_room_of_their_client_alone() -> None:
    rounds = Rounds(2)
    size = 2**19
    rounds.describe(msgspec.structs.replace(TOLD, parameters=size))
    with listening(rounds) as server, contextlib.ExitStack() as opened:
        keys = {}
        for name in "ab":
            mine = Coordinator(server.address, patience_s=20)
            keys[name] = mine.join(Join(PROTOCOL, TOLD.id, name, 20, size)).key
        length = 8 * size
        own = {"x-eyewright-client": "a", "x-eyewright-key": keys["a"], "content-length": str(length)}
        doors = [opened.enter_context(half_sent(server, own, b"0" * (length - 1))) for _ in range(4)]
        for door in doors:
            door.setblocking(False)
        waited, answers = 0.0, dict.fromkeys(range(4), b"")
        while sum(map(bool, answers.values())) < 2 and waited < 10:
            for k, door in enumerate(doors):
                with contextlib.suppress(BlockingIOError):
                    try:
                        answers[k] += door.recv(4096)
                    except ConnectionError:
                        # It was closed while we still sent: what it said is lost.
                        answers[k] += b"closed"
            time.sleep(0.05)
            waited += 0.05
        assert sorted(answers.values())[:2] == [b"", b""]
        assert all(a.startswith(b"HTTP/1.1 503") or a == b"closed" for a in sorted(answers.values())[2:])
        # The other one is heard meanwhile.
        other = {"x_eyewright_client": "b", "x_eyewright_key": keys["b"]}
        late = msgspec.msgpack.encode(Update(7, "m", digest_of(b""), b""))
        assert raw(server, "POST", "/v1/update", late, **other)[0] == 409


def test_a_coordinator_that_prepares_is_waited_for() -> None:
    rounds = Rounds(1)
    with listening(rounds) as server:
        assert raw(server, "GET", "/v1/federation")[0] == 503
        threading.Timer(0.3, rounds.describe, [TOLD]).start()
        assert Coordinator(server.address, patience_s=20).description() == TOLD


def test_tls_encrypts_and_names_the_coordinator(
    rounds: Rounds, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = write_certificate(tmp_path)
    numbers = 20_000
    rounds.describe(msgspec.structs.replace(TOLD, parameters=numbers))
    with caplog.at_level(logging.ERROR), listening(rounds, certificate=certificate, key=key) as server:
        assert server.address.startswith("https://")
        with pytest.raises(RefusedError, match="not trusted"):
            Coordinator(server.address, patience_s=20).description()
        mine = Coordinator(server.address, ca=certificate, patience_s=20)
        mine.join(Join(PROTOCOL, TOLD.id, "a", 20, numbers))
        rounds.finish(np.ones(numbers))
        model = mine.task().model
        # Which side closes first is a matter of luck.
        assert all(len(mine.weights(model, numbers=numbers)) == 4 * numbers for _ in range(20))
        mine.leave()
    # Connections that end are no errors of the server's.
    assert not caplog.records


def test_a_clock_that_is_behind_is_named_where_a_certificate_is_not_valid_yet(rounds: Rounds, tmp_path: Path) -> None:
    """Nothing else of a federation depends on what time it is."""
    certificate, key = write_certificate(tmp_path, days=3)
    with listening(rounds, certificate=certificate, key=key) as server:
        with pytest.raises(RefusedError, match="not yet valid") as caught:
            Coordinator(server.address, ca=certificate, patience_s=20).description()
        assert "clock" in caught.value.fix


def test_a_certificate_without_its_key_is_refused(rounds: Rounds, tmp_path: Path) -> None:
    certificate, _ = write_certificate(tmp_path)
    with pytest.raises(UsageError, match="--tls-key"):
        FederationServer(rounds, Settings(port=0), certificate=certificate)
    server = FederationServer(rounds, Settings(port=0), certificate=certificate, key=certificate)
    with pytest.raises(UsageError, match="cannot use the certificate"), server.listening():
        pass


class _Liar(http.server.BaseHTTPRequestHandler):
    """Answers every request with what the test wants."""

    answer = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"<html>", "something else"),
        (b'{"state": "explode"}', "something else"),
        (b"0" * (2**22 + 10), "more than"),
    ],
    ids=["page", "state", "endless"],
)
def test_a_client_takes_no_answer_that_is_not_of_the_protocol(answer: bytes, why: str) -> None:
    with liar(answer) as address, pytest.raises(RefusedError, match=why):
        Coordinator(address, patience_s=1).task()


def test_a_client_takes_no_other_weights_than_those_named() -> None:
    good = pack_weights(np.ones(SIZE))
    with liar(good) as address:
        assert Coordinator(address).weights(digest_of(good), numbers=SIZE) == good
        with pytest.raises(RefusedError, match="SHA-256"):
            Coordinator(address).weights(digest_of(b"other"), numbers=SIZE)
        with pytest.raises(RefusedError, match="SHA-256"):
            Coordinator(address).weights(digest_of(good), numbers=SIZE + 1)
        with pytest.raises(RefusedError, match="more than"):
            Coordinator(address).weights(digest_of(good), numbers=SIZE - 1)


@pytest.mark.parametrize("address", ["ftp://a", "http://", "http://a:99999", "http://a/path", "http://me:word@a"])
def test_addresses_that_cannot_be_meant_are_refused(address: str) -> None:
    with pytest.raises(UsageError, match="expected an address"):
        Coordinator(address)


def test_a_coordinator_that_is_not_there_is_given_up_at_last() -> None:
    with pytest.raises(RefusedError, match=r"could not be reached for 0\.2 s") as caught:
        Coordinator("127.0.0.1:1", patience_s=0.2).description()
    assert caught.value.code == "coordinator_lost"


@contextlib.contextmanager
def liar(answer: bytes) -> Iterator[str]:
    kind = type("Answering", (_Liar,), {"answer": answer})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def write_certificate(folder: Path, *, days: int = 0) -> tuple[Path, Path]:
    """Write a certificate of this machine's loopback address, signed by itself, and its key; valid from
    about so many days on."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "coordinator")])
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate, key
