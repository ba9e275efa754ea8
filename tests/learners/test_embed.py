"""When an embedding model has learnt nothing: at which validation recall it is said, and where."""

from types import SimpleNamespace

import numpy as np
import pytest

from eyewright.learners.embed import PairLearning


class _Targets:
    """One caption for each of N images, each of its own."""

    def __init__(self, n: int, said: int) -> None:
        self.ids = (np.arange(n) % said)[:, None]

    def __getitem__(self, rows: np.ndarray) -> tuple[None, np.ndarray]:
        return None, self.ids[rows]


def _learning(*, captioned: bool = True) -> PairLearning:
    learning = PairLearning.__new__(PairLearning)
    learning.body = SimpleNamespace(widths=(16, 1), shares=(0.0,), learns=False)  # type: ignore[assignment]
    learning.captioned, learning.seen, learning._looked = captioned, None, None
    return learning


def _kept(n: int, found: int) -> np.ndarray:
    """Both parts of each image and of its caption: `found` captions lie at their image, the others opposite."""
    images = np.random.default_rng(0).standard_normal((n, 16))
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    texts = np.where((np.arange(n) < found)[:, None], images, -images)
    nothing = np.zeros((n, 1))
    return np.concatenate([images, nothing, texts, nothing], 1).astype(np.float32)


@pytest.mark.parametrize("captioned", [True, False])
def test_a_recall_below_twice_that_of_a_random_order_is_nothing_learnt(captioned: bool) -> None:
    # By hand: of 100 images in random order the right one is among the first 1, 5, 10 in 1, 5, 10 % of cases, 5.33 %
    # on average; twice that is 10.67 %. A caption at its image is found first, and one opposite to it last.
    for found, nothing in ((0, True), (10, True), (11, False), (100, False)):
        learning = _learning(captioned=captioned)
        values = learning.measure(_kept(100, found), _Targets(100, 100))
        assert values["recall"] == pytest.approx(found / 100)
        assert bool(learning.unlearnt) is nothing
        if nothing:
            assert learning.unlearnt.endswith(
                f"its validation recall is {found:.1f}% on 100 images, and that of a random order 5.3%"
            )


def test_what_was_said_of_one_epoch_is_not_said_of_the_next() -> None:
    learning = _learning()
    learning.measure(_kept(100, 0), _Targets(100, 100))
    assert learning.unlearnt
    learning.measure(_kept(100, 90), _Targets(100, 100))
    assert not learning.unlearnt


def test_too_few_images_to_tell_are_never_nothing_learnt() -> None:
    # Of 8 images most are among the first 5 and 10: by chance the mean recall is (1 / 8 + 5 / 8 + 1) / 3 = 58 %.
    learning = _learning()
    learning.measure(_kept(8, 0), _Targets(8, 8))
    assert not learning.unlearnt
    # With two captions for 100 images half of all are right.
    learning.measure(_kept(100, 0), _Targets(100, 2))
    assert not learning.unlearnt
