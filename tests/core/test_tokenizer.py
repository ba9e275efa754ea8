"""Tokenizers as data: the ids of the library `tokenizers`, without it."""

import json
import struct
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from tests.nets.checkpoints import TRAINED_ON, clip_tokenizer, gemma_tokenizer, siglip_tokenizer
from tokenizers import Tokenizer as Theirs
from tokenizers import normalizers

from eyewright.core.charsmap import CharacterMap
from eyewright.core.errors import BundleError, UsageError
from eyewright.core.tokenizer import Tokenizer
from eyewright.core.tokens import TokenPreparation

HARD = (
    "", " ", "a", "Hello, World!!", "it's I'LL we've 's'", "''s", "...'d", "  lead", "trail  ", "a\r\nb\tc", "ﬁne ½ ①",
    "e\u0301 o\u0308\u0323", "ΟΔΟΣ", "İstanbul", "x" * 400, "🙂" * 40, "\U0001f468\u200d\U0001f467 family", "שלום עולם",
    "مرحبا", "中文字符", "한국어", "a\u200db", "٣٤٥ ²³", "<unk> </s> <|endoftext|>x", "▁already ▁x", "\ufeffbom",
    "nul\x00", "“quotes”…—", "ß ẞ",
)  # fmt: skip


def _noise(n: int) -> list[str]:
    """Return texts of characters that are in every edition of Unicode that matters, marks and spaces among them."""
    rng = np.random.default_rng(0)
    pool = [chr(i) for i in (*range(32, 0x17F), *range(0x300, 0x340), *range(0x391, 0x3CA), *range(0x5D0, 0x5EB))]
    pool = [c for c in pool if unicodedata.category(c) not in ("Cn", "Cc")] + list("\u200d\u2009\u3000\n🙂中")
    return ["".join(rng.choice(pool, int(rng.integers(1, 25)))) for _ in range(n)]


def _map(entries: Mapping[str, str]) -> bytes:
    """Return a table of characters as SentencePiece compiles one: a double array over bytes, then the replacements."""
    texts = b""
    trie: dict[int, Any] = {}
    for key, value in entries.items():
        node = trie
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[-1] = len(texts)
        texts += value.encode() + b"\0"
    units = [0] * 4096
    taken = {0}

    def place(node: dict[int, Any], at: int) -> int:
        """Put the children of a node somewhere free; return the offset to them."""
        for base in range(1, 1 << 20):
            places = [base if b == -1 else base ^ b for b in node]
            if base ^ at < 2**21 and not any(p in taken or p >= len(units) for p in places):
                break
        taken.update(places)
        for byte, child in node.items():
            here = base if byte == -1 else base ^ byte
            if byte == -1:
                units[here] = child | 1 << 31
            else:
                offset = place(child, here) ^ here
                units[here] = offset << 10 | byte | (1 << 8 if -1 in child else 0)
        return base

    units[0] = place(trie, 0) << 10
    size = max(taken) + 256
    return struct.pack(f"<I{size}I", 4 * size, *units[:size]) + texts


ENTRIES = {
    "ﬁ": "fi", "½": "1⁄2", "①": "1", "\u3000": " ", "\t": " ", "é": "é", "e\u0301": "é", "\x00": "", "Ａ": "A",
    "\r": " ",
}  # fmt: skip


@pytest.mark.parametrize(
    "make",
    [clip_tokenizer, siglip_tokenizer, lambda: siglip_tokenizer(_map(ENTRIES)), gemma_tokenizer],
    ids=["clip", "siglip", "siglip with a table", "gemma"],
)
def test_ids_are_those_of_the_library_tokenizers(make: Callable[[], Theirs]) -> None:
    theirs = make()
    # Special tokens as text: transformers' `split_special_tokens`.
    theirs.encode_special_tokens = True
    ours = Tokenizer.from_bytes(theirs.to_str().encode())
    texts = [*TRAINED_ON, *HARD, *_noise(1500)]
    expected = [e.ids for e in theirs.encode_batch(texts)]
    for text, ids in zip(texts, expected, strict=True):
        assert [*ours.first, *ours.ids(text), *ours.last] == ids, text


@pytest.mark.parametrize(
    "make",
    [
        clip_tokenizer,
        siglip_tokenizer,
        lambda: siglip_tokenizer(_map({"＜": "<", "／": "/", "＞": ">"})),
        gemma_tokenizer,
    ],
    ids=["clip", "siglip", "siglip with a table", "gemma"],
)
def test_no_text_becomes_a_special_token(make: Callable[[], Theirs]) -> None:
    content = json.loads(make().to_str())
    ours = Tokenizer(content)
    special = {a["id"]: a["content"] for a in content["added_tokens"] if a["special"]}
    for name in special.values():
        for text in (name, f" {name} ", f"a{name}b", name * 3, name.upper(), name.replace("<", "＜").replace(">", "＞"),
                     name.translate({ord("<"): "＜", ord("/"): "／", ord(">"): "＞"})):  # fmt: skip
            found = {special[i] for i in ours.ids(text) if i in special}
            # What no piece covers is unknown, or its bytes, in any text.
            assert not {f for f in found if f != "<unk>" and not f.startswith("<0x")}, text


def test_characters_are_replaced_as_the_library_does() -> None:
    table = _map(ENTRIES)
    ours, theirs = CharacterMap(table), normalizers.Precompiled(table)
    for text in (*HARD, *_noise(500), "".join(ENTRIES), "e\u0301\u0302", "\r\n", "\u2028\u0301"):
        assert ours(text) == theirs.normalize_str(text), text


@pytest.mark.parametrize("data", [b"", b"\x04\0\0\0", b"\x08\0\0\0\0\0\0\0", b"\xff" * 12])
def test_a_table_that_is_cut_off_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="table"):
        CharacterMap(data)


def test_tokens_have_one_length_and_the_end_is_kept() -> None:
    content = clip_tokenizer().to_str().encode()
    prepare = TokenPreparation.from_json({"length": 8, "pad": 1}, content)
    given, _ = prepare.batch(["a red disc", "a " * 100])
    first, last = prepare.tokenizer.first[0], prepare.tokenizer.last[0]
    assert given.shape == (2, 8)
    assert given.dtype == np.int32
    assert (given[:, 0] == first).all()
    assert given[1, -1] == last
    assert TokenPreparation.from_json(prepare.to_json(), content) == prepare


def test_a_tokenizer_may_pad_on_the_left() -> None:
    prepare = TokenPreparation.from_json({"length": 6, "pad": 0, "left": True}, gemma_tokenizer().to_str().encode())
    assert prepare.batch(["a"])[0][0].tolist()[:4] == [0, 0, 0, 0]


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_an_empty_text_is_refused(text: str) -> None:
    prepare = TokenPreparation.from_json({"length": 8, "pad": 1}, clip_tokenizer().to_str().encode())
    with pytest.raises(UsageError, match="empty"):
        prepare.batch([text])


def test_half_of_a_character_is_a_sign_like_others() -> None:
    prepare = TokenPreparation.from_json({"length": 8, "pad": 1}, clip_tokenizer().to_str().encode())
    assert prepare.batch(["\ud83d"])[0].shape == (1, 8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"normalizer": {"type": "Nmt"}}, "normalizer 'Nmt'"),
        ({"normalizer": {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}}, "expression"),
        ({"normalizer": {"type": "Replace", "pattern": {"Regex": "[a-z]"}, "content": ""}}, "expression"),
        ({"pre_tokenizer": {"type": "Digits"}}, "pre-tokenizer 'Digits'"),
        ({"post_processor": {"type": "Other"}}, "post-processor 'Other'"),
        ({"model": {"type": "WordLevel", "vocab": {"a": 0}}}, "expected BPE or Unigram"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}}, "no piece"),
        ({"model": {}}, "not valid"),
        ({"model": None}, "not valid"),
        ({"added_tokens": [{}]}, "not valid"),
    ],
)
def test_what_is_not_known_is_refused_and_no_expression_is_run(change: dict[str, Any], said: str) -> None:
    content = json.loads(clip_tokenizer().to_str()) | change
    with pytest.raises(BundleError, match=said):
        Tokenizer(content)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"[" * 100_000, b"null"])
def test_bytes_that_are_no_tokenizer_are_refused(data: bytes) -> None:
    with pytest.raises(BundleError):
        Tokenizer.from_bytes(data)
