"""Many good requests, killed workers, hostile files: does everybody get their own answer, and in time?

    python benchmarks/soak.py [--bundle BUNDLE] [--requests 100000] [--connections 64]

Runs over one server each: good requests alone; the same while a worker is killed every 10 s; good requests from some
connections while others send the hostile corpus. Every image has its own answer, known from the bundle in Python: an
answer that is another image's is counted as crossed.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

import eyewright as ew
from eyewright.testing.hostile import hostile_files

DATA = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data"))


class Server:
    def __init__(self, bundle: Path) -> None:
        self.place = tempfile.TemporaryDirectory()
        with socket.socket() as door:
            door.bind(("127.0.0.1", 0))
            self.port = door.getsockname()[1]
        command = (
            sys.executable,
            "-m",
            "eyewright",
            "serve",
            f"m={bundle}",
            "--workers",
            "2",
            "--port",
            str(self.port),
            "--json",
        )
        self.process = subprocess.Popen(command, cwd=self.place.name, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def below(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def workers(self) -> list[psutil.Process]:
        nursery = {p.pid for p in psutil.Process(self.process.pid).children()}
        return [p for p in self.below() if p.pid not in nursery]

    def memory(self) -> float:
        total = 0
        for p in [psutil.Process(self.process.pid), *self.below()]:
            try:
                text = Path(f"/proc/{p.pid}/smaps_rollup").read_text()
                total += int(text.split("Pss:")[1].split()[0])
            except (OSError, psutil.Error):
                pass
        return total / 1024

    def close(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


async def ask(reader, writer, port: int, body: bytes) -> tuple[int, bytes]:  # type: ignore[no-untyped-def]
    head = f"POST /v1/models/m/predict HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    got = await reader.readuntil(b"\r\n\r\n")
    length = int(got.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    return int(got[9:12]), await reader.readexactly(length)


async def good(port: int, cases: list[tuple[bytes, list[float]]], left: list[int], seen: dict) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while left[0] > 0:
        left[0] -= 1
        body, expected = random.choice(cases)
        began = time.perf_counter()
        try:
            status, answer = await asyncio.wait_for(ask(reader, writer, port, body), 60)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            seen["failed"] += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        seen["times"].append(time.perf_counter() - began)
        if status != 200:
            seen["failed"] += 1
        elif not np.allclose(json.loads(answer)["scores"], expected, atol=1e-5):
            seen["crossed"] += 1
    writer.close()


async def bad(port: int, files: list[bytes], stop: asyncio.Event, seen: dict) -> None:
    while not stop.is_set():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            status, _ = await asyncio.wait_for(ask(reader, writer, port, random.choice(files)), 60)
            seen["hostile"][status] = seen["hostile"].get(status, 0) + 1
        except (OSError, asyncio.IncompleteReadError):
            seen["hostile"]["cut"] = seen["hostile"].get("cut", 0) + 1
        except TimeoutError:
            seen["hostile"]["hung"] = seen["hostile"].get("hung", 0) + 1
        writer.close()


async def run(
    server: Server, cases, n: int, connections: int, *, kill: bool = False, hostile: list[bytes] | None = None
) -> dict:  # type: ignore[no-untyped-def]
    seen: dict = {"times": [], "failed": 0, "crossed": 0, "hostile": {}, "killed": 0, "most_mb": 0.0, "recovery": []}
    left, stop = [n], asyncio.Event()

    async def killer() -> None:
        while not stop.is_set():
            await asyncio.sleep(10)
            workers = server.workers()
            if workers and not stop.is_set():
                random.choice(workers).kill()
                seen["killed"] += 1
                began = time.perf_counter()
                await asyncio.sleep(0.02)
                while len(server.workers()) < 2 and time.perf_counter() - began < 20:
                    await asyncio.sleep(0.01)
                seen["recovery"].append(time.perf_counter() - began)

    async def meter() -> None:
        while not stop.is_set():
            seen["most_mb"] = max(seen["most_mb"], await asyncio.to_thread(server.memory))
            await asyncio.sleep(0.25)

    beside = [asyncio.create_task(meter())]
    if kill:
        beside.append(asyncio.create_task(killer()))
    if hostile:
        beside += [asyncio.create_task(bad(server.port, hostile, stop, seen)) for _ in range(4)]
    began = time.perf_counter()
    await asyncio.gather(*(good(server.port, cases, left, seen) for _ in range(connections)))
    seen["rate"] = n / (time.perf_counter() - began)
    stop.set()
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)
    return seen


def told(name: str, seen: dict, rest: float) -> None:
    p50, p99 = (float(np.quantile(seen["times"], q)) * 1e3 for q in (0.5, 0.99))
    print(f"{name}: {len(seen['times'])} answers, {seen['failed']} failed, {seen['crossed']} crossed", flush=True)
    print(f"  {seen['rate']:.0f}/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    print(f"  memory {rest:.0f} MB at rest, {seen['most_mb']:.0f} MB at most")
    if seen["killed"]:
        print(f"  {seen['killed']} workers killed, replaced after {statistics.median(seen['recovery']):.2f} s (median)")
    if seen["hostile"]:
        print(f"  hostile files by status: {seen['hostile']}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=64)
    o = parser.parse_args()
    if o.bundle:
        bundle = Path(o.bundle)
    else:
        place = Path(tempfile.mkdtemp())
        bundle = ew.export(
            ew.train(DATA / "sign_digits", epochs=3, out=place / "run", say=print), place / "b.bundle"
        ).folder
    files = sorted((DATA / "sign_digits").rglob("*.*g"))[::13][:150]
    loaded = ew.load_bundle(bundle)
    cases = [(f.read_bytes(), loaded.predict(f).to_json(top=None)["scores"]) for f in files]
    for name, n, connections, options in (
        ("good requests", o.requests, o.connections, {}),
        ("a worker killed every 10 s", o.requests // 2, o.connections, {"kill": True}),
        ("good alone, 8 connections", 4000, 8, {}),
        (
            "8 good connections beside 4 hostile ones",
            4000,
            8,
            {"hostile": [f.data for f in hostile_files(1500, seed=11)]},
        ),
    ):
        server = Server(bundle.resolve())
        rest = server.memory()
        seen = asyncio.run(run(server, cases, n, connections, **options))
        told(name, seen, rest)
        server.close()


if __name__ == "__main__":
    main()
