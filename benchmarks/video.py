"""Clips: accuracy on overhead_actions, a live stream of 12 frames a second (window 2 s, hop 0.5 s), and the speed of
choosing frames from files.

    python benchmarks/video.py [--parts actions,stream,choosing] [--bundle BUNDLE] [--hours 1] [--pyav PYTHON]
        [--data FOLDER] [--model gru_net] [--budget 20m] [--seeds 3] [--first-seed 0]

Without --bundle, `gru_stream_net` (each frame is computed once) and `gru_net` (all frames of every window are computed)
are trained for one epoch on drawn clips: their speed does not depend on their weights. The frames are those of a real
clip, repeated, and are given as fast as they are taken: the share of a core is CPU time divided by the time of the
stream, the lag is the time from the last frame of a window to its prediction. Memory is that of the process (RSS),
after a minute of the stream and at its end.

The speed of choosing frames is compared with a bare loop of OpenCV that decodes every frame and keeps none,
and with the same loop in PyAV, in an environment of its own (`pip install av numpy`).

`actions` trains on the 228 clips with the defaults, validates on recordings that are held out of them, and scores the
135 clips of other recordings once a seed: accuracy and balanced accuracy (mean recall of the classes).

Targets: accuracy 0.85 and balanced 0.80, the mean of 3 seeds of 20 minutes; at most 25 % of a core, lag at most a hop,
memory flat for an hour; at least 0.9 times the bare loop.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import psutil

import eyewright as ew
from eyewright.bundle.clips import predict_windows
from eyewright.bundle.streams import open_stream
from eyewright.imaging.clips import read_clip
from eyewright.imaging.sampling import ClipSampling
from eyewright.imaging.sources import open_source
from eyewright.imaging.sources.frames import Frame

DATA = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data")) / "overhead_actions"
FPS, WINDOW_S, HOP_S = 12, 2.0, 0.5
MB = 2**20

PYAV = """
import sys, time, av
names = sys.stdin.read().split("\\n")
cpu, frames = time.process_time(), 0
for name in names:
    with av.open(name) as box:
        stream = box.streams.video[0]
        stream.thread_count = 1
        for frame in box.decode(stream):
            frame.to_ndarray(format="rgb24")
            frames += 1
print(frames, time.process_time() - cpu)
"""


def frames_of(path: Path) -> list[np.ndarray]:
    with open_source(str(path)) as source:
        return [frame.image for frame in source]


def endless(images: list[np.ndarray], seconds: float) -> Iterator[Frame]:
    for k in range(int(seconds * FPS)):
        yield Frame(images[k % len(images)], "camera", k, k / FPS)


def draw(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for part, n in (("train", 12), ("val", 6), ("test", 4)):
        for label in ("left", "right"):
            for k in range(n):
                path = folder / part / label / f"{part}-{chr(97 + k)}.avi"
                path.parent.mkdir(parents=True, exist_ok=True)
                writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), FPS, (160, 120))
                for _ in range(2 * FPS):
                    writer.write(rng.integers(0, 255, (120, 160, 3), dtype=np.uint8))
                writer.release()


def trained(model: str, folder: Path) -> Path:
    options = {"model": model, "frames": 24, "span": WINDOW_S, "imgsz": 64, "epochs": 1, "baseline": "none"}
    ew.run(folder / "clips", out=folder / model, leaks="allow", group_by="none", **options)
    return folder / model / "bundle"


def live(bundle_at: Path, images: list[np.ndarray], seconds: float) -> None:
    bundle = ew.load_bundle(bundle_at, threads=1)
    carried = "each frame once" if open_stream(bundle) is not None else "all frames of every window"
    process = psutil.Process()
    lags: list[float] = []
    early = 0
    asked = [0.0]

    def watched() -> Iterator[Frame]:
        nonlocal early
        for frame in endless(images, seconds):
            if frame.index == 60 * FPS:
                early = process.memory_info().rss
            asked[0] = time.perf_counter()
            yield frame

    cpu = time.process_time()
    for _ in predict_windows(bundle, watched(), window_s=WINDOW_S, hop_s=HOP_S):
        lags.append(time.perf_counter() - asked[0])
    cpu = time.process_time() - cpu
    late = process.memory_info().rss
    print(
        f"{bundle.manifest.name} ({carried}): {seconds / 60:.0f} minutes of stream, {len(lags):,} windows; "
        f"{100 * cpu / seconds:.1f} % of a core (target 25 %); lag median {1000 * np.median(lags):.1f} ms, largest "
        f"{1000 * max(lags):.0f} ms (target {1000 * HOP_S:.0f} ms); RSS {early / MB:.0f} MB after a minute, "
        f"{late / MB:.0f} MB at the end",
        flush=True,
    )


def sampling(data: Path, pyav: str | None) -> None:
    cv2.setNumThreads(1)
    paths = sorted(data.rglob("*.mp4"))

    def bare() -> int:
        n = 0
        for path in paths:
            video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
            while True:
                there, frame = video.read()
                if not there:
                    break
                cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                n += 1
            video.release()
        return n

    def ours() -> int:
        return sum(read_clip(path, ClipSampling())[1].frames for path in paths)

    speeds: dict[str, list[float]] = {"bare OpenCV loop": [], "eyewright": []}
    seconds = []
    for _ in range(3):
        for name, read in (("bare OpenCV loop", bare), ("eyewright", ours)):
            cpu, wall = time.process_time(), time.perf_counter()
            n = read()
            speeds[name].append(n / (time.process_time() - cpu))
            if name == "eyewright":
                seconds.append(time.perf_counter() - wall)
    if pyav:
        run = [pyav, "-c", PYAV]
        done = subprocess.run(run, input="\n".join(map(str, paths)), capture_output=True, text=True, check=True)
        count, cpu_s = done.stdout.split()
        speeds["bare PyAV loop, one thread"] = [int(count) / float(cpu_s)]
    for name, each in speeds.items():
        print(f"{name}: {np.median(each):,.0f} frames per CPU-second (n={len(each)})")
    ratio = np.median([b / a for a, b in zip(speeds["bare OpenCV loop"], speeds["eyewright"], strict=True)])
    print(f"choosing 32 frames of each of {len(paths)} clips: {ratio:.2f} times the bare loop (target 0.9), "
          f"{np.median(seconds):.1f} s for all, on one core")  # fmt: skip


def actions(data: Path, model: str, budget: str, seeds: range) -> None:
    """Train with the defaults and score the test clips, a line a seed."""
    each = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            cpu, wall = time.process_time(), time.perf_counter()
            out = Path(folder) / f"{model}-{seed}"
            run = ew.train(data, out=out, task="video", model=model, budget=budget, seed=seed, baseline="none")
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            found = ew.evaluate(run, data).metrics
            each.append([found["accuracy"].value, found["balanced_accuracy"].value])
            about = run.about["training"]
            print(
                f"{model}, seed {seed}, budget {budget}: accuracy {each[-1][0]:.3f}, balanced {each[-1][1]:.3f} of "
                f"{found['accuracy'].n} test clips; {about.get('epochs')} epochs, {wall:.0f} s, {cpu:.0f} CPU-seconds",
                flush=True,
            )
    mean, spread = np.mean(each, 0), np.std(each, 0, ddof=1) if len(each) > 1 else np.zeros(2)
    print(
        f"{model}, {len(each)} seeds: accuracy {mean[0]:.3f} ± {spread[0]:.3f} (target 0.85), balanced {mean[1]:.3f} ± "
        f"{spread[1]:.3f} (target 0.80)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--pyav", metavar="PYTHON")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--parts", default="actions,stream,choosing")
    parser.add_argument("--model", default="gru_net")
    parser.add_argument("--budget", default="20m")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    o = parser.parse_args()
    parts = o.parts.split(",")
    clips = sorted(o.data.rglob("*.mp4"))
    if not clips:
        sys.exit(f"expected videos in {o.data}, found none")
    if "actions" in parts:
        actions(o.data, o.model, o.budget, range(o.first_seed, o.first_seed + o.seeds))
    if "choosing" in parts:
        sampling(o.data, o.pyav)
    if "stream" not in parts:
        return
    images = frames_of(clips[0])
    if o.bundle is not None:
        live(o.bundle, images, 3600 * o.hours)
        return
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder) / "clips")
        for model, hours in (("gru_stream_net", o.hours), ("gru_net", o.hours / 6)):
            live(trained(model, Path(folder)), images, 3600 * hours)


if __name__ == "__main__":
    main()
