"""Classical segmentation. Oracles: shapes drawn by hand, scikit-image, pycocotools' layout of run lengths."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyewright.core.errors import UsageError
from eyewright.imaging import read_image
from eyewright.imaging.segmentation import (
    SEGMENTERS,
    coco_annotations,
    connected,
    decode_rle,
    draw_regions,
    encode_rle,
    measure_regions,
    polygons_of,
    segment,
    settle,
)

cv2 = pytest.importorskip("cv2")
skimage_data = pytest.importorskip("skimage.data")


def discs() -> tuple[np.ndarray, np.ndarray]:
    """Two discs that touch and a bar apart, bright on dark, and the truth."""
    truth = np.zeros((120, 160), np.int32)
    cv2.circle(truth, (45, 60), 24, 1, -1)
    cv2.circle(truth, (88, 60), 24, 2, -1)
    cv2.rectangle(truth, (130, 20), (139, 99), 3, -1)
    image = np.where(truth > 0, 190, 40).astype(np.uint8)
    return image, truth


GIVEN = {"grabcut": {"box": "10 10 120 100"}, "flood": {"points": "45 60/135 60"}}


@pytest.mark.parametrize("method", SEGMENTERS)
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_every_method_labels_every_image_it_is_given(method: str, depth: type, colour: str) -> None:
    image = np.ascontiguousarray(skimage_data.astronaut()[:120, 140:300])
    image = image if colour == "rgb" else np.ascontiguousarray(image[..., 0])
    given = image.astype(np.uint16) * 257 if depth is np.uint16 else image
    before = given.copy()
    labels = segment(given, method, **GIVEN.get(method, {}))
    assert labels.dtype == np.int32
    assert labels.shape == image.shape[:2]
    assert labels.min() >= (0 if SEGMENTERS[method].background else 1)
    assert np.array_equal(given, before)
    assert np.array_equal(labels, segment(given, method, **GIVEN.get(method, {}))), "the same twice"
    assert set(np.unique(labels)) >= set(range(1, min(int(labels.max()), 3) + 1)), "numbers have no gaps at their start"


def test_watershed_parts_what_touches_and_otsu_does_not() -> None:
    from eyewright.metrics.regions import covering

    image, truth = discs()
    assert segment(image, "otsu").max() == 2
    found = segment(image, "watershed")
    assert found.max() == 3
    assert covering(found, truth) > 0.95


def test_watershed_floods_from_given_markers() -> None:
    image, _ = discs()
    found = segment(image, "watershed", markers="45 60/135 60/5 5")
    assert found[60, 45] == 1
    assert found[60, 135] == 2
    assert found[5, 5] == 3


def test_grabcut_and_flood_find_the_thing_itself() -> None:
    image, truth = discs()
    colour = np.stack([image, image // 2, 255 - image], 2)
    cut = segment(colour, "grabcut", box="15 30 102 62")
    assert np.array_equal(segment(colour, "grabcut", box="15,30, 102,62"), cut), "as inpaint --box takes it"
    assert (cut[30:92, 15:117] == (truth[30:92, 15:117] > 0)).mean() > 0.98
    filled = segment(image, "flood", points="135 60")
    assert np.array_equal(filled > 0, truth == 3)


def test_dark_things_on_a_bright_ground() -> None:
    image, truth = discs()
    found = segment(255 - image, "otsu", dark="true")
    assert np.array_equal(found > 0, truth > 0)


@pytest.mark.parametrize("method", ["otsu", "adaptive", "watershed"])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("turned", [False, True])
def test_things_are_labelled_and_not_their_ground(method: str, depth: type, turned: bool) -> None:
    image, truth = discs()
    noisy = np.clip(image + np.random.default_rng(0).normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    image = 255 - noisy if turned else noisy
    given = image.astype(np.uint16) * 257 if depth is np.uint16 else image
    assert settle(given, method, {})["dark"] is turned
    found = segment(given, method)
    assert np.array_equal(found, segment(given, method, dark="auto"))
    assert np.array_equal(found, segment(given, method, dark=turned))
    assert not np.array_equal(found, segment(given, method, dark=not turned))
    if method != "adaptive":
        assert ((found > 0) == (truth > 0)).mean() > 0.99


def test_crowded_things_that_reach_the_border_are_not_taken_for_the_ground() -> None:
    rng = np.random.default_rng(3)
    truth = np.zeros((200, 200), np.uint8)
    for _ in range(38):
        cv2.circle(truth, tuple(int(v) for v in rng.integers(0, 200, 2)), 18, 1, -1)
    assert 0.5 < truth.mean() < 0.7
    stains = cv2.GaussianBlur(rng.normal(0, 1, truth.shape), (0, 0), 4)
    stains *= 14 / stains.std()
    image = np.clip(np.where(truth > 0, 130 + stains, 215) + rng.normal(0, 3, truth.shape), 0, 255).astype(np.uint8)
    assert settle(image, "watershed", {})["dark"] is True
    assert settle(255 - image, "watershed", {})["dark"] is False


def test_a_picture_of_one_side_only_has_no_things() -> None:
    for grey in (0, 128, 255):
        assert segment(np.full((30, 30), grey, np.uint8), "otsu").max() == 0


def test_dark_is_refused_unless_it_is_a_switch() -> None:
    with pytest.raises(UsageError, match="auto, true or false"):
        segment(discs()[0], "otsu", dark="perhaps")


def test_blood_cells_are_labelled_and_not_what_lies_between_them(shared_data: Path) -> None:
    files = sorted((shared_data / "bccd" / "images").rglob("*.jpg"))[::12]
    right = [settle(np.asarray(read_image(f)), "watershed", {})["dark"] for f in files]
    assert len(right) >= 20
    assert np.mean(right) >= 0.9


def test_clusters_are_ordered_from_dark_to_bright() -> None:
    image = np.repeat(np.array([[200, 20, 110]], np.uint8), 40, 0).repeat(40, 1)
    for labels in (segment(image, "k-means", clusters=3), segment(image, "multi-otsu", classes=3)):
        assert [labels[0, 10], labels[0, 50], labels[0, 100]] == [3, 1, 2]


@pytest.mark.parametrize(
    ("method", "values", "said"),
    [
        ("ostu", {}, "did you mean 'otsu'"),
        ("slic", {"region": 3}, "did you mean 'regions'"),
        ("slic", {"regions": 1}, "2 to 100000"),
        ("grabcut", {}, "needs 'box'"),
        ("grabcut", {"box": "0 0 900 900"}, "not inside"),
        ("grabcut", {"box": "0 0 160 120"}, "whole image"),
        ("flood", {"points": "500 2"}, "inside 160x120"),
        ("multi-otsu", {"classes": 5}, "at least 5 levels"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(method: str, values: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as found:
        segment(discs()[0], method, **values)
    assert said in str(found.value)


def test_regions_are_measured_as_by_hand() -> None:
    image, truth = discs()
    bar = measure_regions(truth, image)[2]
    assert (bar.area, bar.x0, bar.y0, bar.x1, bar.y1) == (800, 130, 20, 140, 100)
    assert (bar.centroid_x, bar.centroid_y) == (134.5, 59.5)
    assert bar.eccentricity > 0.98
    assert bar.orientation_deg == pytest.approx(90)
    assert bar.solidity == pytest.approx(1)
    assert (bar.mean_intensity, bar.min_intensity, bar.max_intensity) == (190, 190, 190)
    disc = measure_regions(truth, image)[0]
    assert disc.eccentricity < 0.35
    assert disc.major_axis == pytest.approx(48, rel=0.04)


def test_small_parts_are_left_out_and_numbers_close_up() -> None:
    mask = np.zeros((10, 10), bool)
    mask[0, 0] = mask[3:6, 3:6] = mask[8, 1:9] = True
    assert connected(mask).max() == 3
    assert np.unique(connected(mask, smallest=5)).tolist() == [0, 1, 2]


@settings(max_examples=60)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_run_lengths_come_back(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) > 0.5
    rle = encode_rle(mask)
    assert np.array_equal(decode_rle(rle), mask)
    assert sum(rle["counts"]) == mask.size


def test_run_lengths_are_cocos() -> None:
    coco = pytest.importorskip("pycocotools.mask")
    _, truth = discs()
    rle = encode_rle(truth == 1)
    packed = coco.frPyObjects(rle, *rle["size"])
    with warnings.catch_warnings():
        # pycocotools 2.0.11 has not followed NumPy's copy keyword yet.
        warnings.simplefilter("ignore", DeprecationWarning)
        assert np.array_equal(coco.decode(packed) > 0, truth == 1)
        assert float(coco.area(packed)) == (truth == 1).sum()


def test_polygons_drawn_again_give_the_mask() -> None:
    _, truth = discs()
    again = np.zeros(truth.shape, np.uint8)
    for line in polygons_of(truth == 1):
        cv2.fillPoly(again, [np.array(line).reshape(-1, 2).astype(np.int32)], 1)
    assert (again.astype(bool) ^ (truth == 1)).sum() < 20


def test_coco_has_a_box_and_an_area_for_every_region() -> None:
    image, truth = discs()
    regions = measure_regions(truth, image)
    coco = coco_annotations(truth, regions, "discs.png")
    assert [a["area"] for a in coco["annotations"]] == [r.area for r in regions]
    assert coco["annotations"][2]["bbox"] == [130, 20, 10, 80]
    assert coco["images"][0]["height"] == 120


def test_an_overlay_leaves_the_background_alone() -> None:
    image, truth = discs()
    shown = draw_regions(image, truth)
    assert shown.shape == (120, 160, 3)
    assert (shown[0, 0] == 40).all()
    assert len({tuple(shown[60, x]) for x in (45, 88, 135)}) == 3
