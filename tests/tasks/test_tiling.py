"""Views of an image are joined: tiles, the whole, and mirrors."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
from tests.tasks.predictors import Told

from eyewright.core.errors import UsageError
from eyewright.metrics.matching import MaskCrop
from eyewright.tasks.tiling import _moved, cut_view, edge_distance, join_boxes, mirrored, predict_views, tile_places


def white_box(pixels: np.ndarray) -> Mapping[str, np.ndarray]:
    """Answer the box around what is white, of class disc, and a score of 0.9 where there is any."""
    boxes, scores = np.zeros((len(pixels), 1, 4), np.float32), np.zeros((len(pixels), 1, 2), np.float32)
    for i, one in enumerate(pixels):
        rows, columns = np.nonzero(one[..., 0] > 200)
        if len(rows):
            boxes[i, 0] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            scores[i, 0, 1] = 0.9
    return {"boxes": boxes, "scores": scores}


def light(pixels: np.ndarray) -> Mapping[str, np.ndarray]:
    """Answer background where it is dark, and disc where it is light."""
    disc = (pixels[..., 0] / 255).astype(np.float32)
    return {"probabilities": np.stack([1 - disc, disc], 1)}


def picture(box: tuple[int, int, int, int], size_hw: tuple[int, int] = (64, 160)) -> np.ndarray:
    image = np.full((*size_hw, 3), 20, np.uint8)
    x0, y0, x1, y1 = box
    image[y0:y1, x0:x1] = 255
    return image


def test_tiles_cover_the_image_and_overlap_as_asked() -> None:
    places = tile_places((64, 160), 64, 0.25)
    assert places[0] == (0, 0, 64, 64)
    assert places[-1] == (0, 96, 64, 160)
    starts = [p[1] for p in places]
    assert all(b - a <= 48 for a, b in pairwise(starts))
    assert tile_places((30, 40), 64, 0.2) == [(0, 0, 30, 40)]
    for tile, overlap in ((31, 0.2), (64, 0.91), (64, -0.1)):
        with pytest.raises(UsageError, match="expected a tile"):
            tile_places((64, 64), tile, overlap)


def test_tiles_are_as_few_as_their_overlap_allows_and_evenly_spread() -> None:
    assert tile_places((32, 33), 32, 0.0) == [(0, 0, 32, 32), (0, 1, 32, 33)]
    assert tile_places((100, 32), 40, 0.5) == [(t, 0, t + 40, 32) for t in (0, 20, 40, 60)]
    # 101 rows take one more: each starts at most 20 after the one before.
    assert [p[0] for p in tile_places((101, 32), 40, 0.5)] == [0, 15, 30, 46, 61]
    assert [p[0] for p in tile_places((50, 32), 40, 0.9)] == [0, 3, 7, 10]
    # Without an overlap they touch; rows are walked before columns.
    assert tile_places((64, 96), 32, 0.0) == [(t, x, t + 32, x + 32) for t in (0, 32) for x in (0, 32, 64)]
    assert tile_places((40, 90), 50, 0.0) == [(0, 0, 40, 50), (0, 40, 40, 90)]


def test_parts_mirrors_and_distances_from_the_edge() -> None:
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    part = cut_view(image, (1, 2, 3, 6), False)
    assert np.array_equal(part, image[1:3, 2:6])
    assert np.array_equal(cut_view(image, (1, 2, 3, 6), True), image[1:3, 5:1:-1])
    assert np.array_equal(mirrored(image), image[:, [5, 4, 3, 2, 1, 0]])
    assert part.flags.c_contiguous
    assert mirrored(image).flags.c_contiguous
    assert edge_distance(1).tolist() == [0]
    assert edge_distance(4).tolist() == [0, 1, 1, 0]
    assert edge_distance(5).tolist() == [0, 1, 2, 1, 0]
    assert edge_distance(5).dtype == np.float32


def test_an_object_is_found_once_whole_though_a_tile_cuts_it() -> None:
    predictor = Told("detect", white_box, size_hw=(64, 64))
    box = (50, 20, 78, 40)
    (found,) = predict_views(predictor, [picture(box)], tile=64, overlap=0.5)
    sure = found.chosen(found.scores > 0.5)
    assert len(sure) == 1
    assert np.abs(sure.boxes_xyxy[0] - np.array(box)).max() <= 3
    assert sure.scores[0] == pytest.approx(0.9)


def test_what_a_tiles_edge_cut_counts_for_less() -> None:
    """At the edge between two tiles without overlap, and too small in the whole image to be seen there."""
    predictor = Told("detect", white_box, size_hw=(64, 64))
    (found,) = predict_views(predictor, [picture((60, 20, 68, 28), (64, 128))], tile=64, overlap=0.0)
    halves = found.chosen(found.scores < 0.5)
    assert halves.scores.tolist() == pytest.approx([0.45] * len(halves))


def test_a_mirror_comes_back_to_where_it_was() -> None:
    predictor = Told("detect", white_box, size_hw=(64, 64))
    (found,) = predict_views(predictor, [picture((10, 20, 30, 44), (64, 64))], flip=True)
    assert predictor.seen == 2
    assert found.boxes_xyxy.tolist() == [[10.0, 20.0, 30.0, 44.0]]


class Parts:
    """Answers given boxes for every part it is shown, in order: (x0, y0, x1, y1, score, label) in the part's pixels."""

    def __init__(self, *rows: list[tuple[float, ...]], side: int = 64, iou: float | None = None) -> None:
        self.told = Told("detect", self.answer, size_hw=(side, side), iou=iou)
        self.rows = list(rows)
        self.calls: list[int] = []

    def answer(self, pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        self.calls.append(len(pixels))
        boxes, scores = np.zeros((len(pixels), 3, 4), np.float32), np.zeros((len(pixels), 3, 2), np.float32)
        for i in range(len(pixels)):
            for k, (*box, score, label) in enumerate(self.rows.pop(0) if self.rows else []):
                boxes[i, k], scores[i, k, int(label)] = box, score
        return {"boxes": boxes, "scores": scores}


def joined(predictor: Parts, size_hw: tuple[int, int], **options):  # type: ignore[no-untyped-def]
    given = {"flip": False, "tile": 64, "overlap": 0.0, "iou": None, **options}
    found = join_boxes(predictor.told, np.zeros((*size_hw, 3), np.uint8), **given)
    return [
        (*b, round(s, 3), k)
        for b, s, k in zip(found.boxes.tolist(), found.scores.tolist(), found.label_ids.tolist(), strict=True)
    ]


@pytest.mark.parametrize(("box", "edge"), [
    ((2.25, 10, 20, 20), False), ((2.0, 10, 20, 20), True), ((10, 2.25, 20, 20), False), ((10, 2.0, 20, 20), True),
    ((10, 10, 61.75, 20), False), ((10, 10, 62.0, 20), True), ((10, 10, 20, 61.75), False), ((10, 10, 20, 62.0), True),
])  # fmt: skip
def test_a_box_within_two_pixels_of_an_inner_edge_counts_half(box: tuple[float, ...], edge: bool) -> None:
    """Nine tiles of 192x192: the middle one has four inner edges, the corners two, and the image's own are none."""
    row = [(*box, 0.8, 1)]
    middle = Parts(*[[]] * 4, row)
    moved = tuple(v + 64 for v in box)
    assert joined(middle, (192, 192)) == [(*moved, 0.4 if edge else 0.8, 1)]
    first, last = Parts(row), Parts(*[[]] * 8, row)
    far_side = box[2] > 40 or box[3] > 40
    assert joined(first, (192, 192)) == [(*box, 0.4 if edge and far_side else 0.8, 1)]
    corner = tuple(v + 128 for v in box)
    assert joined(last, (192, 192)) == [(*corner, 0.4 if edge and not far_side else 0.8, 1)]


def test_views_are_the_tiles_the_whole_and_their_mirrors_eight_at_a_time() -> None:
    for options, views in (
        ({}, 10), ({"flip": True}, 20), ({"tile": None}, 1), ({"tile": None, "flip": True}, 2), ({"tile": 200}, 1)
    ):  # fmt: skip
        predictor = Parts()
        assert joined(predictor, (192, 192), **options) == []
        assert sum(predictor.calls) == views
        assert max(predictor.calls) <= 8


def test_a_mirrored_view_of_a_tile_comes_back_to_its_place() -> None:
    # The second tile lies at columns 64 to 128; views come as tile, mirror, tile, mirror.
    predictor = Parts([], [], [], [(10, 20, 30, 50, 0.8, 0)])
    assert joined(predictor, (64, 128), flip=True) == [(98.0, 20.0, 118.0, 50.0, 0.8, 0)]


def test_one_object_of_two_views_is_joined_and_two_classes_are_not() -> None:
    same = [(10, 10, 30, 30, 0.6, 1)]
    # The IoU is 0.9; of the halves none is within the other by more than 0.7.
    assert joined(Parts(same, [(10, 10, 30, 28, 0.9, 1)]), (64, 64), tile=None, flip=False) == [
        (10, 10, 30, 30, 0.6, 1)
    ]
    mirrored_box = (34, 10, 54, 28, 0.9, 1)
    assert joined(Parts(same, [mirrored_box]), (64, 64), tile=None, flip=True) == [(10, 10, 30, 28, 0.9, 1)]
    other = [(*mirrored_box[:5], 0)]
    assert len(joined(Parts(same, other), (64, 64), tile=None, flip=True)) == 2
    # At a threshold of its own the pair is two objects; a model's is never raised above the usual one.
    assert len(joined(Parts(same, [mirrored_box]), (64, 64), tile=None, flip=True, iou=0.95)) == 2
    assert len(joined(Parts(same, [mirrored_box], iou=0.95), (64, 64), tile=None, flip=True)) == 1
    half = [(34, 10, 54, 21, 0.9, 1)]
    assert len(joined(Parts(same, half, iou=0.5), (64, 64), tile=None, flip=True)) == 1
    assert len(joined(Parts(same, half), (64, 64), tile=None, flip=True)) == 2


def test_a_part_that_lies_in_a_box_of_higher_score_is_suppressed_with_tiles_only() -> None:
    for width, left in ((13, 1), (15, 2)):
        # 10 of its 13 or 15 columns lie within: 0.77 or 0.67. The IoU is below 0.3.
        rows = [(4, 10, 44, 30, 0.9, 1), (34, 12, 34 + width, 28, 0.5, 1)]
        assert len(joined(Parts(rows), (64, 128))) == left
        assert len(joined(Parts(rows), (64, 64), tile=None)) == 2


class Crossing(Parts):
    """The same with one mask for every box: the upper left quarter of each part."""

    def answer(self, pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        n = len(pixels)
        logits = np.full((n, 1, 16, 16), -1.0, np.float32)
        logits[:, :, :8, :8] = 1.0
        return {**super().answer(pixels), "coefficients": np.ones((n, 3, 1), np.float32), "prototypes": logits}


def test_masks_of_instances_move_with_their_boxes() -> None:
    whole = (0, 0, 64, 64, 0.9, 1)
    for rows, turned in (([[], [whole]], False), ([[], [], [], [whole]], True)):
        predictor = Crossing(*rows)
        predictor.told.task_name = "instance"
        image = np.zeros((64, 128, 3), np.uint8)
        found = join_boxes(predictor.told, image, flip=turned, tile=64, overlap=0.0, iou=None)
        (crop,) = found.crops or ()
        assert (crop.top, crop.left, crop.mask.shape) == (0, 64, (64, 64))
        expected = np.zeros((64, 64), bool)
        expected[:32, 32:] = True
        # Enlarged by four, the corner is rounded.
        assert (crop.mask != (expected if turned else expected[:, ::-1])).sum() <= 4
    assert joined(Parts(), (64, 64)) == []
    none = join_boxes(Parts().told, np.zeros((64, 64, 3), np.uint8), flip=False, tile=None, overlap=0.0, iou=None)
    assert none.crops is None
    assert none.boxes.shape == (0, 4)


def test_each_pixel_of_joined_masks_is_of_the_tile_it_lies_deepest_in() -> None:
    """Tiles that disagree: each calls everything disc, with its own confidence, or background."""
    seen: list[float] = []

    def constant(pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        sure = (0.9, 0.2, 0.7)[len(seen) % 3]
        seen.append(sure)
        planes = np.broadcast_to(np.array([1 - sure, sure], np.float32)[:, None, None], (2, 64, 64))
        return {"probabilities": planes[None]}

    predictor = Told("segment", constant, size_hw=(64, 64))
    (found,) = predict_views(predictor, [np.zeros((64, 128, 3), np.uint8)], tile=64, overlap=0.5)
    assert len(seen) == 3
    # Tiles start at 0, 32 and 64. In the middle row the middle tile is deepest between columns 48 and 79.
    row = found.mask[32]
    assert row[:48].all()
    assert not row[49:79].any()
    assert row[80:].all()
    assert np.array_equal(found.second, 1 - found.mask)
    # A class is as certain as in the tile where it is most certain.
    assert found.sureness.tolist() == pytest.approx([0.8, 0.9])


def test_mirrors_of_masks_are_averaged_in_place() -> None:
    def left(pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        disc = np.full((1, 64, 64), 0.1, np.float32)
        disc[:, :, :16] = 0.8
        return {"probabilities": np.stack([1 - disc, disc], 1)}

    predictor = Told("segment", left, size_hw=(64, 64))
    image = np.zeros((64, 64, 3), np.uint8)
    (alone,) = predict_views(predictor, [image])
    assert predictor.seen == 1
    assert (alone.mask[0] == 1).sum() == 16
    (both,) = predict_views(predictor, [image], flip=True)
    # 0.8 and 0.1 are 0.45: no disc on either side.
    assert predictor.seen == 3
    assert not both.mask.any()
    assert both.sureness[0] == pytest.approx(0.9)


def test_masks_of_tiles_are_joined_without_seams() -> None:
    predictor = Told("segment", light, size_hw=(64, 64))
    box = (50, 10, 110, 50)
    (found,) = predict_views(predictor, [picture(box)], tile=64, overlap=0.25)
    truth = picture(box)[..., 0] > 200
    assert np.array_equal(found.mask == 1, truth)
    assert found.sureness[1] > 0.9


def test_classes_have_no_places_but_a_mirror() -> None:
    def left(pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        share = pixels[:, :, : pixels.shape[2] // 2, 0].mean((1, 2)) / 255
        return {"probabilities": np.stack([1 - share, share], 1).astype(np.float32)}

    predictor = Told("classify", left, size_hw=(64, 64))
    image = picture((0, 0, 32, 64), (64, 64))
    (one,) = predict_views(predictor, [image])
    (both,) = predict_views(predictor, [image], flip=True)
    assert one.probabilities[1] == pytest.approx(1.0)
    assert both.probabilities[1] == pytest.approx((1.0 + 20 / 255) / 2, abs=1e-3)
    with pytest.raises(UsageError, match="--tile is not supported for classification"):
        predict_views(predictor, [image], tile=64)


@pytest.mark.parametrize(("turned", "left"), [(False, 23), (True, 70 - 3 - 4)])
def test_a_mask_of_a_view_is_moved_to_its_place_in_the_image(turned: bool, left: int) -> None:
    mask = np.array([[True, False, True, True], [False, False, True, False]])
    found = _moved(MaskCrop(5, 3, mask), (10, 20, 50, 70), turned)
    assert (found.top, found.left) == (15, left)
    assert found.mask.tolist() == (mask[:, ::-1] if turned else mask).tolist()


@pytest.mark.parametrize(("turned", "left"), [(False, 7 + 15), (True, 79 - 7 - 4)])
def test_places_of_a_mask_and_its_view_are_added(turned: bool, left: int) -> None:
    mask = np.array([[True, False, True, True]])
    found = _moved(MaskCrop(13, 7, mask), (11, 15, 50, 79), turned)
    assert (found.top, found.left) == (24, left)
