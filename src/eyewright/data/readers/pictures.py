"""Read images for restoration: a folder of them, or pairs of a degraded and a clean image."""

__all__ = ["PICTURE_FORMATS", "read_pictures"]

import posixpath
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from eyewright.core.errors import DatasetError
from eyewright.core.labels import LabelSpace
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.data.account import Account, Reason
from eyewright.data.dataset import Dataset, Sample, SplitName
from eyewright.data.readers.naming import SPLITS, Images
from eyewright.data.targets.picture import Picture
from eyewright.data.tree import Tree

PICTURE_FORMATS: Mapping[str, str] = MappingProxyType(
    {"pictures": "images for restoration: good or noisy ones, or pairs of one name in input/ and target/"}
)
"""The format by name, with what it looks like."""

_INPUTS = frozenset({"input", "inputs", "noisy", "degraded", "blurred", "lq", "lr"})
_TARGETS = frozenset({"target", "targets", "clean", "gt", "groundtruth", "sharp", "hq", "hr"})


def read_pictures(tree: Tree, names: Sequence[str], task: str) -> Dataset:
    """Read images, with train, val and test above them or not; with folders `input` and `target` they are pairs, joined
    by their names without extension.

    Raises:
        DatasetError: there are no images, or no pair is complete.
    """
    images = Images(names).names
    if not images:
        raise DatasetError(f"expected images in {quoted(tree.root)}, found none", fix="see eyewright formats")
    inputs = {key: n for n in images if (key := _key(n, _INPUTS)) is not None}
    targets = {key: n for n in images if (key := _key(n, _TARGETS)) is not None}
    labels = LabelSpace(("picture",))
    skipped = tuple(n for n in names if n not in set(images))
    if not inputs or not targets:
        samples = tuple(Sample(n, Picture(), _split_of(n)) for n in images)
        return Dataset(tree, _without_partial_splits(samples), labels, "pictures", task, skipped=skipped)
    pairs = [Sample(n, Picture(targets[key]), _split_of(n)) for key, n in inputs.items() if key in targets]
    if not pairs:
        raise DatasetError(
            "expected the images in input/ and target/ to have the same names, found none that have",
            fix="name both images of a pair the same",
        )
    alone = sorted(
        {*(n for k, n in inputs.items() if k not in targets)} | {n for k, n in targets.items() if k not in inputs}
    )
    problems = tuple(
        Finding("pair_incomplete", "there is no second image of this name", "add it, or remove this one", n)
        for n in alone[:1000]
    )
    account = Account(read=len(pairs))
    if alone:
        account = account.with_left_out(Reason("images without a second one of the same name", len(alone), alone[0]))
    return Dataset(
        tree, _without_partial_splits(tuple(pairs)), labels, "pictures", task,
        skipped=skipped, problems=problems, account=account,
    )  # fmt: skip


def _key(name: str, folders: frozenset[str]) -> str | None:
    """Return what both images of a pair are called: the path without the folder that distinguishes them."""
    parts = name.split("/")
    at = next((k for k, part in enumerate(parts[:-1]) if part.lower() in folders), None)
    if at is None:
        return None
    return posixpath.splitext("/".join([*parts[:at], *parts[at + 1 :]]))[0]


def _split_of(name: str) -> SplitName | None:
    return next((SPLITS[part.lower()] for part in name.split("/")[:-1] if part.lower() in SPLITS), None)


def _without_partial_splits(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """Return samples whose part is given for all or for none of them."""
    if all(s.split is not None for s in samples) or all(s.split is None for s in samples):
        return samples
    raise DatasetError(
        "expected all images below train, val or test, or none, found both", fix="move the others into one of them"
    )
