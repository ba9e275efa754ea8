"""Text as numbers of buckets: the same on every machine, whatever the text."""

import numpy as np
import pytest

from eyewright.core.errors import BundleError, UsageError
from eyewright.core.ngrams import TextPreparation, plain_text


def test_buckets_are_those_of_crc32() -> None:
    # By hand: zlib.crc32(b"cat") = 2656977832, modulo 16,383, plus 1.
    assert TextPreparation(characters=0).numbers("Cat") == [2656977832 % 16383 + 1]


def test_case_spaces_and_forms_of_letters_do_not_count() -> None:
    prepare = TextPreparation()
    assert prepare.numbers("CAFÉ  au\nlait") == prepare.numbers("cafe\u0301 au lait")
    assert plain_text("ﬁsh") == "fish"


def test_half_of_a_word_at_the_cut_is_no_unknown_word() -> None:
    prepare = TextPreparation()
    seen = np.zeros(prepare.buckets, bool)
    seen[prepare.numbers("green cross")] = True
    known = prepare.with_seen(seen)
    # The 2,000th character is the "r" of a "cross".
    assert known.unknown_words("green cross " * 300) == ([], 2)
    assert known.unknown_words(f"zebra {'green cross ' * 300}")[0] == ["zebra"]


@pytest.mark.parametrize("text", ["🙂", "שלום", "x" * 100_000, "a " * 50_000, "\ud800 x"])
def test_any_text_with_a_sign_becomes_numbers(text: str) -> None:
    array, _ = TextPreparation().batch([text])
    assert array.dtype == np.int32
    assert array[0, 0] > 0
    assert array.max() < 16_384


@pytest.mark.parametrize("text", ["", "  \n", 3, None])
def test_an_empty_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a text"):
        TextPreparation().batch([text])


def test_it_travels_as_json_and_is_checked() -> None:
    own = TextPreparation(buckets=100, words=1, characters=4, length=7)
    assert TextPreparation.from_json(own.to_json()) == own
    for wrong in ({"buckets": 2**40}, {"length": "long"}, {"code": "x"}):
        with pytest.raises(BundleError):
            TextPreparation.from_json({**own.to_json(), **wrong})


def test_words_that_training_did_not_have_are_named() -> None:
    seen = np.zeros(16_384, bool)
    captions = ("a red car", "two blue houses", "a dog in the rain")
    for caption in captions:
        seen[TextPreparation().numbers(caption)] = True
    prepare = TextPreparation().with_seen(seen)
    assert prepare.unknown_words("A red DOG, two house") == ([], 5)
    assert prepare.unknown_words("x-ray of a thorax") == (["x", "ray", "of", "thorax"], 5)
    assert prepare.unknown_words("house house houses") == ([], 2)
    assert TextPreparation.from_json(prepare.to_json()) == prepare
    assert [*prepare.batch(captions)[0][0]] == [*TextPreparation().batch(captions)[0][0]]


def test_a_word_that_shares_buckets_by_chance_is_still_unknown() -> None:
    # Half of all buckets are taken, as after a thousand captions.
    seen = np.random.default_rng(0).random(16_384) < 0.5
    known = ("strawberry", "motorcycle", "apple")
    for word in known:
        seen[TextPreparation().numbers(word)] = True
    prepare = TextPreparation().with_seen(seen)
    strange = ("kubernetes", "tomography", "invoice", "Spektrometer", "deployment", "segmentation")
    assert prepare.unknown_words(" ".join((*known, *strange)))[0] == [w.casefold() for w in strange]


def test_without_a_record_of_training_every_word_is_known() -> None:
    assert TextPreparation().unknown_words("x-ray") == ([], 2)
    assert "seen" not in TextPreparation().to_json()


@pytest.mark.parametrize("seen", ["AAAA", "é", "=", 3, None, ["AA"]])
def test_a_record_of_training_that_does_not_fit_is_refused(seen: object) -> None:
    with pytest.raises(BundleError, match="a bit for each of 16,384 buckets"):
        TextPreparation.from_json({**TextPreparation().to_json(), "seen": seen})
