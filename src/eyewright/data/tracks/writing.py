"""Tracks as text that other tools read: MOTChallenge's rows, CSV, JSON, COCO of videos, YOLO labels."""

__all__ = ["tracks_to_coco", "tracks_to_csv", "tracks_to_json", "tracks_to_mot", "tracks_to_yolo"]

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eyewright.core.jsonable import dumps_json
from eyewright.core.tracks import Tracks
from eyewright.data.tracks.rows import TrackFile

_MOST_IMAGES = 1_000_000


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


def tracks_to_json(
    tracks: Tracks,
    *,
    name: str,
    fps: float | None = None,
    n_frames: int | None = None,
    size_hw: tuple[int, int] | None = None,
) -> str:
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
    about: dict[str, Any] = {"format": "eyewright.tracks", "version": 1, "name": name, "fps": fps, "n_frames": n_frames}
    if size_hw is not None:
        about |= {"width": size_hw[1], "height": size_hw[0]}
    return dumps_json({**about, "labels": tracks.labels, "frames": frames}) + "\n"


def tracks_to_coco(files: Mapping[str, TrackFile]) -> dict[str, Any]:
    """Return the sequences by name as one COCO object of videos, as TAO, ByteTrack and mmtracking read it.

    Frames are `images` with `frame_id` and `frame_index` from 0. An annotation has its identity within the video as
    `mot_instance_id`, and as `track_id` and `instance_id` one that no other video has: the same where none repeats.

    >>> found = tracks_to_coco({"a": TrackFile(Tracks.of([(2, 3, 0, 0, 10, 20)]), (), 1)})
    >>> found["annotations"][0]["track_id"], found["images"][1]["frame_id"], found["videos"][0]["length"]
    (3, 1, 2)
    """
    labels = list(dict.fromkeys(f.tracks.labels[k] for f in files.values() for k in np.unique(f.tracks.label_ids)))
    category = {label: k for k, label in enumerate(labels, 1)}
    each = [np.unique(f.tracks.ids).tolist() for f in files.values()]
    apart = len({i for ids in each for i in ids}) == sum(map(len, each))
    videos, images, annotations, tracks = (list[dict[str, Any]]() for _ in range(4))
    for video, ((name, file), ids) in enumerate(zip(files.items(), each, strict=True), 1):
        own = {i: i if apart else len(tracks) + k for k, i in enumerate(ids, 1)}
        size = {} if file.size_hw is None else {"width": file.size_hw[1], "height": file.size_hw[0]}
        n_frames = max(file.n_frames or 0, file.tracks.n_frames)
        rate = {} if file.fps is None else {"fps": file.fps}
        videos.append({"id": video, "name": name, **size, **rate, "length": n_frames})
        place = _image_ids(file, n_frames, len(images))
        times = {} if file.tracks.times_s is None else dict(zip(file.tracks.frames, file.tracks.times_s, strict=True))
        for frame, image in place.items():
            when = {"time_s": round(float(times[frame]), 6)} if frame in times and times[frame] >= 0 else {}
            file_name = file.frame_names.get(frame, f"{name}/{frame:06d}.jpg")
            about = {"id": image, "video_id": video, "file_name": file_name, **size}
            images.append({**about, "frame_id": frame - 1, "frame_index": frame - 1, **when})
        votes: dict[int, Counter[int]] = defaultdict(Counter)
        for k in range(len(file.tracks)):
            identity, frame = int(file.tracks.ids[k]), int(file.tracks.frames[k])
            x0, y0, x1, y1 = (round(v, 4) for v in file.tracks.boxes_xyxy[k].tolist())
            number, score = category[file.tracks.labels[int(file.tracks.label_ids[k])]], float(file.tracks.scores[k])
            votes[identity][number] += 1
            box = [x0, y0, round(x1 - x0, 4), round(y1 - y0, 4)]
            annotations.append({
                "id": len(annotations) + 1, "image_id": place[frame], "video_id": video, "category_id": number,
                "track_id": own[identity], "instance_id": own[identity], "mot_instance_id": identity, "bbox": box,
                "area": round(box[2] * box[3], 4), "iscrowd": 0,
                **({} if score != score else {"score": round(score, 6)}),
            })  # fmt: skip
        tracks += [{"id": own[i], "video_id": video, "category_id": votes[i].most_common(1)[0][0]} for i in ids]
    return {
        "info": {"description": "written by eyewright"},
        "categories": [{"id": k, "name": label} for label, k in category.items()],
        "videos": videos, "images": images, "tracks": tracks, "annotations": annotations,
    }  # fmt: skip


def _image_ids(file: TrackFile, n_frames: int, before: int) -> dict[int, int]:
    """Return the id of each frame's image: of all frames, or of those with boxes where a file states very many."""
    known = sorted({*np.unique(file.tracks.frames).tolist(), *file.frame_names})
    numbers = range(1, n_frames + 1) if n_frames <= _MOST_IMAGES and not file.frame_names else known
    return {frame: before + k for k, frame in enumerate(numbers, 1)}


def tracks_to_yolo(tracks: Tracks, size_hw: tuple[int, int], labels: Sequence[str]) -> dict[int, str]:
    """Return the label file of each frame with boxes: class, centre, size, confidence where all have one, identity.

    `labels` are the names of the classes by number; centre and size are fractions of the frame's sides.

    >>> tracks_to_yolo(Tracks.of([(2, 3, 0, 0, 10, 20)]), (40, 40), ("object",))
    {2: '0 0.125 0.25 0.25 0.5 3\\n'}
    """
    height, width = size_hw
    numbers = {label: k for k, label in enumerate(labels)}
    scored = bool(np.isfinite(tracks.scores).all())
    found: dict[int, list[str]] = defaultdict(list)
    for k in range(len(tracks)):
        x0, y0, x1, y1 = tracks.boxes_xyxy[k].tolist()
        box = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
        score = [_short(float(tracks.scores[k]))] if scored else []
        cells = [str(numbers[tracks.labels[int(tracks.label_ids[k])]]), *(_fraction(v) for v in box), *score]
        found[int(tracks.frames[k])].append(" ".join([*cells, str(int(tracks.ids[k]))]) + "\n")
    return {frame: "".join(lines) for frame, lines in found.items()}


def _fraction(value: float) -> str:
    return f"{value:.8f}".rstrip("0").rstrip(".") or "0"


def _short(value: float) -> str:
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text
