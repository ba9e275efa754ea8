"""What a log says of one model: how much, what was answered, what feedback says, what drifted."""

__all__ = ["QualityCache", "feedback_summary", "is_right", "quality", "summarise_model"]

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.imaging.appearance import TRAITS
from eyewright.metrics.bootstrap import wilson_interval
from eyewright.monitoring.store import Row, Store
from eyewright.tasks.feedback import VERDICTS

_RECENT = 1000
_FEEDBACK = 5000
_STALE_S = 60.0
_FEEDBACK_BYTES = 16 * 2**20
_EXAMPLES = 5
_SHOWN = ("brightness", "contrast", "sharpness")


@dataclass
class QualityCache:
    """The quality of each model by feedback, kept between the polls of an open page: nothing is read again until there
    is other feedback, or for a minute (a prediction may reach the log after what was said of it)."""

    known: dict[str, tuple[tuple[int, float], float, dict[str, Any]]] = field(default_factory=dict)

    def quality(self, store: Store, name: str) -> dict[str, Any]:
        """Return what `quality` says of the newest feedback on a model."""
        state, now = store.feedback_state(), time.monotonic()
        found = self.known.get(name)
        if found is None or found[0] != state or now - found[1] > _STALE_S:
            said = quality(store.feedback(model=name, n=_FEEDBACK, most_bytes=_FEEDBACK_BYTES))
            self.known[name] = found = (state, now, said)
        return found[2]


def summarise_model(
    store: Store,
    name: str,
    digest: str,
    reference: Mapping[str, NDArray[Any]],
    kind: str,
    *,
    cache: QualityCache | None = None,
) -> dict[str, Any]:
    """Return counts, the last thousand predictions in short, quality by feedback, and the drift tests."""
    rows = store.recent(model=name, n=_RECENT)
    about = store.counts().get(name, {"n": 0})
    labels = Counter(r.label or "(nothing)" for r in rows)
    windows = store.windows(model=name, n=100)
    shadows = store.recent(model=name, n=_RECENT, shadows=True)
    return {
        "digest": digest,
        "task": kind,
        "predictions": about["n"],
        "now": time.time(),
        "last": rows[-1].time if rows else None,
        "labels": dict(labels.most_common(12)),
        "confidence": _histogram([r.score for r in rows]),
        "latency_ms": _quantiles([r.ms for r in rows]),
        "unfamiliar": _share([r.unfamiliar for r in rows]),
        "traits": _traits(rows, reference),
        "feedback": (cache or QualityCache()).quality(store, name),
        "shadow_predictions": len(shadows),
        "windows": [
            {k: w[k] for k in ("time", "p", "evidence", "alarm", "n")}
            | {"moved": [t["name"] for t in w["tests"] if t["adjusted_p"] <= 0.05][:5]}
            | {"examples": w.get("examples", [])}
            for w in windows
        ],
    }


def quality(rows: Sequence[tuple[Row, Mapping[str, Any], float]]) -> dict[str, Any]:
    """Return how often feedback agrees, with Wilson's interval: of answers that somebody looked at, not of all.

    `boxes` counts what was said of single boxes, where anything was.

    >>> quality([])
    {'n': 0, 'right': None, 'low': None, 'high': None}
    """
    said = [right for row, content, _ in rows if (right := is_right(row, content)) is not None]
    counted = Counter(o["verdict"] for _, c, _ in rows for o in c.get("objects") or () if "verdict" in o)
    boxes = {"boxes": {name: counted[name] for name in VERDICTS}} if counted else {}
    if not said:
        return {"n": 0, "right": None, "low": None, "high": None, **boxes}
    low, high = wilson_interval(sum(said), len(said))
    return {"n": len(said), "right": sum(said) / len(said), "low": low, "high": high, **boxes}


def feedback_summary(store: Store, *, model: str | None = None) -> dict[str, Any]:
    """Return what feedback says: how much, how right, which labels, which declared classes, and how much of it has an
    image to learn from.

    `n` counts predictions with feedback; `replaced` words on them that a later one replaces; `orphaned` ids that are no
    predictions in the log; `new_classes` the declared classes, each with `n` and the ids of the first few predictions.
    """
    rows = store.feedback(model=model)
    labels: Counter[str] = Counter()
    declared: dict[str, list[str]] = {}
    for row, content, _ in rows:
        said = [content.get("label"), *(o.get("label") for o in content.get("objects") or () if _there(o))]
        said += [name for name, has in (content.get("tags") or {}).items() if has]
        labels.update(name for name in said if isinstance(name, str))
        for name in content.get("new_classes") or ():
            declared.setdefault(str(name), []).append(row.id)
    ids = {row.id for row, _, _ in rows}
    return {
        "n": len(rows),
        "images_kept": sum(bool(row.image) for row, _, _ in rows),
        "quality": quality(rows),
        "labels": dict(labels.most_common()),
        "new_classes": {name: {"n": len(of), "examples": of[:_EXAMPLES]} for name, of in sorted(declared.items())},
        "replaced": sum(n for name, n in store.replaced_feedback().items() if name in ids),
        "orphaned": len(store.orphaned_feedback()),
    }


def _there(row: Mapping[str, Any]) -> bool:
    return row.get("verdict") != "false_alarm"


def is_right(row: Row, content: Mapping[str, Any]) -> bool | None:
    """Return whether feedback says that the answer was right; None where it does not say."""
    if isinstance(content.get("correct"), bool):
        return bool(content["correct"])
    if isinstance(content.get("label"), str):
        return bool(content["label"] == row.label)
    if isinstance(content.get("classes"), dict):
        return all(content["classes"].values())
    verdicts = [o.get("verdict") for o in content.get("objects") or () if isinstance(o, dict)]
    return all(v == "right" for v in verdicts) if verdicts and all(verdicts) else None


def _histogram(values: Sequence[float]) -> list[int]:
    counts, _ = np.histogram(np.clip(values, 0, 1), bins=10, range=(0, 1))
    return [int(c) for c in counts]


def _quantiles(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    found = np.quantile(values, [0.5, 0.9, 0.99])
    return {name: round(float(v), 2) for name, v in zip(("p50", "p90", "p99"), found, strict=True)}


def _share(values: Sequence[float | None]) -> dict[str, Any] | None:
    known = [v for v in values if v is not None]
    if not known:
        return None
    flagged = sum(v <= 0.01 for v in known)
    low, high = wilson_interval(flagged, len(known))
    return {"n": len(known), "share": flagged / len(known), "low": low, "high": high}


def _traits(rows: Sequence[Row], reference: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return medians of a few traits over time in chunks of 20, and what is usual in the reference."""
    found: dict[str, Any] = {}
    known = reference.get("appearance")
    looks = np.array([r.look[: len(TRAITS)] for r in rows if len(r.look) >= len(TRAITS)], np.float64)
    for name in _SHOWN:
        k = TRAITS.index(name)
        chunks = [looks[i : i + 20, k] for i in range(0, len(looks), 20)] if len(looks) else []
        usual = None if known is None else [round(float(v), 3) for v in np.quantile(known[:, k], [0.05, 0.5, 0.95])]
        found[name] = {"recent": [round(float(np.median(c)), 3) for c in chunks], "usual": usual}
    return found
