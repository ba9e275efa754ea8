"""A good client's p99 while others attack the server on loopback, its memory, and how many answers are 5xx.

    python benchmarks/attack.py BUNDLE IMAGE [--seconds 4] [--repeats 3] [--nice 19] [--pin] [--controls]

Each attack runs alone, against a server of its own; nothing but loopback is asked. Memory is the resident memory of the
server and its workers, at its highest, over idle. Two attackers share the machine's cores with the server; with
`--pin` both are on the last core, with `--nice 19` they get what the server leaves, as if they were other machines.
Each attack is repeated, and every number is the median.

Two controls tell how much of that is the shared machine and not the server: "spinning" are two processes that compute
and send nothing, "31 MB elsewhere" sends the worst body to a process that only reads it, which runs where the
attackers do. With `--controls` each attack is also aimed at such a process: the honest client's p99 is then what the
attackers alone cost it. `--only NAME` measures some attacks alone.
"""

import argparse
import base64
import gzip
import http.client
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import psutil

HOST = "Host: localhost\r\n"
SLOW = "slow readers"


def post(path: str, body: bytes, kind: str = "application/json") -> bytes:
    head = f"POST {path} HTTP/1.1\r\n{HOST}Content-Type: {kind}\r\nConnection: close\r\n"
    return head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def attacks(name: str) -> dict[str, bytes]:
    predict, infer = f"/v1/models/{name}/predict", f"/v2/models/{name}/infer"
    eight = base64.b64encode(bytes(6 * 2**20))
    shape = b",".join([b"9"] * 1_000_000)
    return {
        "escaped quotes": post(predict, b'{"inputs": "' + b'\\"' * 2**19),
        "8 MB in base64": post(predict, b'{"inputs": "' + eight + b'"}'),
        "31 MB in base64": post(predict, b'{"inputs": "' + eight * 3 + eight[: 7 * 2**20] + b'"}'),
        "empty lists": post(predict, b'{"inputs": [' + b"[]," * 2**22 + b"[]]}"),
        "deep": post(predict, b"[" * 2**22),
        "long shape": post(infer, b'{"inputs": [{"name": "image", "shape": [' + shape + b'], "datatype": "BYTES"}]}'),
        "many parts": post(predict, b"--x\r\n\r\n\r\n" * 2**18, "multipart/form-data; boundary=x"),
        "small chunks": f"POST {predict} HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n".encode()
        + b"1\r\nx\r\n" * 2**17,
        "idle connections": b"",
        "pipelined": f"GET /openapi.json HTTP/1.1\r\n{HOST}\r\n".encode() * 12,
        "large headers": f"GET /healthz HTTP/1.1\r\n{HOST}Connection: close\r\n".encode()
        + b"".join(b"X-%d: " % k + b"a" * 900 + b"\r\n" for k in range(30)) + b"\r\n",
        "many small requests": f"GET /healthz HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n".encode(),
        "gzip": gzipped(predict),
        "trailers": f"POST {predict} HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n".encode()
        + b"X-Trailer: a\r\n" * 2000 + b"\r\n",
        "100-continue": f"POST {predict} HTTP/1.1\r\n{HOST}Expect: 100-continue\r\n".encode()
        + b"Content-Length: 8000000\r\n\r\n",
        # As many as one client may have open, none of which reads what it asks for.
        SLOW: f"GET /openapi.json HTTP/1.1\r\n{HOST}\r\n".encode() * 12,
    }  # fmt: skip


def gzipped(path: str) -> bytes:
    body = gzip.compress(bytes(2**26))
    head = f"POST {path} HTTP/1.1\r\n{HOST}Content-Encoding: gzip\r\nContent-Type: application/json\r\n"
    return head.encode() + f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def spin(nice: int, pin: bool, ends: float) -> None:
    settle(nice, pin)
    while time.perf_counter() < ends:
        sum(range(1000))


def sink(nice: int, pin: bool, hold: bool, found: "multiprocessing.Queue[int]") -> None:
    """Read requests and refuse them, or hold 256 connections open, on a port of its own, until it is ended."""
    settle(nice, pin)
    door = socket.create_server(("127.0.0.1", 0), backlog=4096)
    found.put(door.getsockname()[1])
    held: list[socket.socket] = []
    while True:
        line, _ = door.accept()
        if not hold:
            threading.Thread(target=swallow, args=(line,), daemon=True).start()
            continue
        held.append(line)
        if len(held) > 256:
            held.pop(0).close()


def swallow(line: socket.socket) -> None:
    with line:
        data = line.recv(2**18)
        head, _, body = data.partition(b"\r\n\r\n")
        said = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
        left = 0 if b"100-continue" in head else int(said or b"0") - len(body)
        while left > 0 and (data := line.recv(2**18)):
            left -= len(data)
        line.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def settle(nice: int, pin: bool) -> None:
    os.nice(nice)
    if pin:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def attack(
    port: int,
    data: bytes,
    seconds: float,
    nice: int,
    pin: bool,
    hold: bool,
    found: "multiprocessing.Queue[list[int]]",
) -> None:
    """Attack for some seconds, in a process of its own: the good client must not wait for its interpreter."""
    settle(nice, pin)
    ends, statuses = time.perf_counter() + seconds, []
    held: list[socket.socket] = []
    while time.perf_counter() < ends:
        try:
            line = socket.create_connection(("127.0.0.1", port), 10)
            if not data or hold:
                if data:
                    line.sendall(data)
                held.append(line)
                if len(held) >= 600:
                    time.sleep(0.05)
                    held.pop(0).close()
                continue
            with line:
                line.sendall(data)
                statuses.append(int(line.recv(65536).split(b" ")[1]))
        except (OSError, IndexError, ValueError):
            continue
    for line in held:
        line.close()
    found.put(statuses)


def good(port: int, path: str, image: bytes, ends: float, statuses: list[int]) -> float:
    times = []
    while time.perf_counter() < ends:
        began = time.perf_counter()
        # A connection that made room for others is tried once more, as clients do; the time goes on.
        for last in (False, True):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                connection.request("POST", path, image)
                answer = connection.getresponse()
                answer.read()
                break
            except ConnectionError:
                if last:
                    raise
            finally:
                connection.close()
        times.append(time.perf_counter() - began)
        statuses.append(answer.status)
        time.sleep(0.005)
    return 1000 * sorted(times)[int(0.99 * len(times))]


def resident(server: psutil.Process) -> float:
    return sum(p.memory_info().rss for p in (server, *server.children(recursive=True))) / 2**20


def measure(
    bundle: str, image: bytes, data: bytes | None, seconds: float, nice: int, pin: bool, control: str = ""
) -> tuple[float, float, list[int]]:
    with tempfile.TemporaryDirectory() as home:
        command = (sys.executable, "-m", "eyewright", "serve", f"m={bundle}", "--port", "0", "--json", "--home", home)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=home)
        assert process.stdout is not None
        try:
            port = int(json.loads(process.stdout.readline())["address"].rpartition(":")[2])
            statuses: list[int] = []
            path = "/v1/models/m/predict"
            good(port, path, image, time.perf_counter() + 1, statuses)
            server = psutil.Process(process.pid)
            idle, peak = resident(server), [0.0]
            ends = time.perf_counter() + seconds
            found: multiprocessing.Queue[list[int]] = multiprocessing.Queue()
            aimed, drains = port, []
            if control.startswith("sink"):
                ports: multiprocessing.Queue[int] = multiprocessing.Queue()
                aside = (nice, pin, "hold" in control or not data, ports)
                drains = [multiprocessing.Process(target=sink, args=aside, daemon=True)]
                drains[0].start()
                aimed = ports.get(timeout=30)
            arguments = (aimed, data, seconds, nice, pin, "hold" in control, found)
            others = [multiprocessing.Process(target=attack, args=arguments) for _ in range(0 if data is None else 2)]
            if control == "spin":
                drains = [multiprocessing.Process(target=spin, args=(nice, pin, ends)) for _ in range(2)]
                for each in drains:
                    each.start()
            for other in others:
                other.start()

            def watch() -> None:
                while time.perf_counter() < ends:
                    peak[0] = max(peak[0], resident(server))
                    time.sleep(0.05)

            watching = threading.Thread(target=watch)
            watching.start()
            p99 = good(port, path, image, ends, statuses)
            watching.join()
            for other in others:
                answered = found.get(timeout=30)
                statuses += [] if drains else answered
                other.join()
            for each in drains:
                each.terminate()
            return p99, peak[0] - idle, statuses
        finally:
            process.terminate()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("image", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--nice", type=int, default=0, help="niceness of the attackers")
    parser.add_argument("--pin", action="store_true", help="attackers on the last core only")
    parser.add_argument("--controls", action="store_true", help="aim each attack at another process as well")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="an attack (repeatable)")
    o = parser.parse_args()
    bundle, image = str(Path(o.bundle).resolve()), o.image.read_bytes()
    rounds: dict[str, list[tuple[float, float, list[int]]]] = {}
    for _ in range(o.repeats):
        known: dict[str, tuple[bytes | None, str]] = {"idle": (None, ""), "spinning": (None, "spin")}
        known |= {name: (data, "hold" if name == SLOW else "") for name, data in attacks("m").items()}
        known["31 MB elsewhere"] = (known["31 MB in base64"][0], "sink")
        for name, (data, control) in known.items():
            if not o.only or name in ("idle", *o.only):
                rounds.setdefault(name, []).append(measure(bundle, image, data, o.seconds, o.nice, o.pin, control))
                if o.controls and data is not None and control != "sink":
                    aside = measure(bundle, image, data, o.seconds, o.nice, o.pin, f"sink {control}")
                    rounds.setdefault(f"{name}, elsewhere", []).append(aside)
    alone = median(p99 for p99, _, _ in rounds["idle"])
    for name, found in rounds.items():
        p99, more = median(p for p, _, _ in found), median(m for _, m, _ in found)
        statuses = [s for _, _, each in found for s in each]
        said = f"p99 {p99:7.1f} ms  x {p99 / alone:4.1f}  memory +{more:5.0f} MiB"
        print(f"{name:28} {said}  5xx {sum(s >= 500 for s in statuses)} of {len(statuses)}", flush=True)


if __name__ == "__main__":
    main()
