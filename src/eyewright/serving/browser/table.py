"""The images of a dataset as columns that can be filtered: numpy arrays, so that 100,000 images take milliseconds."""

__all__ = ["ANSWERS", "SORTS", "Scores", "Table"]

import threading
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError, spelling_hint
from eyewright.core.report import Finding
from eyewright.core.task import task_of
from eyewright.data.audit import FINDING_CODES
from eyewright.data.dataset import Dataset
from eyewright.evaluation.reporting import reporting_of
from eyewright.serving.browser.schemas import Filter

ANSWERS = {"wrong": "mistakes", "right": "correct", "none": "not predicted"}
"""What a prediction can be filtered by, with the words of the page."""

SORTS = {
    "data": "order of the data",
    "path": "path",
    "worst": "worst first",
    "lowest": "score, lowest first",
    "highest": "score, highest first",
}
"""The orders in which images are shown, with the words of the page."""

_NO_SPLIT = "none"
_MOST_CLASSES = 2000
_MOST_FOUND = 20
_MOST_NAMED = 4
_Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Scores:
    """What a model said: `values` float64 (N,), 1 is best and NaN was not predicted; `rank` int64 (N,), 0 is the worst
    image; `predicted` names the class of each image where there is one, and `confidence` is that of the class.

    `mistakes` is whether an image below 1 is a mistake: for amounts and masks hardly any image is exactly right.
    """

    model: str
    values: NDArray[np.float64]
    rank: NDArray[np.int64]
    predicted: Sequence[str] = ()
    confidence: NDArray[np.float64] | None = None
    mistakes: bool = True

    @property
    def wrong(self) -> _Mask:
        """Which images are mistakes, bool (N,)."""
        return np.asarray(self.values < 1)


@dataclass
class Table:
    """The columns of a dataset's images, in its order. Findings, scores and points come later, from another thread.

    `state` says of each of these what is under way: "" once it is there.
    """

    dataset: Dataset
    scores: Scores | None = None
    points: NDArray[np.float32] | None = None
    points_of: str = ""
    groups: NDArray[np.int64] | None = None
    findings: tuple[Finding, ...] = ()
    found: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    state: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    version: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._of_row: Mapping[int, tuple[int, ...]] = {}
        self._kept: tuple[Any, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The ids of the images."""
        return tuple(s.id for s in self.dataset.samples)

    @cached_property
    def splits(self) -> NDArray[np.str_]:
        """The split of each image, "none" where it has none."""
        return np.array([s.split or _NO_SPLIT for s in self.dataset.samples])

    @cached_property
    def by_class(self) -> bool:
        """Whether images can be filtered by the classes that they hold."""
        return not (self.dataset.kind.open or self.dataset.kind.by_degree) and len(self.dataset.labels) <= _MOST_CLASSES

    @cached_property
    def _held(self) -> dict[str, NDArray[np.int64]]:
        rows: dict[int, list[int]] = defaultdict(list)
        if self.by_class:
            for i, sample in enumerate(self.dataset.samples):
                for c in set(sample.target.mentioned):
                    rows[c].append(i)
        names = self.dataset.labels.names
        return {names[c]: np.array(rows.get(c, ()), np.int64) for c in range(len(names))} if self.by_class else {}

    @cached_property
    def _folded(self) -> NDArray[np.str_]:
        return np.array([name.casefold().encode("utf-8", "replace").decode() for name in self.ids])

    @cached_property
    def _by_path(self) -> NDArray[np.int64]:
        return np.array(sorted(range(len(self)), key=self.ids.__getitem__), np.int64)

    def add_findings(self, findings: Sequence[Finding], groups: NDArray[np.int64]) -> None:
        """Take up what `doctor` found, and the group of each image, int64 (N,)."""
        place = {name: i for i, name in enumerate(self.ids)}
        for i, sample in enumerate(self.dataset.samples):
            # A finding about a mask is about its image.
            place.setdefault(getattr(sample.target, "name", sample.id), i)
        rows: dict[str, set[int]] = defaultdict(set)
        of_row: dict[int, list[int]] = defaultdict(list)
        for number, f in enumerate(findings):
            for name in f.paths or ((f.path,) if f.path else ()):
                row = place.get(name)
                if row is not None:
                    rows[f.code].add(row)
                    of_row[row].append(number)
        with self._lock:
            self.findings = tuple(findings)
            self.found = {code: np.array(sorted(own), np.int64) for code, own in rows.items()}
            self._of_row = {i: tuple(own) for i, own in of_row.items()}
            self.groups = groups
            self._changed()

    def add_scores(self, scores: Scores) -> None:
        """Take up what a model said."""
        with self._lock:
            self.scores = scores
            self._changed()

    def add_points(self, points: NDArray[np.float32], words: str) -> None:
        """Take up the place of each image in the scatter plot, float32 (N, 2), scaled to 0 to 1; `words` say of what.

        Half a percent at each end is clipped, so that a few outliers do not press all others together.
        """
        if len(points):
            low, high = np.quantile(points, (0.005, 0.995), axis=0)
            points = np.clip((points - low) / np.maximum(high - low, 1e-12), 0, 1).astype(np.float32)
        with self._lock:
            self.points, self.points_of = points, words
            self._changed()

    def say(self, what: str, text: str) -> None:
        """Say how far something is; "" once it is done."""
        with self._lock:
            self.state = {**self.state, what: text}
            self.version += 1

    def fail(self, text: str) -> None:
        """Say what could not be found out."""
        with self._lock:
            self.problems.append(text)
            self.version += 1

    def _changed(self) -> None:
        self.version += 1
        self._kept = None

    def facts(self) -> dict[str, Any]:
        """Return what can be filtered by, with the number of images of each."""
        splits = Counter(self.splits.tolist())
        order = [s for s in ("train", "val", "test", _NO_SPLIT) if s in splits]
        scores = self.scores
        answers: dict[str, int] = {}
        if scores is not None and scores.mistakes:
            wrong, nan = int(scores.wrong.sum()), int(np.isnan(scores.values).sum())
            answers = {"wrong": wrong, "right": len(self) - wrong - nan, "none": nan}
        return {
            "name": self.dataset.name,
            "task": self.dataset.task,
            "about": self.dataset.describe(),
            "n": len(self),
            "counted": task_of(self.dataset.task).words.label[1],
            "splits": [{"name": s, "n": splits[s]} for s in order] if order != [_NO_SPLIT] else [],
            "labels": [{"name": name, "n": len(rows)} for name, rows in self._held.items()],
            "findings": [
                {"name": code, "n": len(rows), "about": FINDING_CODES.get(code, "")}
                for code, rows in sorted(self.found.items(), key=lambda item: (-len(item[1]), item[0]))
            ],
            "grouped": self.groups is not None and len(set(self.groups.tolist())) < len(self),
            "answers": [{"name": k, "n": answers[k], "about": ANSWERS[k]} for k in answers if answers[k]],
            "predicted": self._predicted(),
            "sorts": [
                {"name": k, "about": v} for k, v in SORTS.items() if k in ("data", "path") or (scores is not None)
            ],
            "model": "" if scores is None else scores.model,
            "scored": scores is not None,
            "points": self.points_of if self.points is not None else "",
            "state": {k: v for k, v in self.state.items() if v},
            "problems": list(self.problems),
            "version": self.version,
        }

    def _predicted(self) -> list[str]:
        """Return the classes that were predicted, unless there are too many to choose from."""
        found = set() if self.scores is None else {p for p in self.scores.predicted if p}
        return sorted(found) if len(found) <= _MOST_CLASSES else []

    def rows(self, asked: Filter, edited: Mapping[int, Any]) -> NDArray[np.int64]:
        """Return the images that a filter keeps, in the order that it asks for, int64 (M,).

        Raises:
            UsageError: a value that there is not.
        """
        key = (self.version, asked, tuple(edited) if asked.edit else ())
        kept = self._kept
        if kept is not None and kept[0] == key:
            return kept[1]
        mask = np.ones(len(self), bool)
        for name, own in (("split", self._split), ("label", self._label), ("finding", self._finding)):
            if value := getattr(asked, name):
                mask &= own(value)
        for keeps in (self._group, self._answered, self._scored, self._placed, self._named):
            mask &= keeps(asked)
        if asked.edit:
            _check("edit", asked.edit, ("yes", "no"))
            has = np.zeros(len(self), bool)
            has[list(edited)] = True
            mask &= has if asked.edit == "yes" else ~has
        chosen = self._ordered(asked.sort or "data", mask)
        self._kept = (key, chosen)
        return chosen

    def _split(self, value: str) -> _Mask:
        _check("split", value, sorted(set(self.splits.tolist())))
        return np.asarray(self.splits == value)

    def _label(self, value: str) -> _Mask:
        _check("label", value, tuple(self._held))
        return self._these(self._held[value])

    def _finding(self, value: str) -> _Mask:
        if value == "any":
            return self._these(np.array(sorted(self._of_row), np.int64))
        _check("finding", value, ("any", *self.found))
        return self._these(self.found[value])

    def _group(self, asked: Filter) -> _Mask | bool:
        """Return the images of the group that an image is in."""
        if asked.group is None:
            return True
        if self.groups is None:
            raise UsageError("the groups are not known yet", fix="wait until the images have been checked")
        self.check_row(asked.group)
        return np.asarray(self.groups == self.groups[asked.group])

    def check_row(self, i: int) -> None:
        """Refuse the place of an image that is not there.

        Raises:
            UsageError: there is none.
        """
        if not 0 <= i < len(self):
            raise UsageError(f"expected an image from 0 to {len(self) - 1}, found {i}", fix="change it")

    def _answered(self, asked: Filter) -> _Mask | bool:
        mask: _Mask | bool = True
        if asked.answer:
            _check("answer", asked.answer, tuple(ANSWERS))
            scores = self._needed()
            unknown = np.isnan(scores.values)
            mask = {"wrong": scores.wrong, "right": ~scores.wrong & ~unknown, "none": unknown}[asked.answer]
        if asked.predicted:
            mask = mask & np.array([p == asked.predicted for p in self._needed().predicted], bool)
        return mask

    def _scored(self, asked: Filter) -> _Mask | bool:
        if asked.low is None and asked.high is None:
            return True
        values = self._needed().values
        low = -np.inf if asked.low is None else asked.low
        high = np.inf if asked.high is None else asked.high
        return np.asarray((values >= low) & (values <= high))

    def _placed(self, asked: Filter) -> _Mask | bool:
        corners = (asked.x0, asked.x1, asked.y0, asked.y1)
        if all(c is None for c in corners):
            return True
        if self.points is None or any(c is None for c in corners):
            raise UsageError("expected a scatter plot and x0, x1, y0, y1", fix="wait for the plot, or leave them out")
        x0, x1, y0, y1 = (c or 0.0 for c in corners)
        x, y = self.points.T
        return np.asarray((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1))

    def _named(self, asked: Filter) -> _Mask | bool:
        words = (asked.words or "").casefold().split()
        if not words:
            return True
        mask = np.ones(len(self), bool)
        for word in words:
            mask &= np.char.find(self._folded, word) >= 0
        return mask

    def _ordered(self, sort: str, mask: _Mask) -> NDArray[np.int64]:
        _check("sort", sort, tuple(SORTS))
        if sort == "data":
            return np.flatnonzero(mask)
        if sort == "path":
            return self._by_path[mask[self._by_path]]
        chosen = np.flatnonzero(mask)
        scores = self._needed()
        by = scores.rank if sort == "worst" else scores.values if sort == "lowest" else -scores.values
        order = np.argsort(by[chosen], kind="stable")
        return np.asarray(chosen[order])

    def _these(self, rows: NDArray[np.int64]) -> _Mask:
        mask = np.zeros(len(self), bool)
        mask[rows] = True
        return mask

    def _needed(self) -> Scores:
        if self.scores is None:
            raise UsageError("there are no predictions", fix="start eyewright browse with --run, or wait for them")
        return self.scores

    def row(self, i: int) -> dict[str, Any]:
        """Return what the page shows of one image."""
        sample = self.dataset.samples[i]
        shown: dict[str, Any] = {
            "i": i,
            "id": sample.id.encode("utf-8", "replace").decode(),
            "label": self.caption(i),
            "split": sample.split or "",
            "findings": sorted({self.findings[k].code for k in self._of_row.get(i, ())}),
        }
        scores = self.scores
        if scores is not None and np.isfinite(scores.values[i]):
            shown["score"] = round(float(scores.values[i]), 4)
            if scores.predicted:
                shown["predicted"] = scores.predicted[i]
            if scores.confidence is not None and np.isfinite(scores.confidence[i]):
                shown["confidence"] = round(float(scores.confidence[i]), 4)
            shown["wrong"] = bool(scores.mistakes and scores.wrong[i])
        return shown

    def caption(self, i: int) -> str:
        """Return what an image is labelled as, in a few words."""
        said = reporting_of(self.dataset.task).audit.caption(self.dataset, i)
        ids = getattr(self.dataset.samples[i].target, "label_ids", None)
        if said or ids is None:
            return said
        counts = Counter(self.dataset.labels.names[c] for c in ids.tolist())
        return ", ".join(f"{name} × {n}" for name, n in counts.most_common(_MOST_NAMED)) or "nothing marked"

    def details(self, i: int) -> dict[str, Any]:
        """Return everything that is known of one image."""
        sample = self.dataset.samples[i]
        names = self.dataset.labels.names
        held = Counter(names[c] for c in sample.target.marks()) if self.by_class else Counter()
        found = [self.findings[k] for k in self._of_row.get(i, ())[:_MOST_FOUND]]
        group = 1
        if self.groups is not None:
            group = int((self.groups == self.groups[i]).sum())
        return {
            **self.row(i),
            "cell": sample.target.cell(names),
            "held": [{"name": name, "n": n} for name, n in held.most_common()],
            "group": group,
            "found": [{"code": f.code, "severity": f.severity, "message": f.message, "fix": f.fix} for f in found],
        }


def _check(what: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise UsageError(f"there is no {what} {value[:80]!r}", fix=spelling_hint(value[:80], list(known)[:1000]))
