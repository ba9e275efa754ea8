"""FIFOs, devices and links to them in a folder are named and left out; no read waits for one."""

import gzip
import os
import resource
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyewright.core.errors import DatasetError, UnreadableImageError
from eyewright.core.regular import open_regular
from eyewright.data import open_dataset
from eyewright.data.readers.coco_outlines import outline_of
from eyewright.data.tree import FolderTree, ZipTree
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


@pytest.mark.parametrize("name", ["train.parquet", "train-000000.tar"])
def test_a_fifo_in_place_of_a_shard_is_not_waited_for(tmp_path: Path, name: str) -> None:
    """In a process of its own: where it is waited for, nothing but a signal would end the test."""
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    os.mkfifo(tmp_path / name)
    for command in (("doctor", "."), ("encode", "*" + name[-8:], "--to", "webp", "--on", "local", "--out", "o")):
        done = subprocess.run(
            (sys.executable, "-m", "eyewright", *command), cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 3
        assert "expected a regular file" in done.stderr
        assert len(done.stderr.splitlines()) == 1


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


def _photos(folder: Path) -> Path:
    for label, level in (("a", 40), ("b", 200)):
        (folder / label).mkdir(parents=True)
        for i in range(4):
            image = np.random.default_rng(level + i).integers(level - 30, level + 30, (24, 24, 3)).astype(np.uint8)
            Image.fromarray(image).save(folder / label / f"{i}.png")
    return folder


def _sparse(path: Path, head: bytes, size: int) -> None:
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)


@pytest.mark.parametrize(("name", "size"), [("huge.png", 2**29), ("notes.json", 3 * 2**30)])
def test_a_file_is_refused_by_its_size_before_it_is_read(tmp_path: Path, name: str, size: int) -> None:
    _sparse(tmp_path / name, b"\x89PNG\r\n\x1a\n", size)
    with pytest.raises(UnreadableImageError, match="more than"):
        FolderTree(tmp_path).content(name)


def test_links_into_the_kernels_folders_are_not_followed(tmp_path: Path) -> None:
    folder = _photos(tmp_path)
    (folder / "a" / "proc").symlink_to("/proc/self", target_is_directory=True)
    (folder / "a" / "sys").symlink_to("/sys", target_is_directory=True)
    assert len(FolderTree(folder).names()) == 8


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _photos(tmp_path)
    listed = os.scandir

    def denied(place: str) -> object:
        if str(place).endswith("/b"):
            raise PermissionError(13, "Permission denied", str(place))
        return listed(place)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(DatasetError, match=r"cannot list '.*/b': Permission denied"):
        open_dataset(folder)


@pytest.mark.parametrize("name", ["/etc/cat/x.png", "../../cat/x.png", "C:\\cat\\x.png", "./cat/x.png", "//cat//x.png"])
def test_a_member_of_a_zip_is_named_inside_it(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("cat/0.png", b"a")
        archive.writestr("dog/0.png", b"b")
        archive.writestr(zipfile.ZipInfo(name), b"c")
    names = ZipTree(tmp_path / "d.zip").names()
    assert len(names) == 3
    (member,) = set(names) - {"cat/0.png", "dog/0.png"}
    assert member in ("etc/cat/x.png", "cat/x.png")
    assert len(open_dataset(tmp_path / "d.zip")) == 3


@pytest.mark.parametrize("other", ["cat/0.png", "../cat/0.png", "cat\\\\0.png"])
def test_two_members_of_one_name_are_refused_unless_they_are_copies(tmp_path: Path, other: str) -> None:
    def packed(second: bytes) -> Path:
        with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            archive.writestr("cat/0.png", b"one")
            archive.writestr("dog/0.png", b"one")
            archive.writestr(zipfile.ZipInfo(other), second)
        return tmp_path / "d.zip"

    with pytest.raises(DatasetError, match=r"the zip 'd.zip' holds 'cat/0.png' twice, with different content"):
        ZipTree(packed(b"two"))
    copies = ZipTree(packed(b"one"))
    assert copies.names() == ("cat/0.png", "dog/0.png")
    assert copies.content("cat/0.png") == b"one"


def test_what_is_hidden_in_a_zip_may_be_there_twice(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for content in (b"one", b"two"):
            archive.writestr("__MACOSX/cat/._0.png", content)
            archive.writestr("cat/", b"")
        archive.writestr("cat/0.png", b"a")
    assert ZipTree(tmp_path / "d.zip").names() == ("cat/0.png",)


def test_no_more_of_a_packed_idx_file_is_unpacked_than_it_states(tmp_path: Path) -> None:
    head = struct.pack(">IIII", 0x803, 4, 8, 8)
    labels = gzip.compress(struct.pack(">II", 0x801, 4) + bytes([0, 1, 0, 1]))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(labels)
    images = tmp_path / "train-images-idx3-ubyte.gz"
    images.write_bytes(gzip.compress(head + bytes(256)))
    assert len(open_dataset(tmp_path)) == 4
    images.write_bytes(gzip.compress(head + bytes(2**26)))
    tracemalloc.start()
    with pytest.raises(DatasetError, match="cut off"):
        open_dataset(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24, peak
    images.write_bytes(gzip.compress(struct.pack(">IIII", 0x803, 2**31, 2**16, 2**16)))
    with pytest.raises(DatasetError, match="states"):
        open_dataset(tmp_path)


def test_excels_separator_line_is_passed_over_and_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    folder = _photos(tmp_path)
    table = tmp_path / "labels.csv"
    rows = [f"{k}/{i}.png;{label}" for k, label in (("a", "x"), ("b", "y")) for i in range(4)]
    table.write_text("\n".join(["sep=;", "path;label", *rows, ""]))
    assert open_dataset(folder).labels.names == ("x", "y")
    table.write_text("\n".join(["path;label;label", *(f"{r};z" for r in rows), ""]))
    with pytest.raises(DatasetError, match="two columns called 'label'"):
        open_dataset(folder)


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (b"b/3.png,y\0\n", r"labels.csv.*line 9.*zero byte"),
        ("b/3.png,th\xe9\n".encode("latin-1"), r"labels.csv.*line 9 is not UTF-8"),
        (b"b/3.png\n", r"labels.csv.*line 9 has another number"),
    ],
)
def test_a_table_of_labels_that_cannot_be_read_never_gives_way_to_folders(
    tmp_path: Path, last: bytes, message: str
) -> None:
    folder = _photos(tmp_path)
    rows = [f"{k}/{i}.png,{label}" for k, label in (("a", "x"), ("b", "y")) for i in range(4)]
    (folder / "labels.csv").write_bytes("\n".join(["path,label", *rows[:-1], ""]).encode() + last)
    with pytest.raises(DatasetError, match=message):
        open_dataset(folder)


@pytest.mark.parametrize("rows", [b"", b"a/0.png\n"])
def test_a_table_whose_first_row_is_wrong_never_gives_way_to_folders(tmp_path: Path, rows: bytes) -> None:
    folder = _photos(tmp_path)
    (folder / "labels.csv").write_bytes(b"path,label\n" + rows)
    with pytest.raises(DatasetError, match=r"labels\.csv"):
        open_dataset(folder)


@pytest.mark.parametrize("name", ["labels.csv", "annotations.json", "instances.xml"])
def test_a_large_binary_file_under_the_name_of_a_text_is_not_read_whole(tmp_path: Path, name: str) -> None:
    with open(tmp_path / name, "wb") as file:
        file.truncate(2**30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnreadableImageError, match="zero byte"):
        FolderTree(tmp_path).content(name)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**17


def test_a_large_text_in_utf_16_is_read(tmp_path: Path) -> None:
    text = "a,b\n" * (5 * 2**20)
    (tmp_path / "labels.csv").write_bytes(text.encode("utf-16-le"))
    assert FolderTree(tmp_path).content("labels.csv").startswith("a,b".encode("utf-16-le"))


def test_run_lengths_of_another_size_are_refused_with_the_name_of_their_image(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "cells.png")
    rle = {"size": [4, 4], "counts": [4, 8, 4]}
    content = {
        "images": [{"id": 1, "file_name": "cells.png", "width": 4, "height": 4}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "bbox": [0, 1, 4, 2],
                "segmentation": rle,
                "iscrowd": 1,
                "area": 8,
            },
            {
                "id": 2,
                "image_id": 1,
                "category_id": 1,
                "bbox": [0, 1, 4, 2],
                "segmentation": rle,
                "iscrowd": 0,
                "area": 8,
            },
        ],
        "categories": [{"id": 1, "name": "cell"}],
    }
    (tmp_path / "annotations.json").write_bytes(msgspec.json.encode(content))
    dataset = open_dataset(tmp_path, task="segment")
    with pytest.raises(DatasetError, match=r"cells\.png.*run-length encoding of 4x4 pixels for an image of 8x6"):
        dataset.mask(0, (6, 8))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_member_of_a_zip_is_an_image_that_cannot_be_read(tmp_path: Path, method: int) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a/0.png", np.random.default_rng(0).bytes(4000))
    data = bytearray(path.read_bytes())
    data[60:100] = b"\xff" * 40
    path.write_bytes(data)
    with pytest.raises(UnreadableImageError, match=r"cannot unpack 'a/0.png'"):
        ZipTree(path).content("a/0.png")
