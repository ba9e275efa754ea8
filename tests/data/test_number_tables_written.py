"""Numbers written as a table of images are read again as they were."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.labels import LabelSpace
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.formats import open_dataset
from eyewright.data.targets.numbers import Numbers, Quantity
from eyewright.data.tree import FolderTree
from eyewright.data.writers import write_dataset
from eyewright.imaging import encode_image

WEIGHT, HEIGHT = Quantity("weight", "g"), Quantity("count")
VALUES = {"a/0.png": (12.5, 3.0), "b/0.png": (-1e-9, 0.1 + 0.2), "b/1.png": (1e12, -0.0)}


@pytest.fixture
def numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    for k, name in enumerate(VALUES):
        place = tmp_path / "data" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encode_image(np.full((6, 7, 3), 40 * k, np.uint8)))
    samples = tuple(Sample(n, Numbers(v, (WEIGHT, HEIGHT)), "train", f"g{n[0]}") for n, v in VALUES.items())
    labels = LabelSpace((str(WEIGHT), str(HEIGHT)))
    return Dataset(FolderTree(tmp_path / "data"), samples, labels, "csv", task="regress")


def test_values_units_parts_and_groups_come_back(numbers: Dataset, tmp_path: Path) -> None:
    written = write_dataset(numbers, "csv", tmp_path / "out")
    assert written.images == 3
    again = open_dataset(tmp_path / "out", task="regress")
    assert again.labels.names == ("weight [g]", "count")
    assert sorted(s.target.values for s in again.samples) == sorted(VALUES.values())
    assert {s.target.quantities for s in again.samples} == {(WEIGHT, HEIGHT)}
    assert [(s.split, s.group) for s in sorted(again.samples, key=lambda s: s.group or "")] == [
        ("train", "ga"),
        ("train", "gb"),
        ("train", "gb"),
    ]


def test_without_parts_there_is_no_such_column(numbers: Dataset, tmp_path: Path) -> None:
    plain = numbers.with_samples([replace(s, split=None, group=None) for s in numbers.samples])
    write_dataset(plain, "csv", tmp_path / "out")
    assert (tmp_path / "out" / "labels.csv").read_text().splitlines()[0] == "path,weight [g],count"
