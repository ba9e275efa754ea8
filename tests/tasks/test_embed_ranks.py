"""Which image is right for which query, and the view of an image that stands for a caption, by hand."""

import numpy as np
import pytest
from PIL import Image

from eyewright.tasks.embed_ranks import both_ways, other_views


def test_ranks_both_ways_on_images_and_captions_by_hand() -> None:
    images = np.eye(3)
    queries = np.array([[0.9, 0.5, 0.1], [0.2, 0.1, 0.9], [0.5, 0.9, 0.2], [0.9, 0.5, 0.1]])
    there, back = both_ways(images, queries, np.array([0, 0, 1, 1]), ["a", "b", "c", "a"])
    # "a" was written of the images 0 and 1, and finds 0 first; "b" finds 2, 0, 1; "c" finds 1.
    assert there.ranks.tolist() == [1, 2, 1, 1]
    assert (there.items.tolist(), there.n, there.prefix) == ([0, 0, 1, 1], 3, "")
    # Image 0 scores a 0.9, b 0.2, c 0.5: its own "a" is first; image 1 scores c 0.9 first. Nothing asks for image 2.
    assert back.ranks.tolist() == [1, 1]
    assert (back.items.tolist(), back.n, back.prefix) == ([0, 1], 3, "back_")


def test_of_the_right_images_the_first_found_counts() -> None:
    images = np.array([[1.0, 0], [0.8, 0.6], [0, 1]])
    queries = np.array([[0.0, 1.0], [1.0, 0.0]])
    there, back = both_ways(images, queries, np.array([0, 2]), ["a", "b"])
    assert there.ranks.tolist() == [3, 3]
    assert back.ranks.tolist() == [2, 2]
    nothing, none = both_ways(images, np.zeros((0, 2)), np.zeros(0, np.int64), [])
    assert (nothing.ranks.tolist(), none.ranks.tolist()) == ([], [])


@pytest.mark.parametrize(
    ("size", "top", "left"), [((50, 100), 6, 12), ((100, 25), 12, 3), ((4, 4), 0, 0), ((9, 40), 1, 5)]
)
def test_another_view_is_mirrored_and_has_no_border(size: tuple[int, int], top: int, left: int) -> None:
    height, width = size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    inner = image[top : height - top, left : width - left][:, ::-1]
    wanted = Image.fromarray(np.ascontiguousarray(inner)).resize((width, height), Image.Resampling.BILINEAR)
    (found,) = other_views([image])
    assert found.shape == image.shape
    assert np.array_equal(found, np.asarray(wanted))
    assert len(other_views([image, image, image])) == 3
