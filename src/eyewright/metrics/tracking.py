"""How good tracks are: HOTA (Luiten et al. 2021), CLEAR MOT (Bernardin & Stiefelhagen 2008), Identity (Ristani et al.
2016), equal to TrackEval 1.3.0, with intervals over sequences.
"""

__all__ = ["TRACKING_METRICS", "SequenceCounts", "combined", "count_sequence", "paired_tracking", "tracking_metrics"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Metric
from eyewright.core.tracks import Tracks
from eyewright.metrics.assignment import assign
from eyewright.metrics.bootstrap import Resampling
from eyewright.metrics.groups import Clusters, Kind
from eyewright.metrics.matching import box_overlaps

TRACKING_METRICS = MappingProxyType(
    {
        "hota": "bounded", "det_a": "bounded", "ass_a": "bounded", "loc_a": "bounded", "det_re": "bounded",
        "det_pr": "bounded", "ass_re": "bounded", "ass_pr": "bounded", "mota": "plain", "motp": "bounded",
        "idf1": "bounded", "id_recall": "bounded", "id_precision": "bounded", "id_switches": "count",
        "fragmentations": "count", "false_positives": "count", "false_negatives": "count", "mostly_tracked": "count",
        "partly_tracked": "count", "mostly_lost": "count",
    }
)  # fmt: skip
"""Every number, and whether it is a rate from 0 to 1 ("bounded"), may be below 0 ("plain"), or is a count."""

_ALPHAS = np.arange(0.05, 0.99, 0.05)
_EPS = float(np.finfo(np.float64).eps)
_THRESHOLD = 0.5
_MOSTLY, _HARDLY = 0.8, 0.2
_COUNTS = ("tp", "fn", "fp", "switches", "fragments", "overlap", "mostly", "partly", "lost", "id_tp", "id_fn", "id_fp")


@dataclass(frozen=True, eq=False)
class SequenceCounts:
    """What one sequence adds to every number, so that sequences can be joined under weights.

    `hota` is float64 (7, 19): true positives, misses, false positives, overlap summed over true positives, and AssA,
    AssRe, AssPr times true positives, at HOTA's 19 thresholds. `counts` are those of CLEAR and Identity at IoU 0.5.
    """

    hota: NDArray[np.float64]
    counts: NDArray[np.float64]
    n_truth: int
    n_objects: int


def count_sequence(truth: Tracks, found: Tracks) -> SequenceCounts:
    """Measure one sequence: `found` against `truth`, whose frames have the same numbers.

    Rows of `truth` that are `ignored` are not measured; boxes of `found` that match a `distractor` at IoU 0.5 are left
    out, which is the protocol of MOT16 and later. Identities must be unique within a frame.

    >>> truth = Tracks.of([(1, 7, 0, 0, 9, 9), (2, 7, 0, 0, 9, 9)])
    >>> combined([count_sequence(truth, truth)])["hota"]
    1.0
    """
    pairs = list(_frame_pairs(truth, found))
    true_ids, n_true = _renumbered([p.true_ids for p in pairs])
    own_ids, n_own = _renumbered([p.own_ids for p in pairs])
    overlaps = [p.overlaps for p in pairs]
    frames = list(zip(true_ids, own_ids, overlaps, strict=True))
    n_truth, n_found = sum(map(len, true_ids)), sum(map(len, own_ids))
    if n_truth == 0 or n_found == 0:
        hota = np.zeros((7, len(_ALPHAS)))
        hota[1], hota[2] = n_truth, n_found
        counts = dict.fromkeys(_COUNTS, 0.0)
        counts |= {"fn": n_truth, "fp": n_found, "id_fn": n_truth, "id_fp": n_found}
        counts["lost"] = n_true if n_found == 0 else 0
        return SequenceCounts(hota, np.array([counts[k] for k in _COUNTS]), n_truth, n_true)
    true_count = np.bincount(np.concatenate(true_ids), minlength=n_true).astype(np.float64)
    own_count = np.bincount(np.concatenate(own_ids), minlength=n_own).astype(np.float64)
    hota = _hota(frames, true_count, own_count)
    counts = _clear(frames, n_true) | _identity(frames, true_count, own_count)
    return SequenceCounts(hota, np.array([counts[k] for k in _COUNTS]), n_truth, n_true)


@dataclass(frozen=True, eq=False)
class _Frame:
    true_ids: NDArray[np.int64]
    own_ids: NDArray[np.int64]
    overlaps: NDArray[np.float64]


_Frames = Sequence[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]


def _frame_pairs(truth: Tracks, found: Tracks) -> Iterator[_Frame]:
    truth, found = truth.ordered(), found.ordered()
    for number in np.union1d(truth.frames, found.frames):
        a = slice(*np.searchsorted(truth.frames, [number, number + 1]))
        b = slice(*np.searchsorted(found.frames, [number, number + 1]))
        true_ids, own_ids = truth.ids[a], found.ids[b]
        overlaps = box_overlaps(truth.boxes_xyxy[a], found.boxes_xyxy[b])
        if truth.distractor is not None and overlaps.size:
            rows, columns = assign(np.where(overlaps >= _THRESHOLD - _EPS, overlaps, 0.0))
            kept = np.ones(len(own_ids), bool)
            kept[columns[truth.distractor[a][rows]]] = False
            own_ids, overlaps = own_ids[kept], overlaps[:, kept]
        if truth.ignored is not None:
            measured = ~truth.ignored[a]
            true_ids, overlaps = true_ids[measured], overlaps[measured]
        yield _Frame(true_ids, own_ids, overlaps)


def _renumbered(ids: Sequence[NDArray[np.int64]]) -> tuple[list[NDArray[np.int64]], int]:
    whole = np.concatenate([*ids, np.zeros(0, np.int64)])
    known, places = np.unique(whole, return_inverse=True)
    ends = np.cumsum([len(x) for x in ids])
    return np.split(places, ends[:-1]) if len(ids) else [], len(known)


def _hota(frames: _Frames, true_count: NDArray[np.float64], own_count: NDArray[np.float64]) -> NDArray[np.float64]:
    shape = (len(true_count), len(own_count))
    together = np.zeros(shape)
    for true_ids, own_ids, overlap in frames:
        whole = overlap.sum(0)[None] + overlap.sum(1)[:, None] - overlap
        share = np.divide(overlap, whole, out=np.zeros_like(overlap), where=whole > _EPS)
        together[np.ix_(true_ids, own_ids)] += share
    alignment = together / (true_count[:, None] + own_count[None] - together)
    matched: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
    for true_ids, own_ids, overlap in frames:
        rows, columns = assign(alignment[np.ix_(true_ids, own_ids)] * overlap)
        matched.append((true_ids[rows], own_ids[columns], overlap[rows, columns]))
    true_of, own_of, similar = (np.concatenate(x) for x in zip(*matched, strict=True))
    cells = true_of * shape[1] + own_of
    result = np.zeros((7, len(_ALPHAS)))
    for k, alpha in enumerate(_ALPHAS):
        right = similar >= alpha - _EPS
        n = int(right.sum())
        result[0, k], result[3, k] = n, similar[right].sum()
        at, counts = np.unique(cells[right], return_counts=True)
        true_n, own_n = true_count[at // shape[1]], own_count[at % shape[1]]
        for row, whole in ((4, true_n + own_n - counts), (5, true_n), (6, own_n)):
            result[row, k] = (counts * counts / np.maximum(1, whole)).sum()
    result[1], result[2] = true_count.sum() - result[0], own_count.sum() - result[0]
    return result


def _clear(frames: _Frames, n_true: int) -> dict[str, float]:
    seen, held, starts = np.zeros(n_true), np.zeros(n_true), np.zeros(n_true)
    last, before = np.full(n_true, -1), np.full(n_true, -1)
    found = dict.fromkeys(_COUNTS[:6], 0.0)
    for true_ids, own_ids, overlap in frames:
        seen[true_ids] += 1
        if not overlap.size:
            # As TrackEval: a frame without boxes on one side does not end what was tracked before it.
            found["fp"] += len(own_ids)
            found["fn"] += len(true_ids)
            continue
        goes_on = own_ids[None] == before[true_ids][:, None]
        rows, columns = assign(np.where(overlap >= _THRESHOLD - _EPS, 1000.0 * goes_on + overlap, 0.0))
        true_of, own_of = true_ids[rows], own_ids[columns]
        found["switches"] += int(((last[true_of] >= 0) & (last[true_of] != own_of)).sum())
        held[true_of] += 1
        untracked = before < 0
        last[true_of] = own_of
        before[:] = -1
        before[true_of] = own_of
        starts += untracked & (before >= 0)
        found["tp"] += len(rows)
        found["fn"] += len(true_ids) - len(rows)
        found["fp"] += len(own_ids) - len(rows)
        found["overlap"] += overlap[rows, columns].sum()
    share = held[seen > 0] / seen[seen > 0]
    found["mostly"] = float((share > _MOSTLY).sum())
    found["partly"] = float((share >= _HARDLY).sum()) - found["mostly"]
    found["lost"] = n_true - found["mostly"] - found["partly"]
    found["fragments"] = float((starts[starts > 0] - 1).sum())
    return found


def _identity(frames: _Frames, true_count: NDArray[np.float64], own_count: NDArray[np.float64]) -> dict[str, float]:
    together = np.zeros((len(true_count), len(own_count)))
    for true_ids, own_ids, overlap in frames:
        rows, columns = np.nonzero(overlap >= _THRESHOLD)
        together[true_ids[rows], own_ids[columns]] += 1
    right = float(together[assign(together)].sum())
    return {"id_tp": right, "id_fn": true_count.sum() - right, "id_fp": own_count.sum() - right}


def combined(sequences: Sequence[SequenceCounts]) -> dict[str, float]:
    """Return every number over all sequences together, as TrackEval's COMBINED_SEQ."""
    return {k: float(v[0]) for k, v in _under(sequences, np.ones((1, len(sequences)))).items()}


def _under(sequences: Sequence[SequenceCounts], weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return every number under weights of the sequences, (R, n) -> (R,) each."""
    hota = np.einsum("rs,sfa->rfa", weights, np.array([s.hota for s in sequences]).reshape(-1, 7, len(_ALPHAS)))
    c = dict(zip(_COUNTS, (weights @ np.array([s.counts for s in sequences]).reshape(-1, len(_COUNTS))).T, strict=True))
    tp, fn, fp = hota[:, 0], hota[:, 1], hota[:, 2]
    det_a, ass_a = tp / np.maximum(1, tp + fn + fp), hota[:, 4] / np.maximum(1, tp)
    truth = np.maximum(1.0, c["tp"] + c["fn"])
    over_alphas = {
        "hota": np.sqrt(det_a * ass_a),
        "det_a": det_a,
        "ass_a": ass_a,
        "loc_a": np.maximum(1e-10, hota[:, 3]) / np.maximum(1e-10, tp),
        "det_re": tp / np.maximum(1, tp + fn),
        "det_pr": tp / np.maximum(1, tp + fp),
        "ass_re": hota[:, 5] / np.maximum(1, tp),
        "ass_pr": hota[:, 6] / np.maximum(1, tp),
    }
    return {name: value.mean(1) for name, value in over_alphas.items()} | {
        "mota": (c["tp"] - c["fp"] - c["switches"]) / truth,
        "motp": c["overlap"] / np.maximum(1.0, c["tp"]),
        "idf1": c["id_tp"] / np.maximum(1.0, c["id_tp"] + 0.5 * c["id_fp"] + 0.5 * c["id_fn"]),
        "id_recall": c["id_tp"] / np.maximum(1.0, c["id_tp"] + c["id_fn"]),
        "id_precision": c["id_tp"] / np.maximum(1.0, c["id_tp"] + c["id_fp"]),
        "id_switches": c["switches"],
        "fragmentations": c["fragments"],
        "false_positives": c["fp"],
        "false_negatives": c["fn"],
        "mostly_tracked": c["mostly"],
        "partly_tracked": c["partly"],
        "mostly_lost": c["lost"],
    }


def tracking_metrics(
    sequences: Sequence[SequenceCounts], *, rng: np.random.Generator, replicates: int = 1000
) -> dict[str, Metric]:
    """Return every number over all sequences with its interval; `n` is the number of true boxes.

    Frames of a sequence are not independent, so intervals are over sequences: t intervals up to 200 of them, the
    bootstrap above. One sequence alone has none.
    """
    return _measured([(1.0, sequences)], rng, replicates, "")


def paired_tracking(
    a: Sequence[SequenceCounts], b: Sequence[SequenceCounts], *, rng: np.random.Generator, replicates: int = 1000
) -> dict[str, Metric]:
    """Return B minus A for every number, paired over sequences: both are measured on the same resamples."""
    if len(a) != len(b):
        raise ValueError(f"expected as many sequences on both sides, found {len(a)} and {len(b)}")
    return _measured([(-1.0, a), (1.0, b)], rng, replicates, "paired ")


def _measured(
    sides: Sequence[tuple[float, Sequence[SequenceCounts]]], rng: np.random.Generator, replicates: int, word: str
) -> dict[str, Metric]:
    n = len(sides[0][1])
    if n == 0:
        return {}

    def numbers(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        found = [(sign, _under(own, weights)) for sign, own in sides]
        return {name: sum(sign * v[name] for sign, v in found) for name in TRACKING_METRICS}  # type: ignore[misc]

    plan = Resampling(n, replicates, rng, None, Clusters(np.arange(n)))
    point = {name: float(v[0]) for name, v in numbers(np.ones((1, n))).items()}
    drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name in point}
    for weights in plan.weights():
        for name, value in numbers(weights).items():
            drawn[name].append(value)
    n_truth = sum(s.n_truth for s in sides[0][1])
    result = {}
    for name, number in point.items():
        kind, samples = TRACKING_METRICS[name], np.concatenate(drawn[name])
        bounds = (-np.inf, np.inf)
        if kind == "count" and plan.by_t and n > 1:
            # A sum over sequences: leaving one out scales it, which the jackknife of a mean takes back.
            samples = samples * n / (n - 1)
        if kind != "bounded" and len(sides) == 1:
            bounds = (0.0, np.inf) if kind == "count" else (-np.inf, 1.0)
        how: Kind = "bounded" if kind == "bounded" and len(sides) == 1 else "plain"
        low, high = plan.interval(number, samples, kind=how, bounds=bounds) if n > 1 else (np.nan, np.nan)
        method = word + ("t over sequences" if plan.by_t else "bootstrap over sequences")
        known = bool(np.isfinite(low) and np.isfinite(high))
        result[name] = Metric(number, low if known else None, high if known else None, n_truth, method, groups=n)
    return result
