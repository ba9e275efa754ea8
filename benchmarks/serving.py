"""Requests a second and their times: our server against LitServe, BentoML, Ray Serve, MLServer and FastAPI + Pillow.

    python benchmarks/serving.py --peers PYTHON [--mlserver PYTHON] [--bundle BUNDLE] [--images FOLDER] [--rounds 3]
        [--connections 8 64] [--only NAME …]
    python benchmarks/serving.py --many 50 [--bundle BUNDLE] [--rounds 3]

The same ONNX file, JPEGs, client (closed loop) and cores for all; each server is started, warmed, asked for some
seconds with each number of connections and stopped, in turn, `rounds` times. CPU-ms are those of all its processes for
each request: other work on the machine changes them less than the rate, and the client's are not among them. Peers run
in an environment of their own, with
`pip install fastapi uvicorn httptools uvloop litserve bentoml "ray[serve]" onnxruntime pillow` (and one with
`mlserver "uvloop<0.22" onnxruntime pillow`). Prints medians, ratios over the best peer, the share of the bare rate of
decoding and ONNX Runtime in two processes, start-up, and memory at rest. With `--many N` one server of N copies of the
bundle: seconds and CPU-seconds until it is ready, memory before the first request, and the time of the first and the
second request to each of the last ten.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import multiprocessing
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

DATA = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data"))
PEERS = Path(__file__).parent / "peers"


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def the_bundle(given: str | None) -> Path:
    if given:
        return Path(given)
    import eyewright as ew

    place = Path(tempfile.mkdtemp())
    run = ew.train(DATA / "sign_digits", epochs=3, out=place / "run", say=print)
    return ew.export(run, place / "signs.bundle").folder


# ---- the client, a process of its own


async def _ask(
    port: int, path: str, bodies: list[bytes], kind: str, ends: float, times: list[float], bad: list
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < ends:
        body = random.choice(bodies)
        began = time.perf_counter()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: {kind}\r\n"
        writer.write(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        try:
            got = await reader.readuntil(b"\r\n\r\n")
            lower = got.lower()
            if b"chunked" in lower:
                while await reader.readline() != b"0\r\n":
                    pass
                await reader.readline()
            else:
                await reader.readexactly(int(lower.split(b"content-length:")[1].split(b"\r\n")[0]))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            bad.append(str(error)[:60])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        if b" 200 " not in got[:16]:
            bad.append(got[:40].decode())
        times.append(time.perf_counter() - began)
    writer.close()


def client(port: int, path: str, images: str, kind: str, connections: int, seconds: float) -> None:
    files = [p.read_bytes() for p in sorted(Path(images).rglob("*.jpg"))[:64]]
    if kind == "application/json; litserve":
        # LitServe gives its workers JSON; a form's file is closed before it reaches them.
        files = [json.dumps({"image": base64.b64encode(f).decode()}).encode() for f in files]
    if kind == "application/json":
        files = [
            json.dumps({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1],
                                    "data": [base64.b64encode(f).decode()]}]}).encode()
            for f in files
        ]  # fmt: skip
    if kind.startswith("multipart"):
        head = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
        head += b"Content-Type: image/jpeg\r\n\r\n"
        files = [head + f + b"\r\n--edge--\r\n" for f in files]
    times: list[float] = []
    bad: list[str] = []

    async def main() -> None:
        ends = time.perf_counter() + seconds
        await asyncio.gather(*(_ask(port, path, files, kind, ends, times, bad) for _ in range(connections)))

    began = time.perf_counter()
    asyncio.run(main())
    spent = time.perf_counter() - began
    times.sort()
    n = len(times)
    print(json.dumps({"rate": n / spent, "p50": times[n // 2], "p99": times[min(n - 1, int(n * 0.99))], "n": n,
                      "bad": len(bad), "why": bad[:2]}))  # fmt: skip


def measure(port: int, path: str, images: Path, kind: str, connections: int, seconds: float) -> dict:
    command = (sys.executable, __file__, "--client", str(port), path, str(images), kind, str(connections), str(seconds))
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


# ---- servers


@contextlib.contextmanager
def running(command: tuple[str, ...], port: int, path: str, environment: dict[str, str], cwd: Path):
    log = open(cwd / "peer.log", "wb")
    process = subprocess.Popen(
        command, cwd=cwd, stdout=log, stderr=log, env={**os.environ, **environment}, start_new_session=True
    )
    began = time.perf_counter()
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as line:
                line.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n".encode())
                answer = line.recv(100)
                if answer.startswith(b"HTTP/1.1 200"):
                    break
            if process.poll() is not None or time.perf_counter() - began > 120:
                raise RuntimeError(f"{command} did not start: {(cwd / 'peer.log').read_text()[-800:]}")
            time.sleep(0.01)
        yield process, time.perf_counter() - began
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if "ray" in command[-2]:
            subprocess.run((str(Path(command[0]).parent / "ray"), "stop", "--force"), capture_output=True)
        time.sleep(0.5)


def memory(pid: int) -> float:
    """Return the proportional set size of a process and all below it, MB."""
    import psutil

    total = 0
    for p in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{p.pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024


def cpu_seconds(pid: int) -> dict[int, float]:
    """Return the CPU-seconds of a process and of all below it, by their ids."""
    import psutil

    found = {}
    for p in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            times = p.cpu_times()
            found[p.pid] = times.user + times.system
    return found


def _bare(bundle: str, images: str, seconds: float, out) -> None:
    os.environ["PEER_BUNDLE"] = bundle
    sys.path.insert(0, str(PEERS))
    from model import Model

    model = Model()
    files = [p.read_bytes() for p in sorted(Path(images).rglob("*.jpg"))[:64]]
    began, n = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        model.session.run(["probabilities"], {"image": model.prepare(random.choice(files))})
        n += 1
    out.put(n / (time.perf_counter() - began))


def bare(bundle: Path, images: Path, seconds: float) -> float:
    """Return the rate of nothing but Pillow and ONNX Runtime, in two processes."""
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    processes = [context.Process(target=_bare, args=(str(bundle), str(images), seconds, out)) for _ in range(2)]
    for p in processes:
        p.start()
    total = sum(out.get() for _ in processes)
    for p in processes:
        p.join()
    return total


def cost_of_log(command: tuple[str, ...], images: Path, environment: dict[str, str], pairs: int) -> list[float]:
    """Return the p50 of a server that logs over that of one that does not, one connection, in turns."""
    ratios = []
    with contextlib.ExitStack() as stack:
        ports = []
        for more in ((), ("--no-log",)):
            port = free_port()
            place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            stack.enter_context(running((*command, *more, "--port", str(port)), port, "/readyz", environment, place))
            ports.append(port)
        for _ in range(pairs):
            with_log, without = (
                measure(port, "/v1/models/m/predict", images, "application/octet-stream", 1, 2)["p50"] for port in ports
            )
            ratios.append(with_log / without)
    return sorted(ratios)


def many(command: tuple[str, ...], bundle: Path, n: int, image: bytes, environment: dict[str, str]) -> dict[str, float]:
    """Return what a server of n copies of a bundle takes: to be ready, at rest, and for first and second requests."""
    import shutil
    import urllib.request

    with tempfile.TemporaryDirectory() as place:
        names = [f"m{k}" for k in range(n)]
        for name in names:
            shutil.copytree(bundle, Path(place, name))
        port = free_port()
        given = (*(f"{name}={Path(place, name)}" for name in names), "--port", str(port))
        with running((*command, *given), port, "/readyz", environment, Path(place)) as (process, started):
            found = {"ready": started, "cpu": sum(cpu_seconds(process.pid).values())}
            # The second worker is started once the first is ready.
            time.sleep(5)
            found["memory"] = memory(process.pid)
            times: list[list[float]] = [[], []]
            for k, name in ((k, name) for name in names[-10:] for k in (0, 1)):
                address = f"http://localhost:{port}/v1/models/{name}/predict"
                began = time.perf_counter()
                urllib.request.urlopen(urllib.request.Request(address, data=image)).read()
                times[k].append(time.perf_counter() - began)
            found |= {"first": statistics.median(times[0]), "second": statistics.median(times[1])}
            return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers")
    parser.add_argument("--mlserver")
    parser.add_argument("--bundle")
    parser.add_argument("--images", default=str(DATA / "coco_cc" / "images"))
    parser.add_argument("--connections", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--only", nargs="+", help="names of servers")
    parser.add_argument("--log-pairs", type=int, default=11, help="measurements of the log's cost; 0 leaves them out")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--many", type=int, help="one server of so many copies of the bundle, and nothing else")
    parser.add_argument("--rounds", type=int, default=3)
    o = parser.parse_args()
    bundle, images = the_bundle(o.bundle).resolve(), Path(o.images).resolve()
    # Our server is that of the checkout which runs this, as its own PYTHONPATH says.
    paths = os.pathsep.join(filter(None, (str(PEERS), os.environ.get("PYTHONPATH"))))
    environment = {"PEER_BUNDLE": str(bundle), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    ours = (sys.executable, "-m", "eyewright", "serve", f"m={bundle}", "--workers", "2")
    if o.many:
        image = min(images.rglob("*.jpg")).read_bytes()
        command = (sys.executable, "-m", "eyewright", "serve", "--workers", "2")
        rows = [many(command, bundle, o.many, image, environment) for _ in range(o.rounds)]
        middle_of = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        print(f"{o.many} bundles, two workers, median of {o.rounds}: ready after {middle_of['ready']:.2f} s", end="")
        print(f" ({middle_of['cpu']:.2f} CPU-s), {middle_of['memory']:.0f} MB", end="")
        print(f"; first request {middle_of['first'] * 1e3:.0f} ms, second {middle_of['second'] * 1e3:.0f} ms")
        return
    binary, form = "application/octet-stream", "multipart/form-data; boundary=edge"
    servers: dict[str, tuple] = {
        "eyewright": ((*ours, "--port", "{}"), "/v1/models/m/predict", "/readyz", binary),
        "eyewright, no log": ((*ours, "--no-log", "--port", "{}"), "/v1/models/m/predict", "/readyz", binary),
        "eyewright, scaled": ((*ours, "--scaled-decode", "--port", "{}"), "/v1/models/m/predict", "/readyz", binary),
    }
    if o.peers:
        tools = Path(o.peers).parent
        quiet = ("--log-level", "error", "--no-access-log")
        uvicorn = (str(tools / "uvicorn"), "fastapi_app:app", "--workers", "2", *quiet, "--port", "{}")
        lit, ray = ((o.peers, str(PEERS / f"{name}_app.py"), "{}") for name in ("litserve", "ray"))
        bento = (str(tools / "bentoml"), "serve", "bentoml_app:Served", "--port", "{}")
        servers |= {
            "FastAPI + Pillow": (uvicorn, "/predict", "/ready", binary),
            "FastAPI + draft": (("env", "PEER_DRAFT=1", *uvicorn), "/predict", "/ready", binary),
            "LitServe": (lit, "/predict", "/health", "application/json; litserve"),
            "BentoML": (bento, "/predict", "/readyz", form),
            "Ray Serve": (ray, "/predict", "/-/healthz", binary),
        }
    if o.mlserver:
        servers["MLServer"] = ((str(Path(o.mlserver).parent / "mlserver"), "start", "."), "/v2/models/m/infer",
                               "/v2/models/m/ready", "application/json")  # fmt: skip
    if o.only:
        servers = {name: server for name, server in servers.items() if name in o.only}
    found: dict[tuple[str, int], list[dict]] = {(name, c): [] for name in servers for c in o.connections}
    rates = []
    for k in range(o.rounds):
        rates.append(bare(bundle, images, o.seconds / 2))
        for name, (command, path, ready, kind) in servers.items():
            port = free_port()
            with tempfile.TemporaryDirectory() as place:
                if name == "MLServer":
                    settings = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port(),
                                "parallel_workers": 2, "debug": False, "host": "127.0.0.1"}  # fmt: skip
                    Path(place, "settings.json").write_text(json.dumps(settings))
                    Path(place, "model-settings.json").write_text(
                        json.dumps({"name": "m", "implementation": "mlserver_app.Served"})
                    )
                filled = tuple(c.format(port) for c in command)
                try:
                    with running(filled, port, ready, environment, Path(place)) as (process, started):
                        measure(port, path, images, kind, o.connections[0], 2)
                        rest = memory(process.pid)
                        for c in o.connections:
                            before = cpu_seconds(process.pid)
                            one = measure(port, path, images, kind, c, o.seconds)
                            after = cpu_seconds(process.pid)
                            spent = {p: s - before.get(p, 0.0) for p, s in after.items()}
                            one |= {"started": started, "memory": rest, "cpu": sum(spent.values()) / one["n"]}
                            found[name, c].append(one)
                            line = f"round {k} {name:18} c={c:<3} {one['rate']:7.1f}/s  p50 {one['p50'] * 1e3:6.1f}"
                            line += f"  p99 {one['p99'] * 1e3:6.1f} ms  {one['cpu'] * 1e3:.2f} CPU-ms"
                            line += f" ({spent[process.pid] / one['n'] * 1e3:.2f} in its first process)"
                            line += (
                                f"  n {one['n']}  bad {one['bad']} {one['why']}  start {started:.2f} s  {rest:.0f} MB"
                            )
                            print(line, flush=True)
                except (RuntimeError, subprocess.CalledProcessError) as error:
                    print(f"{name}: {str(error)[-400:]}")

    def middle(name: str, c: int, key: str) -> float:
        return statistics.median(r[key] for r in found[name, c])

    print(f"\nbare decode + ONNX Runtime, two processes: {statistics.median(rates):.1f}/s")
    for c in o.connections:
        peers = [n for n in servers if not n.startswith("eyewright") and found[n, c]]
        for name in servers:
            if not found[name, c]:
                continue
            line = f"c={c:<3} {name:18} {middle(name, c, 'rate'):7.1f}/s  p50 {middle(name, c, 'p50') * 1e3:6.1f}"
            line += f"  p99 {middle(name, c, 'p99') * 1e3:6.1f} ms  {middle(name, c, 'cpu') * 1e3:.2f} CPU-ms"
            line += f"  {middle(name, c, 'rate') / statistics.median(rates):5.2f} of bare"
            if name.startswith("eyewright") and peers:
                pairs = [(a["rate"] / max(found[p, c][k]["rate"] for p in peers if k < len(found[p, c])))
                         for k, a in enumerate(found[name, c])]  # fmt: skip
                best = max(peers, key=lambda p: middle(p, c, "rate"))
                line += f"  {statistics.median(pairs):.2f}x the best peer ({best})"
                line += f", p99 {middle(name, c, 'p99') / middle(best, c, 'p99'):.2f}x its"
            print(line)
    if o.log_pairs:
        ratios = cost_of_log(ours, images, environment, o.log_pairs)
        middle_ratio = statistics.median(ratios)
        print(
            f"p50 with the log over without: {middle_ratio:.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}, n={len(ratios)})"
        )
    if "eyewright" in servers and found["eyewright", o.connections[0]]:
        started, rest = (middle("eyewright", o.connections[0], key) for key in ("started", "memory"))
        print(f"start to ready {started:.2f} s, memory {rest:.0f} MB (PSS, warmed)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        _, _, port, path, images, kind, connections, seconds = sys.argv
        client(int(port), path, images, kind, int(connections), float(seconds))
    else:
        main()
