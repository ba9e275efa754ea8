"""A tokenizer as data: what `tokenizer.json` of Hugging Face says, for CLIP and SigLIP, without their libraries."""

__all__ = ["Tokenizer"]

import base64
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from eyewright.core.charsmap import CharacterMap
from eyewright.core.errors import BundleError
from eyewright.core.piece_tokenizer import PieceTokenizer
from eyewright.core.subwords import BytePairs, Unigram

Step = Callable[[str], str]
Cut = Callable[[Sequence[str]], list[str]]

_WHITE = "\t\n\x0b\x0c\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
_SPACES = re.compile(f"[{_WHITE}]+")
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_ENDS = (r"<\|startoftext\|>|<\|endoftext\|>|", "")
_SHORTENED = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
_MARKS = ("<|startoftext|>", "<|endoftext|>")
_SET = re.compile(r"\[((?:\\.|[^\\\]])+)\]\+?", re.DOTALL)
_AGAIN = "export the model again, or use the tokenizer.json of the checkpoint's own repository"


@dataclass(frozen=True)
class _Added:
    """A token that is found in a text as it is written, and is not special."""

    text: str
    id: int
    left: bool
    right: bool
    normalised: bool


class Tokenizer:
    """From a text to the ids of its tokens, from the content of a `tokenizer.json`.

    It reads byte-pair encoding as CLIP and Gemma have it, and unigram models as SentencePiece writes them, with the
    usual steps around them. `first` and `last` are the ids that a text is put between.

    A text never becomes one of the special tokens: what is written like one, such as `</s>`, is text like any other,
    as in SentencePiece and with `split_special_tokens` of transformers.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        """Read a tokenizer.

        Raises:
            BundleError: it does something that is not known here, or is damaged.
        """
        try:
            self._normalise = _normaliser(content.get("normalizer"))
            self._cut = _cutter(content.get("pre_tokenizer"))
            given = content.get("added_tokens") or ()
            special = frozenset(int(a["id"]) for a in given if a.get("special"))
            self._encode, size = _model(content["model"], special)
            added = [
                _Added(
                    str(a["content"]),
                    int(a["id"]),
                    bool(a.get("lstrip")),
                    bool(a.get("rstrip")),
                    bool(a.get("normalized", True)),
                )
                for a in given
                if a["content"] and not a.get("single_word") and not a.get("special")
            ]
            self.first, self.last = _around(content.get("post_processor"))
            self.size = max([size, *(int(a["id"]) + 1 for a in given)])
            self._raw = _Finder([a for a in added if not a.normalised], lambda t: t)
            self._plain = _Finder([a for a in added if a.normalised], self._normalise)
        except _UnknownError as error:
            raise BundleError(f"the tokenizer cannot be read: {error}", fix=_AGAIN) from None
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise BundleError(f"the tokenizer is not valid: {error}", fix=_AGAIN) from None

    @staticmethod
    def from_bytes(data: bytes) -> "Tokenizer | PieceTokenizer":
        """Read the bytes of a `tokenizer.json`: as Hugging Face has it, or the pieces of a `spiece.model`.

        Raises:
            BundleError: as `Tokenizer`.
        """
        try:
            content = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"the tokenizer is not valid: {error}", fix=_AGAIN) from None
        if not isinstance(content, dict):
            raise BundleError("the tokenizer is not valid: expected an object", fix=_AGAIN)
        if content.get("type") != PieceTokenizer.kind:
            return Tokenizer(content)
        try:
            return PieceTokenizer(content)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, StopIteration, OverflowError) as error:
            raise BundleError(f"the tokenizer is not valid: {error}", fix=_AGAIN) from None

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text's tokens, without those that it is put between."""
        found: list[int] = []
        # Half of a surrogate pair is no character, and no tokenizer can be asked for it.
        for part in self._raw.parts(text.encode("utf-8", "replace").decode("utf-8")):
            if isinstance(part, int):
                found.append(part)
                continue
            for one in self._plain.parts(self._normalise(part)):
                if isinstance(one, int):
                    found.append(one)
                elif one:
                    for word in self._cut([one]):
                        found += self._encode(word)
        return found


class _UnknownError(Exception):
    """A part of a tokenizer that is not known here."""


class _Finder:
    """Finds added tokens in a text: the first, and of those the longest."""

    def __init__(self, added: Sequence[_Added], write: Step) -> None:
        self._by = {write(a.text): a for a in added}
        longest = sorted(filter(None, self._by), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest))) if longest else None

    def parts(self, text: str) -> Iterator[str | int]:
        """Yield the texts between the tokens, and the ids of the tokens."""
        start = 0
        for match in self._pattern.finditer(text) if self._pattern else ():
            one = self._by[match.group()]
            end, after = match.start(), match.end()
            if end < start:
                continue
            before = text[start:end]
            yield before.rstrip(_WHITE) if one.left else before
            yield one.id
            if one.right:
                while after < len(text) and text[after] in _WHITE:
                    after += 1
            start = after
        yield text[start:]


def _normaliser(about: Any) -> Step:
    if about is None:
        return lambda text: text
    match about["type"]:
        case "Sequence":
            steps = [_normaliser(one) for one in about["normalizers"]]
            return lambda text: _all(steps, text)
        case "NFC" | "NFD" | "NFKC" | "NFKD" as form:
            return partial(unicodedata.normalize, form)
        case "Lowercase":
            # Character by character, as the library does: Python's own knows the final sigma.
            return lambda text: text.lower() if text.isascii() else "".join(c.lower() for c in text)
        case "Strip":
            left, right = bool(about.get("strip_left", True)), bool(about.get("strip_right", True))
            return lambda text: _stripped(text, left=left, right=right)
        case "Prepend":
            return lambda text: f"{about['prepend']}{text}" if text else text
        case "Replace":
            return _replacement(about["pattern"], str(about["content"]))
        case "Precompiled":
            return CharacterMap(base64.b64decode(about["precompiled_charsmap"] or "", validate=True))
        case other:
            raise _UnknownError(f"the normalizer {other!r} is not known")


def _all(steps: Sequence[Step], text: str) -> str:
    for step in steps:
        text = step(text)
    return text


def _stripped(text: str, *, left: bool, right: bool) -> str:
    text = text.lstrip(_WHITE) if left else text
    return text.rstrip(_WHITE) if right else text


def _replacement(pattern: Mapping[str, str], content: str) -> Step:
    if "String" in pattern:
        old = pattern["String"]
        return lambda text: text.replace(old, content)
    said = pattern["Regex"]
    if said in (r"\s+", r"[\s]+"):
        return lambda text: _SPACES.sub(lambda _: content, text)
    if said == " {2,}":
        return lambda text: re.sub(" {2,}", lambda _: content, text)
    # Expressions of others are not run: only a set of characters is read.
    found = _SET.fullmatch(said)
    inside = "" if found is None else re.sub(r"\\[^A-Za-z0-9]", "\0", found.group(1))
    # ",-." is a range too, and names just its three characters.
    if found is None or inside[0] == "^" or re.search(r"\\|\[|&&|[^\0]-[^\0]", inside.replace(",-.", "")):
        raise _UnknownError(f"the expression {said[:60]!r} is not known")
    characters = set(re.sub(r"\\(.)", r"\1", found.group(1), flags=re.DOTALL))
    if said.endswith("+"):
        run = re.compile(f"[{''.join(map(re.escape, sorted(characters)))}]+")
        return lambda text: run.sub(lambda _: content, text)
    table = {ord(c): content for c in characters}
    return lambda text: text.translate(table)


def _cutter(about: Any) -> Cut:
    if about is None:
        return list
    match about["type"]:
        case "Sequence":
            cuts = [_cutter(one) for one in about["pretokenizers"]]
            return lambda words: _cut_all(cuts, list(words))
        case "Split":
            return _split(about)
        case "ByteLevel":
            if about.get("add_prefix_space"):
                raise _UnknownError("a space before each text (ByteLevel) is not known")
            return lambda words: ["".join(_BYTES[b] for b in w.encode("utf-8", "replace")) for w in words]
        case "WhitespaceSplit":
            return lambda words: [part for w in words for part in _SPACES.split(w) if part]
        case "Metaspace":
            return _metaspace(about)
        case other:
            raise _UnknownError(f"the pre-tokenizer {other!r} is not known")


def _cut_all(cuts: Sequence[Cut], words: list[str]) -> list[str]:
    for cut in cuts:
        words = cut(words)
    return words


def _split(about: Mapping[str, Any]) -> Cut:
    pattern, behaviour, invert = about["pattern"], about["behavior"], bool(about.get("invert"))
    said = pattern.get("Regex", "")
    if behaviour == "Removed" and invert and said in {ends + _WORDS for ends in _ENDS}:
        marks = _MARKS if said.startswith("<") else ()
        return lambda words: [part for w in words for part in _clip_words(w, marks)]
    if pattern.get("String") == " " and behaviour == "MergedWithPrevious" and not invert:
        return lambda words: [part for w in words for part in re.findall(r"[^ ]* |[^ ]+", w)]
    raise _UnknownError(f"the split by {said or pattern.get('String')!r} is not known")


def _metaspace(about: Mapping[str, Any]) -> Cut:
    mark = str(about.get("replacement", "▁"))
    scheme = about.get("prepend_scheme") or ("always" if about.get("add_prefix_space", True) else "never")
    if len(mark) != 1 or scheme not in ("always", "first", "never"):
        raise _UnknownError(f"Metaspace with {mark!r} and {scheme!r} is not known")
    whole = not about.get("split", True)
    each = re.compile(f"{re.escape(mark)}[^{re.escape(mark)}]*|[^{re.escape(mark)}]+")

    def cut(words: Sequence[str]) -> list[str]:
        found: list[str] = []
        for k, word in enumerate(words):
            text = word.replace(" ", mark)
            if (scheme == "always" or (scheme == "first" and k == 0)) and not text.startswith(mark):
                text = mark + text
            found += [text] if whole else each.findall(text)
        return found

    return cut


def _clip_words(text: str, marks: Sequence[str]) -> Iterator[str]:
    """Yield what CLIP's expression finds: shortened words, runs of letters, single digits, runs of other signs."""
    i, n = 0, len(text)
    kinds = [_kind(c) for c in text]
    while i < n:
        known = next((m for m in (*marks, *_SHORTENED) if text.startswith(m, i)), None)
        if known is not None:
            yield known
            i += len(known)
            continue
        kind, end = kinds[i], i + 1
        while kind in "LO" and end < n and kinds[end] == kind:
            end += 1
        if kind != " ":
            yield text[i:end]
        i = end


def _kind(character: str) -> str:
    """Return L for a letter, N for a digit, a space for white space, O for others."""
    if character in _WHITE:
        return " "
    major = unicodedata.category(character)[0]
    return major if major in "LN" else "O"


def _byte_letters() -> list[str]:
    """Return the letter that stands for each byte in a byte-level vocabulary (GPT-2)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters, spare = {b: chr(b) for b in plain}, 0
    for b in range(256):
        if b not in letters:
            letters[b] = chr(256 + spare)
            spare += 1
    return [letters[b] for b in range(256)]


_BYTES = _byte_letters()


def _names(model: Mapping[str, Any]) -> dict[str, int]:
    vocabulary = model["vocab"]
    if isinstance(vocabulary, Mapping):
        return {str(k): int(v) for k, v in vocabulary.items()}
    return {str(piece): i for i, (piece, _) in enumerate(vocabulary)}


def _model(about: Mapping[str, Any], special: frozenset[int]) -> tuple[Callable[[str], Sequence[int]], int]:
    """Return what cuts a word into ids, none of them of a `special` token that the word spells, and how many there
    are."""
    names = _names(about)
    kind = about.get("type") or ("BPE" if "merges" in about else "Unigram" if "unk_id" in about else "")
    by_bytes = bool(about.get("byte_fallback"))
    if kind == "BPE":
        if about.get("dropout") or about.get("continuing_subword_prefix"):
            raise _UnknownError("byte-pair encoding with dropout or a prefix of pieces is not known")
        pairs = [m.split(" ") if isinstance(m, str) else m for m in about["merges"]]
        merges = [(str(a), str(b)) for a, b in pairs]
        unknown = about.get("unk_token")
        return BytePairs(
            names,
            merges,
            unknown=None if unknown is None else names[unknown],
            suffix=about.get("end_of_word_suffix") or "",
            fuse=bool(about.get("fuse_unk")),
            by_bytes=by_bytes,
            whole=bool(about.get("ignore_merges")),
            special=special,
        ), max(names.values(), default=-1) + 1
    if kind == "Unigram":
        pieces = [(str(piece), float(score)) for piece, score in about["vocab"]]
        unknown = about.get("unk_id")
        return Unigram(
            pieces, unknown=None if unknown is None else int(unknown), by_bytes=by_bytes, special=special
        ), len(pieces)
    raise _UnknownError(f"the model {kind!r} is not known, expected BPE or Unigram")


def _around(about: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids before and after a text."""
    if about is None:
        return (), ()
    match about["type"]:
        case "Sequence":
            found: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
            for one in about["processors"]:
                first, last = _around(one)
                found = (first + found[0], found[1] + last)
            return found
        case "ByteLevel":
            return (), ()
        case "RobertaProcessing" | "BertProcessing":
            return (int(about["cls"][1]),), (int(about["sep"][1]),)
        case "TemplateProcessing":
            parts = about["single"]
            at = next(k for k, part in enumerate(parts) if "Sequence" in part)
            known = {name: [int(i) for i in one["ids"]] for name, one in about["special_tokens"].items()}
            sides = [
                [i for part in side for i in known[part["SpecialToken"]["id"]]]
                for side in (parts[:at], parts[at + 1 :])
            ]
            return tuple(sides[0]), tuple(sides[1])
        case other:
            raise _UnknownError(f"the post-processor {other!r} is not known")
