"""Forget images exactly: train again without them, and prove that the new run never read them."""

__all__ = ["Forgotten", "forget"]

import csv
import difflib
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from eyewright.core.errors import OutputError, RefusedError, UsageError
from eyewright.core.files import write_json, write_text
from eyewright.core.quoting import quoted
from eyewright.core.report import Metric
from eyewright.core.task import task_of
from eyewright.data.dataset import Dataset
from eyewright.data.tree import Encoded, Tree
from eyewright.lifecycle.datasets import PathLike, Say, data_of_run, silent
from eyewright.lifecycle.loading import need_torch
from eyewright.lifecycle.opening import load_run, refuse_private
from eyewright.lifecycle.sharding import join_shards
from eyewright.lifecycle.stages import train_on
from eyewright.training.plan import RunPlan

if TYPE_CHECKING:
    from eyewright.training.run import Run

PROOF = "forgotten.json"
_BEGUN = ".forgetting.json"
_LEAST_AUDITED = 10
_MOST = 1000


@dataclass(frozen=True, eq=False)
class Forgotten:
    """What `forget` did: the new run, the forgotten images by name with their digests, which shards were trained again,
    the digests of all files that training has read, and how well an attack recognises forgotten images before and after
    (AUC; None where they are too few, which `unmeasured` says in words)."""

    run: "Run"
    images: Mapping[str, str]
    retrained: tuple[str, ...]
    read: tuple[str, ...]
    before: Metric | None
    after: Metric | None
    proof: Path
    unmeasured: str = ""


class ReadTree:
    """A tree that notes the digest of every file whose bytes are used, and refuses those that must be forgotten."""

    def __init__(self, tree: Tree, forbidden: frozenset[str]) -> None:
        self.root = tree.root
        self.read: set[str] = set()
        self._tree, self._forbidden = tree, forbidden
        self._known: dict[str, str] = {}

    def names(self) -> tuple[str, ...]:
        """Return the names of all files."""
        return self._tree.names()

    def folders(self) -> tuple[str, ...]:
        """Return the names of folders that hold nothing."""
        return self._tree.folders()

    def content(self, name: str) -> bytes:
        """Return a file's bytes, and note their digest.

        Raises:
            RefusedError: they are those of a forgotten image.
        """
        data = self._tree.content(name)
        digest = hashlib.sha256(data).hexdigest()
        if digest in self._forbidden:
            raise RefusedError(f"training asked for {name!r}, which is to be forgotten", fix="please report this")
        self.read.add(digest)
        self._known[name] = digest
        return data

    def picture(self, name: str) -> Image.Image:
        """Return a file's pixels."""
        if name not in self._known:
            self.content(name)
        return self._tree.picture(name)

    def encoded(self, name: str) -> Encoded | None:
        """Return the one file whose pixels `picture` returns."""
        found = self._tree.encoded(name)
        if found is None:
            return None
        return Encoded(found.size, lambda: self.content(name))


def forget(
    run: "Run | PathLike",
    images: Sequence[str],
    *,
    out: PathLike,
    models: int = 16,
    audit: bool = True,
    workers: int | None = None,
    quiet: bool = True,
    say: Say = silent,
) -> Forgotten:
    """Train a run again without some images, into the folder `out`, and return the proof.

    `images` are names as in `split.csv`, paths of files, or `group:NAME` for all images of a group. Copies of them,
    files of the same bytes, are forgotten too. Of a run that was trained with `shards`, only the shards that learnt
    from them are trained again; an image that validates is seen by all shards. The recipe and its seed are those of
    the run. LiRA measures before and after how well forgotten images can be distinguished from images that were never
    trained on.

    Raises:
        UsageError: a name that the run does not know, or all images.
        RefusedError: the run is private or federated.
        OutputError: `out` exists.
    """
    need_torch()
    owner = load_run(run) if isinstance(run, str | Path) else run
    task_of(owner.task_name).require("private")
    refuse_private(owner.about, "forget")
    if owner.recipe.federated:
        raise RefusedError(
            "forget cannot train a federation again: its clients' images are not in one place",
            fix="use eyewright federate",
        )
    place = Path(out)
    whole = data_of_run(owner)
    digests = {r["id"]: r["sha256"] for r in owner.split_rows()}
    gone = _named(owner, whole, images, digests)
    lost = {digests[i] for i in gone}
    kept = whole.select(lambda s: s.id not in gone)
    if not any(s.split == "train" for s in kept.samples):
        raise UsageError("expected images to be left for training, found none", fix="delete the run instead")
    _check_classes(owner, whole, gone)
    _begin(place, owner, sorted(lost), say)
    say(f"{len(gone)} image{'s' * (len(gone) != 1)} to forget, {len(kept):,} stay")
    tree = ReadTree(whole.tree, frozenset(lost))
    dataset = replace(kept, tree=tree)
    plan = RunPlan(workers=workers, quiet=quiet, say=say)
    shards = owner.about.get("shards")
    if shards:
        new, retrained = _retrain_shards(owner, dataset, gone, place, plan)
    else:
        new, retrained = train_on(dataset, owner.recipe, place, plan, leaks="allow"), ("all",)
    _check_proof(new, tree, lost, gone)
    say(f"the new run read {len(tree.read):,} files; none is among the forgotten")
    before, after, unmeasured = _told(owner, new, whole, gone, models, say) if audit else (None, None, "")
    proof = new.folder / PROOF
    write_json(
        proof,
        {
            "forgotten": [{"id": i, "sha256": digests[i]} for i in sorted(gone)],
            "retrained": list(retrained),
            "files_read": sorted(tree.read),
            "checked": "no digest of a forgotten image is among those that were read, or in split.csv of the new run",
            "lira_before": None if before is None else vars(before),
            "lira_after": None if after is None else vars(after),
        },
    )
    (place / _BEGUN).unlink(missing_ok=True)
    return Forgotten(
        new,
        {i: digests[i] for i in sorted(gone)},
        retrained,
        tuple(sorted(tree.read)),
        before,
        after,
        proof,
        unmeasured,
    )


def _check_classes(owner: "Run", whole: Dataset, gone: frozenset[str]) -> None:
    """Check that every net that is trained again keeps an image of each class that it has learnt.

    Raises:
        UsageError: all training images of a class would be forgotten, by the run or by one of its shards.
    """
    for name in owner.about.get("shards") or ("",):
        part = whole.train
        if name:
            own = {r["id"] for r in load_run(owner.folder / name).split_rows() if r["split"] == "train"}
            part = part.select(lambda s, own=own: s.id in own)  # type: ignore[misc]
        lost = set(part.targets.tolist()) - set(part.select(lambda s: s.id not in gone).targets.tolist())
        if lost:
            where = f" in {name}" if name else ""
            raise UsageError(
                f"expected an image of each class to be left for training, found none of class "
                f"{whole.labels.names[min(lost)]!r}{where}: all of them would be forgotten",
                fix="train a new run without these images" + (", or with fewer --shards" if name else " or the class"),
            )


def _begin(place: Path, owner: "Run", lost: Sequence[str], say: Say) -> None:
    """Note in an empty folder what is to be forgotten, so that the same command can be run again after a crash.

    Raises:
        OutputError: the folder holds something else.
    """
    mark = {"run": str(owner.folder.resolve()), "forgotten": list(lost)}
    if place.exists() and any(place.iterdir()):
        try:
            begun = json.loads((place / _BEGUN).read_text("utf-8"))
        except (OSError, ValueError):
            begun = None
        if begun != mark:
            raise OutputError(f"{quoted(place)} is not empty", fix="choose another --out")
        say("an attempt that was interrupted is removed")
        shutil.rmtree(place)
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / _BEGUN, mark)


def _named(owner: "Run", dataset: Dataset, images: Sequence[str], digests: Mapping[str, str]) -> frozenset[str]:
    """Return the ids of the images that are named, and of their copies."""
    if not images:
        raise UsageError("expected images to forget, found none", fix="name them as in split.csv")
    found: set[str] = set()
    by_digest: dict[str, list[str]] = {}
    for i, digest in digests.items():
        by_digest.setdefault(digest, []).append(i)
    for name in images:
        if name.startswith("group:"):
            own = [s.id for s in dataset.samples if s.group == name.removeprefix("group:")]
        elif name in digests:
            own = [name]
        elif Path(name).is_file():
            own = by_digest.get(hashlib.sha256(Path(name).read_bytes()).hexdigest(), [])
        else:
            own = []
        if not own:
            near = difflib.get_close_matches(name, digests, n=3)
            raise UsageError(
                f"the run was not trained or tested on {name!r}",
                fix=f"did you mean {', '.join(map(repr, near))}?" if near else "name images as in split.csv of the run",
            )
        found.update(own)
    for i in list(found):
        found.update(by_digest[digests[i]])
    return frozenset(found)


def _retrain_shards(
    owner: "Run", dataset: Dataset, gone: frozenset[str], place: Path, plan: RunPlan
) -> tuple["Run", tuple[str, ...]]:
    """Train the shards again that learnt from, or were chosen by, a forgotten image; copy the others."""
    runs, retrained = [], []
    for name in owner.about["shards"]:
        old = load_run(owner.folder / name)
        parts = {r["id"]: r["split"] for r in old.split_rows()}
        touched = any(parts.get(i) in ("train", "val") for i in gone)
        tested = any(parts.get(i) == "test" for i in gone)
        if touched:
            part = dataset.select(lambda s, parts=parts: s.id in parts)  # type: ignore[misc]
            plan.say(f"training {name} again on {sum(s.split == 'train' for s in part.samples):,} images")
            runs.append(train_on(part, old.recipe, place / name, plan, leaks="allow"))
            retrained.append(name)
            continue
        shutil.copytree(old.folder, place / name)
        if tested:
            _drop_rows(place / name / "split.csv", gone)
        runs.append(load_run(place / name))
    return join_shards(dataset, runs, place), tuple(retrained)


def _drop_rows(path: Path, gone: frozenset[str]) -> None:
    """Remove images that were only tested on from a `split.csv`."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file)
        rows, columns = [r for r in reader if r["id"] not in gone], list(reader.fieldnames or ())
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def _check_proof(new: "Run", tree: ReadTree, lost: set[str], gone: frozenset[str]) -> None:
    """Compare what was forgotten with what was read, and with what the new run says of itself.

    Raises:
        RefusedError: they have an image in common.
    """
    rows = new.split_rows()
    if lost & tree.read or lost & {r["sha256"] for r in rows} or gone & {r["id"] for r in rows}:
        raise RefusedError("the new run read an image that was to be forgotten", fix="please report this")


def _told(
    owner: "Run", new: "Run", dataset: Dataset, gone: frozenset[str], models: int, say: Callable[[str], None]
) -> tuple[Metric | None, Metric | None, str]:
    """Return the AUC with which LiRA tells forgotten images from those that no net ever learnt from, by the old run and
    by the new one, and why it is not measured. Of shards, by the nets of the shard that learnt from most of the
    forgotten."""
    from eyewright.privacy.auditing import lira_of

    runs, learnt, one = [owner, new], _learnt(owner, gone), ""
    if owner.about.get("shards"):
        each = {name: load_run(owner.folder / name) for name in owner.about["shards"]}
        best = max(each, key=lambda name: len(_learnt(each[name], gone)))
        runs, learnt = [each[best], load_run(new.folder / best)], _learnt(each[best], gone)
        one = " of one shard"
    parts = {r["id"]: r["split"] for r in runs[0].split_rows()}
    others = [i for i, part in parts.items() if part == "test"] or [i for i, part in parts.items() if part == "val"]
    row = {s.id: i for i, s in enumerate(dataset.samples)}
    # A net that has forgotten images of one class does worse on the whole class: others of it are the fair comparison.
    classes = dataset.targets
    own = {int(classes[row[i]]) for i in learnt}
    alike = [i for i in others if i not in gone and int(classes[row[i]]) in own]
    others = (alike if len(alike) >= _LEAST_AUDITED else [i for i in others if i not in gone])[:_MOST]
    for found, what in (
        (len(learnt), f"forgotten training images{one}"),
        (len(others), "images that were not trained on"),
    ):
        if found < _LEAST_AUDITED:
            return None, None, f"it needs {_LEAST_AUDITED} {what}, found {found}"
    # Nets to compare with learn from what the run learnt from too, or they would know other images than it does.
    stay = [i for i, part in parts.items() if part == "train" and i not in gone][:_MOST]
    part = replace(dataset, samples=tuple(dataset.samples[row[i]] for i in (*learnt, *others, *stay)))
    pictures = [part.image(i) for i in range(len(part))]
    batches = [runs[0].preparation.batch(pictures[i : i + 256])[0] for i in range(0, len(pictures), 256)]
    members = np.arange(len(part)) < len(learnt)
    measured = np.arange(len(part)) < len(learnt) + len(others)
    before, after = lira_of(
        runs, np.concatenate(batches), part.targets, members, measured, models=models, seed=0, say=say
    )
    return before, after, ""


def _learnt(run: "Run", gone: frozenset[str]) -> list[str]:
    """Return which of the forgotten images a run has learnt from."""
    return sorted(r["id"] for r in run.split_rows() if r["split"] == "train" and r["id"] in gone)
