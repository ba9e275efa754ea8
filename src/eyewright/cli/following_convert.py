"""`eyewright convert --task track`: tracks from one form into another, with their identities."""

__all__ = ["convert_tracks"]

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.cli.following import boxes_text, warned
from eyewright.cli.terminal import Result, finding, shown_path
from eyewright.core.errors import UsageError
from eyewright.core.quoting import quoted

if TYPE_CHECKING:
    from eyewright.data.tracks import TrackFile

_FORMS = ("mot", "csv", "json", "coco", "yolo")
_MOST_FINDINGS = 10_000


def convert_tracks(o: argparse.Namespace) -> Result:
    """Write tracks or truth of any form that is read: a file a sequence, one of COCO, or folders of YOLO labels."""
    from eyewright.core.files import staged_folder, write_staged
    from eyewright.core.jsonable import dumps_json
    from eyewright.data.tracks import find_sequences, tracks_to_coco, tracks_to_csv, tracks_to_json, tracks_to_mot

    out = Path(o.out)
    if o.to not in _FORMS:
        raise UsageError(f"tracks cannot be written as {o.to!r}", fix="pass --to mot, csv, json, coco or yolo")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{o.out!r} is not empty", fix="choose another --out", code="output_not_empty")
    sequences = find_sequences(Path(o.data), "tracks")
    files: dict[str, TrackFile] = {}
    findings: list[Any] = []
    for sequence in sequences:
        file = sequence.read("tracks")
        findings += [*sequence.findings, *file.findings]
        if file.relative and o.to != "yolo":
            raise UsageError(
                f"boxes of {sequence.name!r} are fractions of frames whose size is not known",
                fix="put a seqinfo.ini with imWidth and imHeight, or the frames, next to the labels",
                code="no_size",
            )
        files[sequence.name] = _completed(file, sequence.fps, sequence.n_frames)
    lost = sorted({each for file in files.values() for each in file.lost} | set(_lost(o.to, files)))
    n_boxes = sum(len(file.tracks) for file in files.values())
    form: Callable[[Any], str] = tracks_to_mot if o.to == "mot" else tracks_to_csv
    ending = "txt" if o.to == "mot" else "csv"
    with staged_folder(out) as stage:
        if o.to == "coco":
            write_staged(stage / "annotations.json", dumps_json(tracks_to_coco(files)) + "\n")
        elif o.to == "yolo":
            _write_yolo(stage, files)
        else:
            for name, file in files.items():
                if o.to == "json":
                    text = tracks_to_json(
                        file.tracks, name=name, fps=file.fps, n_frames=file.n_frames, size_hw=file.size_hw
                    )
                    write_staged(stage / f"{name}.json", text)
                else:
                    write_staged(stage / f"{name}.{ending}", form(file.tracks))
    n = len(sequences)
    wrong = warned(o, findings)
    return {
        "task": "track", "out": {"tracks": out.resolve()}, "lost": lost, "objects": n_boxes,
        "findings": [finding(f) for f in findings[:_MOST_FINDINGS]],
        "text": [
            f"wrote {boxes_text(n_boxes)} of {n:,} sequence{'s' * (n != 1)} to {shown_path(out)}",
            *(f"lost     {each}" for each in lost),
        ],
        "exit": 1 if wrong else 0,
    }  # fmt: skip


def _completed(file: "TrackFile", fps: float | None, n_frames: int | None) -> "TrackFile":
    from dataclasses import replace

    return replace(file, fps=file.fps or fps, n_frames=file.n_frames or n_frames)


def _lost(to: str, files: "Mapping[str, TrackFile]") -> list[str]:
    """Return what a form cannot hold of these files."""
    import numpy as np

    lost = []
    timed = any(f.tracks.times_s is not None for f in files.values())
    if to == "mot":
        named = any(label != "object" for f in files.values() for label in f.tracks.labels)
        lost += ["classes: MOT's tracks have none"] if named else []
        lost += ["times: MOT's rows have only frame numbers"] if timed else []
    if to == "yolo":
        lost += ["times: YOLO's labels have only frame numbers"] if timed else []
        some = sum(1 for f in files.values() if 0 < np.isfinite(f.tracks.scores).sum() < len(f.tracks))
        lost += [f"scores of {some:,} sequences: not all of their boxes have one"] if some else []
    if to in ("mot", "csv"):
        stated = {
            "frame rate": any(f.fps is not None for f in files.values()),
            "number of frames": any((f.n_frames or 0) > f.tracks.n_frames for f in files.values()),
            "size of frames": any(f.size_hw is not None for f in files.values()),
        }
        known = [name for name, there in stated.items() if there]
        lost += [f"{', '.join(known)}: rows alone are written"] if known else []
    if to != "coco" and any(f.frame_names for f in files.values()):
        lost.append("names of the frames' files")
    return lost


def _write_yolo(stage: Path, files: "Mapping[str, TrackFile]") -> None:
    """Write a folder a sequence with its labels and what `seqinfo.ini` says, and the names of the classes."""
    from eyewright.core.files import write_staged
    from eyewright.data.tracks import tracks_to_yolo
    from eyewright.data.writers.boxes import yolo_head

    labels = list(dict.fromkeys(f.tracks.labels[k] for f in files.values() for k in f.tracks.label_ids.tolist()))
    for name, file in files.items():
        size_hw = (1, 1) if file.relative else file.size_hw
        if size_hw is None:
            raise UsageError(
                f"the size of the frames of {quoted(name)} is not known, and YOLO's boxes are fractions of it",
                fix="put a seqinfo.ini with imWidth and imHeight next to the tracks",
                code="no_size",
            )
        for frame, text in tracks_to_yolo(file.tracks, size_hw, labels).items():
            write_staged(stage / name / "labels" / f"{name}_{frame}.txt", text)
        about = {
            "name": name, "frameRate": file.fps, "seqLength": file.n_frames,
            **({} if file.relative else {"imWidth": size_hw[1], "imHeight": size_hw[0]}),
        }  # fmt: skip
        rows = [f"{k}={v:.10g}" if isinstance(v, float) else f"{k}={v}" for k, v in about.items() if v]
        write_staged(stage / name / "seqinfo.ini", "\n".join(["[Sequence]", *rows]) + "\n")
    write_staged(stage / "data.yaml", "\n".join(yolo_head(labels)) + "\n")
