"""Read MNIST's files: images and labels as arrays of bytes (LeCun's idx format)."""

__all__ = ["idx_pairs", "is_idx", "read_idx"]

import gzip
import io
import posixpath
import re
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError, UnreadableImageError, plain_reason
from eyewright.core.labels import LabelSpace
from eyewright.data.account import Account
from eyewright.data.dataset import Dataset, Sample, SplitName
from eyewright.data.readers.naming import SPLITS
from eyewright.data.targets.label import Label
from eyewright.data.tree import ArrayTree, Tree

_IDX = re.compile(r"(?:.*/)?(?P<prefix>[^/]*?)-?(?P<kind>images|labels)[-.]idx(?P<dims>[13])-ubyte(?:\.gz)?$")


def is_idx(name: str) -> bool:
    """Return whether a file is named as MNIST's are."""
    return _IDX.match(name) is not None


def idx_pairs(names: Sequence[str]) -> dict[SplitName, tuple[str, str]]:
    """Return the files of images and of labels by part; none where there are no such files.

    Raises:
        DatasetError: one without the other.
    """
    found: dict[tuple[str, str], dict[str, str]] = {}
    for name in names:
        match = _IDX.match(name)
        if match:
            found.setdefault((posixpath.dirname(name), match["prefix"].lower()), {})[match["kind"]] = name
    pairs: dict[SplitName, tuple[str, str]] = {}
    for (_, prefix), kinds in found.items():
        if set(kinds) != {"images", "labels"}:
            lone = next(iter(kinds.values()))
            raise DatasetError(
                f"expected images and labels side by side, found only {lone!r}", fix="add the other file"
            )
        split = "test" if prefix == "t10k" else SPLITS.get(prefix.split("-")[-1], "train")
        pairs[split] = (kinds["images"], kinds["labels"])
    return pairs


def read_idx(tree: Tree, pairs: dict[SplitName, tuple[str, str]], task: str) -> Dataset:
    """Read pairs of files as `idx_pairs` finds them.

    Raises:
        DatasetError: a file that is cut off, or that does not fit the other.
    """
    arrays: dict[str, NDArray[np.uint8]] = {}
    targets: dict[SplitName, NDArray[np.uint8]] = {}
    for split, (images, labels) in pairs.items():
        arrays[split] = _read_file(tree, images)
        targets[split] = _read_file(tree, labels)
        if arrays[split].ndim not in (3, 4) or targets[split].ndim != 1 or len(arrays[split]) != len(targets[split]):
            raise DatasetError(
                f"expected as many labels as images, found {_shape(targets[split])} labels and images in an array of "
                f"{_shape(arrays[split])}",
                fix=f"check {images!r} and {labels!r}",
            )
    ids = sorted({int(t) for values in targets.values() for t in np.unique(values)})
    space = LabelSpace(tuple(str(i) for i in ids))
    position = {i: k for k, i in enumerate(ids)}
    several = len(pairs) > 1
    samples = tuple(
        Sample(f"{split}/{i:06d}", Label(position[int(t)]), split if several else None)
        for split, values in targets.items()
        for i, t in enumerate(values)
    )
    return Dataset(ArrayTree(tree.root, arrays), samples, space, "idx", task, account=Account(len(samples)))


def _read_file(tree: Tree, name: str) -> NDArray[np.uint8]:
    """Read one idx file (LeCun's format: zero, zero, type, dimensions, sizes big-endian, data)."""
    again = "copy the file again"
    try:
        data = tree.content(name)
        packed = data[:2] == b"\x1f\x8b"
        with gzip.GzipFile(fileobj=io.BytesIO(data)) if packed else io.BytesIO(data) as file:
            head = file.read(4)
            zero, kind, dims = struct.unpack(">HBB", head)
            sizes = file.read(4 * dims)
            shape = struct.unpack(f">{dims}I", sizes)
            count = int(np.prod(shape, dtype=object))
            if count > _IDX_MOST:
                raise DatasetError(f"{name!r} states {count:,} values, more than {_IDX_MOST:,}", fix=again)
            # No more than the header states is unpacked, whatever follows.
            values = file.read(count + 1)
    except (OSError, EOFError, zlib.error, struct.error, UnreadableImageError) as error:
        raise DatasetError(f"cannot read {name!r}: {plain_reason(error)}", fix=again) from None
    if zero != 0 or kind != 8 or len(values) != count:
        raise DatasetError(f"{name!r} is not an idx file of bytes, or is cut off", fix=again)
    return np.frombuffer(values, np.uint8).reshape(shape)


_IDX_MOST = 4 * 2**30


def _shape(array: NDArray[np.uint8]) -> str:
    return " x ".join(f"{n:,}" for n in array.shape)
