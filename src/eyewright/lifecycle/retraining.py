"""The loop closed: learn on from what people said of the served model's answers, and promote only what is no worse."""

__all__ = ["Retrained", "retrain"]

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from eyewright.core.errors import DatasetError, InputError, RefusedError, UsageError
from eyewright.core.quoting import quoted
from eyewright.data import leak_rule
from eyewright.data.clip_tree import ClipTree, JoinedClips
from eyewright.data.grouped import find_groups
from eyewright.data.likeness import equal_links
from eyewright.data.tree import JoinedTree, Tree
from eyewright.lifecycle.datasets import (
    FEEDBACK,
    Say,
    grouped_as,
    known_images,
    label_depth_of,
    load_dataset,
    open_readable,
    rule_of,
    scan_of,
    settled,
    silent,
    target_of,
)
from eyewright.lifecycle.field import DEFAULT_HOME
from eyewright.lifecycle.field import promote as promote_bundle
from eyewright.lifecycle.kept import NEW_CLASSES, Learnable, Unusable, Unused, learnable_feedback, tally
from eyewright.lifecycle.loading import need_torch
from eyewright.lifecycle.opening import recipe_of, refuse_private
from eyewright.lifecycle.stages import compare, evaluate, export, train_on
from eyewright.training.options import RetrainOptions, named_options
from eyewright.training.plan import RunPlan
from eyewright.training.recipe import read_recipe

if TYPE_CHECKING:
    from eyewright.bundle import Bundle
    from eyewright.data import Dataset
    from eyewright.evaluation import Comparison
    from eyewright.lifecycle.loading import PathLike
    from eyewright.monitoring import Event
    from eyewright.training import Recipe

# What the bundle decides for its child: both must see the same pixels through the same net.
_FIXED = ("imgsz", "frames", "span", "steps", "model", "task", "activation")


@dataclass(frozen=True)
class Retrained:
    """The result of `retrain`.

    `bundle` and `run` are folders. `new_images` were added to the earlier data; `unused` lists the feedback
    that was not, by reason. `comparison` is with the champion on test images that neither was trained on; `promoted` is
    the promotion, if there was one. `notes` are sentences for the user.
    """

    bundle: Path
    run: Path
    new_images: int
    comparison: "Comparison"
    promoted: "Event | None"
    unused: tuple[Unused, ...] = ()
    notes: tuple[str, ...] = ()


@named_options(RetrainOptions)
def retrain(
    data: "PathLike",
    *,
    out: "PathLike",
    home: "PathLike" = DEFAULT_HOME,
    log: str | None = None,
    bundle: "PathLike | None" = None,
    promote: bool = True,
    leaks: str | None = None,
    allow_leaks: bool = False,
    quiet: bool = True,
    say: Say = silent,
    **options: Unpack[RetrainOptions],
) -> Retrained:
    """Continue training a bundle's weights on `data` and the kept images that have feedback; compare; promote if no
    worse.

    Every image of `data` stays in the part that it had for the bundle: the bundle says which (`Bundle.split`). New
    images go into the training part, except those that are copies of test or validation images, or in one group with
    them. The preparation and the scaling are the bundle's. What feedback calls right keeps its label; what it calls
    wrong without saying what is right is left out, and all that is left out is counted in `unused`. `bundle` is the
    champion by default. `options` are the recipe's (budget, epochs, lr, …).

    `out` becomes a folder with `feedback`, the new images as a dataset of their own; `run`; and `bundle`. Images with
    classes that feedback declared as new cannot be learnt without another head: they are written to `new_classes`, a
    dataset in the same layout that has them, to be merged into the data before training again. `leaks` is as
    for `train`.

    Raises:
        InputError: no kept image has feedback that can be used; `details` holds why.
        UsageError: no champion, or an option that would change what the model sees.
        RefusedError: a bundle without weights.
        DatasetError: the data is not what the model was trained on.
    """
    from eyewright.bundle import load_bundle
    from eyewright.monitoring import History, open_store

    leaks = leak_rule(leaks, allow_leaks)
    place, folder = Path(home), Path(out)
    events = History(place)
    if bundle is None:
        event = events.current("champion")
        if event is None:
            raise UsageError(
                "expected a champion to continue from, found none",
                fix="pass the bundle that is served: --bundle BUNDLE",
            )
        bundle = event.folder
    parent = load_bundle(bundle)
    need_torch()
    recipe = _recipe_of(parent, options)
    others = {e.digest: Path(e.folder) for e in events.events() if e.digest}
    store = open_store(log or str(place / "monitor.db"))
    try:
        new, left_out = learnable_feedback(store, parent, place, others)
    finally:
        store.close()
    if new.declared is not None:
        _write_new(new.declared, new.format, folder / NEW_CLASSES)
        say(f"{len(new.declared)} images with new classes are in {folder / NEW_CLASSES}")
    if not new.prediction_ids:
        raise _nothing(left_out)
    old, notes, fresh = _as_before(data, parent, recipe, quiet=quiet, say=say)
    merged, new, more = _without_leaks(old, new, fresh, quiet=quiet)
    left_out += more
    unused = tally(left_out)
    dropped = len(old) + len(new.prediction_ids) - len(merged)
    if dropped:
        notes = (*notes, f"{dropped} of them are copies of images of another part and are left out")
    if not new.prediction_ids:
        raise _nothing(left_out)
    for note in notes:
        say(note)
    say(f"{len(new.prediction_ids)} images with feedback and {len(old)} earlier ones")
    for one in unused:
        say(f"not used: {one.count} because {one.reason}")
    merged = settled(merged, leaks, quiet=quiet, among=_unsettled(parent, fresh))
    _write_new(new.dataset, new.format, folder / "feedback")
    run = train_on(
        merged,
        recipe,
        folder / "run",
        RunPlan(
            deadline=None if recipe.budget_s is None else time.monotonic() + recipe.budget_s - 1.0,
            weights=parent.folder / "model.safetensors",
            preparation=parent.preparation,
            notes={
                "feedback_path": str((folder / "feedback").resolve()),
                "retrained_from": parent.manifest.name,
                "unused_feedback": [{"reason": u.reason, "count": u.count} for u in unused],
            },
            # Whoever trained the parent has judged these labels, and feedback comes from the program's own pages.
            label_errors="allow",
            quiet=quiet,
            say=say,
        ),
        leaks=leaks,
    )
    test = _unseen(merged, known_images(parent) | known_images(run), quiet=quiet)
    report = evaluate(run, test, out=folder / "run", quiet=quiet)
    made = export(run, folder / "bundle", validation=merged.val, report=report)
    found = compare(parent, made, test, quiet=quiet)
    event = None
    if promote and found.better != "a":
        reason = {
            "retrained_from": str(parent.folder),
            "new_images": len(new.prediction_ids),
            "unused_feedback": sum(u.count for u in unused),
            "comparison": found.to_json(),
        }
        event = promote_bundle(made.folder, home=home, force=True, reason=reason)
    return Retrained(made.folder, run.folder, len(new.prediction_ids), found, event, unused, notes)


def _unsettled(parent: "Bundle", fresh: frozenset[str]) -> frozenset[str] | None:
    """Return the images between which copies are still to be looked for: those that the parent does not know. The
    others were settled when it was trained, and new ones together with them by `_without_leaks`; None where copies were
    trained on."""
    before = (parent.manifest.provenance.get("dataset") or {}).get("leaks") or {}
    return None if before.get("rule") == "allow" and before.get("copies") else fresh


def _nothing(left_out: list[Unusable]) -> InputError:
    unused = tally(left_out)
    why = "; ".join(f"{u.count}: {u.reason}" for u in unused)
    return InputError(
        "no kept image has feedback that says what is right" + (f" ({why})" if why else ""),
        fix="serve with --keep images=5%, and say what is right",
        details={"unused": [{"reason": u.reason, "count": u.count, "examples": list(u.examples)} for u in unused]},
    )


def _recipe_of(parent: "Bundle", options: Mapping[str, Any]) -> "Recipe":
    """Return the recipe that the bundle was made by, with other options where they do not change what it sees."""
    lacking = [f for f in ("model.safetensors", "recipe.toml") if f not in parent.manifest.files]
    if lacking:
        raise RefusedError(
            f"the bundle holds no {lacking[0]}, so there is nothing to train further: it was imported or compressed",
            fix="retrain the bundle that it was made from",
            code="no_weights",
        )
    fixed = [k for k in _FIXED if options.get(k) is not None]
    if fixed:
        raise UsageError(
            f"expected no {fixed[0]} for retraining, which keeps the net and the preparation of the bundle",
            fix="leave it out, or train again",
        )
    refuse_private(parent.manifest.provenance, "retrain")
    recipe = read_recipe(parent.folder / "recipe.toml")
    if {k for k in ("budget", "epochs") if options.get(k) is not None}:
        recipe = replace(recipe, epochs=None, budget_s=None)
    return replace(recipe_of(recipe, **options), task=parent.task_name)


def _as_before(
    data: "PathLike", parent: "Bundle", recipe: "Recipe", *, quiet: bool, say: Say
) -> "tuple[Dataset, tuple[str, ...], frozenset[str]]":
    """Return the data with every image in the part that it had for the parent, in the parent's classes; sentences
    about it; and the ids of images that the parent does not know."""
    notes: tuple[str, ...] = ()
    fresh: frozenset[str] = frozenset()
    label_depth, target = label_depth_of(parent.labels), target_of(parent.task_name, parent.labels)
    if parent.split:
        given = open_readable(data, label_depth=label_depth, task=parent.task_name, target=target, quiet=quiet, say=say)
        old, notes, fresh = _split_as(given, parent.split, quiet=quiet)
        old = grouped_as(parent.manifest.provenance, old, quiet=quiet)
    else:
        seed = parent.manifest.provenance.get("seed")
        old = load_dataset(
            data,
            task=parent.task_name,
            seed=seed if isinstance(seed, int) else recipe.seed,
            group_by=rule_of(parent.manifest.provenance),
            label_depth=label_depth,
            target=target,
            quiet=quiet,
            say=say,
        )
        before = (parent.manifest.provenance.get("dataset") or {}).get("images") or {}
        here = {p: sum(s.split == p for s in old.samples) for p in old.splits}
        if before and dict(before) != here:
            raise DatasetError(
                f"expected the split that the model was trained on ({_counts(before)}), found {_counts(here)}",
                fix="pass the data as it was, or export the run again: its bundle then holds the split",
                code="split_unknown",
            )
    for part in ("train", "val", "test"):
        if part not in old.splits:
            raise DatasetError(
                f"expected {part} images of the model in {quoted(data)}, found none",
                fix="pass the data that it was trained on",
            )
    return _in_classes_of(old, parent), notes, fresh


def _split_as(
    given: "Dataset", split: Mapping[str, str], *, quiet: bool
) -> "tuple[Dataset, tuple[str, ...], frozenset[str]]":
    """Return the data split as it was; images that the model does not know keep a given part, or are trained on."""
    scan = scan_of(given, quiet=quiet)
    digests = [r.digest for r in scan.records]
    known = [d in split for d in digests]
    if not any(known):
        raise DatasetError(
            "the data holds no image that the model was trained or tested on",
            fix="pass the data that it was trained on",
        )
    samples = [
        replace(s, split=split.get(d, s.split or "train"))  # type: ignore[arg-type]
        for s, d in zip(given.samples, digests, strict=True)
    ]
    notes = []
    added = len(known) - sum(known)
    if added:
        notes.append(f"{added} of {len(known)} images are new to the model since it was trained")
    gone = len({d for d, part in split.items() if part == "test"} - set(digests))
    if gone:
        notes.append(f"{gone} test images of the model are not in the data any more")
    fresh = frozenset(s.id for s, was in zip(samples, known, strict=True) if not was)
    return given.with_samples(samples), tuple(notes), fresh


def _in_classes_of(old: "Dataset", parent: "Bundle") -> "Dataset":
    if set(old.labels.names) != set(parent.labels.names):
        raise DatasetError("the data does not have the classes of the model", fix="pass the data it was trained on")
    return old.relabelled(parent.labels)


def _without_leaks(
    old: "Dataset", new: Learnable, fresh: frozenset[str], *, quiet: bool
) -> "tuple[Dataset, Learnable, list[Unusable]]":
    """Return old and new data as one, without new images that belong to a test or validation image or contradict a copy
    of theirs; what is left of the new ones; and what was left out."""
    tree: Tree
    if isinstance(old.tree, ClipTree) and isinstance(new.dataset.tree, ClipTree):
        tree = JoinedClips(old.tree.with_sampling(new.dataset.tree.sampling), {FEEDBACK: new.dataset.tree})
    else:
        tree = JoinedTree(old.tree, {FEEDBACK: new.dataset.tree})
    if any(s.id.startswith(FEEDBACK) for s in old.samples):
        raise DatasetError(
            f"the data holds a folder {FEEDBACK!r}, which retraining needs for its own", fix="rename the folder"
        )
    joined = [*old.samples, *(replace(s, id=FEEDBACK + s.id) for s in new.dataset.samples)]
    merged = replace(old, tree=tree, samples=tuple(joined))
    scan = scan_of(merged, quiet=quiet)
    groups = find_groups(merged, scan, by_name=False).ids(len(merged)).tolist()
    n_old = len(old)
    held = {part: {groups[i] for i in range(n_old) if joined[i].split == part} for part in ("test", "val")}
    out: dict[int, str] = {}
    known: dict[str, set[int]] = {"train": set(), "val": set(), "test": set()}
    for i in range(n_old):
        if joined[i].id not in fresh:
            known[str(joined[i].split)].add(groups[i])
    for i in range(n_old):
        if joined[i].id in fresh and any(groups[i] in known[p] for p in known if p != joined[i].split):
            out[i] = "it is a copy of an image of another part"
    for i in range(n_old, len(joined)):
        if not scan.readable[i]:
            out[i] = "the kept image cannot be read"
        elif groups[i] in held["test"]:
            out[i] = "it is a copy of a test image, or in one group with it, and test images stay test"
        elif groups[i] in held["val"]:
            out[i] = "it is a copy of a validation image, or in one group with it"
    out |= _contradictions(merged, equal_links(merged, scan), n_old, out)
    members: dict[int, int] = {}
    for g in groups:
        members[g] = members.get(g, 0) + 1
    kept = tuple(
        replace(s, group=f"g{g}") if members[g] > 1 else s
        for i, (s, g) in enumerate(zip(joined, groups, strict=True))
        if i not in out
    )
    chosen = [k for k in range(len(new.prediction_ids)) if n_old + k not in out]
    left = replace(
        new,
        dataset=new.dataset.with_samples(new.dataset.samples[k] for k in chosen),
        prediction_ids=tuple(new.prediction_ids[k] for k in chosen),
    )
    unusable = [Unusable(new.prediction_ids[i - n_old], reason) for i, reason in sorted(out.items()) if i >= n_old]
    return merged.with_samples(kept), left, unusable


def _contradictions(
    merged: "Dataset", pairs: "tuple[tuple[int, int], ...]", n_old: int, out: Mapping[int, str]
) -> dict[int, str]:
    """Return the new images whose copy has another label: the data's own label holds, then the later word."""
    found: dict[int, str] = {}
    sides = merged.kind.sides([s.target for s in merged.samples], merged.labels.names)
    for i, j in pairs:
        if j < n_old or sides[i] == sides[j] or i in out or j in out:
            continue
        if i < n_old:
            found[j] = "its copy in the training data has another label (see eyewright doctor)"
        else:
            found[i] = "later feedback on a copy of the image says another label"
    return found


def _write_new(images: "Dataset", form: str, folder: Path) -> None:
    from eyewright.data.writers import write_dataset

    write_dataset(images, form, folder)


def _unseen(merged: "Dataset", known: set[str], *, quiet: bool) -> "Dataset":
    """Return the test images that no model was trained on, by the digests of their files."""
    test = merged.test
    scan = scan_of(test, quiet=quiet)
    seen = {s.id for s, r in zip(test.samples, scan.records, strict=True) if r.digest in known}
    if len(seen) == len(test):
        raise DatasetError(
            "every test image was trained on by one of the two models, so they cannot be compared",
            fix="add test images that are new",
        )
    return test.select(lambda s: s.id not in seen)


def _counts(parts: Mapping[str, int]) -> str:
    return " + ".join(f"{part} {n}" for part, n in parts.items())
