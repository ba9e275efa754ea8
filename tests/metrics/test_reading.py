"""Error rates of texts: edit distances by hand, and jiwer where it is installed."""

import numpy as np
import pytest

from eyewright.metrics.reading import TextErrors, align_texts, count_edits, measure_texts, plain_text

TRUE = ["TOTAL 10.00", "CASH", "THANK YOU", "NO 5, JALAN"]
FOUND = ["TOTAL 1O.00", "CA5H", "THANKYOU", "NO 5, JALAN"]


@pytest.mark.parametrize(
    ("a", "b", "edits"),
    [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("AABB", "AB", 2), ("ab", "ba", 2)],
)
def test_edits_are_those_counted_by_hand(a: str, b: str, edits: int) -> None:
    assert count_edits(a, b) == edits == count_edits(b, a)
    pairs = align_texts(a, b)
    assert sum(x != y for x, y in pairs) == edits
    assert ("".join(x for x, _ in pairs), "".join(y for _, y in pairs)) == (a, b)


def test_rates_are_those_counted_by_hand() -> None:
    # By hand: 3 edits of 11 + 4 + 9 + 11 characters; words 1 + 1 + 2 (one lost, one changed) of 2 + 1 + 2 + 3.
    found = {k: float(v[0]) for k, v in TextErrors(TRUE, FOUND)(np.ones((1, 4))).items()}
    assert found["cer"] == pytest.approx(3 / 35)
    assert found["wer"] == pytest.approx(4 / 8)
    assert found["exact"] == pytest.approx(1 / 4)
    assert found["char_accuracy"] == pytest.approx(32 / 35)


def test_rates_are_those_of_jiwer() -> None:
    jiwer = pytest.importorskip("jiwer")
    found = TextErrors(TRUE, FOUND)(np.ones((1, 4)))
    assert float(found["cer"][0]) == pytest.approx(jiwer.cer(TRUE, FOUND))
    assert float(found["wer"][0]) == pytest.approx(jiwer.wer(TRUE, FOUND))


def test_more_found_than_there_is_passes_one() -> None:
    assert float(TextErrors(["a"], ["abcd"])(np.ones((1, 1)))["cer"][0]) == 3.0


def test_composed_and_decomposed_letters_and_spaces_are_the_same() -> None:
    assert plain_text("caf\u0065\u0301  au ") == "caf\u00e9 au"
    assert TextErrors(["caf\u00e9"], ["cafe\u0301"]).exact.all()


def test_intervals_are_over_pages() -> None:
    rng = np.random.default_rng(0)
    true = [f"line {i} of a page" for i in range(120)]
    # Whole pages are read badly.
    found = [t if i // 10 % 3 else "x" * len(t) for i, t in enumerate(true)]
    pages = np.array([f"page {i // 10}" for i in range(120)])
    alone = measure_texts(true, found, rng=np.random.default_rng(1))
    grouped = measure_texts(true, found, rng=rng, groups=pages)
    assert grouped["cer"].groups == 12
    assert grouped["cer"].value == alone["cer"].value
    widths = [m["cer"].high - m["cer"].low for m in (alone, grouped)]  # type: ignore[operator]
    assert widths[1] > 1.8 * widths[0]


def test_perfect_lines_still_have_an_interval() -> None:
    found = measure_texts(TRUE, TRUE, rng=np.random.default_rng(0))
    assert found["exact"].value == 1.0
    assert 0.3 < (found["exact"].low or 0) < 1.0
    assert found["cer"].value == 0.0
