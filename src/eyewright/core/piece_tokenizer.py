"""SigLIP's tokenizer as data: texts written and cut as SentencePiece does it, without its library."""

__all__ = ["PieceTokenizer"]

import base64
import json
import re
import string
from collections.abc import Mapping
from typing import Any

from eyewright.core.charsmap import CharacterMap
from eyewright.core.piece_file import read_pieces
from eyewright.core.subwords import Unigram

_MARK = "▁"
_NORMAL, _UNKNOWN = 1, 2
_LONGEST_PIECE = 10_000
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ROLES = (("eos", "</s>"), ("unk", "<unk>"), ("pad", "</s>"))


class PieceTokenizer:
    """From a text to the ids of its tokens as transformers' `SiglipTokenizer` does it with `split_special_tokens`, from
    what `read_pieces` gives.

    A text is made canonical as in big_vision (small letters, no punctuation, single spaces), written by SentencePiece's
    table of characters, and cut into the most probable pieces (Kudo 2018). It never becomes a control token: `</s>` is
    text like any other, as in SentencePiece. `first` and `last` are the ids that a text is put between.
    """

    kind = "SentencePiece"

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
        # SiglipTokenizer writes the unknown token before a text and drops its pieces again, so that a beginning of
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
        missing = next((name for name in named.values() if name not in ids), None)
        if missing is not None:
            raise ValueError(f"it has no piece {missing[:40]!r}")
        return json.dumps(
            {
                "type": cls.kind, **found, "lowercase": bool(about.get("do_lower_case", True)),
                "end": ids[named["eos"]], "pad": ids[named["pad"]], "unknown": named["unk"],
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
        pieces = self._pieces(self._before + self._canonical(_MARK + text.replace(_MARK, " ")))
        return pieces[self._dropped :] if len(pieces) >= self._dropped else pieces

    def _canonical(self, text: str) -> str:
        text = text.lower() if self._lower else text
        return re.sub(r"\s+", " ", text.translate(_PUNCTUATION)).strip()


def _name(token: Any) -> str:
    """Return the text of a token, which is written as it is or with its settings."""
    return str(token.get("content", "") if isinstance(token, Mapping) else token)


class _Pieces:
    """SentencePiece itself: from a text to the ids of its pieces."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        pieces = [(str(text), float(score), int(kind)) for text, score, kind in content["pieces"]]
        if max((len(text) for text, _, _ in pieces), default=0) > _LONGEST_PIECE:
            raise ValueError("a piece is too long")
        self._cut = Unigram(
            # What a character without a piece costs depends on the normal ones alone.
            [(text, score if kind == _NORMAL else 0.0) for text, score, kind in pieces],
            unknown=next(i for i, (_, _, kind) in enumerate(pieces) if kind == _UNKNOWN),
            by_bytes=bool(content["by_bytes"]),
            special={i for i, (_, _, kind) in enumerate(pieces) if kind != _NORMAL},
            single=True,
        )
        table = base64.b64decode(content["charsmap"], validate=True)
        self._table = CharacterMap(table) if table else None
        self._prefix, self._trim, self._marked = (bool(content[key]) for key in ("prefix", "trim", "mark"))

    def __call__(self, text: str) -> list[int]:
        """Return the ids of a text's pieces."""
        return self._cut(self._written(text))

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
