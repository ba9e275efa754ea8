"""What a batch of images gives to a task."""

import numpy as np
import pytest
from tests.evaluation.answers import answers

from eyewright.evaluation.reporting import Batch
from eyewright.imaging.reduction import Prepared


def test_a_batch_knows_its_images_and_their_part_of_the_dataset() -> None:
    data = answers("classify", 6).dataset
    images = [np.full((2, 3, 3), k, np.uint8) for k in range(2)]
    batch = Batch(data, [4, 1], images, ())  # type: ignore[arg-type]
    assert [s.id for s in batch.part.samples] == [data.samples[4].id, data.samples[1].id]
    assert all(a is b for a, b in zip(batch.arrays, images, strict=True))


def test_images_that_were_prepared_are_no_arrays() -> None:
    data = answers("classify", 6).dataset
    image = np.zeros((2, 3, 3), np.uint8)
    with pytest.raises(TypeError, match="expected images as they are in their files"):
        _ = Batch(data, [0, 1], [image, Prepared(image, (4, 6))], ()).arrays  # type: ignore[list-item]
    # The lengths are compared by their values, whatever objects hold them.
    many = [image] * 300
    assert len(Batch(data, [0] * 300, many, ()).arrays) == 300  # type: ignore[arg-type]
