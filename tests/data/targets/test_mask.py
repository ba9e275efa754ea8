"""Masks in files, and masks painted from outlines."""

from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image

from eyewright.core.errors import DatasetError
from eyewright.data.targets.mask import MASK, MaskFile, Painted
from eyewright.data.targets.objects import OBJECTS, Objects, Outline
from eyewright.data.tree import FolderTree


def square(x0: float, y0: float, side: float) -> Outline:
    return Outline((np.array([[x0, y0], [x0 + side, y0], [x0 + side, y0 + side], [x0, y0 + side]]),))


def two() -> Objects:
    outlines = [square(0, 0, 4), square(1, 1, 6)]
    return Objects(np.stack([o.box() for o in outlines]), np.array([0, 1]), np.array([False, False]), outlines)


def mask_file(folder: Path, values: np.ndarray, table: dict[int, int]) -> MaskFile:
    Image.fromarray(values.astype(np.uint8)).save(folder / "m.png")
    return MaskFile(FolderTree(folder), "m.png", MappingProxyType(table))


def test_the_smaller_object_lies_on_the_larger() -> None:
    (painted,), names = MASK.made_from[OBJECTS]([two()], ("cat", "dog"))
    assert names == ("background", "cat", "dog")
    mask = painted.mask((8, 8))  # type: ignore[attr-defined]
    assert (mask[2, 2], mask[6, 6], mask[7, 7]) == (1, 2, 0)


def test_a_class_called_background_is_the_background() -> None:
    (painted,), names = MASK.made_from[OBJECTS]([two()], ("background", "dog"))
    assert names == ("background", "dog")
    assert painted.mask((8, 8))[6, 6] == 1  # type: ignore[attr-defined]


def test_pixels_of_an_ignored_class_count_for_nothing(tmp_path: Path) -> None:
    file = mask_file(tmp_path, np.array([[0, 1], [2, 2]]), {0: 0, 1: 1, 2: 2})
    assert file.without(np.array([0, -1, 1])).read().tolist() == [[0, 255], [1, 1]]
    assert Painted(two()).without(np.array([-1, 0])).mask((8, 8))[2, 2] == 255


def test_all_background_is_empty_and_unreadable_is_not(tmp_path: Path) -> None:
    blank = mask_file(tmp_path, np.zeros((2, 2)), {0: 0, 1: 1})
    assert blank.empty(frozenset({0}))
    assert not blank.empty(frozenset())
    assert not MaskFile(FolderTree(tmp_path), "gone.png", {0: 0}).empty(frozenset({0}))


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"the mask 'm.png' is 3x2, its image 4x2"):
        mask_file(tmp_path, np.zeros((2, 3)), {0: 0}).mask((2, 4))


def test_the_class_of_255_is_the_border(tmp_path: Path) -> None:
    from eyewright.core.labels import LabelSpace
    from eyewright.data.dataset import Dataset, Sample

    file = mask_file(tmp_path, np.array([[0, 255]]), {0: 0, 255: 2})
    data = Dataset(file.tree, (Sample("a", file),), LabelSpace(("x", "y", "border")), "made", "segment")
    assert MASK.border(data) == 2
