"""Arrays of a model are taken by their name and promised shape, and an error says what was found instead."""

import numpy as np
import pytest

from eyewright.core.errors import BundleError
from eyewright.tasks.arrays import array_of

RAW = {"values": np.arange(6, dtype=np.float32).reshape(2, 3)}


@pytest.mark.parametrize("shape", [(2, 3), ("N", 3), (2, "C"), ("N", "C")])
def test_an_array_of_the_promised_shape_is_returned_unchanged(shape: tuple[int | str, ...]) -> None:
    assert array_of(RAW, "values", *shape) is RAW["values"]


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (1, 3), (2,), (2, 3, 1), ("N", "C", "H"), ()])
def test_another_shape_is_refused_with_both(shape: tuple[int | str, ...]) -> None:
    with pytest.raises(BundleError) as caught:
        array_of(RAW, "values", *shape)
    assert caught.value.message == f"expected values ({', '.join(map(str, shape))}), found (2, 3)"
    assert caught.value.fix == "export the model again"


def test_a_missing_array_is_said_to_be_missing() -> None:
    for shape in ((), (2, "C")):
        with pytest.raises(BundleError, match=r"^expected other \(.*\), found None"):
            array_of(RAW, "other", *shape)


def test_a_number_without_axes_has_the_empty_shape() -> None:
    scale = np.array(3.0)
    assert array_of({"scale": scale}, "scale") is scale
