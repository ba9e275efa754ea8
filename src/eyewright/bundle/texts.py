"""The second graph of a bundle that embeds texts: its model, how a text is prepared, and golden pairs of it."""

__all__ = ["TEXT_FILES", "TextTower", "has_texts", "open_texts", "write_texts"]

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.arrays import ArrayFile
from eyewright.core.errors import BundleError, EyewrightError, plain_reason
from eyewright.core.ngrams import TextPreparation

if TYPE_CHECKING:
    from eyewright.core.tokens import TextInput

MODEL, ABOUT, GOLDEN, TOKENIZER = "onnx/text.onnx", "text.json", "text_golden.npz", "tokenizer.json"
_NEEDED = (MODEL, ABOUT, GOLDEN)
TEXT_FILES = (*_NEEDED, TOKENIZER)
"""The files of the text side; a bundle has all of them or none, the last where texts become tokens."""

_TOLERANCE = 1e-4
_BATCH = 64
_MOST_GOLDEN, _MOST_CHARACTERS = 64, 2000
_AGAIN = "export the model again"


@dataclass(frozen=True)
class TextTower:
    """Texts to vectors of length 1, float32 (N, D), in the space of the bundle's images; `scale` and `bias` make logits
    of dot products."""

    preparation: "TextInput"
    scale: float
    bias: float
    session: Any

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts.

        Raises:
            UsageError: a text is empty.
        """
        given, _ = self.preparation.batch(list(texts))
        # No text gives no row, whose length one blank text tells.
        fed = given if len(given) else np.zeros((1, self.preparation.length), np.int32)
        short = self.preparation.trimmed
        parts = [
            self.session.run(["embedding"], {"text": short(fed[i : i + _BATCH])})[0] for i in range(0, len(fed), _BATCH)
        ]
        return np.asarray(np.concatenate(parts)[: len(texts)], np.float32)


def has_texts(files: Mapping[str, Any]) -> bool:
    """Return whether a bundle of these files embeds texts."""
    return MODEL in files


def write_texts(
    folder: Path,
    write: Callable[[Path, bytes], None],
    *,
    preparation: "TextInput",
    scale: float,
    bias: float,
    texts: Sequence[str],
    vectors: NDArray[np.float32],
) -> None:
    """Write what belongs to `onnx/text.onnx`, which is there already: how texts are prepared, and golden pairs."""
    from eyewright.core.tokens import TokenPreparation

    if isinstance(preparation, TokenPreparation):
        write(folder / TOKENIZER, preparation.content)
    about = {"kind": preparation.kind, **preparation.to_json(), "scale": scale, "bias": bias}
    write(folder / ABOUT, (json.dumps(about, indent=1, sort_keys=True) + "\n").encode())
    encoded = {f"text_{k}": np.frombuffer(t.encode(), np.uint8) for k, t in enumerate(texts)}
    buffer = BytesIO()
    prepared = preparation.batch(list(texts))[0]
    np.savez_compressed(
        buffer, allow_pickle=False, n=np.array(len(texts)), prepared=prepared, embedding=vectors, **encoded
    )
    write(folder / GOLDEN, buffer.getvalue())


def open_texts(folder: Path, files: Mapping[str, Mapping[str, Any]], open_session: Callable[[bytes], Any]) -> TextTower:
    """Open the text side of a verified bundle, and run its golden pairs.

    Raises:
        BundleError: a file is missing, changed, not valid, or its answers are not those of the export.
    """
    content = {name: _read(folder, name, files) for name in _NEEDED}
    try:
        about = json.loads(content[ABOUT])
        kind, scale, bias = about.pop("kind"), float(about.pop("scale")), float(about.pop("bias"))
        if not (0 < scale <= 1000 and abs(bias) <= 1000):
            raise ValueError("its scale or bias is out of range")
        preparation = _preparation(kind, about, lambda: _read(folder, TOKENIZER, files))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{ABOUT} is not valid: {plain_reason(error)}", fix=_AGAIN) from None
    tower = TextTower(preparation, scale, bias, open_session(content[MODEL]))
    _test(tower, content[GOLDEN])
    return tower


def _preparation(kind: str, about: Mapping[str, Any], tokenizer: Callable[[], bytes]) -> "TextInput":
    """Return how texts are prepared, by its kind.

    Raises:
        ValueError: no such kind.
        BundleError: what it says of itself is not valid.
    """
    # Imported only where texts become tokens: most bundles read no text.
    from eyewright.core.tokens import TokenPreparation

    if kind == TextPreparation.kind:
        return TextPreparation.from_json(about)
    if kind == TokenPreparation.kind:
        return TokenPreparation.from_json(about, tokenizer())
    raise ValueError(f"its kind {kind[:40]!r} is unknown")


def _read(folder: Path, name: str, files: Mapping[str, Mapping[str, Any]]) -> bytes:
    try:
        data = (folder / name).read_bytes() if name in files else None
    except OSError as error:
        raise BundleError(f"{name!r} cannot be read: {error.strerror}", fix="copy the bundle again") from None
    if data is None:
        raise BundleError(f"the bundle lists no {name!r}", fix=_AGAIN)
    if hashlib.sha256(data).hexdigest() != files[name]["sha256"]:
        raise BundleError(f"{name!r} has been changed since it was exported", fix="copy the bundle again")
    return data


def _test(tower: TextTower, data: bytes) -> None:
    with ArrayFile(data, GOLDEN) as pairs:
        n = int(pairs["n"]) if pairs.shape("n") == () and pairs.dtype("n").kind in "iu" else 0
        if not 1 <= n <= _MOST_GOLDEN:
            raise BundleError(f"{GOLDEN} cannot be read: expected 1 to {_MOST_GOLDEN} texts", fix=_AGAIN)
        for k in range(n):
            shape = pairs.shape(f"text_{k}")
            if len(shape) != 1 or shape[0] > 4 * _MOST_CHARACTERS or pairs.dtype(f"text_{k}") != np.uint8:
                raise BundleError(f"{GOLDEN} cannot be read: 'text_{k}' is not a text", fix=_AGAIN)
        texts = [bytes(pairs[f"text_{k}"]).decode("utf-8", "replace") for k in range(n)]
        prepared, expected = pairs["prepared"], pairs["embedding"]
    try:
        given, found = tower.preparation.batch(texts)[0], tower(texts)
    except EyewrightError:
        raise
    except Exception as error:  # the runtime raises many types of its own
        raise BundleError(f"the text model cannot be run: {str(error).splitlines()[0][:200]}", fix=_AGAIN) from error
    if not np.array_equal(given, prepared):
        raise BundleError(
            "the golden texts have different tokens after preparation here", fix=_AGAIN, code="bundle_self_test"
        )
    worst = float(np.abs(found - expected).max()) if found.shape == expected.shape else float("inf")
    if not worst <= _TOLERANCE:
        raise BundleError(f"the golden texts differ by {worst:.2g}", fix=_AGAIN, code="bundle_self_test")
