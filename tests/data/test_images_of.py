"""Every kind of tree gives the same pixels together as one by one, in one message to a decoding process."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import EyewrightError
from eyewright.data.readers.plain import PlainTree
from eyewright.data.tree import ArrayTree, FolderTree, JoinedTree, Tree, ZipTree, images_of
from eyewright.imaging import decode, encode_image
from eyewright.imaging.ahead import caught


def made(tmp_path: Path) -> FolderTree:
    rng = np.random.default_rng(0)
    for k in range(5):
        (tmp_path / f"{k}.png").write_bytes(encode_image(rng.integers(0, 255, (6 + k, 9, 3)).astype(np.uint8)))
    (tmp_path / "5.png").write_bytes(b"no image")
    return FolderTree(tmp_path)


def zipped(tmp_path: Path) -> ZipTree:
    folder = made(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in folder.names():
            archive.write(tmp_path / name, name)
    return ZipTree(tmp_path / "a.zip")


TREES = {
    "folder": made,
    "zip": zipped,
    "plain": lambda path: PlainTree(made(path)),
    "joined": lambda path: JoinedTree(ArrayTree(path, {}), {"more/": made(path)}),
}


@pytest.mark.parametrize("kind", TREES)
def test_pictures_together_are_those_one_by_one(kind: str, tmp_path: Path, isolated) -> None:  # type: ignore[no-untyped-def]
    tree: Tree = TREES[kind](tmp_path)
    prefix = "more/" if kind == "joined" else ""
    names = [f"{prefix}{k}.png" for k in range(6)]
    alone = [caught(tree.picture, name) for name in names]
    asked = []
    readers = decode.elsewhere()
    assert readers is not None
    decode.send_elsewhere(lambda name, data, given: asked.append(name) or readers(name, data, given))
    together = list(images_of(tree, names))
    assert asked == ["read_images"]
    for one, found in zip(alone, together, strict=True):
        if isinstance(one, EyewrightError):
            assert isinstance(found, EyewrightError)
            assert found.code == one.code
        else:
            np.testing.assert_array_equal(found, np.asarray(one))


def test_a_file_that_went_is_an_error_in_its_place(tmp_path: Path) -> None:
    tree = made(tmp_path)
    (tmp_path / "2.png").unlink()
    found = list(images_of(tree, ["1.png", "2.png", "3.png"]))
    assert [isinstance(f, EyewrightError) for f in found] == [False, True, False]


def test_pictures_that_are_no_files_are_read_too(tmp_path: Path) -> None:
    pixels = np.arange(4 * 3 * 3, dtype=np.uint8).reshape(4, 3, 3)
    found = list(images_of(ArrayTree(tmp_path, {"x": pixels}), [f"x/{k:06d}" for k in range(4)]))
    assert [f[..., 0].tolist() for f in found if not isinstance(f, EyewrightError)] == pixels.tolist()
