"""Look for a smaller model within a budget: from cheap to expensive, every step measured and written down."""

__all__ = ["METHODS", "Search", "SearchResult"]

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from eyewright.bundle.load import Bundle, load_bundle
from eyewright.bundle.session import open_session
from eyewright.compression.allotting import allot_or_none, what_may_stay
from eyewright.compression.budget import Budget
from eyewright.compression.distilling import Teacher
from eyewright.compression.measuring import Judge, Judged, Ratio, paired_speedup
from eyewright.compression.quantising import calibrate
from eyewright.compression.rows import Row, judged_of, metrics_of, points_of, ratio_of
from eyewright.compression.sensitivity import layer_sensitivity, pruning_sensitivity
from eyewright.compression.trials import (
    PRECISIONS,
    Parent,
    Precise,
    Structure,
    blank_model,
    candidate_bundle,
    feed_of,
    learn_structure,
    make_precise,
    slow_activation,
    take_as_it_is,
    without_channels,
)
from eyewright.core.errors import CheckpointError, MissingExtraError, RefusedError, UsageError, plain_reason
from eyewright.core.files import write_bytes, write_json
from eyewright.core.quoting import quoted
from eyewright.nets.pixels import PixelNet
from eyewright.training.learner import learner_of
from eyewright.training.run import Builder, Run, read_run

METHODS = ("int8", "weights", "half", "dynamic", "prune", "qat", "distil", "sparse")
"""What a search may try, from cheap to expensive; "sparse" only where it is asked for."""

_SHARES = (0.25, 0.5, 0.75)
# Where a gain is asked for, what cannot reach it is not learnt, and finer steps cost little.
_FINER_SHARES = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75)
_SPARSITIES = (0.5, 0.8)
# Channels that may go without learning again are few; from here on a net is pruned and taught in two steps.
_TWO_STEPS = 0.6
# Where fewer channels go, another activation gains little.
_FASTER_FROM = 0.5
_LEAST_LEARNING_S = 3.0
# Where more of weights or work must go, single layers cannot give it without learning.
_JUST_ENOUGH = 0.6
_LOOKING_S = 90.0
_ROUNDS, _MORE_ROUNDS = 40, 120
_SAFE = 0.98
_KEPT_IN_FLOAT = (1, 2, 4)


@dataclass(frozen=True)
class SearchResult:
    """All that was tried, which of it won (or none), and how sensitive each layer is."""

    rows: tuple[Row, ...]
    winner: Row | None
    sensitivity: Mapping[str, Any]
    seconds: float

    @property
    def front(self) -> tuple[Row, ...]:
        """The measured ways that no other beats in speed, size and loss at once, the fastest first."""
        measured = [r for r in self.rows if r.state == "measured"]
        return tuple(
            sorted((r for r in measured if not any(_beats(o, r) for o in measured)), key=lambda r: -r.speedup["value"])
        )


def _beats(a: Row, b: Row) -> bool:
    pairs = [(a.speedup["value"], b.speedup["value"]), (-a.bytes, -b.bytes), (-_loss(a), -_loss(b))]
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)


def _loss(row: Row) -> float:
    return max((d["value"] if d["value"] is not None else 1.0) for d in row.drops.values()) if row.drops else 1.0


class Search:
    """One search in one folder; what was measured is found again when it is resumed.

    `build_of` gives the builder for a model name; `teacher` stands for the parent where it is given; `students` are
    catalogue nets to distil into.
    """

    def __init__(
        self,
        parent: Parent,
        budget: Budget,
        folder: Path,
        *,
        methods: Sequence[str],
        seconds: float,
        build_of: Callable[..., Builder],
        teacher: Teacher | None = None,
        students: Sequence[str] = (),
        asked: bool = False,
        threads: int | None = None,
        resume: bool = False,
        seed: int = 0,
        quiet: bool = True,
        say: Callable[[str], None] = lambda text: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        unknown = [m for m in methods if m not in METHODS]
        if unknown:
            raise UsageError(f"unknown method {unknown[0]!r}", fix=f"there are {', '.join(METHODS)}")
        self.parent, self.budget, self.folder = parent, budget, folder
        self._methods, self._asked = tuple(methods), asked
        self._build_of, self._teacher = build_of, teacher
        self._students = tuple(students) or learner_of(parent.bundle.task_name).students
        self._threads, self._seed, self._quiet, self._say, self._now = threads, seed, quiet, say, now
        self._rows: dict[str, Row] = {}
        self._spent_s = 0.0
        self._plan: dict[str, Any] = {}
        self._sensitivity: dict[str, Any] = {}
        self._state = folder / "search.json"
        self._resumed = resume
        self._read_state(resume)
        self._started = now() - self._spent_s
        self._end = self._started + seconds
        self._seconds = seconds
        self._structures: dict[str, tuple[Run, Bundle]] = {}
        self._model = (parent.bundle.folder / parent.bundle.manifest.model).read_bytes()
        self._example = parent.calibration[:1]
        corruption = "corruption" in budget.max_drop
        self._judge = Judge(parent.bundle, parent.data.val, seed=seed, corruption=corruption)
        self._test: Judge | None = None
        if "test" in parent.data.splits:
            self._test = Judge(parent.bundle, parent.data.test, seed=seed, corruption=corruption)

    # ---- the walk

    def run(self) -> SearchResult:
        """Try one way after another until one fits, or until all are tried or the time is over.

        Where the budget says what is to be gained, the first way that fits wins; else the fastest of all that fit.
        """
        winner: Row | None = None
        for row in self._walk():
            if row.fits and self._holds(row):
                row = self._rows[row.name]
                faster = winner is None or row.speedup["value"] > winner.speedup["value"]
                winner = row if faster else winner
                if self.budget.wants_gain:
                    break
        if winner is not None:
            winner = self._rows[winner.name]
        self._find_sensitivity()
        self._save()
        return SearchResult(tuple(self._rows.values()), winner, self._sensitivity, self._now() - self._started)

    def _walk(self) -> Iterator[Row]:
        base = self.parent.bundle
        quick = [m for m in PRECISIONS if m in self._methods]
        lost = False
        for precision in quick:
            row = self._precise(precision, base, self._model, "", name=precision)
            yield row
            lost = lost or (
                precision == "int8" and row.state == "measured" and bool(self.budget.losses(judged_of(row)))
            )
        if lost:
            yield from self._partly(base, self._model, "", "int8")
        if "sparse" in self._methods:
            for share in _SPARSITIES:
                yield from self._structure(Structure(f"sparse{100 * share:.0f}", zeros=share))
        if "prune" in self._methods:
            for structure in self._pruned():
                rows = list(self._structure(structure))
                yield from rows
                learnt = [r for r in rows if r.state == "measured"]
                if learnt and not structure.cuts and all(self.budget.losses(judged_of(r)) for r in learnt):
                    # What loses too much already will not lose less with fewer channels.
                    break
        if lost and "qat" in self._methods:
            yield from self._structure(Structure("qat", rounding=True))
        if "distil" in self._methods:
            own = self.parent.run.recipe.model_name if self.parent.run is not None else ""
            for student in self._students:
                if student != own:
                    yield from self._structure(Structure(f"student-{student}", student=student))

    def _pruned(self) -> Iterator[Structure]:
        """Return nets with fewer and fewer channels; where the activation is slow, also with one that is not."""
        run = self.parent.run
        own = run is not None and not run.recipe.model.startswith("hf:") and ":" not in run.recipe.model
        slow = own and run is not None and slow_activation(run.net)
        yield from self._just_enough()
        shares = _FINER_SHARES if self.budget.wants_gain else _SHARES
        for share in shares:
            name = f"prune{100 * share:.0f}"
            yield Structure(name, share=share)
            if slow and share >= _FASTER_FROM:
                yield Structure(f"{name}-relu", share=share, activation="relu")

    def _just_enough(self) -> Iterator[Structure]:
        """Return nets that lack only the channels that 8 bits alone want to the gain that is asked for, if few."""
        row = self._rows.get("int8")
        if self.parent.run is None or row is None or row.state != "measured" or self.budget.losses(judged_of(row)):
            return
        weights, work = what_may_stay(self.parent.net, self.budget, row.bytes, row.speedup["value"])
        if not _JUST_ENOUGH <= min(weights, work) < 1:
            return
        lacking = [round(weights, 3), round(work, 3)]
        found = self._plan.setdefault("allotted", [])
        if all(lacking != one["may_stay"] for one in found):
            self._say("ranking channels by importance")
            until = self._now() + min(_LOOKING_S, 0.2 * max(0.0, self._end - self._now()))
            cuts = allot_or_none(self.parent, weights=weights, work=work, until=until, now=self._now)
            found.append({"may_stay": lacking, "cuts": cuts})
            self._save()
        # A search that goes on for another budget keeps what it learnt for the first under the first's names.
        at = next(k for k, one in enumerate(found) if one["may_stay"] == lacking)
        suffix = f"-{at + 1}" if at else ""
        for name, still in ((f"few{suffix}", True), (f"few-learnt{suffix}", False)) if found[at]["cuts"] else ():
            yield Structure(name, cuts=found[at]["cuts"], still=still)

    def _structure(self, structure: Structure) -> Iterator[Row]:
        """Try a net of another shape, in float32 and in 8 bits, if it can be fast and small enough at all."""
        name = structure.name
        kinds = [name, *([f"{name}+int8"] if "int8" in self._methods else [])]
        if all(k in self._rows for k in kinds):
            yield from (self._rows[k] for k in kinds)
            return
        started = self._now()
        try:
            if self.budget.wants_gain and not structure.still and "seconds" not in self._plan.get(name, {}):
                reason = self._cannot(structure)
                if reason:
                    yield self._put(Row(name, structure.describe(), "skipped", reason, structure=name))
                    return
            plan = self._plan.setdefault(name, {})
            seconds = 0.0 if structure.still else plan.setdefault("seconds", self._learning_s())
            if seconds < _LEAST_LEARNING_S and not structure.still:
                yield self._put(Row(name, structure.describe(), "skipped", "no time is left", structure=name))
                return
            self._save()
            run, bundle = self._learn(structure, seconds)
        except MissingExtraError as error:
            if self._asked:
                raise
            yield self._put(Row(name, structure.describe(), "skipped", str(error), structure=name))
            return
        except RefusedError as error:
            if self._asked and error.code in ("no_weights", "teacher_classes"):
                raise
            yield self._put(Row(name, structure.describe(), "refused", error.message, structure=name))
            return
        self._structures[name] = (run, bundle)
        model = (bundle.folder / bundle.manifest.model).read_bytes()
        plain = self._measure(name, structure.describe(), bundle, Precise(model, "float32"), name, started)
        yield plain
        if "int8" not in self._methods:
            return
        row = self._precise("int8", bundle, model, name, name=f"{name}+int8", how=structure.describe())
        yield row
        if row.state == "measured" and self.budget.losses(judged_of(row)) and not self.budget.losses(judged_of(plain)):
            yield from self._partly(bundle, model, name, f"{name}+int8", how=structure.describe())
            if "qat" in self._methods and not structure.rounding and not structure.still:
                yield from self._structure(replace(structure, name=f"{name}-qat", rounding=True, start=name))

    def _learn(self, structure: Structure, seconds: float) -> tuple[Run, Bundle]:
        folder = self.folder / "trials" / structure.name
        if structure.still:
            return take_as_it_is(self.parent, structure, folder, build_of=self._build_of)
        self._say(f"{structure.name}: {structure.describe()}; fine-tuning for up to {seconds:.0f} s")
        start = None
        if structure.start:
            start = self._structures[structure.start][0].net
        elif structure.share > _TWO_STEPS:
            # Much at once is hard to recover from: what was left with more channels is where it begins.
            half = structure.name.replace(f"{100 * structure.share:.0f}", f"{100 * structure.share - 25:.0f}")
            start = self._half(half, structure) if half in self._structures else None
        return learn_structure(
            self.parent,
            structure,
            folder,
            seconds=seconds,
            deadline=min(self._now() + seconds, max(self._end, self._now() + _LEAST_LEARNING_S)),
            build_of=self._build_of,
            teacher=self._teacher,
            start=start,
            resume=self._resumed,
            quiet=self._quiet,
        )

    def _half(self, name: str, structure: Structure) -> PixelNet:
        """Return what a structure begins with: another one that lost fewer channels, pruned further."""
        done = structure.share - 0.25
        further = 1 - (1 - structure.share) / (1 - done)
        net = self._structures[name][0].net
        return without_channels(self.parent, net, further)

    def _learning_s(self) -> float:
        left = self._end - self._now() - min(20.0, 0.1 * self._seconds)
        # Where the first that fits wins, few are learnt, and those as long as the model itself was.
        share = 1.0 if self.budget.wants_gain else 0.6
        wanted = min(share * self.parent.seconds, 0.5 * self._seconds)
        return round(max(0.0, min(max(wanted, _LEAST_LEARNING_S), left)), 1)

    def _cannot(self, structure: Structure) -> str:
        """Say why a structure would be too slow or too large however well it learnt, or nothing."""
        if feed_of(self.parent.bundle) is not None:
            # A stranger's tensors are not ours: a net of ours cannot be run in its place.
            return ""
        still = structure.name.replace("few-learnt", "few")
        twins = [r for r in self._rows.values() if r.structure == still and r.state == "measured"]
        if structure.cuts and twins:
            # The same layers have been timed already.
            short = [self.budget.shortfalls(ratio_of(r.speedup), r.bytes) for r in twins]
            return "" if not all(short) else f"not fine-tuned: {short[-1][0]}"
        blank = blank_model(self.parent, structure, self._build_of, self.folder / "trials")
        found = [Precise(blank, "float32")]
        if "int8" in self._methods:
            few = self.parent.calibration[:16]
            found.append(make_precise(blank, "int8", self.parent.bundle, few))
        reasons = []
        for one in found:
            candidate = candidate_bundle(self.parent.bundle, one, threads=self._threads)
            # What only just reaches it now may not reach it when it has learnt, and learning is what costs.
            speed = self._speed(candidate, _MORE_ROUNDS)
            breaks = self.budget.shortfalls(replace(speed, value=_SAFE * speed.value), len(one.model))
            if not breaks:
                return ""
            reasons.append(breaks[0])
        return f"not fine-tuned: {reasons[-1]}"

    def _partly(self, base: Bundle, model: bytes, structure: str, name: str, how: str = "") -> Iterator[Row]:
        """Leave the layers that tolerate rounding least in float, more of them until little enough is lost."""
        calibrated = calibrate(model, self.parent.calibration, feed=feed_of(base))
        ranked = layer_sensitivity(model, calibrated, base, self.parent.calibration)
        self._sensitivity.setdefault("int8", {})[structure or "the model"] = [[n, round(v, 8)] for n, v in ranked]
        for count in _KEPT_IN_FLOAT:
            if count >= len(ranked):
                return
            keep = [n for n, _ in ranked[:count]]
            row = self._precise("int8", base, model, structure, name=f"{name}-keep{count}", how=how, keep=keep)
            yield row
            if row.state != "measured" or not self.budget.losses(judged_of(row)):
                return

    def _precise(
        self,
        precision: str,
        base: Bundle,
        model: bytes,
        structure: str,
        *,
        name: str,
        how: str = "",
        keep: Sequence[str] = (),
    ) -> Row:
        if name in self._rows:
            return self._rows[name]
        started = self._now()
        about = f"{how}, " if how else ""
        try:
            made = make_precise(
                model, precision, base, self.parent.calibration, feed=feed_of(base), keep=frozenset(keep)
            )
            write_bytes(self.folder / "trials" / f"{name}.onnx", made.model)
            return self._measure(name, about + made.describe(), base, made, structure, started)
        except RefusedError as error:
            return self._put(Row(name, about + PRECISIONS[precision][2], "refused", error.message, structure=structure))

    # ---- measuring

    def _measure(self, name: str, how: str, base: Bundle, made: Precise, structure: str, started: float) -> Row:
        if name in self._rows:
            return self._rows[name]
        candidate = candidate_bundle(base, made, threads=self._threads)
        speed = self._speed(candidate, _ROUNDS)
        if speed.low < (self.budget.min_speedup or 0) < speed.high:
            # Too near to be told by so few.
            speed = self._speed(candidate, _MORE_ROUNDS)
        judged = self._judge.compare(candidate)
        breaks = [*self.budget.losses(judged), *self.budget.shortfalls(speed, len(made.model))]
        row = Row(
            name,
            how,
            "measured",
            bytes=len(made.model),
            precision=made.precision,
            speedup=speed.to_json(),
            metrics={k: asdict(m) for k, m in judged.metrics.items()},
            drops={k: asdict(m) for k, m in judged.drops.items()},
            changed=len(judged.changed),
            seconds=round(self._now() - started, 1),
            structure=structure,
            method=made.method,
            keep=made.keep,
            breaks=tuple(breaks),
        )
        return self._put(row)

    def _speed(self, candidate: Bundle, rounds: int) -> Ratio:
        return paired_speedup(
            lambda: self._timed_parent.raw(self._example), lambda: candidate.raw(self._example), rounds=rounds
        )

    @property
    def _timed_parent(self) -> Bundle:
        if "_timed" not in self.__dict__:
            own = self.parent.bundle
            session = open_session(self._model, threads=self._threads)
            self.__dict__["_timed"] = Bundle(own.folder, own.manifest, session)
        found: Bundle = self.__dict__["_timed"]
        return found

    def _holds(self, row: Row) -> bool:
        """Measure once more what seems to fit: its speed for longer, its answers on images that chose nothing."""
        if row.test_drops or (self._test is None and row.reason == "measured again"):
            return True
        candidate = self.candidate(row)
        speed = self._speed(candidate, _MORE_ROUNDS)
        size = row.bytes
        breaks = list(self.budget.shortfalls(speed, size))
        drops: Mapping[str, Any] = {}
        if self._test is not None:
            judged = self._test.compare(candidate)
            drops = {k: asdict(m) for k, m in judged.drops.items()}
            breaks += [f"on test images {b}" for b in self.budget.losses(judged)]
        self._put(
            replace(row, speedup=speed.to_json(), test_drops=drops, breaks=tuple(breaks), reason="measured again")
        )
        return not breaks

    def candidate(self, row: Row) -> Bundle:
        """Return the model of a measured way."""
        base = self.base_of(row)
        return candidate_bundle(base, self.precise_of(row), threads=self._threads)

    def precise_of(self, row: Row) -> Precise:
        """Return the model file of a measured way.

        Raises:
            CheckpointError: it is no longer in the folder.
        """
        path = self.folder / "trials" / f"{row.name}.onnx"
        if row.precision == "float32" and row.structure:
            base = self.base_of(row)
            path = base.folder / base.manifest.model
        try:
            model = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{quoted(path)} is no longer there", fix="search again in another --out") from error
        return Precise(model, row.precision, row.method, row.keep)

    @property
    def parent_bytes(self) -> int:
        """The size of the parent's model file."""
        return len(self._model)

    def base_of(self, row: Row) -> Bundle:
        """Return the float bundle that a way was made from."""
        if not row.structure:
            return self.parent.bundle
        if row.structure not in self._structures:
            folder = self.folder / "trials" / row.structure
            self._structures[row.structure] = (
                read_run(folder / "run", self._build_of),
                load_bundle(folder / "float32"),
            )
        return self._structures[row.structure][1]

    def judge_held_out(self, row: Row) -> Judged:
        """Return what the test images say of a way; the validation images where there are none."""
        return (self._test or self._judge).compare(self.candidate(row))

    def _find_sensitivity(self) -> None:
        if "prune" in self._methods and self.parent.run is not None and "prune" not in self._sensitivity:
            if self._now() > self._end:
                return
            try:
                found = pruning_sensitivity(self.parent, until=min(self._end, self._now() + 30), now=self._now)
                self._sensitivity["prune"] = found
            except (RefusedError, MissingExtraError):
                self._sensitivity["prune"] = []
        known = self._sensitivity.setdefault("int8", {})
        if "int8" in self._methods and "the model" not in known and self._now() < self._end:
            try:
                calibrated = calibrate(self._model, self.parent.calibration, feed=feed_of(self.parent.bundle))
                ranked = layer_sensitivity(self._model, calibrated, self.parent.bundle, self.parent.calibration)
                known["the model"] = [[n, round(v, 8)] for n, v in ranked]
            except RefusedError:
                known["the model"] = []

    # ---- what is written down

    def _put(self, row: Row) -> Row:
        self._rows[row.name] = row
        self._save()
        if row.state == "measured":
            drops = ", ".join(
                f"{n} {points_of(n, row.drops[n], self.budget.units.get(n, ''))}" for n in self.budget.max_drop
            )
            speed = row.speedup["value"]
            again = f", {row.reason}" if row.reason else ""
            said = f"{row.name}{again}: {row.bytes:,} bytes, {speed:.2f} times as fast, {drops}"
            self._say(said + (f"; {row.breaks[0]}" if row.breaks else "; within the budget"))
        else:
            self._say(f"{row.name}: {row.reason}")
        return row

    def _key(self) -> dict[str, Any]:
        return {"parent": self.parent.digest, "validation": len(self.parent.data.val), "seed": self._seed}

    def _save(self) -> None:
        self._spent_s = self._now() - self._started if hasattr(self, "_started") else self._spent_s
        content = {
            "key": self._key(),
            "spent_s": round(self._spent_s, 1),
            "plan": self._plan,
            "sensitivity": self._sensitivity,
            "rows": [asdict(r) for r in self._rows.values()],
        }
        write_json(self._state, content)

    def _read_state(self, resume: bool) -> None:
        if not self._state.exists():
            return
        if not resume:
            raise UsageError(
                f"a search is already in {quoted(self.folder)}", fix="choose another --out, or continue with --resume"
            )
        try:
            content = json.loads(self._state.read_text("utf-8"))
            key, plan, spent = content["key"], content["plan"], float(content["spent_s"])
            rows = [Row(**{**r, "keep": tuple(r["keep"]), "breaks": ()}) for r in content["rows"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"the search in {quoted(self.folder)} cannot be read: {plain_reason(error)}",
                fix="search again in another --out",
            ) from error
        if key != self._key():
            raise CheckpointError(
                "the search was started with another model or other data", fix="search again in another --out"
            )
        self._plan, self._spent_s, self._sensitivity = plan, spent, dict(content.get("sensitivity", {}))
        for row in rows:
            # Another budget may be asked of the same measurements; what had no time may have it now.
            if row.state == "skipped":
                continue
            again = [*self.budget.losses(judged_of(row))] if row.state == "measured" else []
            speed = ratio_of(row.speedup) if row.speedup else None
            again += self.budget.shortfalls(speed, row.bytes) if row.state == "measured" else []
            if row.test_drops:
                on_test = self.budget.losses(Judged({}, metrics_of(row.test_drops), (), 0))
                again += [f"on test images {b}" for b in on_test]
            self._rows[row.name] = replace(row, breaks=tuple(again))

    def clear(self) -> None:
        """Remove what only the search needed: the trials' runs and models."""
        shutil.rmtree(self.folder / "trials", ignore_errors=True)
