"""Evaluate a bundle as a job of shards: worker processes gather the results, one report is made of all of them."""

__all__ = ["evaluate_as_job", "open_evaluate_work", "plan_evaluate"]

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eyewright.core.errors import DatasetError, RefusedError, UsageError
from eyewright.core.quoting import quoted
from eyewright.core.report import Report
from eyewright.core.task import task_of
from eyewright.data import Dataset, open_dataset
from eyewright.data.tree import FolderTree
from eyewright.evaluation.reporting import Results, reporting_of
from eyewright.evaluation.results import gather_batches
from eyewright.evaluation.stored import pack_results, unpack_results
from eyewright.lifecycle.datasets import PathLike, target_of
from eyewright.lifecycle.loading import bundle_folder
from eyewright.scaling.listing import Item, has_changed, stamp_item
from eyewright.scaling.plan import Plan, Value
from eyewright.scaling.rows import Row, changed_row

if TYPE_CHECKING:
    from eyewright.bundle import Bundle
    from eyewright.scaling.jobs import Job
    from eyewright.scaling.ledger import Ledger

JOB = "job"
"""The folder of the job in that of the report."""


def evaluate_as_job(
    bundle: PathLike,
    data: PathLike,
    *,
    out: PathLike,
    workers: int | None = None,
    shard_size: int | None = None,
    resume: bool = False,
    label_depth: int | None = None,
    ignore: Sequence[str] = (),
    quiet: bool = True,
    on: str = "local",
    **options: Any,
) -> "tuple[Report, Job]":
    """Evaluate a bundle on the images of a folder as `evaluate` does, with its results gathered by a job in `out/job`
    (`on`: as `scaling.run_job`); `options` are those of `evaluate`. The job survives `kill -9` of any process:
    `resume` continues it.

    What needs all images at once runs in this process: the audit of the data, groups, leaks, and the report. An image
    that ends its worker, or that changed meanwhile, is left out, which the report says.

    Raises:
        UsageError: a run instead of a bundle, data that is no folder of images, or a task without results that can be
            stored.
        RefusedError: the job in `out` is of another bundle or other data.
    """
    from eyewright.scaling.jobs import run_job
    from eyewright.scaling.ledger import open_job

    done: list[Job] = []

    def gather(plan: Plan, predictor: "Bundle", dataset: Dataset) -> tuple[Results, Dataset, tuple[str, ...]]:
        done.append(run_job(plan, workers=workers, quiet=quiet, on=on))
        return _read_results(open_job(plan.folder), predictor, dataset)

    report = _evaluate(
        bundle, data, gather, out=out, shard_size=shard_size, resume=resume, label_depth=label_depth, ignore=ignore,
        quiet=quiet, **options,
    )  # fmt: skip
    return report, done[0]


def plan_evaluate(bundle: PathLike, data: PathLike, *, out: PathLike, **options: Any) -> Plan:
    """Write the plan of such a job, with the audit of the data and without measuring; `options` are those of
    `evaluate_as_job`, which then does the planned job.

    Raises:
        UsageError, RefusedError: as `evaluate_as_job`.
    """

    def stop(plan: Plan, predictor: "Bundle", dataset: Dataset) -> tuple[Results, Dataset, tuple[str, ...]]:
        raise _PlannedError(plan)

    try:
        _evaluate(bundle, data, stop, out=out, **options)
    except _PlannedError as planned:
        return planned.plan
    raise AssertionError("an evaluation gathers results")


class _PlannedError(Exception):
    """The plan is written: what follows is not asked for."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan


def _evaluate(
    bundle: PathLike,
    data: PathLike,
    gather: "Callable[[Plan, Bundle, Dataset], tuple[Results, Dataset, tuple[str, ...]]]",
    *,
    out: PathLike,
    shard_size: int | None = None,
    resume: bool = False,
    label_depth: int | None = None,
    ignore: Sequence[str] = (),
    **options: Any,
) -> Report:
    from eyewright.bundle.verify import read_sealed
    from eyewright.lifecycle.stages import evaluate
    from eyewright.scaling.jobs import make_plan

    folder, place = Path(out) / JOB, bundle_folder(Path(bundle))
    if not (place / "bundle.json").exists():
        raise UsageError(f"expected a bundle to evaluate with --on, found {quoted(bundle)}", fix="export it first")
    _, _, digest = read_sealed(place)

    def planned(predictor: "Bundle", dataset: Dataset) -> tuple[Results, Dataset, tuple[str, ...]]:
        if reporting_of(dataset.task).stored is None:
            raise UsageError(
                f"--on is not supported for {task_of(dataset.task).words.noun}", fix="evaluate without --on"
            )
        given: dict[str, Value] = {
            "label_depth": label_depth, "ignore": "\n".join(ignore), "task": dataset.task,
            "target": "\n".join(target_of(dataset.task, predictor.labels)), "samples": _digest_of(dataset),
        }  # fmt: skip
        plan = make_plan(
            folder, str(data), "evaluate", given, str(place.resolve()), digest, shard_size, resume=resume,
            items=_items_of(dataset),
        )  # fmt: skip
        return gather(plan, predictor, dataset)

    return evaluate(place, data, out=out, label_depth=label_depth, ignore=ignore, job=planned, **options)


def open_evaluate_work(plan: Plan, threads: int) -> "_Evaluate":
    """Load the planned bundle, and the annotations of the planned data.

    Raises:
        BundleError: the bundle is damaged, or not the planned one.
        DatasetError: the data cannot be read.
    """
    from eyewright.bundle.load import load_bundle

    bundle = load_bundle(plan.model, threads=threads, digest=plan.model_digest)
    options = plan.options
    depth, ignore, target = options["label_depth"], str(options["ignore"]), str(options["target"])
    dataset = open_dataset(
        plan.source,
        label_depth=depth if isinstance(depth, int) else None,
        task=str(options["task"]),
        ignore=tuple(ignore.split("\n")) if ignore else (),
        target=tuple(target.split("\n")) if target else (),
    )
    return _Evaluate(bundle, dataset)


class _Evaluate:
    def __init__(self, bundle: "Bundle", dataset: Dataset) -> None:
        self._bundle, self._dataset = bundle, dataset
        self._place = {_path_of(dataset, s.id): k for k, s in enumerate(dataset.samples)}

    def rows(self, items: Sequence[Item], first: int, shard: int) -> Iterator[Row]:
        missing = next((item.path for item in items if item.path not in self._place), None)
        if missing is not None:
            raise RefusedError(
                f"{missing!r} is no longer in the annotations", fix="evaluate again in another --out", code="job"
            )
        sound = [k for k, item in enumerate(items) if not has_changed(item)]
        samples = [self._dataset.samples[self._place[items[k].path]] for k in sound]
        told = self._told(self._dataset.with_samples(samples), [first + k for k in sound])
        wanted = set(sound)
        for k, item in enumerate(items):
            if k not in wanted:
                yield changed_row(first + k, item.path)
                continue
            about = {"ok": True, "error": None, "message": None, "label": None, "score": None}
            yield {"id": first + k, "source": item.path, **about, "result": next(told)}

    def _told(self, part: Dataset, ids: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Yield what is stored for each image: the first of a batch has the results of all of it, and a digest of what
        they were measured against."""
        for places, results in gather_batches(self._bundle, part) if len(part) else ():
            samples = part.with_samples(part.samples[k] for k in places)
            batch = [ids[k] for k in places]
            yield {"ids": batch, "samples": _digest_of(samples), "gathered": pack_results(results)}
            for _ in batch[1:]:
                yield {}


def _read_results(ledger: "Ledger", predictor: "Bundle", dataset: Dataset) -> tuple[Results, Dataset, tuple[str, ...]]:
    """Return the results of a job that is done, what of the dataset they are of, and what is to be said of the rest."""
    kind = reporting_of(dataset.task).stored
    assert kind is not None
    marked = dataset.relabelled(predictor.labels)
    parts: list[Any] = []
    kept: list[int] = []
    for _, record in ledger.records():
        assert record is not None
        for row in ledger.rows(record):
            if not row["ok"]:
                continue
            kept.append(int(row["id"]))
            found = row["result"]
            if not found:
                continue
            batch = dataset.with_samples(dataset.samples[k] for k in found["ids"])
            if _digest_of(batch) != found["samples"]:
                raise RefusedError(
                    f"the annotations of {row['source']!r} or an image after it were changed during the job",
                    fix="evaluate again in another --out",
                    code="job",
                )
            part = marked.with_samples(marked.samples[k] for k in found["ids"])
            parts.append(unpack_results(kind, found["gathered"], part))
    if not parts:
        raise DatasetError("expected results of the job, found errors only", fix="see its rows in job/results")
    lost = len(dataset) - len(kept)
    said = f"{lost:,} of the {len(dataset):,} images were left out: they changed or could not be predicted."
    measured = dataset.with_samples(dataset.samples[k] for k in kept)
    return parts[0].joined(*parts[1:]), measured, (said,) if lost else ()


def _items_of(dataset: Dataset) -> Iterator[Item]:
    """Yield the images of a dataset as they are planned.

    Raises:
        UsageError: they are not files of a folder.
    """
    if not isinstance(dataset.tree, FolderTree):
        raise UsageError(
            f"expected images in a folder to evaluate with --on, found {quoted(dataset.root)}",
            fix="unpack it, or evaluate without --on",
        )
    for sample in dataset.samples:
        yield stamp_item(_path_of(dataset, sample.id))


def _path_of(dataset: Dataset, name: str) -> str:
    return os.path.join(os.path.abspath(dataset.root), name)


def _digest_of(dataset: Dataset) -> str:
    """Return one SHA-256 of the names and targets of all samples: what results are measured against."""
    whole = hashlib.sha256()
    for part in (dataset.task, *dataset.labels.names):
        whole.update(part.encode("utf-8", "surrogateescape") + b"\0")
    for sample in dataset.samples:
        for part in (sample.id, *_words(sample.target)):
            whole.update(part.encode("utf-8", "surrogateescape") + b"\0")
    return whole.hexdigest()


def _words(value: Any) -> Iterator[str]:
    """Yield what a target holds: numbers, texts and arrays; trees of files are named by the file."""
    if is_dataclass(value) and not isinstance(value, type):
        yield type(value).__name__
        for f in fields(value):
            yield f.name
            yield from _words(getattr(value, f.name))
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype.str} {value.shape} {hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    elif value is None or isinstance(value, str | bytes | int | float):
        yield repr(value)
    elif isinstance(value, frozenset | set):
        yield from sorted(map(repr, value))
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield repr(key)
            yield from _words(one)
    elif isinstance(value, Sequence):
        yield str(len(value))
        for one in value:
            yield from _words(one)
    else:
        yield type(value).__name__
