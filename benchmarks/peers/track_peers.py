"""Run trackers of other packages over drawn or real detections; in an environment that holds trackers, supervision and
norfair.

    python benchmarks/peers/track_peers.py INPUT.npz OUTPUT.npz

INPUT holds, for every sequence NAME, `NAME/rows`: frame (from 1), x0, y0, x1, y1, score; and `NAME/about`: frames a
second, number of frames, 1 where the peer is to be told the frame's own time. OUTPUT holds `PEER/NAME`: frame, id, x0,
y0, x1, y1; and prints CPU seconds as JSON. A sequence whose NAME begins with `lines` is counted by supervision's
LineZone behind ByteTrack: `PEER/NAME` is in, out.
"""

import json
import sys
import time
import warnings

import norfair
import numpy as np
import supervision as sv
import trackers as T

warnings.simplefilter("ignore")


class Norfair:
    def __init__(self, rate: float) -> None:
        self.tracker = norfair.Tracker(
            distance_function="iou", distance_threshold=0.7, hit_counter_max=round(rate), initialization_delay=2
        )

    def update(self, found: sv.Detections) -> list:
        points = [norfair.Detection(points=box.reshape(2, 2), data=k) for k, box in enumerate(found.xyxy)]
        seen = {id(p): p for p in points}
        return [
            (o.id, o.last_detection.points.reshape(4))
            for o in self.tracker.update(points)
            if id(o.last_detection) in seen
        ]


PEERS = {
    "ByteTrack": lambda rate: T.ByteTrackTracker(frame_rate=rate),
    "OC-SORT": lambda rate: T.OCSORTTracker(frame_rate=rate),
    "BoT-SORT": lambda rate: T.BoTSORTTracker(frame_rate=rate, enable_cmc=False),
    "C-BIoU": lambda rate: T.CBIoUTracker(frame_rate=rate),
    "SORT": lambda rate: T.SORTTracker(frame_rate=rate),
    "norfair": Norfair,
}
FEW = ("ByteTrack", "OC-SORT")


def detections(rows: np.ndarray) -> sv.Detections:
    return sv.Detections(xyxy=rows[:, 1:5].copy(), confidence=rows[:, 5].copy(), class_id=np.zeros(len(rows), int))


def follow(name: str, rows: np.ndarray, rate: float, n: int, timed: bool) -> tuple[np.ndarray, float]:
    tracker = PEERS[name](rate)
    frames = sorted(set(rows[:, 0].astype(int))) if timed else range(1, n + 1)
    given = [(k, detections(rows[rows[:, 0] == k])) for k in frames]
    out = []
    started = time.process_time()
    for k, found in given:
        if name == "norfair":
            out.append((k, tracker.update(found)))
        elif timed:
            out.append((k, tracker.update(found, timestamp=(k - 1) / rate)))
        else:
            out.append((k, tracker.update(found)))
    spent = time.process_time() - started
    table = []
    for k, result in out:
        pairs = result if name == "norfair" else zip(result.tracker_id, result.xyxy, strict=True)
        table += [(k, i, *box) for i, box in pairs if i >= 0]
    return np.array(table, float).reshape(-1, 6), spent


def count(rows: np.ndarray, rate: float, n: int) -> np.ndarray:
    """Line counts as supervision's documentation has them, with ByteTrack and the box's lower middle."""
    tracker = T.ByteTrackTracker(frame_rate=rate)
    line = sv.LineZone(start=sv.Point(0, 240), end=sv.Point(640, 240), triggering_anchors=[sv.Position.BOTTOM_CENTER])
    for k in range(1, n + 1):
        found = tracker.update(detections(rows[rows[:, 0] == k]))
        line.trigger(found[found.tracker_id >= 0])
    return np.array([line.in_count, line.out_count])


def main() -> None:
    given = np.load(sys.argv[1])
    names = sorted({n.partition("/")[0] for n in given.files})
    out, spent = {}, {}
    for name in names:
        rows, (rate, n, timed) = given[f"{name}/rows"], given[f"{name}/about"]
        if name.startswith("lines"):
            out[f"supervision/{name}"] = count(rows, rate, int(n))
            continue
        for peer in FEW if name.startswith(("drawn", "dropped")) else PEERS:
            # The best of three, as ours: a busy machine slows what runs on it.
            times = 1 if name.startswith("dropped") else 3
            done = [follow(peer, rows, rate, int(n), bool(timed) and peer != "norfair") for _ in range(times)]
            out[f"{peer}/{name}"], spent[f"{peer}/{name}"] = done[0][0], min(s for _, s in done)
    np.savez(sys.argv[2], **out)
    json.dump(spent, sys.stdout)


if __name__ == "__main__":
    main()
