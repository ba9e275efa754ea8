"""What a log says of one model: how much, what was answered, what feedback says, what drifted."""

__all__ = ["QualityCache", "feedback_summary", "gives_numbers", "is_right", "quality", "summarise_model"]

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.task import task_names, task_of
from eyewright.imaging.appearance import TRAITS
from eyewright.metrics.bootstrap import wilson_interval
from eyewright.monitoring.judged import Models, has_tag, judged_numbers, judged_tags, number_spread, same_numbers
from eyewright.monitoring.store import Row, Store
from eyewright.tasks.feedback import VERDICTS

_RECENT = 1000
_FEEDBACK = 5000
_STALE_S = 60.0
_FEEDBACK_BYTES = 16 * 2**20
_EXAMPLES = 5
_SHOWN = ("brightness", "contrast", "sharpness")
_NONE: Models = MappingProxyType({})


@dataclass
class QualityCache:
    """The quality of each model by feedback, kept between the polls of an open page: nothing is read again until there
    is other feedback, or for a minute (a prediction may reach the log after what was said of it)."""

    known: dict[str, tuple[tuple[int, float], float, dict[str, Any]]] = field(default_factory=dict)

    def quality(self, store: Store, name: str, models: Models = _NONE) -> dict[str, Any]:
        """Return what `quality` says of the newest feedback on a model."""
        state, now = store.feedback_state(), time.monotonic()
        found = self.known.get(name)
        if found is None or found[0] != state or now - found[1] > _STALE_S:
            said = quality(store.feedback(model=name, n=_FEEDBACK, most_bytes=_FEEDBACK_BYTES), models)
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
    """Return counts, the last thousand predictions in short, quality by feedback, and the drift tests.

    "labels" are what was predicted, or each tag of them where images have several; of numbers "values" has a histogram
    of each quantity instead, and there are no scores.
    """
    rows = store.recent(model=name, n=_RECENT)
    models = store.models()
    task, names = models.get(rows[-1].digest, (kind, ())) if rows else (kind, ())
    # The log may hold predictions of a task that is not installed here.
    task = task if task in task_names() else ""
    numeric, several = gives_numbers(task), bool(task) and "tags" in task_of(task).feedback.says
    about = store.counts().get(name, {"n": 0})
    labels: Counter[str] = Counter() if numeric else Counter(x for r in rows for x in _labels_of(r, names, several))
    values = {}
    if numeric:
        newest = [r for r in rows if r.digest == rows[-1].digest] if rows else []
        values = number_spread(newest, names, reference.get(task_of(task).reference))
    windows = store.windows(model=name, n=100)
    shadows = store.recent(model=name, n=_RECENT, shadows=True)
    return {
        "digest": digest,
        "task": kind,
        "predictions": about["n"],
        "now": time.time(),
        "last": rows[-1].time if rows else None,
        "labels": dict(labels.most_common(12)),
        "labelled": {"noun": list(task_of(task).words.label) if task else [], "of": len(rows) if several else None},
        "values": values,
        "confidence": [] if numeric else _histogram([r.score for r in rows]),
        "latency_ms": _quantiles([r.ms for r in rows]),
        "unfamiliar": _share([r.unfamiliar for r in rows]),
        "traits": _traits(rows, reference),
        "feedback": (cache or QualityCache()).quality(store, name, models),
        "shadow_predictions": len(shadows),
        "windows": [
            {k: w[k] for k in ("time", "p", "evidence", "alarm", "n")}
            | {"moved": [t["name"] for t in w["tests"] if t["adjusted_p"] <= 0.05][:5]}
            | {"examples": w.get("examples", [])}
            for w in windows
        ],
    }


def gives_numbers(task: str) -> bool:
    """Return whether predictions of a task are numbers in units, whose score in the log is a value and no confidence;
    of a task that is not installed, no.

    >>> gives_numbers("regress"), gives_numbers("classify"), gives_numbers("")
    (True, False, False)
    """
    return task in task_names() and "values" in task_of(task).feedback.says


def _labels_of(row: Row, names: Sequence[str], several: bool) -> list[str]:
    """Return what a prediction counts for: its label, or each of its tags."""
    found = [n for n in names if has_tag(row, n)] if several else [row.label] if row.label else []
    return found or ["(nothing)"]


def quality(rows: Sequence[tuple[Row, Mapping[str, Any], float]], models: Models = _NONE) -> dict[str, Any]:
    """Return how often feedback agrees, with Wilson's interval: of answers that somebody looked at, not of all.

    `boxes` counts what was said of single boxes, `values` has the errors of numbers that were corrected, `tags` how
    right the judged tags are; each where anything was said. `models` are as `Store.models` returns them.

    >>> quality([])
    {'n': 0, 'right': None, 'low': None, 'high': None}
    """
    names = {digest: labels for digest, (_, labels) in models.items()}
    judged = (is_right(row, content, names.get(row.digest, ())) for row, content, _ in rows)
    said = [right for right in judged if right is not None]
    counted = Counter(o["verdict"] for _, c, _ in rows for o in c.get("objects") or () if "verdict" in o)
    more: dict[str, Any] = {"boxes": {name: counted[name] for name in VERDICTS}} if counted else {}
    more |= {k: v for k, v in (("values", judged_numbers(rows, models)), ("tags", judged_tags(rows))) if v}
    if not said:
        return {"n": 0, "right": None, "low": None, "high": None, **more}
    low, high = wilson_interval(sum(said), len(said))
    return {"n": len(said), "right": sum(said) / len(said), "low": low, "high": high, **more}


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
        "quality": quality(rows, store.models()),
        "labels": dict(labels.most_common()),
        "new_classes": {name: {"n": len(of), "examples": of[:_EXAMPLES]} for name, of in sorted(declared.items())},
        "replaced": sum(n for name, n in store.replaced_feedback().items() if name in ids),
        "orphaned": len(store.orphaned_feedback()),
    }


def _there(row: Mapping[str, Any]) -> bool:
    return row.get("verdict") != "false_alarm"


def is_right(row: Row, content: Mapping[str, Any], names: Sequence[str] = ()) -> bool | None:
    """Return whether feedback says that the answer was right; None where it does not say.

    Numbers are right that were left as they are, tags if all that were judged are; `names` are the model's labels.
    """
    if isinstance(content.get("correct"), bool):
        return bool(content["correct"])
    if isinstance(content.get("label"), str):
        return bool(content["label"] == row.label)
    if isinstance(content.get("values"), dict):
        return same_numbers(row, content["values"], names)
    if content.get("tags"):
        return all(has_tag(row, tag) == bool(has) for tag, has in content["tags"].items())
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
