"""Audit a dataset on disk, and show on a page what was found."""

__all__ = ["doctor"]

import shlex
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eyewright.core.report import Finding
from eyewright.core.task import task_of
from eyewright.data import audit_dataset, find_groups, open_dataset, ordered
from eyewright.data.group_file import write_group_file
from eyewright.data.grouped import look_proposal
from eyewright.data.looks import find_sessions
from eyewright.lifecycle.datasets import PathLike, Say, known_task, scan_of, silent
from eyewright.lifecycle.loading import bundle_folder, need_torch

if TYPE_CHECKING:
    from eyewright.data import Dataset, Grouping, Scan

_MOST_WRITTEN = 10_000


def doctor(
    path: PathLike,
    *,
    labels: bool = False,
    out: PathLike | None = None,
    group_by: str | None = None,
    features: str | None = None,
    label_depth: int | None = None,
    task: str | None = None,
    ignore: Sequence[str] = (),
    target: Sequence[str] = (),
    edits: PathLike | None = None,
    seed: int = 0,
    quiet: bool = True,
    say: Say = silent,
    observe: "Callable[[Dataset], None]" = lambda dataset: None,
) -> tuple[Finding, ...]:
    """Audit a dataset on disk: every finding with file, reason and fix, the most serious first.

    With `out`, `doctor.html` and `findings.json` are written there: the page shows the groups, classes, sizes and the
    worst files as pictures, the JSON holds up to 10,000 findings per code where the result holds 200. Where images look
    as if they came in sessions, `groups.csv` has these for `--group-by`. `group_by` and `edits` are as for
    `load_dataset`. `features`, a bundle or `hf:FOLDER`, says which images are similar. `observe` is called with the
    dataset. With `labels` nets are cross-validated, and labels that contradict their out-of-fold predictions are found
    too.

    Raises:
        DatasetError: nothing there, or of no known format; with `labels`, classes that cannot be cut into parts.
        BundleError, CheckpointError: `features` names nothing that can be used.
        OutputError: `out` cannot be written.
    """
    dataset = open_dataset(
        path, label_depth=label_depth, task=known_task(task), ignore=ignore, target=target, edits=edits
    )
    say(f"found {dataset.describe()}" + "".join(f"; {n}" for n in dataset.notes))
    if labels:
        task_of(dataset.task).require("label_check")
    observe(dataset)
    scan = scan_of(dataset, quiet=quiet)
    grouping = find_groups(dataset, scan, group_by=group_by)
    if grouping.groups:
        say(grouping.describe())
    if features is not None:
        grouping = _with_features(dataset, scan, grouping, features, say=say)
    tables: dict[str, list[list[int]]] = {}
    if out is not None:
        grouping, tables = _with_tables(Path(out), grouping, len(dataset))
    found = audit_dataset(dataset, scan, grouping, most=_MOST_WRITTEN)
    if labels:
        from eyewright.lifecycle.mislabels import find_mislabels

        kept = (s for s, ok in zip(dataset.samples, scan.readable, strict=True) if ok)
        doubted = find_mislabels(dataset.with_samples(kept), seed=seed, quiet=quiet, say=say)
        found = ordered([*found, *doubted], most=_MOST_WRITTEN)
    if out is not None:
        from eyewright.evaluation.audit_page import write_audit

        write_audit(Path(out), dataset, scan, grouping, found)
        for name, groups in tables.items():
            write_group_file(Path(out) / name, [s.id for s in dataset.samples], groups)
    return ordered(found)


def _with_features(dataset: "Dataset", scan: "Scan", grouping: "Grouping", model: str, *, say: Say) -> "Grouping":
    """Return the grouping with a proposal of what a net sees as similar, in the place of those of small pictures."""
    rows = np.flatnonzero(scan.readable)
    need_torch()
    if model.startswith("hf:"):
        from eyewright.nets.hub_features import hub_features

        vectors = hub_features(model, (dataset.image(i) for i in rows.tolist()))
    else:
        from eyewright.bundle import load_bundle
        from eyewright.exporting.features import bundle_features

        bundle = load_bundle(bundle_folder(Path(model)))
        vectors = bundle_features(bundle, (dataset.picture(i) for i in rows.tolist()))
    strata, known = dataset.strata, grouping.ids(len(dataset)).tolist()
    words = f"the features of {model!r}"
    found = find_sessions(vectors, [known[i] for i in rows], [strata[i] for i in rows], words)
    if found is None:
        say(f"{words} show no look-alikes beyond what is kept together")
        return grouping
    members = tuple(tuple(rows[list(m)].tolist()) for m in found.members)
    others = tuple(p for p in grouping.proposals if not p.look)
    return replace(grouping, proposals=(*others, look_proposal(replace(found, members=members))))


def _with_tables(out: Path, grouping: "Grouping", n: int) -> "tuple[Grouping, dict[str, list[list[int]]]]":
    """Return the grouping whose proposals by appearance name the tables that are written to `out`, and these by name.

    A table holds what is kept together anyway too: with it nothing else is read from names.
    """
    tables: dict[str, list[list[int]]] = {}
    proposals = []
    for proposal in grouping.proposals:
        if proposal.members:
            name = f"groups{f'-{len(tables) + 1}' if tables else ''}.csv"
            own = {i: k for k, members in enumerate(proposal.members) for i in members}
            held: dict[tuple[bool, int], list[int]] = defaultdict(list)
            for i, group in enumerate(grouping.ids(n).tolist()):
                held[(True, own[i]) if i in own else (False, group)].append(i)
            tables[name] = [members for members in held.values() if len(members) > 1]
            proposal = replace(proposal, option=f"--group-by {shlex.quote(str(out / name))}")
        proposals.append(proposal)
    return replace(grouping, proposals=tuple(proposals)), tables
