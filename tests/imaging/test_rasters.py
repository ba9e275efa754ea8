"""Masks as run lengths, compared with pycocotools and with reading a mask class by class."""

import numpy as np
import pytest

from eyewright.core.rng import generator
from eyewright.imaging.rasters import (
    count_classes,
    decode_counts,
    encode_classes,
    encode_counts,
    pack_counts,
    parse_counts,
)


def blocks(seed: int) -> np.ndarray:
    """Return a mask of large areas, of noise, or of one value; uint8 (H, W)."""
    rng = generator(seed, "rasters")
    height, width, step = (int(v) for v in rng.integers((1, 1, 1), (70, 70, 30)))
    rough = rng.integers(0, int(rng.integers(1, 7)), (height // step + 1, width // step + 1)).astype(np.uint8)
    return rough.repeat(step, 0).repeat(step, 1)[:height, :width]


@pytest.mark.parametrize("seed", range(40))
def test_every_class_is_encoded_as_pycocotools_does(seed: int) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    mask = blocks(seed)
    ids = [0, 1, 5, 9]
    for c, counts in zip(ids, encode_classes(mask, ids), strict=True):
        theirs = coco.encode(np.asfortranarray(mask == c))["counts"].decode()
        assert pack_counts(counts) == theirs
        assert encode_counts(mask == c) == counts
        assert parse_counts(theirs).tolist() == counts
        np.testing.assert_array_equal(decode_counts(np.array(counts), mask.shape), mask == c)
    assert count_classes(mask, 8).tolist() == np.bincount(mask.ravel(), minlength=8).tolist()


def test_masks_that_are_views_or_of_wider_numbers_are_encoded_too() -> None:
    mask = blocks(3)
    assert encode_classes(mask.T, [1])[0] == encode_counts(np.ascontiguousarray(mask.T) == 1)
    assert encode_classes(mask[:, ::-1].astype(np.int32), [0])[0] == encode_counts(mask[:, ::-1] == 0)
    assert count_classes(mask.T, 8).tolist() == count_classes(mask, 8).tolist()
    assert count_classes(mask.astype(np.int64), 8).tolist() == count_classes(mask, 8).tolist()
    assert len(count_classes(mask, 300)) == 300


def test_a_mask_without_pixels_has_one_run_of_none() -> None:
    assert encode_counts(np.zeros((0, 3), bool)) == [0]
    assert count_classes(np.zeros((0, 3), np.uint8), 2).tolist() == [0, 0]


def test_a_long_run_is_packed_into_several_digits() -> None:
    counts = [0, 1, 5_000_000, 3, 1]
    assert parse_counts(pack_counts(counts)).tolist() == counts
    assert pack_counts([]) == ""
