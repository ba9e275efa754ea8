"""Tracks as text that other tools read: MOTChallenge's rows, CSV, JSON."""

__all__ = ["tracks_to_csv", "tracks_to_json", "tracks_to_mot"]

import csv
import io
from typing import Any

import numpy as np

from eyewright.core.jsonable import dumps_json
from eyewright.core.tracks import Tracks


def tracks_to_mot(tracks: Tracks) -> str:
    """Return MOTChallenge's rows: frame, id, x, y, width, height, score, -1, -1, -1; coordinates count from 1.

    Scores that are missing are 1. A class is not written: MOTChallenge's tools take pedestrians alone.

    >>> tracks_to_mot(Tracks.of([(1, 3, 0, 0, 10, 20)]))
    '1,3,1,1,10,20,1,-1,-1,-1\\n'
    """
    lines = []
    for frame, identity, box, score in zip(
        tracks.frames.tolist(), tracks.ids.tolist(), tracks.boxes_xyxy.tolist(), tracks.scores.tolist(), strict=True
    ):
        x0, y0, x1, y1 = box
        place = ",".join(_short(v) for v in (x0 + 1, y0 + 1, x1 - x0, y1 - y0))
        lines.append(f"{frame},{identity},{place},{_short(1.0 if score != score else score)},-1,-1,-1\n")
    return "".join(lines)


def tracks_to_csv(tracks: Tracks) -> str:
    """Return a table with the columns frame, time_s, id, label, score, x0, y0, x1, y1.

    >>> tracks_to_csv(Tracks.of([(1, 3, 0, 0, 10, 20)])).splitlines()
    ['frame,time_s,id,label,score,x0,y0,x1,y1', '1,,3,object,,0,0,10,20']
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["frame", "time_s", "id", "label", "score", "x0", "y0", "x1", "y1"])
    times = np.full(len(tracks), np.nan) if tracks.times_s is None else tracks.times_s
    for k in range(len(tracks)):
        known = ["" if v != v else _short(v) for v in (float(times[k]), float(tracks.scores[k]))]
        box = [_short(v) for v in tracks.boxes_xyxy[k].tolist()]
        label = tracks.labels[int(tracks.label_ids[k])]
        writer.writerow([int(tracks.frames[k]), known[0], int(tracks.ids[k]), label, known[1], *box])
    return out.getvalue()


def tracks_to_json(tracks: Tracks, *, name: str, fps: float | None = None, n_frames: int | None = None) -> str:
    """Return an object with `frames`, each with its objects; `read_tracks` reads it back.

    >>> "box_xyxy" in tracks_to_json(Tracks.of([(1, 3, 0, 0, 10, 20)]), name="a")
    True
    """
    frames: list[dict[str, Any]] = []
    times = np.full(len(tracks), np.nan) if tracks.times_s is None else tracks.times_s
    for k in range(len(tracks)):
        number = int(tracks.frames[k])
        if not frames or frames[-1]["frame"] != number:
            frames.append({"frame": number, "time_s": round(float(times[k]), 6), "objects": []})
        frames[-1]["objects"].append(
            {
                "id": int(tracks.ids[k]),
                "label": tracks.labels[int(tracks.label_ids[k])],
                "score": round(float(tracks.scores[k]), 6),
                "box_xyxy": [round(v, 4) for v in tracks.boxes_xyxy[k].tolist()],
            }
        )
    about = {"format": "eyewright.tracks", "version": 1, "name": name, "fps": fps, "n_frames": n_frames}
    return dumps_json({**about, "labels": tracks.labels, "frames": frames}) + "\n"


def _short(value: float) -> str:
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text
