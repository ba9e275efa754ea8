"""Jobs of shards: speed compared with plain `predict`, size of a plan, and rows lost or doubled by kill -9.

    python benchmarks/scaling.py [ratio plan cost kills objects] [--images N] [--names N] [--kills N] [--bundle DIR]

ratio: whole processes, alternating, on JPEG files of 100x100: plain `predict --out`, and `predict --on local` with one
and with all cores' workers; median of the rounds. Target: as fast as plain `predict` for folders of any size.
plan: the given number of names in one folder (hard links to a few files); seconds and peak memory of a process of its
own. Target: 60 s and 150 MB for 1,000,000.
objects: a plan of the given number of objects in a local S3 (a server of this file that makes up its pages; needs the
extra s3; only if named); seconds and peak memory of a process of its own. Target: 150 MB for 1,000,000.
cost: what `cost` predicts from a sample of 300 images, and what a real job of 20,000 takes. Target: within 20 %.
kills: a job is resumed until it is done, while its driver, or one of its workers, is killed at random times, or the
disk is full from then on (its processes may write no byte more: RLIMIT_FSIZE). Then `--verify`, and the rows compared
with those of an undisturbed job. Target: 0 lost, 0 double, 0 different in 50 kills.
"""

import argparse
import json
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

BUNDLE = Path(__file__).parents[1] / "tests" / "bundle" / "format1"
PROGRAM = (sys.executable, "-m", "eyewright")
PLAN = """
import resource, sys, time
from pathlib import Path
from eyewright.scaling import write_plan
begin = time.perf_counter()
plan = write_plan(Path(sys.argv[2]), sys.argv[1], verb="predict", options={})
used = resource.getrusage(resource.RUSAGE_SELF)
cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
print(plan.n_images, plan.n_shards, time.perf_counter() - begin, cpu, peak)
"""


def write_images(folder: Path, n: int) -> Path:
    """Write smooth random JPEG files of 100x100."""
    from PIL import Image

    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(n):
        small = Image.fromarray(rng.integers(0, 255, (8, 8, 3)).astype(np.uint8))
        small.resize((100, 100), Image.Resampling.BICUBIC).save(folder / f"{i:06d}.jpg", quality=88)
    return folder


def measure_ratio(work: Path, bundle: Path, n: int, rounds: int) -> None:
    images, cores = write_images(work / "ratio", n), len(os.sched_getaffinity(0))
    plain = (*PROGRAM, "predict", str(bundle), "--source", str(images), "--quiet", "--out")
    ways: dict[str, tuple[str, ...]] = {"plain": ("--save", "json")}
    ways |= {f"local, {w} workers": ("--on", "local", "--workers", str(w)) for w in sorted({1, cores})}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for k in range(rounds):
        for name, more in ways.items():
            begin = time.perf_counter()
            subprocess.run((*plain, str(work / f"{name}-{k}"), *more), check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - begin)
    print(f"{n} JPEG files of 100x100, {cores} cores, median of {rounds} whole processes")
    for name, values in times.items():
        ratio = np.array(times["plain"]) / np.array(values)
        print(f"{name:<18} {statistics.median(values):6.2f} s, {n / statistics.median(values):7.1f} images/s, ", end="")
        print(f"{np.median(ratio):.2f} times as fast as plain ({ratio.min():.2f}-{ratio.max():.2f})")


def measure_plan(work: Path, n: int) -> None:
    folder = work / "names"
    folder.mkdir()
    begin = time.perf_counter()
    file = work / "file"
    for i in range(n):
        if i % 30_000 == 0:
            # File systems limit the names of one file.
            file = work / f"file{i}"
            file.write_bytes(b"x")
        os.link(file, folder / f"image-{i:08d}.jpg")
    print(f"{n:,} names in one folder, made in {time.perf_counter() - begin:.0f} s")
    done = subprocess.run(
        (sys.executable, "-c", PLAN, str(folder), str(work / "plan-job")), capture_output=True, text=True, check=True
    )
    images, shards, seconds, cpu, memory = map(float, done.stdout.split())
    size = sum(p.stat().st_size for p in (work / "plan-job" / "plan").iterdir()) / 1e6
    print(
        f"plan: {images:,.0f} images, {shards:,.0f} shards in {seconds:.1f} s ({cpu:.1f} CPU-s), "
        f"{memory:.0f} MB, {size:.0f} MB on disk"
    )


def workers_of(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            found += [int(text) for text in task.read_text().split()]
        return [c for c in found if b"scaling.worker" in Path(f"/proc/{c}/cmdline").read_bytes()]
    except OSError:
        return []


def fill_disk(pids: list[int]) -> None:
    """Let processes write no byte more; they are told what a full disk tells them, with another number."""
    for pid in pids:
        try:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, 0))
        except ProcessLookupError:
            continue


def measure_kills(work: Path, bundle: Path, kills: int, n: int, seed: int) -> None:
    images, rng = write_images(work / "kills", n), random.Random(seed)
    (images / "000007.jpg").write_bytes(b"no image")
    predict = (*PROGRAM, "predict", str(bundle), "--source", str(images), "--quiet", "--out")
    job, whole = ("--on", "local", "--workers", "2", "--shard-size", "8"), work / "whole"
    subprocess.run((*predict, str(whole), *job), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    expected = rows_of(whole)
    assert len(expected) == n, len(expected)
    killed = {"driver": 0, "worker": 0, "disk": 0}
    lost = double = other = jobs = 0
    restarts: list[float] = []
    while sum(killed.values()) < kills:
        folder = work / f"killed-{jobs}"
        jobs += 1
        for _ in range(10_000):
            more = ("--resume",) if (folder / "commits").exists() else ()
            done_before, begin = len(list(folder.glob("results/*"))), time.perf_counter()
            driver = subprocess.Popen(
                (*predict, str(folder), *job, *more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            undisturbed = sum(killed.values()) >= kills
            while sum(killed.values()) < kills and driver.poll() is None:
                time.sleep(rng.uniform(0.1, 2.0))
                who = rng.choices(("driver", "worker", "disk"), (3, 3, 1))[0]
                pids = [driver.pid] if who == "driver" else workers_of(driver.pid)
                if pids and driver.poll() is None:
                    if who == "disk":
                        fill_disk([driver.pid, *pids])
                    else:
                        os.kill(rng.choice(pids), signal.SIGKILL)
                    killed[who] += 1
                    if who != "worker":
                        break
            if undisturbed and more:
                while driver.poll() is None and len(list(folder.glob("results/*"))) <= done_before:
                    time.sleep(0.01)
                restarts.append(time.perf_counter() - begin)
            if driver.wait() in (0, 1):
                break
        verified = subprocess.run((*predict, str(folder), "--verify"), stdout=subprocess.DEVNULL).returncode
        found = rows_of(folder)
        ids = [r["id"] for r in found]
        lost += n - len(set(ids))
        double += len(ids) - len(set(ids))
        same = [a["id"] == b["id"] and a["error"] == b["error"] and a["result"] == b["result"] for a, b in
                zip(sorted(found, key=lambda r: r["id"]), expected, strict=False)]  # fmt: skip
        other += len(same) - sum(same) + (verified != 0)
    said = ", ".join(f"{count} {name}" for name, count in killed.items())
    print(f"{kills} kills ({said}) over {jobs} jobs of {n} images:")
    print(f"{lost} rows lost, {double} double, {other} different from an undisturbed job or refused by --verify")
    if restarts:
        print(
            f"restart to the first new part: {statistics.median(restarts):.2f} s median, {max(restarts):.2f} s at most"
        )


def measure_cost(work: Path, bundle: Path, n: int) -> None:
    sample, images = write_images(work / "sample", 300), write_images(work / "all", n)
    words = (*PROGRAM, "cost", str(bundle), "--source", str(sample), "--images", str(n), "--json")
    said = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)["cost"]
    begin = time.perf_counter()
    predict = (*PROGRAM, "predict", str(bundle), "--source", str(images), "--out", str(work / "costed"), "--quiet")
    subprocess.run((*predict, "--on", "local"), check=True, stdout=subprocess.DEVNULL)
    took, expected = time.perf_counter() - begin, said["hours"] * 3600
    low, high = said["hours_low"] * 3600, said["hours_high"] * 3600
    print(
        f"cost of {n} images from a sample of 300: {expected:.1f} s [{low:.1f}, {high:.1f}]; a real job {took:.1f} s, "
    )
    print(f"{expected / took - 1:+.0%} off")


OBJECTS = PLAN.replace("begin =", "import s3fs\nbegin =")


class _Pages(BaseHTTPRequestHandler):
    """Lists `n` objects, 1,000 to a page, as S3 does."""

    protocol_version = "HTTP/1.1"
    n = 0

    def do_GET(self) -> None:
        asked = dict(urllib.parse.parse_qsl(self.path.partition("?")[2]))
        first = int(asked.get("continuation-token", 0))
        last = min(self.n, first + 1000)
        rows = "".join(
            f"<Contents><Key>photos/{k // 1000:04d}/{k:09d}.jpg</Key><Size>{20_000 + k % 997}</Size>"
            f"<ETag>&quot;{k:032x}&quot;</ETag><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for k in range(first, last)
        )
        more = f"<NextContinuationToken>{last}</NextContinuationToken>" if last < self.n else ""
        head = f"<IsTruncated>{str(last < self.n).lower()}</IsTruncated>{more}"
        data = f"<ListBucketResult>{head}{rows}</ListBucketResult>".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


def measure_objects(work: Path, n: int) -> None:
    _Pages.n = n
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
    }  # fmt: skip
    words = (sys.executable, "-c", OBJECTS, "s3://bucket/photos/", str(work / "objects-job"))
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=environment)
    server.shutdown()
    images, shards, seconds, cpu, peak = done.stdout.split()
    print(
        f"plan of {int(images):,} objects in {shards} shards: {float(seconds):.1f} s ({float(cpu):.1f} CPU-s), peak "
        f"{float(peak):.0f} MB"
    )


def rows_of(job: Path) -> list[dict]:
    parts = sorted((job / "results").glob("*.jsonl"))
    return [json.loads(line) for part in parts for line in part.read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["ratio", "plan", "cost", "kills"])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--names", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--kill-images", type=int, default=400)
    parser.add_argument("--cost-images", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0, help="of the kills")
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        if "ratio" in args.what:
            measure_ratio(work, args.bundle, args.images, args.rounds)
        if "plan" in args.what:
            measure_plan(work, args.names)
        if "objects" in args.what:
            measure_objects(work, args.names)
        if "cost" in args.what:
            measure_cost(work, args.bundle, args.cost_images)
        if "kills" in args.what:
            measure_kills(work, args.bundle, args.kills, args.kill_images, args.seed)


if __name__ == "__main__":
    main()
