"""Which images the page of a segmenter shows."""

from typing import Any

import pytest

from eyewright.tasks.mask_page import _is_wrong, _various


def item(k: int, *names: str) -> dict[str, Any]:
    return {"id": str(k), "iou": dict.fromkeys(names, 0.5), "miou": 0.5}


@pytest.mark.parametrize(
    ("miou", "wrong"), [(0.5, True), (0.979, True), (0.98, False), (1.0, False), (0.0, True), (None, True)]
)
def test_an_image_is_wrong_below_098(miou: float | None, wrong: bool) -> None:
    assert _is_wrong({"iou": {"crack": 0.5}, "miou": miou}) is wrong
    assert _is_wrong({"iou": {}, "miou": miou}) is False


def test_of_images_with_the_same_classes_two_are_shown_and_eight_in_all() -> None:
    same = [item(k, "crack", "dent") for k in range(4)]
    turned = item(4, "dent", "crack")
    others = [item(5 + k, f"class {k}") for k in range(9)]
    assert [i["id"] for i in _various([*same, turned, *others])] == ["0", "1", *(str(k) for k in range(5, 11))]
    assert [i["id"] for i in _various([turned, *same])] == ["4", "0"]
