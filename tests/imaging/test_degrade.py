"""Named degradations: read from text, repeatable, what they say they are."""

import numpy as np
import pytest

from eyewright.core.errors import UsageError
from eyewright.imaging.blindspot import hide_pixels
from eyewright.imaging.degrade import parse_degradation

GREY = np.full((64, 80), 128, np.uint8)


def test_a_chain_is_read_and_written_again() -> None:
    chain = parse_degradation("blur:0.5-2|noise:5-50 | jpeg:60")
    assert str(chain) == "blur:0.5-2 | noise:5-50 | jpeg:60"
    assert parse_degradation(str(chain)) == chain
    assert (chain.scale, chain.noisy, chain.made) == (1, True, True)
    assert parse_degradation("down:2").scale == 2
    assert not parse_degradation("self").made


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nois:5", "unknown degradation 'nois'; did you mean 'noise'"),
        ("noise", "noise: expected 0.5 to 60"),
        ("noise:50-5", "noise: expected"),
        ("noise:5-500", "noise: expected"),
        ("noise:-5", "noise: expected"),
        ("down:3", "down: expected 2"),
        ("down:2 | down:2", "expected one 'down'"),
        ("", "unknown degradation ''"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_degradation(text)


def test_noise_has_the_level_that_it_says_and_the_same_seed_gives_the_same_pixels() -> None:
    chain = parse_degradation("noise:10-30")
    first = chain(GREY, rng=np.random.default_rng(0), at=0.5)
    assert first.sigma == 20
    assert np.std(first.image.astype(float)) == pytest.approx(20, rel=0.05)
    assert np.array_equal(first.image, chain(GREY, rng=np.random.default_rng(0), at=0.5).image)
    levels = [chain(GREY, rng=np.random.default_rng(k)).sigma for k in range(50)]
    assert 10 <= min(levels) < 13 < 27 < max(levels) <= 30


def test_down_halves_and_cuts_off_an_odd_row() -> None:
    assert parse_degradation("down:2")(GREY[:63], rng=np.random.default_rng(0)).image.shape == (31, 40)


def test_noise_of_two_kinds_adds_up_in_squares() -> None:
    assert parse_degradation("noise:3 | noise:4")(GREY, rng=np.random.default_rng(0)).sigma == pytest.approx(5)


def test_hidden_pixels_show_a_neighbour_and_the_rest_is_as_it_was() -> None:
    image = np.random.default_rng(1).integers(0, 256, (30, 41, 3)).astype(np.uint8)
    shown, hidden = hide_pixels(image, rng=np.random.default_rng(0))
    assert np.array_equal(shown[~hidden], image[~hidden])
    assert hidden.mean() == pytest.approx(1 / 16, rel=0.2)
    for y, x in zip(*np.nonzero(hidden), strict=True):
        around = image[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4].reshape(-1, 3)
        assert (around == shown[y, x]).all(1).any()
