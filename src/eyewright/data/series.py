"""Groups that file names propose, checked against the pixels: members must be more similar than unrelated pictures are.

A name alone proves nothing. Every prefix, number and folder of the names is tried as a rule, and a rule counts where
pictures of one class that share its key are more similar than pictures of that class that do not, beyond a
permutation of the keys within the classes: similar in what they show, or in light, colours and noise. Where a numbered
key holds one class only (a patient), that counts as well.
"""

__all__ = ["NameRule", "name_rules"]

import posixpath
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from eyewright.core.rng import generator

_TOKENS = re.compile(r"[A-Za-z]+|\d+|[^A-Za-z\d]+")
_MOST = 3000
_PERMUTATIONS = 199
_LEAST_GROUPS = 3
_LEAST_SHARE = 0.3
_TIGHT = 0.8
_PURE = 0.95
_NUMBERED = re.compile(r"\d")


@dataclass(frozen=True)
class NameRule:
    """A rule on names that splits images into groups tighter than chance.

    `pattern` is the regular expression for `--group-by`, `keys` the group of every image (None: in no group).
    `effect` is how much more similar two images of a group are than two unrelated pictures of one class, in standard
    deviations; `p_value` that of the permutation test. `look` is in what they are similar. A `pure` rule is held up by
    the labels instead: every group is of one class, far beyond chance, and every class has several groups.
    """

    pattern: str
    keys: tuple[str | None, ...]
    groups: int
    images: int
    effect: float
    p_value: float
    look: str = ""
    pure: bool = False


def name_rules(
    names: Sequence[str],
    strata: Sequence[int],
    class_names: Sequence[str],
    features: NDArray[np.float32],
    *,
    looks: Mapping[str, NDArray[np.float64]] = MappingProxyType({}),
    seed: int = 0,
) -> tuple[NameRule, ...]:
    """Return the rules on `names` (N,) that hold, the strongest first; `strata` (N,) are classes, -1 for none.

    `features`, float32 (N, D), describe what the pictures show, `looks`, (N, D) each, in which light, colours and noise
    they do (see `look_spaces`). At most 3,000 images are looked at.
    """
    n = len(names)
    if n < 12:
        return ()
    rng = generator(seed, "names")
    some = np.arange(n) if n <= _MOST else np.sort(rng.permutation(n)[:_MOST])
    classes = np.asarray(strata)[some]
    spaces = {"": _directions(features[some], classes)}
    spaces |= {name: _directions(vectors[some].astype(np.float32), classes) for name, vectors in looks.items()}
    found = []
    seen: set[tuple[int, ...]] = set()
    for pattern in _patterns(names, class_names):
        keys = _keys(names, pattern)
        # Two patterns may cut names at different places into the same groups.
        partition = tuple(_numbered(keys).tolist())
        if partition in seen or not _usable(keys):
            continue
        seen.add(partition)
        ids = _numbered([keys[i] for i in some.tolist()])
        counts = Counter(k for k in keys if k is not None)
        grouped = [k for k, c in counts.items() if c > 1]
        size = len(grouped), sum(counts[k] for k in grouped)
        rule: NameRule | None = None
        for look, vectors in spaces.items():
            measured = _tightness(ids, classes, vectors, rng)
            # Of several spaces one may be tight by chance.
            # Light alone makes groups of what is unrelated (an exposure), so it must say more.
            least = (0.2, 0.01) if not look else (_TIGHT, 0.01 / len(looks))
            if measured is None or measured[0] <= least[0] or measured[1] > least[1]:
                continue
            if rule is None or measured[0] > rule.effect:
                rule = NameRule(pattern, keys, *size, *measured, look)
            if rule.effect >= _TIGHT:
                break
        if rule is None or rule.effect < _TIGHT:
            p_value = _purity(keys, strata, rng)
            if p_value is not None and p_value <= 0.01:
                rule = NameRule(pattern, keys, *size, 0.0 if rule is None else rule.effect, p_value, pure=True)
        if rule is not None:
            found.append(rule)
    return tuple(sorted(found, key=lambda r: -r.effect))


def _directions(vectors: NDArray[np.float32], classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return unit vectors from the mean of each picture's class: what a class shares says nothing of its groups."""
    result: NDArray[np.float32] = vectors - vectors.mean(0)
    for c in np.unique(classes):
        result[classes == c] -= result[classes == c].mean(0)
    result /= np.maximum(np.linalg.norm(result, axis=1, keepdims=True), 1e-6)
    return result


def _purity(keys: Sequence[str | None], strata: Sequence[int], rng: np.random.Generator) -> float | None:
    """Return p for groups, numbered by their names, that are all of one class; None where they are not.

    A class that has few groups of its own may be what the key names: each must have three or more.
    """
    rows = [i for i, k in enumerate(keys) if k is not None and _NUMBERED.search(k) and strata[i] >= 0]
    if len(rows) < _LEAST_SHARE * len(keys):
        return None
    ids, classes = _numbered([keys[i] for i in rows]), np.asarray(strata)[rows]
    counts = np.bincount(ids, minlength=1)
    kept = counts[ids] > 1
    ids, classes = ids[kept], classes[kept]
    if len(np.unique(classes)) < 2 or len(ids) < _LEAST_SHARE * len(keys):
        return None

    def pure(held: NDArray[np.int64]) -> int:
        pairs = np.unique(np.stack([ids, held]), axis=1)
        return int((np.bincount(pairs[0]) == 1).sum())

    groups = len(np.unique(ids))
    own = np.unique(np.stack([ids, classes]), axis=1)[1]
    if pure(classes) < _PURE * groups or np.bincount(own)[np.unique(own)].min() < _LEAST_GROUPS:
        return None
    drawn = sum(pure(rng.permutation(classes)) >= pure(classes) for _ in range(_PERMUTATIONS))
    return (1 + drawn) / (1 + _PERMUTATIONS)


def _patterns(names: Sequence[str], class_names: Sequence[str]) -> list[str]:
    """Return regular expressions whose first group is a key: prefixes of the stem, and folders that are no class."""
    shapes: Counter[tuple[str, ...]] = Counter()
    for name in names:
        shapes[tuple(_shape(t) for t in _TOKENS.findall(_stem(name)))] += 1
    result = []
    for shape, count in shapes.most_common(3):
        if count < 0.2 * len(names):
            break
        last = max((k for k, s in enumerate(shape) if s == r"\d+"), default=-1)
        for end in range(1, len(shape)):
            if shape[end] in (r"\d+", "[A-Za-z]+") and end <= max(last, 1):
                head = "".join(shape[:end])
                result.append(rf"(?:^|/)({head}){''.join(shape[end:])}\.[^./]*$")
    parts = [posixpath.dirname(n).split("/") for n in names]
    depth = max((len(p) for p in parts), default=0)
    known = {p for c in class_names for p in c.split("/")} | {"train", "val", "test", "valid", "images", ""}
    for level in range(depth):
        held = {p[level] for p in parts if len(p) > level}
        if len(held - known) >= _LEAST_GROUPS:
            result.append(rf"^((?:[^/]+/){{{level}}}[^/]+)/")
    return result


def _shape(token: str) -> str:
    if token.isdigit():
        return r"\d+"
    return "[A-Za-z]+" if token.isalpha() else re.escape(token)


def _stem(name: str) -> str:
    return posixpath.splitext(posixpath.basename(name))[0]


def _keys(names: Sequence[str], pattern: str) -> tuple[str | None, ...]:
    expression = re.compile(pattern)
    return tuple(found.group(1) if (found := expression.search(name)) else None for name in names)


def _usable(keys: tuple[str | None, ...]) -> bool:
    counts = Counter(k for k in keys if k is not None)
    grouped = [c for c in counts.values() if c > 1]
    return len(grouped) >= _LEAST_GROUPS and sum(grouped) >= _LEAST_SHARE * len(keys)


def _numbered(keys: Sequence[str | None]) -> NDArray[np.int64]:
    numbers: dict[str, int] = {}
    return np.array([-1 if k is None else numbers.setdefault(k, len(numbers)) for k in keys])


def _tightness(
    ids: NDArray[np.int64], classes: NDArray[np.int64], vectors: NDArray[np.float32], rng: np.random.Generator
) -> tuple[float, float] | None:
    """Return the effect and the p-value of groups `ids` (N,), -1 for none, within classes."""
    member = ids >= 0
    ids, classes, vectors = ids[member], classes[member], vectors[member]
    cells = ids * (int(classes.max(initial=0)) + 2) + classes + 1
    counts = np.unique(cells, return_counts=True)[1]
    if (counts * (counts - 1)).sum() < 20 or (counts > 1).sum() < _LEAST_GROUPS:
        return None

    def within(numbers: NDArray[np.int64]) -> float:
        order = np.argsort(numbers, kind="stable")
        starts = np.r_[0, np.flatnonzero(np.diff(numbers[order])) + 1]
        sums = np.add.reduceat(vectors[order], starts, axis=0)
        sizes = np.diff(np.r_[starts, len(numbers)])
        pairs = sizes * (sizes - 1)
        # The mean over groups, not over pairs: one large group must not speak for all.
        alike = ((sums**2).sum(1) - sizes)[pairs > 0] / pairs[pairs > 0]
        return float(alike.mean())

    inside = within(cells)
    drawn = np.empty(_PERMUTATIONS)
    own = [np.flatnonzero(classes == c) for c in np.unique(classes)]
    for k in range(_PERMUTATIONS):
        shuffled = cells.copy()
        for rows in own:
            shuffled[rows] = cells[rng.permutation(rows)]
        drawn[k] = within(shuffled)
    a, b = rng.integers(len(vectors), size=(2, 4000))
    strangers = (vectors[a] * vectors[b]).sum(1)[(cells[a] != cells[b]) & (classes[a] == classes[b])]
    spread = float(strangers.std()) if len(strangers) > 20 else 0.2
    effect = (inside - float(drawn.mean())) / max(spread, 0.02)
    return effect, (1 + int((drawn >= inside).sum())) / (1 + _PERMUTATIONS)
