"""What is said of the images that chose the epoch."""

import pytest

from eyewright.evaluation.validation import _by_choice


@pytest.mark.parametrize(
    ("higher", "epochs", "optimism", "said"),
    [
        (False, 100, 0.02, None),
        (True, 9, 0.02, None),
        (True, 10, None, "the best of 10 epochs was chosen on these 1,200 validation images"),
        (True, 10, 0.0, "the best of 10 epochs was chosen on these 1,200 validation images"),
        (
            True, 10, 0.021,
            "the best of 10 epochs was chosen on these 1,200 validation images, which alone makes about 2.1 points",
        ),
    ],
)  # fmt: skip
def test_many_epochs_explain_a_validation_score_that_is_higher(
    higher: bool, epochs: int, optimism: float | None, said: str | None
) -> None:
    assert _by_choice(higher, epochs, 1200, optimism) == ([] if said is None else [said])
