from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eyewright.core.report import Finding
from eyewright.data import audit_dataset, open_dataset, scan_dataset
from eyewright.imaging import encode_image

EMPTY = np.zeros((64, 96), np.uint8)


def marked(n: int) -> list[np.ndarray]:
    """Masks of 64x96 pixels with one region of class 1, about 8 % of the image, away from the edge."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(n):
        mask = EMPTY.copy()
        y, x = rng.integers(5, 35), rng.integers(5, 60)
        mask[y : y + 20, x : x + 25] = 1
        found.append(mask)
    return found


def audit(folder: Path, masks: Sequence[np.ndarray], names: str = "background\nscratch\n") -> list[Finding]:
    rng = np.random.default_rng(1)
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for i, mask in enumerate(masks):
        image = np.kron(rng.integers(0, 256, (8, 12, 3)).astype(np.uint8), np.ones((8, 8, 1), np.uint8))
        (folder / "images" / f"{i:02d}.png").write_bytes(encode_image(image))
        (folder / "masks" / f"{i:02d}.png").write_bytes(encode_image(mask))
    (folder / "classes.txt").write_text(names)
    data = open_dataset(folder)
    found = audit_dataset(data, scan_dataset(data, quiet=True))
    return [f for f in found if f.code.startswith("mask_")]


def test_masks_that_are_all_empty_are_an_error(tmp_path: Path) -> None:
    (found,) = audit(tmp_path, [EMPTY] * 6)
    assert (found.code, found.severity) == ("mask_empty", "error")
    assert "any of the 6 masks" in found.message


def test_masks_that_are_all_one_class_are_an_error(tmp_path: Path) -> None:
    (found,) = audit(tmp_path, [EMPTY + 1] * 6)
    assert (found.code, found.severity) == ("mask_full", "error")


def test_one_inverted_and_one_filled_mask_are_named(tmp_path: Path) -> None:
    masks = marked(12)
    masks[4], masks[7] = 1 - masks[4], EMPTY + 1
    found = {f.code: f.path for f in audit(tmp_path, masks)}
    assert found == {"mask_inverted": "masks/04.png", "mask_full": "masks/07.png"}


def test_a_whole_set_that_is_inverted_is_one_finding(tmp_path: Path) -> None:
    (found,) = audit(tmp_path, [1 - m for m in marked(12)])
    assert found.code == "mask_inverted"
    assert "12 of 12" in found.message


def test_large_objects_and_few_empty_masks_are_no_fault(tmp_path: Path) -> None:
    masks = marked(10)
    for k in range(5):
        masks[k][3:61, 3:93] = 1
    assert audit(tmp_path, [*masks, EMPTY, EMPTY]) == []


def test_scenes_without_background_are_no_fault(tmp_path: Path) -> None:
    scene = np.zeros((64, 96), np.uint8)
    scene[:20] = 1
    assert audit(tmp_path, [scene] * 6, names="road\nsky\n") == []


def test_a_set_of_which_one_class_of_several_is_used_can_be_inverted_too(tmp_path: Path) -> None:
    (found,) = audit(tmp_path, [1 - m for m in marked(12)], "background\nscratch\ndent\n")
    assert found.code == "mask_inverted"


def test_masks_of_nothing_but_ignored_pixels_are_one_error(tmp_path: Path) -> None:
    (found,) = audit(tmp_path, [EMPTY + 255] * 6)
    assert (found.code, found.severity) == ("mask_empty", "error")
    assert "all 6 masks is ignored" in found.message


def test_a_mask_of_nothing_but_ignored_pixels_among_others_is_named(tmp_path: Path) -> None:
    found = audit(tmp_path, [*marked(6), EMPTY + 255])
    assert [(f.code, f.path) for f in found] == [("mask_value", "masks/06.png")]


def test_objects_that_are_written_as_255_are_told_what_255_means(tmp_path: Path) -> None:
    (found,) = audit(tmp_path, [m * 255 for m in marked(6)], "background\nscratch\ndent\n")
    assert found.code == "mask_empty"
    assert "255" in found.fix
