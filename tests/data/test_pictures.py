"""Images for restoration: folders of good ones, and pairs by name."""

from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import DatasetError
from eyewright.data import open_dataset
from eyewright.data.targets.picture import Picture
from eyewright.imaging import write_image


def put(folder: Path, *names: str) -> None:
    for k, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(folder / name, np.random.default_rng(k).integers(0, 256, (12, 14, 3)).astype(np.uint8))


def test_a_folder_of_images_needs_no_classes(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "holiday/b.png", "holiday/c.png")
    (tmp_path / "notes.txt").write_text("hello")
    found = open_dataset(tmp_path, task="restore")
    assert [s.id for s in found.samples] == ["a.png", "holiday/b.png", "holiday/c.png"]
    assert {s.target.clean for s in found.samples} == {""}
    assert (found.labels.names, found.format, found.skipped) == (("picture",), "pictures", ("notes.txt",))


def test_pairs_are_joined_by_name_within_their_part_whatever_the_extension(tmp_path: Path) -> None:
    put(tmp_path, "train/input/a.png", "train/target/a.bmp", "val/noisy/a.png", "val/clean/a.png", "train/input/b.png")
    put(tmp_path, "val/clean/c.png")
    found = open_dataset(tmp_path, task="restore")
    pairs = {s.id: (s.target.clean, s.split) for s in found.samples}
    assert pairs == {
        "train/input/a.png": ("train/target/a.bmp", "train"),
        "val/noisy/a.png": ("val/clean/a.png", "val"),
    }
    assert [f.path for f in found.problems] == ["train/input/b.png", "val/clean/c.png"]
    assert "2 images are left out" in found.account.summary()


def test_what_holds_no_pair_or_half_a_split_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "a", "input/a.png", "target/b.png")
    with pytest.raises(DatasetError, match="same names"):
        open_dataset(tmp_path / "a", task="restore")
    put(tmp_path / "b", "train/a.png", "b.png")
    with pytest.raises(DatasetError, match="all images below train"):
        open_dataset(tmp_path / "b", task="restore")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "notes.txt").write_text("hello")
    with pytest.raises(DatasetError, match="expected images"):
        open_dataset(tmp_path / "c", task="restore")


def test_a_picture_is_told_by_its_clean_image() -> None:
    one = Picture("target/a.png")
    assert one.renamed(np.array([3])) is one
    assert one.without(np.array([-1])) is one
    assert (one.held, one.marks(), one.text(("picture",)), one.empty(frozenset())) == (
        (0,),
        (0,),
        "target/a.png",
        False,
    )
