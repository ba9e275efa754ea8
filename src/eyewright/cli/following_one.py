"""`eyewright track --one`: one object, without a model."""

__all__ = ["track_one"]

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eyewright.cli.ending import ended_with, ended_words
from eyewright.cli.following_files import draws, refuse_inputs
from eyewright.cli.following_output import RowFiles
from eyewright.cli.terminal import Result, fails, is_quiet, note_sound, noting, printable, shown_path, stream_stem
from eyewright.core.errors import InputError, UsageError
from eyewright.core.quoting import quoted

_NOT_HERE = ("bundle", "camera_motion", "offline", "truth", "classes", "conf", "iou", "line", "zone")


def track_one(o: argparse.Namespace, saved: Sequence[str]) -> Result:
    """Follow the object in a box of the first frame; say where it is in every frame, or that it is lost."""
    import numpy as np

    from eyewright.core.tracks import Tracks
    from eyewright.data.tracks import tracks_to_json
    from eyewright.imaging.sources import is_endless
    from eyewright.lifecycle.following_one import track_one as follow

    for name in _NOT_HERE:
        if getattr(o, name):
            raise UsageError(f"--one works without {name.replace('_', '-')}", fix="leave one of them out")
    box = _box(o.one)
    started = time.monotonic()
    folder = None if o.out is None else Path(o.out).resolve()
    stem = stream_stem(o.source)
    refuse_inputs(o, saved, [stem])
    rows: list[Tracks] = []
    states: list[tuple[float, str]] = []
    files: RowFiles | None = None
    video: Any = None
    findings: list[dict[str, Any]] = []
    n = 0
    ended: BaseException | None = None
    try:
        frames = follow(
            o.source, box, method=o.method or "csrt", fps=o.fps, rate=o.rate, stride=o.stride,
            max_frames=o.max_frames, latest=o.latest, note=noting(findings),
        )  # fmt: skip
        for item in frames:
            if n == 0 and folder is not None:
                # The source and the box are right: only now is anything written.
                files = RowFiles(folder, stem, saved)
                if draws(saved):
                    from eyewright.imaging.trails import Trails
                    from eyewright.imaging.webm import WebmWriter

                    video, trails = WebmWriter(folder / f"{stem}.webm"), Trails()
            n += 1
            place = item.found.box_xyxy
            boxes = np.zeros((0, 4)) if place is None else place[None]
            k = len(boxes)
            row = Tracks(
                np.full(k, item.index + 1), np.ones(k, np.int64), boxes, np.full(k, item.found.likeness),
                np.zeros(k, np.int64), ("object",), np.full(k, item.time_s),
            )  # fmt: skip
            rows.append(row)
            if not states or states[-1][1] != item.found.state:
                states.append((item.time_s, item.found.state))
                if not is_quiet(o):
                    print(printable(f"{item.time_s:8.2f} s: {item.found.state}"), flush=True)
            if files is not None:
                files.add(row)
            if video is not None:
                texts = [f"{item.found.likeness:.2f}"] * k
                video.add(trails.draw(item.image, boxes, row.ids, texts, time_s=item.time_s), item.time_s)
    except (KeyboardInterrupt, SystemExit, InputError) as error:
        if not rows:
            raise
        ended = error
    finally:
        if files is not None:
            files.close()
        if video is not None:
            video.close()
    if n == 0:
        raise InputError(f"{quoted(o.source)} has no frame that can be read", fix="check it", code="no_frames")
    whole = _joined(rows)
    if folder is not None and "json" in saved:
        from eyewright.core.files import write_text

        write_text(folder / f"{stem}.json", tracks_to_json(whole, name=stem, n_frames=n))
    if files is not None:
        files.finish()
    if isinstance(ended, InputError):
        raise ended
    if ended is not None:
        written = [*([] if files is None else files.paths()), *([] if video is None else [video.path])]
        details = {"frames": n, "states": _states_json(states), "findings": findings}
        raise ended_words(
            ended_with(ended) or 1, n, "frame", written, live=is_endless(o.source), asked=folder is not None,
            details=details,
        )  # fmt: skip
    if video is not None:
        note_sound(str(o.source), video.path, findings)
    seconds, n_lost = time.monotonic() - started, n - len(whole)
    out = {} if folder is None else {"tracks": folder} | ({"video": folder / f"{stem}.webm"} if video else {})
    model = _model(o.method or "csrt")
    return {
        **model,
        "out": out,
        "tracks": [
            {
                "id": 1, "label": "object", "first_s": float(whole.times_s[0]), "last_s": float(whole.times_s[-1]),
                "frames": len(whole),
            }
        ] if whole.times_s is not None and len(whole) else [],
        "states": _states_json(states),
        "frames": n,
        "findings": findings,
        "exit": int(fails(findings)),
        "frames_per_s": round(n / max(seconds, 1e-9), 2),
        "text": [
            f"seen in {n - n_lost:,} of {n:,} frames, lost in {n_lost:,}",
            *(f"{k:8} {shown_path(p)}" for k, p in out.items()),
        ],
    }  # fmt: skip


def _states_json(states: Sequence[tuple[float, str]]) -> list[dict[str, Any]]:
    return [{"time_s": round(t, 4), "state": s} for t, s in states]


def _model(method: str) -> dict[str, Any]:
    """Return which file the object was tracked by, for the record."""
    if not method.startswith("onnx:"):
        return {}
    import hashlib

    path = Path(method[5:]).resolve()
    return {"model": {"path": path, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}


def _joined(rows: Sequence[Any]) -> Any:
    import numpy as np

    from eyewright.core.tracks import Tracks

    parts = {
        name: np.concatenate([getattr(r, name) for r in rows])
        for name in ("frames", "ids", "boxes_xyxy", "scores", "label_ids", "times_s")
    }
    return Tracks(**parts, labels=("object",))


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        x, y, w, h = (float(v) for v in text.split(","))
    except ValueError:
        raise UsageError(f"expected --one as X,Y,W,H in pixels, found {text!r}", fix="such as 120,80,60,140") from None
    return x, y, w, h
