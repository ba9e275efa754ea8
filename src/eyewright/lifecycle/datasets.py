"""From a path to a dataset that can be trained on: read, scanned once, split; and back to the data of a run."""

__all__ = [
    "FEEDBACK",
    "count_seen",
    "data_of_run",
    "dataset_of",
    "fingerprint_of",
    "ignored_by",
    "known_images",
    "known_task",
    "load_dataset",
    "open_readable",
    "part_of_path",
    "part_of_run",
    "scan_of",
    "silent",
    "usable_masks",
    "with_feedback",
]

import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.core.errors import DatasetError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from eyewright.bundle import Bundle
    from eyewright.data import Dataset, Scan
    from eyewright.training.run import Run

Say = Callable[[str], None]
PathLike = str | Path

FEEDBACK = "feedback/"
"""What the ids of images that came by feedback begin with."""

# A scan belongs to the files, not to one selection of them: train() after load_dataset() need not read them again.
_scans: "weakref.WeakKeyDictionary[Any, tuple[dict[str, int], Scan]]" = weakref.WeakKeyDictionary()


def silent(text: str) -> None:
    pass


def load_dataset(
    path: PathLike,
    *,
    seed: int = 0,
    group_by: str | None = None,
    label_depth: int | None = None,
    task: str | None = None,
    ignore: Sequence[str] = (),
    quiet: bool = True,
    say: Say = silent,
) -> "Dataset":
    """Read a dataset and split it into train, val and test, leak-safe and stratified; see `data.train` and so on.

    A split that comes with the data is kept. Images that cannot be read are left out, and so are marks that cannot be
    used; `notes` says so. `ignore` names classes that are neither learnt nor scored. `task` is "classify", "detect",
    "segment" or "instance"; without it the data decides.

    Raises:
        DatasetError: nothing there, of no known format, or too small to split.
    """
    from eyewright.data import split_dataset

    dataset = open_readable(path, label_depth=label_depth, task=task, ignore=ignore, quiet=quiet, say=say)
    return split_dataset(dataset, scan=scan_of(dataset), seed=seed, group_by=group_by)


def open_readable(
    path: PathLike,
    *,
    label_depth: int | None,
    task: str | None = None,
    ignore: Sequence[str] = (),
    quiet: bool,
    say: Say,
) -> "Dataset":
    """Read a dataset as it lies, without the images that cannot be read.

    Raises:
        DatasetError: nothing there, of no known format, or nothing that can be read.
    """
    from eyewright.data import open_dataset

    dataset = open_dataset(path, label_depth=label_depth, task=known_task(task), ignore=ignore)
    say(f"found {dataset.describe()}")
    dataset = _without_unreadable(dataset, quiet=quiet, say=say)
    if summary := dataset.account.summary():
        say(summary)
    return dataset


def _without_unreadable(dataset: "Dataset", *, quiet: bool = True, say: Say = silent) -> "Dataset":
    """Return the dataset without the images and masks that cannot be read; its account says so."""
    from eyewright.data.account import Reason

    scan = scan_of(dataset, quiet=quiet)
    readable = scan.readable & usable_masks(dataset, scan)
    if not readable.any():
        first = next((r.error for r in scan.records if r.error is not None), None)
        if first is None:
            raise DatasetError("none of the masks can be used", fix="see eyewright doctor")
        raise DatasetError(
            f"none of the {len(dataset)} images can be read; the first, {dataset.samples[0].id!r}: {first.message}",
            fix=first.fix,
        )
    if not readable.all():
        bad = [s.id for s, ok in zip(dataset.samples, readable, strict=True) if not ok]
        what = "images cannot be read" if dataset.task != "segment" else "images or their masks cannot be read"
        note = f"{len(bad)} of {len(readable)} {what} and are left out, such as {bad[0]!r}"
        kept = (s for s, ok in zip(dataset.samples, readable, strict=True) if ok)
        dataset = dataset.with_samples(kept, note)
        dataset = replace(dataset, account=dataset.account.with_left_out(Reason(what, len(bad), bad[0])))
        say(note)
    return dataset


def known_task(task: str | None) -> str | None:
    return None if task in (None, "auto") else task


def usable_masks(dataset: "Dataset", scan: "Scan") -> "NDArray[np.bool_]":
    """Tell which samples' masks can be read and are of their image's size, bool (N,); all, where there are no masks."""
    import numpy as np

    from eyewright.data.readers import MaskFile

    good = np.ones(len(dataset), bool)
    if dataset.task == "segment":
        for i, (sample, record) in enumerate(zip(dataset.samples, scan.records, strict=True)):
            if isinstance(sample.target, MaskFile) and record.info is not None:
                good[i] = sample.target.usable(record.info.size_hw)
    return good


def scan_of(dataset: "Dataset", *, quiet: bool = True) -> "Scan":
    from eyewright.data import scan_dataset

    known = _scans.get(dataset.tree)
    if known is None or any(s.id not in known[0] for s in dataset.samples):
        scan = scan_dataset(dataset, quiet=quiet)
        _scans[dataset.tree] = ({s.id: i for i, s in enumerate(dataset.samples)}, scan)
        return scan
    import numpy as np

    chosen = np.array([known[0][s.id] for s in dataset.samples], dtype=np.int64)
    scan = known[1]
    if len(chosen) == len(scan.records) and bool((chosen == np.arange(len(chosen))).all()):
        return scan
    return scan.chosen(chosen)


def dataset_of(data: "Dataset | PathLike", **options: Any) -> "Dataset":
    if isinstance(data, str | Path):
        return load_dataset(data, **options)
    if options.get("task") not in (None, "auto", data.task):
        raise UsageError(
            f"expected a dataset for {options['task']!r}, found one for {data.task!r}", fix="change the task"
        )
    if not {"train", "val"} <= set(data.splits):
        raise DatasetError("expected a dataset with train and val", fix="load it with eyewright.load_dataset")
    return data


def part_of_path(
    path: PathLike, split: str | None, label_depth: int | None, task: str, ignore: Sequence[str] = ()
) -> "Dataset":
    from eyewright.data import open_dataset

    dataset = open_dataset(path, label_depth=label_depth, task=task, ignore=ignore)
    if split is not None and split not in ("train", "val", "test"):
        raise UsageError(f"unknown split {split!r}", fix="use train, val or test")
    chosen = split or ("test" if "test" in dataset.splits else None)
    return _without_unreadable(dataset if chosen is None else dataset.part(chosen))  # type: ignore[arg-type]


def part_of_run(owner: "Run", split: str) -> "Dataset":
    """Open the data that a run was trained on, and give a part as the run's own `split.csv` says, by name."""
    return data_of_run(owner, (split,))


def data_of_run(owner: "Run", splits: Sequence[str] = ("train", "val", "test")) -> "Dataset":
    """Open the data that a run was trained on, and return the parts `splits` as the run's own `split.csv` says.

    Its groups are restored too.

    Raises:
        DatasetError: the data, or an image of it, is no longer there.
    """
    from eyewright.data import open_dataset

    rows = {r["id"]: r for r in owner.split_rows() if r["split"] in splits}
    path = Path(owner.about["data_path"])
    if not path.exists():
        raise DatasetError(f"the run's data is no longer at {str(path)!r}", fix="pass the dataset")
    depth = {label.count("/") + 1 for label in owner.labels.names} if owner.task_name == "classify" else {1}
    label_depth = None if len(depth) > 1 or depth == {1} else depth.pop()
    dataset = open_dataset(path, label_depth=label_depth, task=owner.task_name, ignore=ignored_by(owner))
    if "feedback_path" in owner.about:
        dataset = with_feedback(dataset, Path(owner.about["feedback_path"]))
    here = {s.id: s for s in dataset.samples}
    missing = [i for i in rows if i not in here]
    if missing:
        raise DatasetError(
            f"{len(missing)} of the run's {' and '.join(splits)} images are gone, such as {missing[0]!r}",
            fix="pass the dataset",
        )
    if owner.task_name != "classify":
        dataset = dataset.relabelled(owner.labels)
        here = {s.id: s for s in dataset.samples}
        kept = (replace(here[i], split=r["split"], group=r.get("group") or here[i].group) for i, r in rows.items())  # type: ignore[arg-type]
        return replace(dataset, samples=tuple(kept))
    samples = (
        replace(
            here[i],
            split=r["split"],  # type: ignore[arg-type]
            target=owner.labels.id(r["label"]),
            group=r.get("group") or here[i].group,
        )
        for i, r in rows.items()
    )
    return replace(dataset, labels=owner.labels, samples=tuple(samples))


def ignored_by(owner: "Run") -> tuple[str, ...]:
    """Return what a run was told to ignore; runs from before ignored nothing by name."""
    return tuple(owner.about.get("ignore", ("none",)))


def with_feedback(dataset: "Dataset", folder: Path) -> "Dataset":
    """Return a dataset with the images that retraining added to it, as it wrote them to `folder`, under `FEEDBACK`."""
    from eyewright.data import open_dataset
    from eyewright.data.tree import JoinedTree

    if not folder.is_dir():
        raise DatasetError(f"the run's images from feedback are no longer at {str(folder)!r}", fix="restore them")
    other = open_dataset(folder, task=dataset.task, ignore=("none",))
    tree = JoinedTree(dataset.tree, {FEEDBACK: other.tree})
    samples = [*dataset.samples, *(replace(s, id=FEEDBACK + s.id) for s in _in_classes(other, dataset).samples)]
    return replace(dataset, tree=tree, samples=tuple(samples))


def _in_classes(other: "Dataset", dataset: "Dataset") -> "Dataset":
    """Return `other` with the class ids of `dataset`."""
    if dataset.task != "classify":
        return other.relabelled(dataset.labels)
    ids = other.labels.mapping_to(dataset.labels)
    return other.with_samples(replace(s, target=int(ids[s.target])) for s in other.samples)


def known_images(owner: "Run | Bundle | None") -> set[str]:
    """Return the digests of the images that a model has learnt from: those it was trained and validated on.

    Empty for a bundle that does not say (`Bundle.split`), and for predictors of other kinds.
    """
    if owner is None or not hasattr(owner, "split_rows"):
        return {digest for digest, part in getattr(owner, "split", {}).items() if part != "test"}
    return {r["sha256"] for r in owner.split_rows() if r["split"] in ("train", "val")}


def fingerprint_of(dataset: "Dataset", *, quiet: bool) -> str:
    """Give the fingerprint of a dataset, as its runs and bundles keep it."""
    from eyewright.data import dataset_fingerprint

    return dataset_fingerprint(dataset, scan_of(dataset, quiet=quiet))


def count_seen(dataset: "Dataset", known: set[str], *, quiet: bool) -> int:
    return sum(r.digest in known for r in scan_of(dataset, quiet=quiet).records)
