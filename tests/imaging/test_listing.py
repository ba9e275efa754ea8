"""A folder is listed alike by every command: what is there is read, or named as what cannot be."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyewright.core.errors import InputError
from eyewright.core.walking import walk_files
from eyewright.data.tree import FolderTree
from eyewright.imaging.clip_files import list_clips
from eyewright.imaging.sources import iter_images, list_sources
from eyewright.processing import process_source


def _image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((9, 9, 3), 80, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three images, one behind a link, with a FIFO, a link to nothing, a link to itself and leftovers."""
    root = tmp_path / "data"
    _image(root / "a" / "0.png")
    _image(root / "b" / "0.png")
    _image(tmp_path / "elsewhere" / "0.png")
    (root / "c").symlink_to("../elsewhere")
    (root / "a" / "again").symlink_to("..")
    (root / "a" / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(root / "b" / "fifo.png")
    (root / "d.png").mkdir()
    for left in ("a/._0.png", "__MACOSX/0.png", "@eaDir/0.png", ".cache/0.png"):
        _image(root / left)
    return root


_THERE = ["a/0.png", "a/gone.png", "b/0.png", "b/fifo.png", "c/0.png"]


def test_datasets_and_sources_hold_the_same_files(folder: Path) -> None:
    assert walk_files(folder) == (tuple(_THERE), ("d.png",))
    assert FolderTree(folder).names() == tuple(_THERE)
    assert [p.relative_to(folder).as_posix() for p in map(Path, list_sources(folder))] == _THERE


def test_what_cannot_be_read_in_a_folder_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match=r"gone.png.*No such file"):
        list(iter_images(folder))
    (folder / "a" / "gone.png").unlink()
    with pytest.raises(InputError, match=r"fifo.png.*found a FIFO"):
        list(iter_images(folder))


def test_process_says_what_it_could_not_read(folder: Path, tmp_path: Path) -> None:
    done = process_source(folder, "grey", out=tmp_path / "out")
    assert done.n_written == 3
    assert [Path(f.path or "").name for f in done.findings] == ["gone.png", "fifo.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_may_not_be_listed_is_an_error(folder: Path) -> None:
    (folder / "b").chmod(0)
    try:
        with pytest.raises(InputError, match="cannot list"):
            list_sources(folder)
    finally:
        (folder / "b").chmod(0o755)


def test_videos_behind_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.mp4").write_bytes(b"")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "c").symlink_to("../elsewhere")
    assert list_clips(tmp_path / "data") == [tmp_path / "data" / "c" / "a.mp4"]
