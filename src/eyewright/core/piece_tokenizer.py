"""SigLIP's tokenizer as data: texts written and cut as SentencePiece does it, without its library."""

__all__ = ["PieceTokenizer"]

import base64
import json
import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eyewright.core.charsmap import CharacterMap
from eyewright.core.piece_file import read_pieces
from eyewright.core.subwords import PieceBytes

_MARK = "▁"
_NORMAL, _UNKNOWN, _UNUSED = 1, 2, 5
# What a character that no piece covers costs more than the worst piece (kUnkPenalty).
_PENALTY = 10.0
_LONGEST_PIECE = 10_000
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ROLES = (("eos", "</s>"), ("unk", "<unk>"), ("pad", "</s>"))
_SIDES = ("lstrip", "rstrip")


class PieceTokenizer:
    """From a text to the ids of its tokens as transformers' `SiglipTokenizer` does it, from what `read_pieces` gives.

    A text is cut at its special tokens. What lies between is made canonical as in big_vision (small letters, no
    punctuation, single spaces), written by SentencePiece's table of characters, and cut into the most probable pieces
    (Kudo 2018). `first` and `last` are the ids that a text is put between; `ends_once`: a text that ends with `last`
    gets no second one.
    """

    kind = "SentencePiece"
    ends_once = True

    def __init__(self, content: Mapping[str, Any]) -> None:
        """Read a tokenizer.

        Raises:
            ValueError, KeyError, TypeError: it is not valid.
        """
        self._pieces = _Pieces(content)
        self.size = len(content["pieces"])
        self.first: tuple[int, ...] = ()
        self.last: tuple[int, ...] = (self._known(int(content["end"])),)
        self._lower = bool(content["lowercase"])
        self._special: dict[str, tuple[int, bool, bool]] = {
            str(one["content"]): (self._known(int(one["id"])), bool(one["lstrip"]), bool(one["rstrip"]))
            for one in content["special"]
        }
        longest = sorted(filter(None, self._special), key=len, reverse=True)
        self._cut = re.compile(f"({'|'.join(map(re.escape, longest))})") if longest else None
        # SiglipTokenizer writes the unknown token before each part and drops its pieces again, so that a beginning of
        # words is kept.
        self._before = str(content["unknown"])
        self._dropped = len(self._pieces(self._before))

    @classmethod
    def content(cls, data: bytes, about: Mapping[str, Any]) -> bytes:
        """Return what is read here, as JSON, from a `spiece.model` and its `tokenizer_config.json`.

        Raises:
            ValueError: the file is no unigram model, or lacks a special token.
        """
        found = read_pieces(data)
        ids = {text: i for i, (text, _, _) in enumerate(found["pieces"])}
        named = {role: _name(about.get(f"{role}_token", usual)) for role, usual in _ROLES}
        flags = {_name(one): one for one in (about.get("added_tokens_decoder") or {}).values()}
        special = [*dict.fromkeys([*named.values(), *flags])]
        missing = next((name for name in special if name not in ids), None)
        if missing is not None:
            raise ValueError(f"it has no piece {missing[:40]!r}")
        return json.dumps(
            {
                "type": cls.kind, **found, "lowercase": bool(about.get("do_lower_case", True)),
                "end": ids[named["eos"]], "pad": ids[named["pad"]], "unknown": named["unk"],
                "special": [
                    {"content": name, "id": ids[name], **{k: bool(flags.get(name, {}).get(k, True)) for k in _SIDES}}
                    for name in special
                ],
            },
            ensure_ascii=False,
        ).encode()  # fmt: skip

    def _known(self, one: int) -> int:
        if not 0 <= one < self.size:
            raise ValueError(f"there is no piece {one}")
        return one

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text's tokens, without those that it is put between."""
        # Half of a surrogate pair is no character, and no tokenizer can be asked for it.
        text = text.encode("utf-8", "replace").decode("utf-8")
        parts = [p for p in self._parts(_MARK + text.replace(_MARK, " ")) if p]
        found: list[int] = []
        for k, part in enumerate(parts):
            if part in self._special:
                found.append(self._special[part][0])
                continue
            pieces = self._pieces(self._before + self._canonical(part))
            own = pieces[self._dropped :] if len(pieces) >= self._dropped else pieces
            alone = k == 0 and len(own) == 1 and own[0] == self._pieces.mark
            if not (alone and k + 1 < len(parts) and parts[k + 1] in self._special):
                found += own
        return found

    def _parts(self, text: str) -> list[str]:
        if self._cut is None:
            return [text]
        parts = self._cut.split(text)
        for k, part in enumerate(parts):
            if part not in self._special:
                continue
            _, left, right = self._special[part]
            if right and k + 1 < len(parts):
                parts[k + 1] = parts[k + 1].lstrip()
            if left and k:
                parts[k - 1] = parts[k - 1].rstrip()
        return parts

    def _canonical(self, text: str) -> str:
        text = text.lower() if self._lower else text
        return re.sub(r"\s+", " ", text.translate(_PUNCTUATION)).strip()


def _rounded(value: float) -> float:
    """Return a number in single precision."""
    return float(np.float32(value))


def _name(token: Any) -> str:
    """Return the text of a token, which is written as it is or with its settings."""
    return str(token.get("content", "") if isinstance(token, Mapping) else token)


class _Pieces:
    """SentencePiece itself: from a text to the ids of its pieces."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        pieces = [(str(text), float(score), int(kind)) for text, score, kind in content["pieces"]]
        normal = [score for _, score, kind in pieces if kind == _NORMAL]
        self._unknown = next(i for i, (_, _, kind) in enumerate(pieces) if kind == _UNKNOWN)
        self._ids = {t: i for i, (t, _, kind) in enumerate(pieces) if kind in (_NORMAL, _UNUSED) and t}
        if max(map(len, self._ids), default=0) > _LONGEST_PIECE:
            raise ValueError("a piece is too long")
        self.mark = self._ids.get(_MARK, -1)
        # Sums are in single precision, as SentencePiece's are, so that ties fall the same way.
        self._scores = [None if kind == _UNUSED else _rounded(score) for _, score, kind in pieces]
        self._worst = _rounded(min(normal, default=0.0) - _PENALTY)
        self._longest = max(map(len, self._ids), default=1)
        # Beginnings of pieces: where no piece begins so, none has to be looked for.
        self._starts = {t[:n] for t in self._ids for n in range(1, len(t) + 1)}
        self._bytes = PieceBytes({t: i for i, (t, _, _) in enumerate(pieces)}) if content["by_bytes"] else None
        table = base64.b64decode(content["charsmap"], validate=True)
        self._table = CharacterMap(table) if table else None
        self._prefix, self._trim, self._marked = (bool(content[key]) for key in ("prefix", "trim", "mark"))

    def __call__(self, text: str) -> list[int]:
        """Return the ids of a text's pieces."""
        return self._best(self._written(text))

    def _written(self, text: str) -> str:
        """Return a text as its pieces are written: characters replaced, spaces trimmed and marked."""
        parts, after_space, at = [], self._trim, 0
        while at < len(text):
            chunk, used = self._table.longest(text, at) if self._table is not None else (text[at], 1)
            at += used
            chunk = chunk.lstrip(" ") if after_space else chunk
            if chunk:
                parts.append(chunk)
                after_space = self._trim and chunk.endswith(" ")
        if not parts:
            return ""
        space = _MARK if self._marked else " "
        whole = "".join(parts).replace(" ", space)
        if self._prefix:
            whole = space + whole
        while self._trim and whole.endswith(space):
            whole = whole.removesuffix(space)
        return whole

    def _best(self, text: str) -> list[int]:
        n = len(text)
        best: list[tuple[float, int, int] | None] = [(0.0, 0, self._unknown), *[None] * n]
        for start in range(n):
            here = best[start]
            if here is None:
                continue
            single = False
            for end in range(start + 1, min(n, start + self._longest) + 1):
                chunk = text[start:end]
                if chunk not in self._starts:
                    break
                found = self._ids.get(chunk)
                own = None if found is None else self._scores[found]
                if found is None or own is None:
                    continue
                score, there = _rounded(here[0] + own), best[end]
                if there is None or score > there[0]:
                    best[end] = (score, start, found)
                single = single or end == start + 1
            if not single:
                score, there = _rounded(here[0] + self._worst), best[start + 1]
                if there is None or score > there[0]:
                    best[start + 1] = (score, start, self._unknown)
        return self._read(text, best)

    def _read(self, text: str, best: Sequence[tuple[float, int, int] | None]) -> list[int]:
        found: list[tuple[int, str]] = []
        end = len(text)
        while end > 0:
            _, start, one = best[end] or (0.0, end - 1, self._unknown)
            found.append((one, text[start:end]))
            end = start
        ids: list[int] = []
        was_unknown = False
        for one, chunk in reversed(found):
            unknown = one == self._unknown
            spelt = self._bytes.ids(chunk) if unknown and self._bytes is not None else None
            if spelt is not None:
                ids += spelt
            elif not (unknown and was_unknown):
                ids.append(one)
            was_unknown = unknown
        return ids
