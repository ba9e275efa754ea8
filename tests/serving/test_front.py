"""The front of several servers: requests go to those that answer, and what is lost with one is sent to another."""

import asyncio
import contextlib
import http.client
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from eyewright.serving.front import Front, serve_front
from eyewright.serving.listening import open_port
from eyewright.serving.settings import Settings

SECRET, TOKEN = "secret-of-replicas", "token-of-clients"


class Server:
    """A replica that says what it was asked, and can be ended in the middle of a request."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.ready, self.cut = True, ""
        self.connections: list[asyncio.StreamWriter] = []

    async def start(self) -> int:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self.server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        try:
            await self._answer(reader, writer)
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines if line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if first.startswith("GET /readyz"):
                    writer.write(f"HTTP/1.1 {200 if self.ready else 503} X\r\ncontent-length: 0\r\n\r\n".encode())
                    continue
                self.asked.append((first, headers, body))
                if self.cut == "before":
                    writer.transport.abort()
                    return
                if self.cut == "within":
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart")
                    await writer.drain()
                    writer.transport.abort()
                    return
                if self.cut == "late":
                    await asyncio.sleep(0.3)
                answer = json.dumps({"body": body.decode()}).encode()
                # In pieces, as long answers come.
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-own: 1\r\n\r\n")
                for part in (answer[:3], answer[3:]):
                    writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                    await writer.drain()
                writer.write(b"0\r\n\r\n")

    async def end(self) -> None:
        self.server.close()
        await asyncio.sleep(0)
        for writer in self.connections:
            writer.transport.abort()


@dataclass
class Answer:
    status_code: int
    headers: Any
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)


class Client:
    """A client with the token, whose every request has a connection of its own."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def _ask(
        self, method: str, path: str, content: str | bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        def ask() -> Answer:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            sent = {"authorization": f"Bearer {TOKEN}", **(headers or {})}
            body = content.encode() if isinstance(content, str) else content
            with contextlib.closing(connection):
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.request(method, path, body, sent)
                answer = connection.getresponse()
                return Answer(answer.status, answer.headers, answer.read())

        return await asyncio.to_thread(ask)

    async def post(self, path: str, *, content: str | bytes, headers: Mapping[str, str] | None = None) -> Answer:
        return await self._ask("POST", path, content, headers)

    async def get(self, path: str, *, headers: Mapping[str, str] | None = None) -> Answer:
        return await self._ask("GET", path, headers=headers)

    async def head(self, path: str) -> Answer:
        return await self._ask("HEAD", path)


Test = Callable[[Client, Front, list[Server]], Awaitable[None]]


def run(test: Test, *, servers: int = 2, token: str | None = TOKEN) -> None:
    @contextlib.asynccontextmanager
    async def started() -> AsyncIterator[tuple[Client, Front, list[Server]]]:
        settings = Settings(port=0, token=token, deadline_s=5.0, drain_s=2.0)
        front, ended, ready = Front(settings, SECRET), asyncio.Event(), asyncio.Event()
        door = open_port(settings)
        some = [Server() for _ in range(servers)]
        for k, one in enumerate(some):
            front.join(f"r{k}", "127.0.0.1", await one.start())
        serving = asyncio.create_task(serve_front(front, door, ended, ready=ready.set))
        await ready.wait()
        yield Client(door.getsockname()[1]), front, some
        ended.set()
        await serving
        for one in some:
            await one.end()
        # Closed connections are dropped by the loop.
        await asyncio.sleep(0.01)

    async def main() -> None:
        async with started() as given:
            await test(*given)

    asyncio.run(main())


def test_requests_are_spread_and_carry_the_token_of_replicas() -> None:
    async def test(client: Client, front: Front, servers: list[Server]) -> None:
        for k in range(6):
            answer = await client.post("/v1/predict?top=2", content=f"image {k}", headers={"x-mine": "a"})
            assert (answer.status_code, answer.json()) == (200, {"body": f"image {k}"})
            assert answer.headers["x-own"] == "1"
        assert [len(s.asked) for s in servers] == [3, 3]
        first, headers, _ = servers[0].asked[0]
        assert first == "POST /v1/predict?top=2 HTTP/1.1"
        assert headers["authorization"] == f"bearer {SECRET}"
        assert headers["x-mine"] == "a"
        # Connections are kept: one for requests, others were for questions whether it is ready.
        assert sum(len(r.idle) for r in front._replicas.values()) == 2

    run(test)


def test_who_may_not_ask_reaches_no_replica() -> None:
    async def test(client: Client, front: Front, servers: list[Server]) -> None:
        for headers in ({"authorization": "Bearer another"}, {"authorization": f"Bearer {SECRET}"}):
            assert (await client.post("/v1/predict", content="x", headers=headers)).status_code == 401
        assert (await client.get("/v1/models", headers={"host": "evil.example"})).status_code == 403
        assert (await client.get("/v1/models", headers={"origin": "https://evil.example"})).status_code == 403
        assert (await client.get("/readyz", headers={"authorization": ""})).json() == {"ready": True}
        assert not any(s.asked for s in servers)

    run(test)


@pytest.mark.parametrize("cut", ["before", "ended"])
def test_what_is_lost_with_a_replica_is_sent_to_another_one(cut: str) -> None:
    async def test(client: Client, front: Front, servers: list[Server]) -> None:
        for _ in range(4):
            await client.get("/v1/models")
        if cut == "ended":
            await servers[0].end()
        else:
            servers[0].cut = "before"
        for k in range(6):
            answer = await client.post("/v1/predict", content=f"image {k}")
            assert answer.json() == {"body": f"image {k}"}
        assert front.retried == 1
        text = (await client.get("/metrics")).text
        assert "eyewright_replicas 2.0" in text
        assert "eyewright_repeated_requests 1.0" in text

    run(test)


def test_without_a_replica_the_answer_is_503_with_retry_after() -> None:
    async def test(client: Client, front: Front, servers: list[Server]) -> None:
        servers[0].cut = "before"
        servers[0].ready = False
        for _ in range(2):
            answer = await client.post("/v1/predict", content="x")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.json()["error"] == "no replica could answer"
        assert (await client.get("/readyz")).status_code == 503
        servers[0].cut, servers[0].ready = "", True
        while not front.ready:
            await asyncio.sleep(0.05)
        assert (await client.post("/v1/predict", content="x")).status_code == 200
        front.leave("r0")
        assert (await client.post("/v1/predict", content="x")).status_code == 503

    run(test, servers=1)


def test_an_answer_that_was_cut_off_does_not_look_whole() -> None:
    async def test(client: Client, front: Front, servers: list[Server]) -> None:
        servers[0].cut = "within"
        with pytest.raises((OSError, http.client.HTTPException)):
            await client.post("/v1/predict", content="x")
        assert front.retried == 0

    run(test, servers=1)


def test_a_connection_that_a_replica_has_closed_is_no_loss() -> None:
    async def test(client: Client, front: Front, servers: list[Server]) -> None:
        for _ in range(3):
            await client.get("/v1/models")
            for writer in servers[0].connections:
                writer.transport.abort()
        assert len(servers[0].asked) == 3
        assert front.retried == 0

    run(test, servers=1)


def test_a_front_that_ends_answers_what_came_and_takes_no_more() -> None:
    async def test(client: Client, front: Front, servers: list[Server]) -> None:
        servers[0].cut = "late"
        asked = asyncio.create_task(client.post("/v1/predict", content="x"))
        while not servers[0].asked:
            await asyncio.sleep(0.01)
        draining = asyncio.create_task(front.drain(5))
        await asyncio.sleep(0.01)
        assert (await client.get("/v1/models")).status_code == 503
        assert (await client.get("/readyz")).json() == {"ready": False}
        assert (await asked).status_code == 200
        await draining

    run(test, servers=1)


def test_heads_have_no_body_and_large_bodies_are_refused_here() -> None:
    async def test(client: Client, front: Front, servers: list[Server]) -> None:
        answer = await client.head("/v1/models")
        assert (answer.status_code, answer.content) == (200, b"")
        assert servers[0].asked[0][0].startswith("GET ")
        asked = len(servers[0].asked)
        big = await client.post("/v1/predict", content=b"x" * (front.settings.body_bytes + 1))
        assert big.status_code == 413
        assert len(servers[0].asked) == asked

    run(test, servers=1)
