"""FIFOs, devices and links to them in a folder are named and left out; no read waits for one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyewright.core.errors import DatasetError, UnreadableImageError
from eyewright.core.regular import open_regular
from eyewright.data.readers.coco_outlines import outline_of
from eyewright.data.tree import FolderTree
from eyewright.imaging.decode import read_image

msgspec = pytest.importorskip("msgspec")


def _special(folder: Path) -> list[str]:
    os.mkfifo(folder / "fifo.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "dir.png").symlink_to("..")
    return ["fifo.png", "zero.png", "dir.png"]


def test_no_fifo_is_waited_for_and_no_device_is_read(tmp_path: Path) -> None:
    for name in _special(tmp_path):
        with pytest.raises(UnreadableImageError, match="expected a regular file"):
            FolderTree(tmp_path).content(name)
        with pytest.raises(UnreadableImageError, match="expected a regular file"):
            read_image(tmp_path / name)


def test_a_folder_where_a_file_is_expected_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="found a folder"):
        open_regular(tmp_path, most=10, error=DatasetError)


def test_convert_of_a_folder_with_special_files_ends(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for label, level in (("a", 40), ("b", 200)):
        (folder / label).mkdir(parents=True)
        for i in range(8):
            image = np.random.default_rng(level + i).integers(level - 30, level + 30, (24, 24, 3)).astype(np.uint8)
            Image.fromarray(image).save(folder / label / f"{i}.png")
    _special(folder / "a")
    order = [sys.executable, "-m", "eyewright", "convert", str(folder), "--to", "imagefolder", "--out"]
    done = subprocess.run([*order, str(tmp_path / "out")], capture_output=True, text=True, timeout=100)
    assert done.returncode in (0, 1), done.stderr
    assert len(list((tmp_path / "out").rglob("*.png"))) == 16


@pytest.mark.parametrize("counts", [[10**30], [2**63 - 1, 2**63 - 1, 102], [-1, 101]])
def test_run_lengths_beyond_64_bits_are_named(counts: list[int]) -> None:
    lost: list[str] = []
    raw = msgspec.Raw(str({"counts": counts, "size": [10, 10]}).replace("'", '"').encode())
    outline = outline_of(raw, lambda text, fix: lost.append(text), lambda text, fix: None)
    assert outline.rle is None
    assert len(lost) == 1
