"""Jobs on two local nodes of Ray against plain `predict` and worker processes; memory, start, and kill -9 of anything.

    python benchmarks/ray_nodes.py [ratio kills train serve] [--images N --rounds N --kills N --kill-images N]

Needs `pip install 'eyewright[ray]'`. The nodes have a core each.

ratio: seconds until both nodes run, resident memory of both when idle; then whole processes in turn, on JPEG files of
100x100: plain `predict --out`, `predict --on local` with two workers, and `--on HOST:PORT` of the nodes that run. The
ratio is that of whole processes, and of the images after the first shard, which leaves the start out; median of the
rounds. Target: start within 12 s, at most 600 MB, at least 0.95 of the faster of the other two. All rows are compared.
kills: a job is resumed until it is done, while a driver, a worker, a node or the head is killed at random times, the
disk of the driver is full from then on (RLIMIT_FSIZE), or a node is cut off for 30 s ("network": its processes are
stopped, and neither answer nor send). Nodes are started again. Then `--verify`, and the rows compared. Target: 0 lost,
0 double, 0 different.
train: two processes of `torchrun`, and the same on a cluster that `train --on ray` starts, where one is killed after
the first checkpoint: seconds until the next one, and tensors that differ. Target: 30 s, 0.
serve: requests one after another to `serve --on ray` with two servers, of which one is killed: answers by status, and
seconds until both answer again. Target: only 200.
"""

import argparse
import hashlib
import http.client
import json
import os
import random
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

from eyewright.scaling.ray_cluster import agent_ports, head_command
from scaling import BUNDLE, PROGRAM, fill_disk, write_images

NODE = "import sys; sys.modules['grpc'] = None; from ray.scripts.scripts import main; main()"


class Nodes:
    """A head and another node, each a process group."""

    def __init__(self) -> None:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32), RAY_USAGE_STATS_ENABLED="0")
        os.environ.update(RAY_raylet_start_wait_time_s="150", RAY_enable_metrics_collection="0")
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.start("head")
        self.start("other")

    def start(self, name: str) -> None:
        if name == "head":
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.address = f"127.0.0.1:{free.getsockname()[1]}"
            self.place = Path(tempfile.mkdtemp(prefix="ey-nodes-"))
            self.arguments = head_command(*self.address.split(":"), "1", str(self.place))
            words = self.arguments
        else:
            kept = ("--num", "--obj", "--node-ip", "--include-log", "--disable")
            words = ["start", "--block", f"--address={self.address}"]
            words += [*(a for a in self.arguments if a.startswith(kept)), *agent_ports()]
        # A raylet that starts just after its predecessor was killed sometimes dies itself (Ray 2.60).
        for _ in range(5):
            log = self.place / f"{name}.log"
            with open(log, "wb") as said:
                self.running[name] = subprocess.Popen(
                    [sys.executable, "-c", NODE, *words], stdout=said, stderr=said, start_new_session=True
                )
            while self.running[name].poll() is None:
                if b"Ray runtime started" in log.read_bytes():
                    return
                time.sleep(0.05)
            self.kill(name)
        self.close()
        raise SystemExit(log.read_text())

    def kill(self, name: str) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.running[name].pid, signal.SIGKILL)
        self.running.pop(name).wait()

    def cut_off(self, name: str, seconds: float) -> None:
        """Stop all processes of a node for some time; its workers have other groups."""
        before = set(self.pids())
        stopped = before - self.pids_of([n for n in self.running if n != name])
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            if number == signal.SIGSTOP:
                time.sleep(seconds)

    def pids(self) -> list[int]:
        """The processes of both nodes, workers included."""
        return sorted(self.pids_of(self.running))

    def pids_of(self, names: Iterable[str]) -> set[int]:
        """The processes of some nodes, workers included."""
        groups = {self.running[name].pid for name in names}
        parents, found = {}, set()
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (place / "stat").read_text().rpartition(")")[2].split()
                parents[int(place.name)] = int(words[1])
                if int(words[2]) in groups:
                    found.add(int(place.name))
        return found | {pid for pid, parent in parents.items() if parent in found}

    def workers(self) -> list[int]:
        found = []
        for pid in self.pids():
            with suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::RayWorker"):
                    found.append(pid)
        return found

    def close(self) -> None:
        for name in list(self.running):
            self.kill(name)


def resident_mb(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total / 2**20


def digest_of(job: Path) -> str:
    whole = hashlib.sha256()
    for part in sorted((job / "results").glob("*.jsonl")):
        whole.update(part.read_bytes())
    return whole.hexdigest()


def after_start(job: Path) -> float:
    """Images per second from the first to the last commit."""
    times = sorted(p.stat().st_mtime for p in (job / "commits").iterdir())
    return 512 * (len(times) - 1) / (times[-1] - times[0])


def measure_ratio(work: Path, bundle: Path, n: int, rounds: int) -> None:
    begin = time.perf_counter()
    nodes = Nodes()
    started = time.perf_counter() - begin
    time.sleep(10)
    print(f"two nodes: {started:.1f} s to start, {resident_mb(nodes.pids()):.0f} MB idle", flush=True)
    images = write_images(work / "images", n)
    words = (*PROGRAM, "predict", str(bundle), "--source", str(images), "--quiet", "--out")
    ways = {
        "plain": ("--save", "json"),
        "local": ("--on", "local", "--workers", "2"),
        "ray": ("--on", nodes.address),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    digests = set()
    for k in range(rounds):
        for name, more in ways.items():
            out = work / f"{name}-{k}"
            begin = time.perf_counter()
            subprocess.run((*words, str(out), *more), check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - begin)
            if name != "plain":
                rates[name].append(after_start(out))
                digests.add(digest_of(out))
            print(f"round {k} {name:<6} {times[name][-1]:.2f} s", flush=True)
    nodes.close()
    print(f"{n} JPEG files of 100x100, median of {rounds} whole processes; {len(digests)} different set(s) of rows")
    for name, values in times.items():
        rate = f", {statistics.median(rates[name]):.0f} images/s after the first shard" if rates[name] else ""
        print(f"{name:<6} {statistics.median(values):6.2f} s, {n / statistics.median(values):7.1f} images/s{rate}")
    whole = [min(a, b) / c for a, b, c in zip(times["plain"], times["local"], times["ray"], strict=True)]
    later = [b / a for a, b in zip(rates["local"], rates["ray"], strict=True)]
    print(f"whole process: {statistics.median(whole):.2f} of the faster other ({min(whole):.2f}-{max(whole):.2f})")
    print(f"after the start: {statistics.median(later):.2f} of local ({min(later):.2f}-{max(later):.2f})")


def measure_kills(work: Path, bundle: Path, kills: int, n: int, seed: int) -> None:
    images, rng = write_images(work / "kills", n), random.Random(seed)
    (images / "000007.jpg").write_bytes(b"no image")
    words = (*PROGRAM, "predict", str(bundle), "--source", str(images), "--quiet", "--shard-size", "8", "--out")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run((*words, str(work / "whole"), "--on", "local"), **quiet)
    expected = digest_of(work / "whole")
    nodes = Nodes()
    killed = {"driver": 0, "worker": 0, "other": 0, "head": 0, "disk": 0, "network": 0}
    jobs = different = refused = 0
    began, codes = time.perf_counter(), Counter[int]()
    while sum(killed.values()) < kills:
        folder, jobs = work / f"killed-{jobs}", jobs + 1
        while True:
            for name in ("head", "other"):
                if name not in nodes.running:
                    nodes.start(name)
            more = ("--resume",) if (folder / "commits").exists() else ()
            driver = subprocess.Popen((*words, str(folder), "--on", nodes.address, *more), **quiet)
            time.sleep(rng.uniform(3, 12))
            while sum(killed.values()) < kills and driver.poll() is None:
                who = rng.choices(list(killed), (4, 4, 2, 1, 1, 1))[0]
                if who == "driver":
                    driver.kill()
                elif who == "worker":
                    pids = nodes.workers()
                    if not pids:
                        time.sleep(0.2)
                        continue
                    os.kill(rng.choice(pids), signal.SIGKILL)
                elif who == "disk":
                    # Workers of Ray write logs too: only the files of the job are meant to fail.
                    fill_disk([driver.pid])
                elif who == "network" and "other" in nodes.running:
                    nodes.cut_off("other", 30)
                elif who in nodes.running:
                    nodes.kill(who)
                    if who == "head" and "other" in nodes.running:
                        nodes.kill("other")
                else:
                    continue
                killed[who] += 1
                print(f"{time.perf_counter() - began:5.0f} s killed {who}", flush=True)
                if who in ("driver", "head", "disk"):
                    break
                time.sleep(rng.uniform(1, 6))
            code = driver.wait()
            codes[code] += 1
            if code in (0, 1):
                break
        refused += subprocess.run((*words, str(folder), "--verify"), **quiet).returncode != 0
        different += digest_of(folder) != expected
    nodes.close()
    said = ", ".join(f"{count} {name}" for name, count in killed.items())
    print(f"drivers ended with {dict(codes)} in {time.perf_counter() - began:.0f} s")
    print(f"{kills} kills ({said}) over {jobs} jobs of {n} images: {different} jobs with other rows, {refused} refused")


def processes_with(*words: str) -> list[int]:
    """Return the processes on this machine whose arguments have all of these words."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if {w.encode() for w in words} <= set((place / "cmdline").read_bytes().split(b"\0")):
                found.append(int(place.name))
    return found


def measure_train(work: Path) -> None:
    import torch

    from eyewright.training.checkpoints import read_tensors

    write_classes(work / "classes")
    options = [
        "--amp",
        "off",
        "--epochs",
        "8",
        "--batch",
        "16",
        "--seed",
        "1",
        "--model",
        "mlp",
        "--imgsz",
        "16",
        "--quiet",
    ]
    own = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    words = ["train", str(work / "classes"), *options, "--out"]
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
    subprocess.run((*torchrun, "eyewright", *words, str(work / "two")), env=own, check=True)
    out = work / "ray"
    spread = (*PROGRAM, *words, str(out), "--on", "ray", "--processes", "2", "--json")
    with subprocess.Popen(spread, env=own, stdout=subprocess.PIPE) as driver:
        last = out / "checkpoints" / "last" / "state.safetensors"
        while not last.exists():
            time.sleep(0.005)
        os.kill(processes_with("-c", "train", str(out))[0], signal.SIGKILL)
        killed = time.perf_counter()
        # Another process may be writing one.
        time.sleep(0.3)
        before = last.stat().st_mtime_ns
        while driver.poll() is None and last.stat().st_mtime_ns == before:
            time.sleep(0.02)
        seconds = time.perf_counter() - killed
        answer = json.loads(driver.communicate()[0])
    ours, theirs = (read_tensors(d / "checkpoints" / "last" / "state.safetensors")[0] for d in (out, work / "two"))
    different = sum(not torch.equal(ours[k], theirs[k]) for k in theirs)
    print(f"restarts {answer['restarts']}: {seconds:.1f} s from the kill to the next checkpoint")
    print(f"{len(theirs)} tensors of the last checkpoint, {different} differ from those of torchrun")


def measure_serve(work: Path, bundle: Path) -> None:
    image = (write_images(work / "served", 1) / "000000.jpg").read_bytes()
    (work / "token").write_text("token-of-clients")
    own = f"bundle={bundle}"
    words = (*PROGRAM, "serve", own, "--on", "ray", "--replicas", "2", "--workers", "1", "--port", "0", "--json")
    begin = time.perf_counter()
    with subprocess.Popen((*words, "--token-file", str(work / "token")), stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        port = int(json.loads(server.stdout.readline())["address"].rpartition(":")[2])
        print(f"{time.perf_counter() - begin:.1f} s until the first server answered")

        def ask(method: str, path: str, body: bytes = b"") -> tuple[int, str]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            with closing(connection):
                headers = {"authorization": "Bearer token-of-clients", "content-type": "image/jpeg"}
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()

        def number(name: str) -> int:
            text = ask("GET", "/metrics")[1]
            return int(float(text.partition(f"\neyewright_{name} ")[2].split()[0]))

        while number("replicas_ready") < 2:
            time.sleep(0.1)
        os.kill(processes_with("serve", own, "--no-log")[0], signal.SIGKILL)
        killed, codes = time.perf_counter(), Counter[int]()
        while time.perf_counter() - killed < 3 or number("replicas_ready") < 2:
            codes[ask("POST", "/v1/models/bundle/predict", image)[0]] += 1
        said = f"{number('repeated_requests')} repeated, both servers again after {time.perf_counter() - killed:.1f} s"
        print(f"answers by status while one of two servers was killed and replaced: {dict(codes)}; {said}")
        server.terminate()


def write_classes(folder: Path) -> None:
    """Write 72 noisy images of three colours."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for k, name in enumerate(("red", "green", "blue")):
        (folder / name).mkdir(parents=True)
        for i in range(24):
            pixels = rng.integers(0, 120, (32, 32, 3))
            pixels[..., k] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i:03d}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["ratio", "kills", "train", "serve"])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--kill-images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="of the kills")
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        if "ratio" in args.what:
            measure_ratio(work, args.bundle, args.images, args.rounds)
        if "kills" in args.what:
            measure_kills(work, args.bundle, args.kills, args.kill_images, args.seed)
        if "train" in args.what:
            measure_train(work)
        if "serve" in args.what:
            measure_serve(work, args.bundle)


if __name__ == "__main__":
    main()
