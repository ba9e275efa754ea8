"""Attention weights as a value: what every head of every layer attends to, with rollout. Numpy alone."""

__all__ = ["Attention", "Link", "rolled", "save_attention"]

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.files import write_bytes, write_json


class Link(NamedTuple):
    """One weight: in this layer and head the token `query` takes this fraction of its mix from the token `key`."""

    layer: int
    head: int
    query: int
    key: int
    weight: float


@dataclass(frozen=True, eq=False)
class Attention:
    """The attention weights of one input.

    Args:
        weights: float32 (layers, heads, queries, keys); each row sums to 1.
        tokens: the queries, as the tokenizer names them; of an image the class token, registers, and "row,column".
        keys: what they attend to: the same tokens, or in cross-attention the tokens of the source.
        words: the keys as a person reads them.
        special: which keys are no words and no patches: [CLS], [SEP], registers, padding.
        kind: "text", "image", "encoder", "decoder" or "cross".
        model: the name of the model.
        source: the text, or the path of the image.
        hidden_states_shape: of the last hidden states, (tokens, width): what `outputs[0][0]` of transformers holds.
        grid_hw: the grid of patches of an image, else (0, 0).
        layers, heads: the numbers of the layers and heads that are here, from 0.
        depth: how many layers the model has.
        image: the source image, uint8 (H, W, 3).
        boxes_xyxy: where each patch lies in the source image, float64 (patches, 4).
        verdict: what the faithfulness test of `explain` says of the rollout, or why it was not made.
        others: what else the same model attended to: a decoder and its cross-attention, or the other of text and image.
    """

    weights: NDArray[np.float32]
    tokens: tuple[str, ...]
    keys: tuple[str, ...]
    words: tuple[str, ...]
    special: tuple[bool, ...]
    kind: str
    model: str
    source: str
    hidden_states_shape: tuple[int, ...]
    grid_hw: tuple[int, int] = (0, 0)
    layers: tuple[int, ...] = ()
    heads: tuple[int, ...] = ()
    depth: int = 0
    image: NDArray[np.uint8] | None = None
    boxes_xyxy: NDArray[np.float64] | None = None
    verdict: str = ""
    others: tuple["Attention", ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        depth, heads = self.weights.shape[:2]
        object.__setattr__(self, "layers", self.layers or tuple(range(depth)))
        object.__setattr__(self, "heads", self.heads or tuple(range(heads)))
        object.__setattr__(self, "depth", self.depth or depth)

    def rollout(self) -> NDArray[np.float64]:
        """Return how much of each token's input reaches each token through all layers, (tokens, tokens).

        Raises:
            UsageError: cross-attention, or some of the layers only.
        """
        if self.kind == "cross":
            raise UsageError(
                "rollout needs self-attention, found cross-attention", fix="use the encoder's or decoder's"
            )
        if self.layers != tuple(range(self.depth)):
            raise UsageError("rollout needs all layers, found some of them", fix="leave out --layer")
        return rolled(self.weights)

    def select(self, layers: Sequence[int] | None = None, heads: Sequence[int] | None = None) -> "Attention":
        """Return the same with some layers and heads only, by their numbers from 0; of `others` too.

        Raises:
            UsageError: the model has no such layer or head.
        """
        rows, columns = (
            self._places("layer", layers, self.layers),
            self._places("head", heads, self.heads),
        )
        return replace(
            self,
            weights=self.weights[rows][:, columns],
            layers=tuple(self.layers[i] for i in rows),
            heads=tuple(self.heads[i] for i in columns),
            others=tuple(o.select(layers, heads) for o in self.others),
        )

    def _places(self, what: str, wanted: Sequence[int] | None, there: tuple[int, ...]) -> list[int]:
        if wanted is None:
            return list(range(len(there)))
        outside = [number for number in wanted if number not in there]
        if outside:
            found = f"{outside[0]}" if len(outside) == 1 else f"{outside[0]} to {outside[-1]}"
            raise UsageError(
                f"expected {what}s from {there[0]} to {there[-1]} of the {self.kind}, found {found}",
                fix=f"change --{what}",
            )
        return [there.index(number) for number in wanted]

    def top(self, n: int = 20, *, special: bool = False) -> list[Link]:
        """Return the largest weights, sorted by weight; those onto special tokens only where `special` is true.

        A token that can attend to one token alone, such as the first where none sees a later one, says nothing and is
        left out. Special tokens take most of the weight in many heads, which says little (Clark et al. 2019).
        """
        kept = np.flatnonzero(~np.asarray(self.special, bool)) if not special else np.arange(len(self.keys))
        values = self.weights[..., kept]
        free = (self.weights > 0).any((0, 1)).sum(1) > 1
        flat = np.where(free[:, None] | ~free.any(), values, -1.0).ravel()
        n = min(n, int((flat >= 0).sum()))
        if n <= 0:
            return []
        chosen = np.argpartition(-flat, n - 1)[:n]
        chosen = chosen[np.lexsort((chosen, -flat[chosen]))]
        places = np.unravel_index(chosen, values.shape)
        return [
            Link(self.layers[a], self.heads[b], int(q), int(kept[k]), float(w))
            for a, b, q, k, w in zip(*places, flat[chosen], strict=True)
        ]

    @property
    def read_out(self) -> int:
        """Which token the prediction is read from: the first, or where no token sees a later one, the last."""
        w = self.weights
        causal = self.kind != "image" and w.shape[-1] == w.shape[-2] > 1 and not w[:, :, 0, 1:].any()
        return len(self.tokens) - 1 if causal else 0

    def entropy(self) -> NDArray[np.float64]:
        """Return the mean entropy of each head's rows in bits, (layers, heads): 0 looks at one token."""
        w = self.weights.astype(np.float64)
        bits: NDArray[np.float64] = -(w * np.log2(np.maximum(w, 1e-30))).sum(-1).mean(-1)
        return bits

    def walk(self) -> Iterator["Attention"]:
        """Yield this and all `others`."""
        yield self
        for other in self.others:
            yield from other.walk()

    def to_json(self, top: int = 20) -> dict[str, Any]:
        """Return what this is, without the weights: plain JSON types."""
        return {
            "kind": self.kind,
            "model": self.model,
            "source": self.source,
            "shape": list(self.weights.shape),
            "layers": list(self.layers),
            "heads": list(self.heads),
            "tokens": list(self.tokens),
            "keys": list(self.keys),
            "special": list(self.special),
            "grid_hw": list(self.grid_hw),
            "hidden_states_shape": list(self.hidden_states_shape),
            "verdict": self.verdict,
            "top": [link._asdict() for link in self.top(top)],
        }


def rolled(weights: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the attention rollout of (layers, heads, T, T), float64 (T, T) (Abnar & Zuidema 2020).

    Heads are averaged, the identity is added for the way around each layer, rows are made to sum to 1, and the layers'
    matrices are multiplied.

    >>> rolled(np.full((1, 1, 2, 2), 0.5))[0].tolist()
    [0.75, 0.25]
    """
    eye = np.eye(weights.shape[-1])
    result = eye
    for layer in weights:
        mixed = layer.astype(np.float64).mean(0) + eye
        result = (mixed / mixed.sum(-1, keepdims=True)) @ result
    return result


def save_attention(attention: Attention, folder: Path, *, rollout: bool = False, top: int = 20) -> list[Path]:
    """Write the weights as one `.npz` a layer and what they are as `attention.json`; return the files.

    `KIND-layer-00.npz` has `weights`, float32 (heads, queries, keys). With `rollout`, `KIND-rollout.npz` has it. The
    JSON lists the `top` largest weights.

    Raises:
        OutputError: they cannot be written.
    """
    files = []
    for one in attention.walk():
        for number, layer in zip(one.layers, one.weights, strict=True):
            files.append(folder / f"{one.kind}-layer-{number:02d}.npz")
            _write_array(files[-1], weights=layer, heads=np.array(one.heads))
        if rollout and one.kind != "cross":
            files.append(folder / f"{one.kind}-rollout.npz")
            _write_array(files[-1], rollout=one.rollout())
    files.append(folder / "attention.json")
    write_json(files[-1], [one.to_json(top) for one in attention.walk()])
    return files


def _write_array(path: Path, **arrays: NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_bytes(path, buffer.getvalue())
