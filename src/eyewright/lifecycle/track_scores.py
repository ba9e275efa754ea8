"""How good tracks are against the ground truth, and whether one tracker is better than another."""

__all__ = ["TrackComparison", "TrackScores", "compare_tracks", "evaluate_tracks"]

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import InputError
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding, Metric
from eyewright.core.tracks import Tracks
from eyewright.data.tracks import Sequence, find_sequences
from eyewright.data.tracks.rows import TrackFile
from eyewright.lifecycle.datasets import PathLike
from eyewright.metrics.tracking import SequenceCounts, combined, count_sequence, paired_tracking, tracking_metrics

# Frames with tracks and without ground truth, of all with tracks: more of them are said.
_MOSTLY = 0.5

PROTOCOLS: Mapping[str, str] = {
    "plain": "every row of the ground truth is measured",
    "coco": "COCO of videos: annotations with iscrowd are not measured",
    "mot15": "MOT15: rows of the ground truth with flag 0 are not measured",
    "mot16": "MOT16, MOT17: pedestrians are measured; boxes on distractors are left out",
    "mot20": "MOT20: pedestrians are measured; boxes on distractors and vehicles are left out",
}


@dataclass(frozen=True, eq=False)
class TrackScores:
    """Numbers over all sequences with intervals, and of each one."""

    metrics: Mapping[str, Metric]
    sequences: Mapping[str, Mapping[str, float]]
    findings: tuple[Finding, ...]
    protocol: str
    counts: tuple[SequenceCounts, ...]

    @property
    def said(self) -> str:
        """How it was measured, in a sentence."""
        return PROTOCOLS[self.protocol]


@dataclass(frozen=True, eq=False)
class TrackComparison:
    """B minus A on the same sequences: `better` is "b", "a", or None where chance may explain the difference."""

    a: TrackScores
    b: TrackScores
    differences: Mapping[str, Metric]
    better: str | None

    def to_json(self) -> dict[str, Any]:
        shown = {k: {"value": m.value, "low": m.low, "high": m.high, "n": m.n} for k, m in self.differences.items()}
        return {
            "better": self.better,
            "differences": shown,
            "a": {k: m.value for k, m in self.a.metrics.items()},
            "b": {k: m.value for k, m in self.b.metrics.items()},
            "sequences": list(self.a.sequences),
            "protocol": self.a.protocol,
        }

    def __str__(self) -> str:
        hota = self.differences["hota"]
        n, value = len(self.a.sequences), 100 * (hota.value or 0.0)
        if hota.low is None or hota.high is None:
            return f"HOTA: B minus A is {value:+.1f} points; one sequence is too few to test for significance"
        text = f"HOTA: B minus A is {value:+.1f} points [{100 * hota.low:+.1f}, {100 * hota.high:+.1f}]"
        said = {"a": "A is better", "b": "B is better", None: "no significant difference"}[self.better]
        return f"{said}; {text}, over {n} sequences"


def evaluate_tracks(
    tracks: PathLike | Mapping[str, Tracks],
    truth: "PathLike | Collection[Sequence]",
    *,
    seed: int = 0,
    frames: NDArray[np.int64] | None = None,
) -> TrackScores:
    """Measure tracks against the ground truth by HOTA, CLEAR and Identity, as TrackEval 1.3.0 does.

    Both are a file, or folders whose sequences have the same names; tracks may be given by the names of their
    sequences. The sequences of the ground truth are measured, and intervals are over them. With `frames`, only frames
    of these numbers, from 1, are measured: those of a source that were tracked.

    Raises:
        InputError: a file cannot be read, a sequence of the ground truth has no tracks, or none has boxes.
    """
    theirs = find_sequences(Path(truth), "truth") if isinstance(truth, str | Path) else list(truth)
    place = str(truth) if isinstance(truth, str | Path) else str(theirs[0].path)
    by_name: dict[str, Sequence | Tracks]
    if isinstance(tracks, Mapping):
        by_name = dict(tracks)
    else:
        by_name = {s.name: s for s in find_sequences(Path(tracks), "tracks")}
    if len(by_name) == len(theirs) == 1:
        by_name = {theirs[0].name: next(iter(by_name.values()))}
    missing = [s.name for s in theirs if s.name not in by_name]
    if missing:
        raise InputError(
            f"expected tracks of {len(theirs)} sequences of the ground truth, found none of {missing[0]!r}",
            fix=f"name its file {missing[0]}.txt",
            code="missing_sequence",
        )
    findings: list[Finding] = []
    counts: list[SequenceCounts] = []
    each: dict[str, Mapping[str, float]] = {}
    protocols: list[str] = []
    n_true = 0
    for sequence in theirs:
        true, own = sequence.read("truth"), by_name[sequence.name]
        findings += [*sequence.findings, *true.findings]
        if isinstance(own, Sequence):
            file = own.read("tracks")
            findings += [*own.findings, *file.findings]
            true, file = _in_one_unit(sequence.name, true, file)
            own = file.tracks
        elif true.relative:
            raise _no_size(sequence.name)
        protocols.append(true.protocol)
        known = true.tracks
        if frames is not None:
            known = known.keep(np.isin(known.frames, frames))
            left = len(true.tracks) - len(known)
            if left:
                text = f"{left:,} ground-truth boxes are in frames that were not tracked; they are not measured"
                findings.append(Finding("frames", text, "track every frame", str(sequence.path), severity="note"))
        n_true += len(known) if known.ignored is None else int(np.count_nonzero(~known.ignored))
        findings += _odd(sequence.name, str(sequence.path), known, own, true.protocol)
        counted = count_sequence(known, own)
        counts.append(counted)
        each[sequence.name] = combined([counted])
    if not n_true:
        raise InputError(
            f"expected ground-truth tracks in {quoted(place)}, found no box that is measured",
            fix="check the path and the frame numbers",
            code="no_truth",
        )
    extra = sorted(set(by_name) - {s.name for s in theirs})
    if extra:
        n = len(extra)
        text = (
            f"{n} sequence{'s' * (n != 1)} of the tracks ha{'ve' if n != 1 else 's'} no ground truth"
            f"{', such as' if n != 1 else ':'} {extra[0]!r}; {'they are' if n != 1 else 'it is'} not measured"
        )
        findings.append(Finding("sequence", text, "add ground truth", place, severity="note"))
    metrics = tracking_metrics(counts, rng=np.random.default_rng(seed))
    return TrackScores(metrics, each, tuple(findings), max(set(protocols), key=protocols.count), tuple(counts))


def _odd(name: str, path: str, true: Tracks, own: Tracks, protocol: str) -> list[Finding]:
    """Return notes where numbers follow from what is compared rather than from the tracker."""
    found = []
    n_labels = len(np.unique(own.label_ids))
    if n_labels > 1 and protocol.startswith("mot"):
        text = f"tracks of {n_labels} classes in {name!r} are measured against pedestrians alone"
        found.append(Finding("classes", text, "track one class: --classes person", path, severity="note"))
    frames = np.unique(own.frames)
    without = np.isin(frames, true.frames, invert=True)
    if len(true) and int(without.sum()) > _MOSTLY * len(frames):
        text = (
            f"the ground truth of {name!r} has boxes in {len(np.unique(true.frames)):,} frames, and "
            f"{int(without.sum()):,} of {len(frames):,} frames with tracks are others: their boxes count as false"
        )
        found.append(Finding("frames", text, "check that both have the same frame numbers", path, severity="note"))
    return found


def _in_one_unit(name: str, true: TrackFile, file: TrackFile) -> tuple[TrackFile, TrackFile]:
    """Return both in pixels, or both in fractions of the frame's sides: overlaps are the same.

    Raises:
        InputError: one is in fractions, and the other does not state the size of frames.
    """
    if true.relative == file.relative:
        return true, file
    size_hw = true.size_hw or file.size_hw
    if size_hw is None:
        raise _no_size(name)
    return true.sized(size_hw), file.sized(size_hw)


def _no_size(name: str) -> InputError:
    return InputError(
        f"boxes of {name!r} are fractions of frames whose size is not known",
        fix="put a seqinfo.ini with imWidth and imHeight, or the frames, next to the labels",
        code="no_size",
    )


def compare_tracks(a: PathLike, b: PathLike, truth: PathLike, *, seed: int = 0) -> TrackComparison:
    """Return whether the tracks B are better than A: the difference of every number, paired over sequences.

    Raises:
        InputError: as `evaluate_tracks`.
    """
    first, second = evaluate_tracks(a, truth, seed=seed), evaluate_tracks(b, truth, seed=seed)
    differences = paired_tracking(first.counts, second.counts, rng=np.random.default_rng(seed))
    hota = differences["hota"]
    better = None
    if hota.low is not None and hota.high is not None:
        better = "b" if hota.low > 0 else "a" if hota.high < 0 else None
    return TrackComparison(first, second, differences, better)
