import json
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import DatasetError, UsageError
from eyewright.data import Dataset, open_dataset
from eyewright.data.ignoring import is_void_name
from eyewright.imaging import encode_image


@pytest.mark.parametrize(
    "name",
    ["Void", "IGNORE", "ignored regions", "DontCare", "don't care", "Unlabelled(ignore)", "unlabeled", "__ignore__",
     "void--static", "void/unlabelled", "out of roi", "rectification border", "Ignore_Region", "not-annotated"],
)  # fmt: skip
def test_names_that_are_no_class(name: str) -> None:
    assert is_void_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "license plate",
        "ground",
        "static",
        "ego vehicle",
        "other",
        "unknown",
        "background",
        "devoid",
        "ignore/cat",
        "Misc",
    ],
)
def test_names_that_may_be_a_class(name: str) -> None:
    assert not is_void_name(name)


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def masks(folder: Path, names: list[str], mask: np.ndarray) -> Path:
    rng = np.random.default_rng(0)
    for i in range(4):
        put(folder / "images" / f"{i}.png", encode_image(rng.integers(0, 256, (*mask.shape, 3)).astype(np.uint8)))
        put(folder / "masks" / f"{i}.png", encode_image(mask))
    put(folder / "classes.txt", "\n".join(names).encode())
    return folder


@pytest.fixture
def thirds() -> np.ndarray:
    """A mask with the classes 0, 1 and 2 in rows of 2, 4 and 6 pixels."""
    return np.repeat(np.array([0] * 2 + [1] * 4 + [2] * 6, np.uint8)[:, None], 10, 1)


def test_pixels_of_a_void_class_become_255(tmp_path: Path, thirds: np.ndarray) -> None:
    data = open_dataset(masks(tmp_path, ["Unlabelled(ignore)", "road", "sky"], thirds))
    assert data.labels.names == ("road", "sky")
    mask = data.mask(0, thirds.shape)
    assert np.unique(mask[:2]).tolist() == [255]
    assert np.unique(mask[2:]).tolist() == [0, 1]
    assert any("'Unlabelled(ignore)' is ignored" in note for note in data.notes)


def test_ignore_none_keeps_a_void_class(tmp_path: Path, thirds: np.ndarray) -> None:
    data = open_dataset(masks(tmp_path, ["Void", "road", "sky"], thirds), ignore=("none",))
    assert data.labels.names == ("Void", "road", "sky")


def test_a_named_class_is_ignored_beside_the_habits(tmp_path: Path, thirds: np.ndarray) -> None:
    data = open_dataset(masks(tmp_path, ["void", "road", "sky"], thirds), ignore=("Sky",))
    assert data.labels.names == ("road",)
    assert data.ignore == ("Sky",)


@pytest.mark.parametrize(
    ("names", "mask"),
    [
        (["unlabeled", "defect"], np.repeat(np.array([0] * 9 + [1], np.uint8)[:, None], 10, 1)),
        (["unlabeled", "a", "b"], np.repeat(np.array([0] * 8 + [1, 2], np.uint8)[:, None], 10, 1)),
        (["void", "defect"], np.repeat(np.array([0] * 9 + [1], np.uint8)[:, None], 10, 1)),
    ],
)
def test_a_background_that_is_called_unlabelled_is_kept(tmp_path: Path, names: list[str], mask: np.ndarray) -> None:
    data = open_dataset(masks(tmp_path, names, mask))
    assert data.labels.names == tuple(names)
    assert any("background" in note for note in data.notes)


def test_license_plates_are_void_in_cityscapes_only(tmp_path: Path) -> None:
    mask = np.repeat(np.arange(4, dtype=np.uint8)[:, None], 10, 1)
    street = open_dataset(masks(tmp_path / "a", ["out of roi", "license plate", "road", "car"], mask))
    assert street.labels.names == ("road", "car")
    plates = open_dataset(masks(tmp_path / "b", ["background", "license plate", "road", "car"], mask))
    assert "license plate" in plates.labels.names


def test_minus_one_in_wide_masks_counts_for_nothing(tmp_path: Path) -> None:
    folder = masks(tmp_path, ["background", "part"], np.ones((4, 4), np.uint8))
    from PIL import Image

    values = np.array([[-1, 0, 1, 1]] * 4, np.int32)
    Image.fromarray(values, mode="I").save(folder / "masks" / "0.tiff")
    (folder / "masks" / "0.png").unlink()
    data = open_dataset(folder)
    index = next(i for i, s in enumerate(data.samples) if s.id.endswith("0.png"))
    assert data.mask(index, (4, 4))[0].tolist() == [255, 0, 1, 1]
    assert not data.problems


def coco(folder: Path) -> Path:
    put(folder / "images" / "0.png", encode_image(np.zeros((40, 60, 3), np.uint8)))
    boxes = [{"id": k, "image_id": 0, "category_id": k, "bbox": [5 * k, 5, 10, 10]} for k in (1, 2)]
    names = [{"id": 1, "name": "DontCare"}, {"id": 2, "name": "Car"}]
    content = {"images": [{"id": 0, "file_name": "0.png"}], "annotations": boxes, "categories": names}
    put(folder / "annotations.json", json.dumps(content).encode())
    return folder


def test_boxes_of_a_void_class_become_ignore_regions(tmp_path: Path) -> None:
    data = open_dataset(coco(tmp_path))
    assert data.labels.names == ("Car",)
    assert data.samples[0].target.crowd.tolist() == [True, False]
    assert data.counts() == {"Car": 1}


def folders(root: Path, *names: str) -> Dataset:
    rng = np.random.default_rng(0)
    for name in names:
        for i in range(3):
            put(root / name / f"{i}.png", encode_image(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)))
    return open_dataset(root)


def test_a_folder_called_ignore_is_left_out(tmp_path: Path) -> None:
    data = folders(tmp_path, "cat", "dog", "ignore")
    assert data.labels.names == ("cat", "dog")
    assert len(data) == 6
    assert set(data.targets.tolist()) == {0, 1}


def test_ignoring_what_is_no_class_or_every_class_is_refused(tmp_path: Path) -> None:
    folders(tmp_path, "cat", "dog")
    with pytest.raises(DatasetError, match="--ignore 'cta' is not a class of the data; did you mean 'cat'"):
        open_dataset(tmp_path, ignore=("cta",))
    with pytest.raises(UsageError, match="not ignored"):
        open_dataset(tmp_path, ignore=("cat", "dog"))


def test_convert_says_which_class_was_ignored(tmp_path: Path) -> None:
    from eyewright.lifecycle import convert

    source = coco(tmp_path / "in")
    assert any("'DontCare'" in line for line in convert(source, to="coco", out=tmp_path / "out").lost)
    kept = convert(source, to="coco", out=tmp_path / "kept", ignore=("none",))
    assert not any("'DontCare'" in line for line in kept.lost)
    assert "DontCare" in open_dataset(tmp_path / "kept", ignore=("none",)).labels.names
