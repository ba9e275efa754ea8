"""SigLIP's `spiece.model` as data: the ids of transformers' SiglipTokenizer, without the library sentencepiece."""

import json
import struct
from pathlib import Path

import pytest
from tests.core.test_tokenizer import HARD, _noise
from tests.nets.checkpoints import TRAINED_ON

from eyewright.core.errors import BundleError, UsageError
from eyewright.core.piece_file import read_pieces
from eyewright.core.piece_tokenizer import PieceTokenizer
from eyewright.core.tokenizer import Tokenizer
from eyewright.core.tokens import TokenPreparation

NORMAL, UNKNOWN, CONTROL, DEFINED, UNUSED = 1, 2, 3, 4, 5
PIECES = (
    ("<pad>", 0.0, CONTROL), ("</s>", 0.0, CONTROL), ("<unk>", 0.0, UNKNOWN), ("▁a", -2.0, NORMAL), ("▁", -3.0, NORMAL),
    ("red", -4.0, NORMAL), ("r", -5.0, NORMAL), ("e", -5.0, NORMAL), ("d", -5.0, NORMAL), ("a", -5.0, NORMAL),
    ("▁red", -4.5, UNUSED),
)  # fmt: skip


def _field(number: int, value: int | float | bytes) -> bytes:
    if isinstance(value, bytes):
        return _number(number << 3 | 2) + _number(len(value)) + value
    if isinstance(value, float):
        return _number(number << 3 | 5) + struct.pack("<f", value)
    return _number(number << 3) + _number(value)


def _number(value: int) -> bytes:
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def _model(pieces: tuple[tuple[str, float, int], ...] = PIECES, trainer: bytes = b"", writes: bytes = b"") -> bytes:
    """Return a `spiece.model` as Protocol Buffers write it (sentencepiece_model.proto)."""
    each = (_field(1, _field(1, t.encode()) + _field(2, s) + _field(3, k)) for t, s, k in pieces)
    return b"".join(each) + _field(2, trainer + _field(40, 2)) + _field(3, _field(1, b"identity") + writes)


def _tokenizer(data: bytes, **about: object) -> PieceTokenizer:
    found = Tokenizer.from_bytes(PieceTokenizer.content(data, about))
    assert isinstance(found, PieceTokenizer)
    return found


def test_a_text_is_cut_into_the_most_probable_pieces() -> None:
    # By hand: "▁a▁red" is ▁a (-2) ▁ (-3) red (-4); ▁red is not used.
    assert _tokenizer(_model()).ids("A, RED!") == [3, 4, 5]


def test_unknown_characters_in_a_row_are_one_piece() -> None:
    assert _tokenizer(_model()).ids("a xyz red") == [3, 4, 2, 4, 5]


def test_special_tokens_in_a_text_are_text() -> None:
    # By hand: without punctuation "</s>" is "s", which no piece covers.
    assert _tokenizer(_model()).ids("a </s> a") == [3, 4, 2, 3]
    made = TokenPreparation.from_json({"length": 6, "pad": 0}, PieceTokenizer.content(_model(), {"pad_token": "<pad>"}))
    assert made.batch(["a red", "a </s>"])[0].tolist() == [[3, 4, 5, 1, 0, 0], [3, 4, 2, 1, 0, 0]]


def test_capitals_are_kept_where_the_tokenizer_says_so() -> None:
    assert _tokenizer(_model(), do_lower_case=False).ids("RED") == [4, 2]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no pieces"),
        (b"\x80" * 11, "more than 10 bytes"),
        (_model()[:40], "cut off"),
        (b"\x0a\xff\xff\xff\xff\x0f", "cut off"),
        (b"\x0b", "unknown type"),
        (b"\x08\x01", "a number where text is expected"),
        (_model(trainer=_field(3, 2)), "unigram"),
        (_model(trainer=_field(24, 1)), "ends of words"),
        (_model((*PIECES, ("own", 0.0, DEFINED))), "user defined"),
        (_model(PIECES[2:]), "no piece '</s>'"),
        (_model((("a", 0.0, 7 << 70), *PIECES)), "more than 10 bytes"),
    ],
)
def test_what_is_no_unigram_model_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PieceTokenizer.content(data, {})


@pytest.mark.parametrize(
    "change",
    [
        {"pieces": []},
        {"pieces": [["a", "x", 1]]},
        {"end": 99},
        {"charsmap": "AAA"},
        {"unknown": None},
    ],
)
def test_a_damaged_tokenizer_of_a_bundle_is_refused(change: dict[str, object]) -> None:
    content = {**json.loads(PieceTokenizer.content(_model(), {})), **change}
    if change == {"unknown": None}:
        del content["unknown"]
    with pytest.raises(BundleError, match="the tokenizer is not valid"):
        Tokenizer.from_bytes(json.dumps(content).encode())


def test_a_padding_that_is_no_piece_is_refused() -> None:
    with pytest.raises((BundleError, UsageError), match="expected pad"):
        TokenPreparation.from_json({"length": 8, "pad": 400}, PieceTokenizer.content(_model(), {}))


VARIANTS: tuple[dict[str, object], ...] = (
    {}, {"normalization_rule_name": "nmt_nfkc_cf"}, {"byte_fallback": True, "vocab_size": 800},
    {"remove_extra_whitespaces": False, "add_dummy_prefix": False},
)  # fmt: skip


@pytest.mark.parametrize("more", VARIANTS, ids=["usual", "folded", "bytes", "spaces"])
def test_ids_equal_those_of_the_siglip_tokenizer(tmp_path: Path, more: dict[str, object]) -> None:
    spm = pytest.importorskip("sentencepiece")
    hf = pytest.importorskip("transformers")
    (tmp_path / "texts").write_text("\n".join(t.lower() for t in (*TRAINED_ON, *_noise(100))), encoding="utf-8")
    settings = {
        "vocab_size": 450,
        "hard_vocab_limit": False,
        "unk_id": 2,
        "eos_id": 1,
        "pad_id": 0,
        "bos_id": -1,
        **more,
    }
    spm.SentencePieceTrainer.train(
        input=str(tmp_path / "texts"),
        model_prefix=str(tmp_path / "spiece"),
        model_type="unigram",
        minloglevel=2,
        **settings,
    )
    theirs = hf.SiglipTokenizer(vocab_file=str(tmp_path / "spiece.model"))
    ours = _tokenizer((tmp_path / "spiece.model").read_bytes())
    for text in (*HARD, *TRAINED_ON, *_noise(400), *(f"{t}</s> {t} ▁<unk>" for t in _noise(100))):
        pieces = theirs.tokenize(text, split_special_tokens=True)
        assert ours.ids(text) == theirs.convert_tokens_to_ids(pieces), text


def test_a_control_token_that_is_spelt_by_other_characters_is_text(tmp_path: Path) -> None:
    spm = pytest.importorskip("sentencepiece")
    # The rule writes "＜／s＞" as "</s>", after punctuation was removed.
    (tmp_path / "texts").write_text("\n".join(TRAINED_ON), encoding="utf-8")
    spm.SentencePieceTrainer.train(
        input=str(tmp_path / "texts"), model_prefix=str(tmp_path / "spiece"), model_type="unigram", minloglevel=2,
        vocab_size=120, hard_vocab_limit=False, unk_id=2, eos_id=1, pad_id=0, bos_id=-1,
        normalization_rule_name="nmt_nfkc",
    )  # fmt: skip
    theirs = spm.SentencePieceProcessor(str(tmp_path / "spiece.model"))
    ours = _tokenizer((tmp_path / "spiece.model").read_bytes())
    for text in ("＜／s＞", "a ＜／s＞ red", "＜pad＞"):
        found = ours.ids(text)
        assert 1 not in found
        assert 0 not in found
        assert found == theirs.encode("<unk>▁" + text)[len(theirs.encode("<unk>")) :], text


def test_only_what_the_pieces_depend_on_is_read() -> None:
    found = read_pieces(_model(writes=_field(5, 0)) + _field(9, b"more"))
    assert found["pieces"][5] == ["red", -4.0, NORMAL]
    assert (found["prefix"], found["trim"], found["mark"], found["by_bytes"]) == (True, True, False, False)
