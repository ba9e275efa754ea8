"""Tracking beside other packages in one run: HOTA and IDF1, frames a CPU-second, dropped frames, line counts.

    python benchmarks/tracking.py --peers PYTHON [--data ../shared/data/mot15_mini] [--check PYTHON]
    python benchmarks/tracking.py --soak HOURS

PYTHON of an environment of its own with `trackers` 2.6, supervision 0.31 and norfair 2.3. `--check` is the Python of
one with trackeval 1.3.0, with whose numbers ours are compared on every sequence of every tracker.

Targets: HOTA >= 43.0 online and >= 45.0 offline on mot15_mini; frames a CPU-second >= 2.5 times ByteTrack and >= 5
times OC-SORT there, >= 6 times both at 50 and 150 drawn objects; with every second frame dropped HOTA falls by at most
half of what ByteTrack loses; 0 wrong of 200 line counts; equal to TrackEval to 1e-9. Settings were chosen on
mot15_mini, and on none of the drawn crowds, in which people walk behind posts and behind each other.

`--soak` follows a live source as the server does: 640x360, 10 frames a second, up to a dozen people who come and go, a
line and a zone, detections that flicker; a viewer looks every tenth minute. Frames are given as fast as they are taken;
the detector is drawn, so that memory and time are those of following. Target: memory flat.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from eyewright.core.labels import LabelSpace
from eyewright.core.tracks import Tracks
from eyewright.data.tracks import find_sequences, read_tracks
from eyewright.imaging.sources.frames import Frame
from eyewright.imaging.trails import Trails
from eyewright.lifecycle.following import Follower, draw_tracks
from eyewright.metrics.tracking import combined, count_sequence
from eyewright.tasks.detect import BoxPrediction
from eyewright.tracking import Line, LineCounter, Tracker, Watch, Zone, fill_tracks

DATA = Path(os.environ.get("EYEWRIGHT_DATA", Path(__file__).parents[2] / "shared/data")) / "mot15_mini"
DROPS, CROWDS = 6, 8
LINE = Line("line", (0, 240), (640, 240))


def drawn(n: int, frames: int = 200) -> np.ndarray:
    """Return detections of `n` walking objects in a scene that grows with their number, 5 % of them missed."""
    rng = np.random.default_rng(n)
    side = 250 * np.sqrt(n)
    place, size = rng.uniform(0, side, (n, 2)), np.stack([rng.uniform(20, 40, n), rng.uniform(50, 100, n)], 1)
    speed = rng.normal(0, 2, (n, 2))
    rows = []
    for k in range(1, frames + 1):
        place += speed
        speed[(place < 0) | (place > side)] *= -1
        boxes = np.concatenate([place, place + size], 1) + rng.normal(0, 1.5, (n, 4))
        seen = rng.random(n) > 0.05
        rows.append(np.column_stack([np.full(n, k), boxes, rng.uniform(0.3, 1, n)])[seen])
    return np.concatenate(rows)


def crowd(seed: int) -> tuple[np.ndarray, float, int, np.ndarray]:
    """Return detections of a drawn street, frames a second, number of frames, and the truth (frame, id, corners).

    People walk, stop and turn; whoever is nearer hides who is behind, and so do three posts. A detector misses more of
    what is hidden, its boxes shake in proportion to their size, some scores are low, and there are false boxes."""
    rng = np.random.default_rng(20_000 + seed)
    rate, n = float(rng.choice([10, 15, 25, 30])), 300
    width, height, count = 960, 540, int(rng.integers(8, 25))
    posts = [(x, 0.0, x + rng.uniform(15, 60), float(height)) for x in rng.uniform(100, 860, 3)]
    begins = np.sort(rng.integers(0, n - 40, count))
    ends = begins + rng.integers(40, n, count)
    feet = np.column_stack([rng.uniform(40, width - 40, count), rng.uniform(180, height - 10, count)])
    speed = np.column_stack([rng.normal(0, 60, count), rng.normal(0, 12, count)]) / rate
    detections, truth = [], []
    for k in range(n):
        here = np.flatnonzero((begins <= k) & (ends > k))
        turning, stopping = rng.random(count) < 0.3 / rate, rng.random(count) < 0.2 / rate
        speed[turning] = np.column_stack([rng.normal(0, 60, count), rng.normal(0, 12, count)])[turning] / rate
        speed[stopping] *= 0.1
        feet[here] += speed[here]
        speed[(feet < (10, 170)) | (feet > (width - 10, height - 5))] *= -1
        tall = 40 + 0.35 * (feet[:, 1] - 150)
        boxes = np.column_stack([feet[:, 0] - tall / 5, feet[:, 1] - tall, feet[:, 0] + tall / 5, feet[:, 1]])
        for i in here:
            x0, y0, x1, y1 = boxes[i]
            nearer = [boxes[j] for j in here if feet[j, 1] > feet[i, 1]] + (posts if feet[i, 1] < 420 else [])
            hidden = 1 - _seen_share(boxes[i], nearer)
            truth.append((k + 1, i + 1, x0, y0, x1, y1))
            if rng.random() > (0.06 if hidden < 0.3 else 0.06 + 1.2 * (hidden - 0.3)):
                shake = rng.normal(0, 0.04 + 0.06 * hidden, 4) * np.array([x1 - x0, y1 - y0] * 2)
                score = np.clip(rng.normal(0.88 - 0.6 * hidden, 0.1), 0.05, 1)
                detections.append((k + 1, *(boxes[i] + shake), score))
        for _ in range(rng.poisson(0.3)):
            x, y, t = rng.uniform(0, width), rng.uniform(150, height), rng.uniform(40, 150)
            detections.append((k + 1, x, y - t, x + t / 2.5, y, np.clip(rng.normal(0.35, 0.15), 0.05, 1)))
    return np.array(detections), rate, n, np.array(truth)


def _seen_share(box: np.ndarray, nearer: list) -> float:
    """Return which share of a box nothing nearer covers, on a grid of 12 x 24 points."""
    x, y = np.meshgrid(np.linspace(box[0], box[2], 12), np.linspace(box[1], box[3], 24))
    covered = np.zeros(x.shape, bool)
    for x0, y0, x1, y1 in nearer:
        covered |= (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    return 1 - float(covered.mean())


def crossing(seed: int) -> tuple[np.ndarray, float, int, tuple[int, int]]:
    """Return detections of people near a line at y = 240, with jitter of 6 pixels and misses, and its in and out."""
    rng = np.random.default_rng(10_000 + seed)
    rate, rows, came = float(rng.choice([10, 15, 25, 30])), [], [0, 0]
    n = int(rng.integers(1, 6))
    last = 1
    for i in range(n):
        x, speed, start = 60 + 110 * i + rng.uniform(-10, 10), rng.uniform(25, 90) / rate, int(rng.integers(1, 30))
        kind = rng.choice(["down", "up", "back", "turn", "stop"])
        there = np.arange(140, 345, speed)
        if kind == "down":
            path, counts = there, (1, 0)
        elif kind == "up":
            path, counts = there[::-1], (0, 1)
        elif kind == "back":
            path, counts = np.concatenate([there, there[::-1]]), (1, 1)
        elif kind == "turn":
            near = there[there < 215]
            path, counts = np.concatenate([near, near[::-1]]), (0, 0)
        else:
            # Stands on the line for three seconds, then goes on.
            before = there[there < 240]
            path, counts = np.concatenate([before, np.full(int(3 * rate), 240.0), there[there >= 240]]), (1, 0)
        came[0] += counts[0]
        came[1] += counts[1]
        for k, y in enumerate(path):
            last = max(last, start + k)
            if 5 < k < len(path) - 5 and rng.random() < 0.05:
                continue
            jx, jy = rng.uniform(-6, 6, 2)
            box = (x + jx - 18, y + jy - 90, x + jx + 18, y + jy)
            rows.append((start + k, *box, rng.uniform(0.7, 1)))
    table = np.array(rows)
    return table[np.argsort(table[:, 0], kind="stable")], rate, last, (came[0], came[1])


def follow(rows: np.ndarray, rate: float, n: int, *, timed: bool = False) -> tuple[Tracks, Tracks, float]:
    """Return our tracks online and offline, and CPU seconds of the tracker alone."""
    tracker = Tracker()
    numbers = np.unique(rows[:, 0]).astype(int) if timed else np.arange(1, n + 1)
    given = [(int(k), rows[rows[:, 0] == k][:, 1:5], rows[rows[:, 0] == k][:, 5]) for k in numbers]
    started = time.process_time()
    found = [tracker.update(boxes, scores, time_s=(k - 1) / rate) for k, boxes, scores in given]
    spent = time.process_time() - started
    names: dict[int, int] = {}
    online, early = [], []
    for (k, boxes, _), p in zip(given, found, strict=True):
        names |= zip(p.keys.tolist(), p.track_ids.tolist(), strict=True)
        online += [(k, i, *b) for i, b in zip(p.track_ids, p.boxes_xyxy, strict=True)]
        early += [(k, key, *b) for key, b in zip(p.keys, p.boxes_xyxy, strict=True)]
        early += [(k, key, *boxes[j]) for key, j in zip(p.unconfirmed_keys, p.unconfirmed, strict=True)]
    offline = fill_tracks(
        Tracks.of([(k, names[key], *b) for k, key, *b in early if key in names]), seconds_per_frame=1 / rate, n_frames=n
    )
    return Tracks.of(online), offline, spent


def count_line(rows: np.ndarray, rate: float, n: int) -> tuple[int, int]:
    tracker, line = Tracker(), LineCounter(LINE)
    for k in range(1, n + 1):
        own = rows[rows[:, 0] == k]
        p = tracker.update(own[:, 1:5], own[:, 5], time_s=(k - 1) / rate)
        line.update(p.track_ids, p.boxes_xyxy, p.label_ids, time_s=p.time_s, frame=k)
    counts = line.counts(("object",))
    return counts["in"], counts["out"]


def soak(hours: float) -> None:
    """Follow a drawn live source and print memory after a minute, a tenth and the whole, and frames a CPU-second."""
    rng, process = np.random.default_rng(0), psutil.Process()
    names = LabelSpace(("person", "bicycle"))
    boxes = np.zeros((0, 4), np.float32)

    class Drawn:
        task_name, thresholds, labels = "detect", None, names

        def predict_images(self, images: list[np.ndarray], **_: object) -> list[BoxPrediction]:
            n = len(boxes)
            kinds = (boxes[:, 0] % 7 < 1).astype(np.int64)
            scores = rng.uniform(0.3, 1, n).astype(np.float32)
            return [BoxPrediction(boxes, scores, kinds, names, images[0].shape[:2])]

    zone = Zone("middle", ((200, 100), (440, 100), (440, 300), (200, 300)))
    watch = Watch((Line("door", (320, 0), (320, 360)),), (zone,))
    follower = Follower(Drawn(), watch=watch, keep_rows=False, forget_s=60.0)
    trails, image = Trails(), rng.integers(0, 255, (360, 640, 3), dtype=np.uint8)
    people = np.zeros((0, 5))
    n, rate, started = int(hours * 36_000), 10, time.process_time()
    memory: dict[int, float] = {}
    for k in range(n):
        if len(people) < 12 and rng.random() < 0.1:
            side = rng.integers(2)
            speed = (1 - 2 * side) * rng.uniform(2, 9)
            people = np.vstack([people, [side * 640.0, rng.uniform(60, 300), speed, rng.normal(0, 1), 30.0]])
        people[:, :2] += people[:, 2:4]
        people = people[(people[:, 0] > -60) & (people[:, 0] < 700)]
        seen = people[rng.random(len(people)) > 0.08]
        at, half = seen[:, :2] + rng.normal(0, 1.5, (len(seen), 2)), seen[:, 4:] / 2
        boxes = np.concatenate([at - half, at + half * [1, 2.5]], 1).astype(np.float32)
        item = follower.step(Frame(image, "camera", k, k / rate))
        if k // (60 * rate) % 10 == 0:
            draw_tracks(
                trails, image, item.boxes_xyxy, item.track_ids, item.labels, time_s=item.time_s, recorder=item.recorder
            )
        if k in (60 * rate, n // 10, n // 2, n - 1):
            memory[k] = process.memory_info().rss / 2**20
    spent = time.process_time() - started
    said = ", ".join(f"{mb:.1f} MB after {(k + 1) / rate / 60:,.0f} min" for k, mb in memory.items())
    crossed = item.recorder.to_json()["counts"]["door"]
    print(
        f"live source, {hours:g} h simulated: {n:,} frames, {item.recorder.n_tracks:,} tracks, "
        f"{crossed['in'] + crossed['out']:,} crossings; RSS {said}; {n / spent:,.0f} frames a CPU-second, "
        f"{100 * spent / (n / rate):.2f} % of a core at {rate} frames a second"
    )


def fmt(values: dict[str, float]) -> str:
    return f"HOTA {100 * values['hota']:5.2f}  IDF1 {100 * values['idf1']:5.2f}  MOTA {100 * values['mota']:5.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers")
    parser.add_argument("--soak", type=float, metavar="HOURS")
    parser.add_argument("--check")
    parser.add_argument("--data", type=Path, default=DATA)
    o = parser.parse_args()
    if o.soak is not None:
        soak(o.soak)
        return
    if o.peers is None:
        parser.error("expected --peers PYTHON or --soak HOURS")
    truth, given, about = {}, {}, {}
    for s, t in zip(find_sequences(o.data, "detections"), find_sequences(o.data, "truth"), strict=True):
        file = read_tracks(s.path, "detections").tracks
        truth[s.name] = read_tracks(t.path, "truth").tracks
        given[s.name] = np.column_stack([file.frames, file.boxes_xyxy, np.nan_to_num(file.scores, nan=1.0)])
        about[s.name] = (s.fps or 30.0, s.n_frames or file.n_frames, 0)
    real = list(given)
    crowds, public = [f"crowd{k}" for k in range(CROWDS)], [f"public-{n}" for n in real]
    scored = [f"scored-{n}" for n in real]
    for k, name in enumerate(crowds):
        given[name], rate, n, rows = crowd(k)
        truth[name], about[name] = Tracks.of(rows), (rate, n, 0)
    for source in real:
        # Boxes of another detector, whose scores are no probabilities: as they are, and without them.
        file = read_tracks(o.data / source / "det" / "det_acf_public.txt", "detections").tracks
        for name, scores in ((f"scored-{source}", file.scores), (f"public-{source}", np.ones(len(file)))):
            given[name] = np.column_stack([file.frames, file.boxes_xyxy, scores])
            truth[name], about[name] = truth[source], about[source]
    sets = {
        "mot15_mini": real,
        "mot15_mini, ACF detections with their scores": scored,
        "mot15_mini, ACF detections without scores": public,
        f"{CROWDS} drawn crowds": crowds,
    }
    every = [n for names in sets.values() for n in names]
    for n in (10, 50, 150):
        given[f"drawn-{n}"], about[f"drawn-{n}"] = drawn(n), (30, 200, 0)
    kept: list[dict[str, np.ndarray]] = []
    for k in range(DROPS):
        rng = np.random.default_rng(k)
        kept.append({n: np.flatnonzero(rng.random(about[n][1]) < 0.5) + 1 for n in real})
        for name in real:
            part = given[name][np.isin(given[name][:, 0], kept[k][name])]
            given[f"dropped{k}-{name}"], about[f"dropped{k}-{name}"] = part, (about[name][0], about[name][1], 1)
            # Whoever is told no times takes the frames that came for all there are.
            blind = part.copy()
            blind[:, 0] = np.searchsorted(kept[k][name], part[:, 0]) + 1
            given[f"droppedblind{k}-{name}"] = blind
            about[f"droppedblind{k}-{name}"] = (about[name][0], len(kept[k][name]), 0)
    answers = {}
    for seed in range(200):
        name = f"lines{seed:03d}"
        given[name], rate, n, answers[name] = crossing(seed)
        about[name] = (rate, n, 0)
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(path, **{f"{k}/rows": v for k, v in given.items()}, **{f"{k}/about": v for k, v in about.items()})  # type: ignore[arg-type]
        done = subprocess.run(
            [o.peers, str(Path(__file__).parent / "peers/track_peers.py"), str(path), str(out)],
            stdout=subprocess.PIPE, check=True, text=True,
        )  # fmt: skip
        spent: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        theirs = dict(np.load(out))
    ours = {n: follow(given[n], about[n][0], int(about[n][1])) for n in every}
    results = {"ours online": {n: ours[n][0] for n in every}, "ours offline": {n: ours[n][1] for n in every}}
    peers = sorted({k.partition("/")[0] for k in theirs} - {"supervision"})
    for peer in peers:
        results[f"{peer} online"] = {n: Tracks.of(theirs[f"{peer}/{n}"]) for n in every}
        results[f"{peer} filled"] = {
            n: fill_tracks(results[f"{peer} online"][n], seconds_per_frame=1 / about[n][0]) for n in every
        }
    for label, names in sets.items():
        print(f"{label}: {len(names)} sequences, {sum(len(truth[n]) for n in names):,} rows of truth")
        for name, found in results.items():
            print(f"  {name:18} {fmt(combined([count_sequence(truth[n], found[n]) for n in names]))}", flush=True)

    print("frames a CPU-second (best of 3)")
    for names in (real, ["drawn-10"], ["drawn-50"], ["drawn-150"]):
        n_frames = sum(int(about[n][1]) for n in names)
        best = min(sum(follow(given[n], about[n][0], int(about[n][1]))[2] for n in names) for _ in range(3))
        row = {p: n_frames / sum(spent[f"{p}/{n}"] for n in names) for p in peers if f"{p}/{names[0]}" in spent}
        label = "mot15_mini" if names is real else names[0]
        shown = "  ".join(f"{p} {v:,.0f} (x{n_frames / best / v:.1f})" for p, v in row.items())
        print(f"  {label:12} ours {n_frames / best:,.0f}  {shown}")

    print(f"every second frame dropped, {DROPS} draws: HOTA on the frames that are left, before and after")

    def score(found: dict[str, Tracks], k: int) -> float:
        own = kept[k]
        counts = [
            count_sequence(
                truth[n].keep(np.isin(truth[n].frames, own[n])), found[n].keep(np.isin(found[n].frames, own[n]))
            )
            for n in real
        ]
        return 100 * combined(counts)["hota"]

    def say(name: str, whole: dict[str, Tracks], parts: list[dict[str, Tracks]]) -> None:
        before, after = ([score(f, k) for k, f in enumerate(x)] for x in ([whole] * DROPS, parts))
        lost = np.array(after) - before
        said = f"{np.mean(before):5.2f} -> {np.mean(after):5.2f} ({lost.mean():+.2f}, sd {lost.std(ddof=1):.2f})"
        print(f"  {name:22} {said}")

    ours_parts = [
        {n: follow(given[f"dropped{k}-{n}"], about[n][0], int(about[n][1]), timed=True)[0] for n in real}
        for k in range(DROPS)
    ]
    say("ours, own times", results["ours online"], ours_parts)
    for peer in ("ByteTrack", "OC-SORT"):
        for kind, said in (("dropped", "own times"), ("droppedblind", "no times")):
            parts = []
            for k in range(DROPS):
                found = {}
                for n in real:
                    table = theirs[f"{peer}/{kind}{k}-{n}"].copy()
                    if kind == "droppedblind" and len(table):
                        table[:, 0] = kept[k][n][table[:, 0].astype(int) - 1]
                    found[n] = Tracks.of(table)
                parts.append(found)
            say(f"{peer}, {said}", results[f"{peer} online"], parts)

    wrong = [n for n, a in answers.items() if count_line(given[n], about[n][0], int(about[n][1])) != a]
    # supervision calls "in" what crosses from the right to the left of its line.
    peer_wrong = [n for n, a in answers.items() if tuple(theirs[f"supervision/{n}"]) not in (a, a[::-1])]
    print(f"line counts wrong: ours {len(wrong)} of 200 {wrong[:5]}, supervision {len(peer_wrong)} of 200")
    if o.check:
        print(f"largest difference from TrackEval: {check(o.check, truth, results):.1e}")


def check(python: str, truth: dict[str, Tracks], results: dict[str, dict[str, Tracks]]) -> float:
    """Return the largest difference of any number of any sequence from TrackEval's."""
    arrays, own = {}, {}
    for k, found in enumerate(results.values()):
        for n, t in truth.items():
            name = f"r{k}-{n}"
            zeros = np.zeros(len(t))
            ignored = zeros if t.ignored is None else t.ignored
            arrays[f"{name}/truth"] = np.column_stack([t.frames, t.ids, t.boxes_xyxy, ignored, zeros])
            arrays[f"{name}/found"] = np.column_stack([found[n].frames, found[n].ids, found[n].boxes_xyxy])
            own[name] = combined([count_sequence(t, found[n])])
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder, "a.npz"), **arrays)
        script = str(Path(__file__).parent / "peers/trackeval_numbers.py")
        text = subprocess.run([python, script, str(Path(folder, "a.npz"))], stdout=subprocess.PIPE, check=True).stdout
    theirs = json.loads(text)
    return max(abs(own[n][k] - theirs[n][k]) for n in own for k in own[n])


if __name__ == "__main__":
    main()
