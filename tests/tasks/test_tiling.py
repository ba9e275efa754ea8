"""Views of an image are joined: tiles, the whole, and mirrors."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
from tests.tasks.predictors import Told

from eyewright.core.errors import UsageError
from eyewright.tasks.tiling import predict_views, tile_places


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
    for tile, overlap in ((16, 0.2), (64, 0.95), (64, -0.1)):
        with pytest.raises(UsageError, match="expected a tile"):
            tile_places((64, 64), tile, overlap)


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
