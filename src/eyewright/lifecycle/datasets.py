"""From a path to a dataset that can be trained on: read, scanned once, split; and back to the data of a run."""

__all__ = [
    "FEEDBACK",
    "GENERATED",
    "count_seen",
    "data_of_run",
    "dataset_of",
    "fingerprint_of",
    "grouped_as",
    "ignored_by",
    "known_images",
    "known_task",
    "load_dataset",
    "open_readable",
    "other_images_fix",
    "part_of_path",
    "part_of_run",
    "rule_of",
    "scan_of",
    "settled",
    "silent",
    "target_of",
    "untouched",
    "without_copies",
    "usable_targets",
    "with_feedback",
    "without_unreadable",
]

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eyewright.core.errors import DatasetError, UsageError
from eyewright.core.quoting import quoted
from eyewright.data import (
    audit_dataset,
    dataset_fingerprint,
    leak_rule,
    open_dataset,
    scan_dataset,
    settle_leaks,
    split_dataset,
)
from eyewright.data.account import Reason
from eyewright.data.dataset import Sample
from eyewright.data.edits import apply_edits
from eyewright.data.grouped import find_groups, with_groups
from eyewright.data.marks import UNUSABLE_BOXES, UNUSABLE_OUTLINES, unusable_marks
from eyewright.data.targets import OBJECTS, Objects
from eyewright.data.targets.target import kind_of
from eyewright.data.tree import FolderTree, JoinedTree

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from eyewright.bundle import Bundle
    from eyewright.core.labels import LabelSpace
    from eyewright.data import Dataset, Scan
    from eyewright.training.run import Run

Say = Callable[[str], None]
PathLike = str | Path

FEEDBACK = "feedback/"
"""What the ids of images that came by feedback begin with."""

GENERATED = "generated-images/"
"""What the ids of images begin with that a generator drew for training (`lifecycle.adding`)."""

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
    target: Sequence[str] = (),
    edits: PathLike | None = None,
    quiet: bool = True,
    say: Say = silent,
) -> "Dataset":
    """Read a dataset and split it into train, val and test, leak-safe and stratified; see `data.train` and so on.

    A split that comes with the data is kept. Images that cannot be read are left out, and so are marks that cannot be
    used; `notes` says so. `ignore` names classes that are neither learnt nor scored. `task` is the name of a task;
    without it the data decides. `target` names the columns of a table of numbers that are learnt. `edits` is a file of
    corrected labels and of images to leave out, as `eyewright browse` writes it.

    Raises:
        DatasetError: nothing there, of no known format, too small to split, or edits of other data.
    """
    dataset = open_readable(
        path, label_depth=label_depth, task=task, ignore=ignore, target=target, edits=edits, quiet=quiet, say=say
    )
    return split_dataset(dataset, scan=scan_of(dataset), seed=seed, group_by=group_by)


def open_readable(
    path: PathLike,
    *,
    label_depth: int | None,
    task: str | None = None,
    ignore: Sequence[str] = (),
    target: Sequence[str] = (),
    edits: PathLike | None = None,
    quiet: bool,
    say: Say,
) -> "Dataset":
    """Read a dataset unchanged except for `edits`, without the images that cannot be read.

    Raises:
        DatasetError: nothing there, of no known format, or nothing that can be read.
    """
    dataset = open_dataset(
        path, label_depth=label_depth, task=known_task(task), ignore=ignore, target=target, edits=edits
    )
    say(f"found {dataset.describe()}")
    dataset = without_unreadable(dataset, quiet=quiet, say=say)
    if summary := dataset.account.summary():
        say(summary)
    return dataset


def without_unreadable(dataset: "Dataset", *, quiet: bool = True, say: Say = silent) -> "Dataset":
    """Return the dataset without the images and masks that cannot be read; its account says so."""
    scan = scan_of(dataset, quiet=quiet)
    dataset = _with_unusable_marks(dataset, scan)
    usable = usable_targets(dataset, scan)
    readable = scan.readable & usable
    if not readable.any():
        first = next((r.error for r in scan.records if r.error is not None), None)
        if first is None:
            problem = next((f for f in audit_dataset(dataset, scan) if f.severity == "error"), None)
            why = "" if problem is None else f"; the first, {quoted(problem.path)}: {problem.message}"
            fix = "see eyewright doctor" if problem is None else problem.fix
            raise DatasetError(f"none of the {len(dataset)} masks can be used{why}", fix=fix)
        raise DatasetError(
            f"none of the {len(dataset)} images can be read; the first, {dataset.samples[0].id!r}: {first.message}",
            fix=first.fix,
        )
    if not readable.all():
        bad = [s.id for s, ok in zip(dataset.samples, readable, strict=True) if not ok]
        what = (
            "images cannot be read" if not (scan.readable & ~usable).any() else "images or their masks cannot be read"
        )
        note = f"{len(bad)} of {len(readable)} {what} and are left out, such as {bad[0]!r}"
        kept = (s for s, ok in zip(dataset.samples, readable, strict=True) if ok)
        dataset = dataset.with_samples(kept, note)
        dataset = replace(dataset, account=dataset.account.with_left_out(Reason(what, len(bad), bad[0])))
        say(note)
    return dataset


def _with_unusable_marks(dataset: "Dataset", scan: "Scan") -> "Dataset":
    """Return the dataset with an account of the boxes and outlines that are neither learnt nor measured against: how
    many, and the first image."""
    if dataset.kind is not OBJECTS:
        return dataset
    boxes = outlines = 0
    first_box = first_outline = ""
    for sample, record in zip(dataset.samples, scan.records, strict=True):
        if record.info is None:
            continue
        target = sample.marked(Objects)
        without, unfit = unusable_marks(target, record.info.size_hw)
        boxes, outlines = boxes + without, outlines + unfit
        first_box = first_box or (sample.id if without else "")
        first_outline = first_outline or (sample.id if unfit else "")
    account = dataset.account
    if 0 < boxes <= account.read:
        account = account.with_dropped(Reason(UNUSABLE_BOXES, boxes, first_box))
    if outlines:
        reason = Reason(UNUSABLE_OUTLINES, outlines, first_outline)
        account = replace(account, reduced=(*account.reduced, reason))
    return replace(dataset, account=account)


def known_task(task: str | None) -> str | None:
    return None if task in (None, "auto") else task


def usable_targets(dataset: "Dataset", scan: "Scan") -> "NDArray[np.bool_]":
    """Tell which samples' targets can be learnt from, bool (N,): masks can be read and are of their image's size."""
    pairs = zip(dataset.samples, scan.records, strict=True)
    return np.array([r.info is None or s.target.usable(r.info.size_hw) for s, r in pairs], bool)


def scan_of(dataset: "Dataset", *, quiet: bool = True) -> "Scan":
    # What a model takes of a clip does not change what a clip is.
    tree = getattr(dataset.tree, "scanned", dataset.tree)
    known = _scans.get(tree)
    if known is None or any(s.id not in known[0] for s in dataset.samples):
        scan = scan_dataset(dataset, quiet=quiet)
        _scans[tree] = ({s.id: i for i, s in enumerate(dataset.samples)}, scan)
        return scan

    chosen = np.array([known[0][s.id] for s in dataset.samples], dtype=np.int64)
    scan = known[1]
    if len(chosen) == len(scan.records) and bool((chosen == np.arange(len(chosen))).all()):
        return scan
    return scan.chosen(chosen)


def settled(
    dataset: "Dataset",
    leaks: str | None,
    allow_leaks: bool = False,
    *,
    quiet: bool = True,
    among: frozenset[str] | None = None,
) -> "Dataset":
    """Return the dataset as it is trained on: without copies of test images, or refused; see `data.settle_leaks`."""
    rule = leak_rule(leaks, allow_leaks)
    return settle_leaks(dataset, scan_of(dataset, quiet=quiet), rule, among=among)


def without_copies(dataset: "Dataset", *, quiet: bool = True) -> "Dataset":
    """Return the dataset without images of other parts that are copies of its given test images.

    Raises:
        LeakError: they are more than 1 % of the others.
    """
    if "test" not in dataset.splits or len(dataset.splits) == 1:
        return dataset
    joined = dataset.with_samples(replace(s, split="train") if s.split == "val" else s for s in dataset.samples)
    kept = settle_leaks(joined, scan_of(dataset, quiet=quiet), "drop")
    ids = {s.id for s in kept.samples}
    left = replace(kept, leaks=None, samples=tuple(s for s in dataset.samples if s.id in ids))
    return left


def dataset_of(data: "Dataset | PathLike", **options: Any) -> "Dataset":
    if isinstance(data, str | Path):
        return load_dataset(data, **options)
    if options.get("task") not in (None, "auto", data.task):
        raise UsageError(
            f"expected a dataset for {options['task']!r}, found one for {data.task!r}", fix="change the task"
        )
    if options.get("edits"):
        data = apply_edits(data, options["edits"])
    if not {"train", "val"} <= set(data.splits):
        raise DatasetError("expected a dataset with train and val", fix="load it with eyewright.load_dataset")
    return data


def part_of_path(
    path: PathLike,
    split: str | None,
    label_depth: int | None,
    task: str,
    ignore: Sequence[str] = (),
    target: Sequence[str] = (),
) -> "Dataset":
    dataset = open_dataset(path, label_depth=label_depth, task=task, ignore=ignore, target=target)
    if split is not None and split not in ("train", "val", "test"):
        raise UsageError(f"unknown split {split!r}", fix="use train, val or test")
    chosen = split or ("test" if "test" in dataset.splits else None)
    return without_unreadable(dataset if chosen is None else dataset.part(chosen))  # type: ignore[arg-type]


def part_of_run(owner: "Run", split: str) -> "Dataset":
    """Open the data that a run was trained on, and give a part as the run's own `split.csv` says, by name."""
    return data_of_run(owner, (split,))


def label_depth_of(labels: "LabelSpace") -> int | None:
    """Return how many folder levels made these class names; None where one did, or they differ."""
    depths = {name.count("/") + 1 for name in labels.names}
    return None if len(depths) != 1 or depths == {1} else depths.pop()


def target_of(task: str, labels: "LabelSpace") -> tuple[str, ...]:
    """Return the columns that a model's labels are read from; none for a task whose labels are no columns."""
    return labels.names if kind_of(task).by_degree else ()


def data_of_run(owner: "Run", splits: Sequence[str] = ("train", "val", "test")) -> "Dataset":
    """Open the data that a run was trained on, and return the parts `splits` as the run's own `split.csv` says.

    Its groups are restored too.

    Raises:
        DatasetError: the data, or an image of it, is no longer there.
    """
    rows = {r["id"]: r for r in owner.split_rows() if r["split"] in splits}
    path = Path(owner.about["data_path"])
    if not path.exists():
        raise DatasetError(f"the run's data is no longer at {quoted(path)}", fix="pass the dataset")
    dataset = open_dataset(
        path,
        label_depth=label_depth_of(owner.labels),
        task=owner.task_name,
        ignore=ignored_by(owner),
        target=target_of(owner.task_name, owner.labels),
    )
    if "feedback_path" in owner.about:
        dataset = with_feedback(dataset, Path(owner.about["feedback_path"]))
    drawn = {i: r for i, r in rows.items() if i.startswith(GENERATED)} if owner.about.get("generated") else {}
    if drawn:
        dataset = _with_drawn(dataset, owner, drawn)
    here = {s.id: s for s in dataset.samples}
    missing = [i for i in rows if i not in here]
    if missing:
        raise DatasetError(
            f"{len(missing)} of the run's {' and '.join(splits)} images are gone, such as {missing[0]!r}",
            fix="pass the dataset",
        )
    said = {i: dataset.kind.of_cell(r["label"], owner.labels.names) for i, r in rows.items()}
    if any(target is None for target in said.values()):
        # What is learnt does not fit into a cell of split.csv: it is read from the data again.
        here = {s.id: s for s in dataset.relabelled(owner.labels).samples}
    samples = []
    for i, r in rows.items():
        target = here[i].target if (found := said[i]) is None else found
        group = r.get("group") or here[i].group
        samples.append(replace(here[i], split=r["split"], target=target, group=group))  # type: ignore[arg-type]
    return replace(dataset, labels=owner.labels, samples=tuple(samples))


def ignored_by(owner: "Run") -> tuple[str, ...]:
    """Return what a run was told to ignore; runs from before ignored nothing by name."""
    return tuple(owner.about.get("ignore", ("none",)))


def with_feedback(dataset: "Dataset", folder: Path) -> "Dataset":
    """Return a dataset with the images that retraining added to it, as it wrote them to `folder`, under `FEEDBACK`."""
    if not folder.is_dir():
        raise DatasetError(f"the run's images from feedback are no longer at {quoted(folder)}", fix="restore them")
    other = open_dataset(folder, task=dataset.task, ignore=("none",), target=target_of(dataset.task, dataset.labels))
    tree = JoinedTree(dataset.tree, {FEEDBACK: other.tree})
    samples = [*dataset.samples, *(replace(s, id=FEEDBACK + s.id) for s in _in_classes(other, dataset).samples)]
    return replace(dataset, tree=tree, samples=tuple(samples))


def _with_drawn(dataset: "Dataset", owner: "Run", rows: Mapping[str, Mapping[str, str]]) -> "Dataset":
    """Return a dataset with the images that a generator drew for a run, which are in the run's folder `generated`."""
    folder = owner.folder / "generated"
    if not folder.is_dir():
        raise DatasetError(f"the run's generated images are no longer at {quoted(folder)}", fix="restore them")
    names, samples = owner.labels.names, []
    for name, row in rows.items():
        target = dataset.kind.of_cell(row["label"], names)
        if target is not None and (folder / name.removeprefix(GENERATED)).is_file():
            samples.append(Sample(name, target, "train"))
    tree = JoinedTree(dataset.tree, {GENERATED: FolderTree(folder)})
    return replace(dataset, tree=tree, samples=(*dataset.samples, *samples))


def _in_classes(other: "Dataset", dataset: "Dataset") -> "Dataset":
    """Return `other` with the class ids of `dataset`."""
    return other.relabelled(dataset.labels)


def known_images(owner: "Run | Bundle | None") -> set[str]:
    """Return the digests of the images that a model has learnt from: those it was trained and validated on.

    Empty for a bundle that does not say (`Bundle.split`), and for predictors of other kinds.
    """
    if owner is None or not hasattr(owner, "split_rows"):
        return {digest for digest, part in getattr(owner, "split", {}).items() if part != "test"}
    return {r["sha256"] for r in owner.split_rows() if r["split"] in ("train", "val")}


def other_images_fix(owner: "Run | None") -> str:
    """Return what to do where images that a model was trained on were given to measure it."""
    own = "leave DATA out for the run's own test images, " if owner is not None else ""
    return f"{own}use other images, or --allow-leaks"


def fingerprint_of(dataset: "Dataset", *, quiet: bool) -> str:
    """Return the fingerprint of a dataset, as its runs and bundles keep it."""
    return dataset_fingerprint(dataset, scan_of(dataset, quiet=quiet))


def rule_of(about: Mapping[str, Any]) -> str | None:
    """Return the `--group-by` rule of a run or of a bundle's provenance; None where none was given."""
    rule = (about.get("grouping") or {}).get("rule")
    return None if rule in (None, "auto", "none") else str(rule)


def grouped_as(
    about: Mapping[str, Any], dataset: "Dataset", *, group_by: str | None = None, quiet: bool = True
) -> "Dataset":
    """Return images that are only measured with the group of each, found as a split finds them.

    `group_by` is the user's rule. Without it the rule of the model that is measured (`about`, of a run or a bundle) is
    tried, and names are looked through where it matches none of them or puts all of them into one group.

    Raises:
        UsageError: `group_by` cannot be used.
    """
    scan = scan_of(dataset, quiet=quiet)
    known = rule_of(about) if group_by is None else group_by
    try:
        grouping = find_groups(dataset, scan, group_by=known)
    except UsageError:
        if group_by is not None:
            raise
        grouping = find_groups(dataset, scan)
    return with_groups(dataset, grouping)


def untouched(owner: "Run | None", dataset: "Dataset", *, quiet: bool) -> bool:
    """Return whether `dataset` is of the run's own test part, whose copies in training were dealt with before it."""
    if owner is None or str(dataset.root.resolve()) != owner.about.get("data_path"):
        return False
    rows = {r["id"]: r for r in owner.split_rows() if r["split"] == "test"}
    if not all(s.id in rows for s in dataset.samples):
        return False
    records = scan_of(dataset, quiet=quiet).records
    return all(rows[s.id]["sha256"] == r.digest for s, r in zip(dataset.samples, records, strict=True))


def count_seen(dataset: "Dataset", known: set[str], *, quiet: bool) -> int:
    return sum(r.digest in known for r in scan_of(dataset, quiet=quiet).records)
