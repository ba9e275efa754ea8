"""Published networks of text, of images and of both, as Hugging Face wrote them: attention weights and embeddings."""

__all__ = ["Published", "Weighed", "open_published"]

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from eyewright.core.errors import CheckpointError, InputError, MissingExtraError, UsageError
from eyewright.core.quoting import quoted
from eyewright.core.tokens import TokenPreparation, said_overlong
from eyewright.data.texts import is_text
from eyewright.imaging.patches import image_tokens
from eyewright.imaging.preparation import Placement, Preparation
from eyewright.nets.hub import snapshot
from eyewright.nets.hub_bodies import described, open_body
from eyewright.nets.hub_files import check_checkpoint
from eyewright.nets.hub_kinds import PAIRS
from eyewright.nets.hub_library import pixel_values, quiet_transformers, reading
from eyewright.nets.hub_pairs import TOKENIZER_FILES, open_token_preparation
from eyewright.nets.hub_preprocessing import prove_preprocessing

_BATCH = 16
_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
# Attention weights of one text: L x H x T x T float32.
_MOST_BYTES = 1 << 30
_MOST_CHARACTERS = 1_000_000
# Trained on texts padded to one length, without a mask: the padding is part of what the net was taught on.
_FULL_LENGTH = frozenset({"siglip", "siglip2"})

Kind = Literal["text", "image", "pair", "translation"]


class Weighed(NamedTuple):
    """Attention weights of one input as transformers computes them.

    `weights` is float32 (layers, heads, queries, keys); `special` and `words` describe the keys. `grid_hw` is the grid
    of patches, the last tokens of an image, or (0, 0). `hidden_shape` is that of the last hidden states.
    """

    name: str
    weights: NDArray[np.float32]
    tokens: tuple[str, ...]
    keys: tuple[str, ...]
    words: tuple[str, ...]
    special: tuple[bool, ...]
    grid_hw: tuple[int, int]
    hidden_shape: tuple[int, ...]


class _Tokens(NamedTuple):
    ids: list[int]
    types: list[int]
    names: tuple[str, ...]
    words: tuple[str, ...]
    special: tuple[bool, ...]


@dataclass(frozen=True)
class Published:
    """A checkpoint that transformers builds without its head, from a local folder: safetensors and JSON only."""

    name: str
    folder: Path

    @cached_property
    def config(self) -> Any:
        path = self.folder / "config.json"
        if not os.path.lexists(path):
            raise CheckpointError(
                f"expected a Hugging Face model in {quoted(self.folder)}, found no config.json", fix="check the path"
            )
        if not any(self.folder.glob("*.safetensors")):
            raise CheckpointError(
                f"expected model.safetensors in {self.name!r}, found no weights in this format",
                fix="use a checkpoint in safetensors; pickled weights can run code when they are opened",
            )
        check_checkpoint(self.folder, self.name)
        return self._opened("configuration", lambda hf: hf.AutoConfig.from_pretrained(self.folder, **_LOCAL))

    @cached_property
    def kind(self) -> Kind:
        """What the checkpoint takes: a text, an image, either ("pair"), or a text and its translation."""
        config = self.config
        net = self._opened("configuration", lambda hf: hf.MODEL_MAPPING.get(type(config), None))
        net = net[0] if isinstance(net, tuple) else net
        reads = getattr(net, "main_input_name", "")
        if hasattr(config, "text_config") and hasattr(net, "get_text_features") and hasattr(net, "get_image_features"):
            return "pair"
        if reads == "pixel_values":
            return "image"
        if reads != "input_ids" or hasattr(config, "vision_config"):
            raise CheckpointError(
                f"{self.name!r} is a {config.model_type!r}, expected a model of texts, of images, or of both",
                fix="use one such as BERT, T5, ViT, DINOv2, CLIP or SigLIP",
            )
        return "translation" if getattr(config, "is_encoder_decoder", False) else "text"

    @cached_property
    def _model(self) -> Any:
        def load(hf: Any) -> Any:
            # Fused kernels keep no weights: with them transformers returns an empty tuple, without an error.
            model = open_body(hf, self.folder, self.name, attn_implementation="eager")
            return model.eval()

        _ = self.config
        return self._opened("checkpoint", load)

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizer = self._opened("tokenizer", lambda hf: hf.AutoTokenizer.from_pretrained(self.folder, **_LOCAL))
        rows = self._text_config.vocab_size
        if len(tokenizer) > rows:
            raise CheckpointError(
                f"the tokenizer of {self.name!r} has {len(tokenizer):,} tokens and its net knows {rows:,}",
                fix="use the tokenizer that the net was trained with",
            )
        return tokenizer

    @cached_property
    def _processor(self) -> Any:
        def load(hf: Any) -> Any:
            return hf.AutoImageProcessor.from_pretrained(self.folder, backend="pil", **_LOCAL)

        return self._opened("preprocessing", load)

    def _opened(self, what: str, load: Callable[[Any], Any]) -> Any:
        with quiet_transformers() as transformers, reading(f"the {what} of {self.name!r}"):
            return load(transformers)

    def _running(self) -> AbstractContextManager[None]:
        return reading(f"{self.name!r} cannot be run, or what it gives")

    @property
    def _text_config(self) -> Any:
        return self._part("text_config")

    @property
    def _vision_config(self) -> Any:
        return self._part("vision_config")

    def _part(self, name: str) -> Any:
        found = getattr(self.config, name, self.config)
        if not hasattr(found, "num_hidden_layers"):
            raise CheckpointError(
                f"the {name} of {self.name!r} has no layers, found {type(found).__name__}", fix="check the folder"
            )
        return found

    @property
    def takes_text(self) -> bool:
        return self.kind != "image"

    @property
    def takes_images(self) -> bool:
        return self.kind in ("image", "pair")

    @property
    def most_tokens(self) -> int | None:
        """How many tokens a text may have; None where positions are relative."""
        most = getattr(self._text_config, "max_position_embeddings", None)
        if self.kind == "translation" and self.config.model_type in ("t5", "mt5", "umt5", "longt5"):
            return None
        if most is None:
            return None
        table = getattr(getattr(self._model, "embeddings", None), "position_embeddings", None)
        # RoBERTa counts positions from after the padding index.
        padding = getattr(table, "padding_idx", None)
        return int(most) - (0 if padding is None else int(padding) + 1)

    def text_attention(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[list[Weighed]]:
        """Return for each text what every head of every layer attends to.

        `pairs` are second texts: for an encoder a second segment, for an encoder-decoder what its decoder is given,
        whose own and cross-attention are returned too. Padding gets no weight and is cut off, except for SigLIP, which
        was trained on padding without a mask.

        Raises:
            UsageError: the net reads images only.
            InputError: an empty text, or one that is too long.
            CheckpointError: the checkpoint cannot be used, or it returns fewer layers than it has.
        """
        self._need_text()
        if self.kind == "translation":
            seconds: Sequence[str | None] = pairs if pairs is not None else [None] * len(texts)
            return [self._translated(t, p) for t, p in zip(texts, seconds, strict=True)]
        tokens = [self._tokens(t, None if pairs is None else pairs[i]) for i, t in enumerate(texts)]
        model = self._model.text_model if hasattr(self._model, "text_model") else self._model
        size = _BATCH if self._pad is not None else 1
        result: list[list[Weighed]] = []
        for start in range(0, len(tokens), size):
            part = tokens[start : start + size]
            inputs, kept = self._padded(part)
            with torch.inference_mode(), self._running():
                out = model(**inputs, output_attentions=True)
            layers = self._checked(out.attentions, self._text_config.num_hidden_layers)
            for row, (one, rows) in enumerate(zip(part, kept, strict=True)):
                weights = np.stack([layer[row].numpy()[:, rows][:, :, rows] for layer in layers])
                shape = (len(rows), int(out.last_hidden_state.shape[-1]))
                result.append([Weighed("text", weights, one.names, one.names, one.words, one.special, (0, 0), shape)])
        return result

    def _translated(self, text: str, target: str | None) -> list[Weighed]:
        source = self._tokens(text, None)
        inputs = {"input_ids": torch.tensor([source.ids])}
        start = self.config.decoder_start_token_id
        start = self.config.pad_token_id if start is None else start
        names, words, special = self._named([start])
        given = _Tokens([start], [0], names, words, special)
        if target is not None:
            one = self._tokens(target, None)
            # The decoder reads what was written so far: the start, and the target without its last token.
            given = _Tokens(
                [start, *one.ids[:-1]], [], (*names, *one.names[:-1]), (*words, *one.words[:-1]),
                (*special, *one.special[:-1]),
            )  # fmt: skip
        with torch.inference_mode(), self._running():
            out = self._model(
                **inputs, decoder_input_ids=torch.tensor([given.ids]), output_attentions=True, use_cache=False
            )
        width = int(out.last_hidden_state.shape[-1])
        encoder = self._checked(out.encoder_attentions, self.config.num_hidden_layers)
        depth = int(getattr(self.config, "num_decoder_layers", 0) or getattr(self.config, "decoder_layers", 0))
        found = [self._weighed("encoder", encoder, source, source, (len(source.ids), width))]
        if target is not None:
            shape = (len(given.ids), width)
            found.append(self._weighed("decoder", self._checked(out.decoder_attentions, depth), given, given, shape))
            found.append(self._weighed("cross", self._checked(out.cross_attentions, depth), given, source, shape))
        return found

    @staticmethod
    def _weighed(name: str, layers: Sequence[Any], q: _Tokens, k: _Tokens, shape: tuple[int, int]) -> Weighed:
        weights = np.stack([layer[0].numpy() for layer in layers])
        return Weighed(name, weights, q.names, k.names, k.words, k.special, (0, 0), shape)

    def image_attention(self, images: Iterable[NDArray[np.uint8]]) -> list[Weighed]:
        """Return for each image, uint8 (H, W, 3), what every head of every layer attends to.

        Raises:
            UsageError: the net reads text only.
            CheckpointError: it cannot be used, or has no attention over the whole image.
        """
        self._need_images()
        model = self._model.vision_model if hasattr(self._model, "vision_model") else self._model
        config = self._vision_config
        patch = getattr(config, "patch_size", None)
        if not isinstance(patch, int) or hasattr(config, "window_size"):
            raise CheckpointError(
                f"{self.name!r} is a {self.config.model_type!r}, which has no attention over the whole image",
                fix="use a vision transformer such as ViT, DeiT, DINOv2, CLIP or SigLIP",
            )
        result = []
        for image in images:
            with self._running():
                pixels = pixel_values(self._processor, [image], kind="pt")
            rows, columns = pixels.shape[-2] // patch, pixels.shape[-1] // patch
            with torch.inference_mode(), self._running():
                out = model(pixel_values=pixels, output_attentions=True)
            layers = self._checked(out.attentions, config.num_hidden_layers)
            weights = np.stack([layer[0].numpy() for layer in layers])
            before = weights.shape[-1] - rows * columns
            if before < 0:
                raise CheckpointError(
                    f"{self.name!r} attends over {weights.shape[-1]} tokens, expected {rows}x{columns} or more",
                    fix="use another model",
                )
            names, special = image_tokens(weights.shape[-1], (rows, columns), self.config.model_type)
            shape = (len(names), int(out.last_hidden_state.shape[-1]))
            result.append(Weighed("image", weights, names, names, names, special, (rows, columns), shape))
        return result

    def prepared(self, image: NDArray[np.uint8]) -> tuple[Preparation, Placement] | None:
        """Return how the checkpoint's own processor brings an image to its size; None where that cannot be repeated."""
        try:
            found = prove_preprocessing(self.name, self._processor, any_size=True).preparation
        except CheckpointError:
            return None
        return None if found is None else (found, found(image)[1])

    def picture(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return what the checkpoint's own processor makes of an image, as a picture, uint8 (h, w, 3)."""
        with self._running():
            pixels = pixel_values(self._processor, [image], kind="np")[0].transpose(1, 2, 0)
        low, high = float(pixels.min()), float(pixels.max())
        scaled: NDArray[np.uint8] = np.rint(255 * (pixels - low) / max(high - low, 1e-12)).astype(np.uint8)
        return scaled

    def text_features(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embedding of each text, float32 (N, D): a pair model's own, else the mean over the tokens.

        A long text is cut to the tokens that the net reads (`overlong`). What is written like a special token, such as
        "</s>", is text like any other; `text_attention` takes it for the token.

        Raises:
            UsageError, InputError, CheckpointError: as `text_attention`.
        """
        self._need_text()
        if self.kind == "translation":
            raise UsageError(f"{self.name!r} has an encoder and a decoder and no embedding", fix="use another model")
        if self._preparation is not None:
            return self._prepared_features(self._preparation, [self._checked_text(t) for t in texts])
        tokens = [self._plain(t)[0] for t in texts]
        size = _BATCH if self._pad is not None else 1
        parts: list[NDArray[np.float32]] = []
        for start in range(0, len(tokens), size):
            inputs, kept = self._padded(tokens[start : start + size])
            with torch.inference_mode(), self._running():
                if self.kind == "pair":
                    found = self._model.get_text_features(**inputs)
                    if not isinstance(found, torch.Tensor):
                        found = found.pooler_output
                    parts.append(found.float().numpy())
                else:
                    hidden = self._model(**inputs).last_hidden_state.float().numpy()
                    parts.append(np.stack([h[rows].mean(0) for h, rows in zip(hidden, kept, strict=True)]))
        return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)

    @cached_property
    def _preparation(self) -> TokenPreparation | None:
        """How a pair's texts become tokens, the same as in its bundle; None where that cannot be repeated without
        transformers."""
        if self.kind != "pair" or self.config.model_type not in PAIRS.types:
            return None
        try:
            return open_token_preparation(self.folder, self.name, self.config)
        except CheckpointError:
            return None

    def _prepared_features(self, preparation: TokenPreparation, texts: Sequence[str]) -> NDArray[np.float32]:
        given, parts = preparation.batch(list(texts))[0], []
        for start in range(0, len(given), _BATCH):
            ids = torch.from_numpy(preparation.trimmed(given[start : start + _BATCH])).long()
            with torch.inference_mode(), self._running():
                found = self._model.get_text_features(input_ids=ids)
            parts.append((found if isinstance(found, torch.Tensor) else found.pooler_output).float().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)

    def overlong(self, text: str) -> str:
        """Return what of a text `text_features` does not read, in words; "" where it reads all of it."""
        if self._preparation is not None:
            return self._preparation.overlong(text)
        kept, n = self._plain(text)
        return said_overlong(n, len(kept.ids)) if n > len(kept.ids) else ""

    def _plain(self, text: str) -> tuple[_Tokens, int]:
        """Return a text's tokens, cut to what the net reads, and how many it has. None of them is a special token that
        the text spells."""
        with quiet_transformers(), self._running():
            found = self._tokenizer(
                self._checked_text(text), split_special_tokens=True, return_special_tokens_mask=True,
                return_token_type_ids=True,
            )  # fmt: skip
        ids, around = found["input_ids"], found["special_tokens_mask"]
        # A model of whole words or a unigram model finds a special token among its pieces.
        control = {i for i in self._tokenizer.all_special_ids if i != self._tokenizer.unk_token_id}
        own = [k for k, one in enumerate(ids) if not around[k] and one not in control]
        ends = [k for k in range(len(ids)) if around[k]]
        most = self._full_length or self.most_tokens
        kept = own if most is None else own[: max(0, most - len(ends))]
        places = sorted([*kept, *ends])
        chosen = self._known([ids[k] for k in places])
        types = [(found.get("token_type_ids") or [0] * len(ids))[k] for k in places]
        if self._full_length is not None:
            fill = self._full_length - len(chosen)
            chosen, types = chosen + [self._pad or 0] * fill, types + [0] * fill
        return _Tokens(chosen, types, (), (), ()), len(own) + len(places) - len(kept)

    def image_features(self, images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return the embedding of each image, float32 (N, D): the model's own, its pooled output, or the mean."""
        self._need_images()
        parts: list[NDArray[np.float32]] = []
        batch: list[NDArray[np.uint8]] = []

        def flush() -> None:
            if batch:
                with self._running():
                    pixels = pixel_values(self._processor, list(batch), kind="pt")
                    parts.append(described(self._model, pixels))
                batch.clear()

        for image in images:
            batch.append(image)
            if len(batch) == _BATCH:
                flush()
        flush()
        return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)

    @property
    def matching(self) -> tuple[float, float | None]:
        """By what a cosine of a text and an image is multiplied, and what is added where pairs are judged one by one.

        Raises:
            UsageError: the model does not match texts with images.
        """
        if self.kind != "pair" or not hasattr(self._model, "logit_scale"):
            raise UsageError(f"{self.name!r} does not match texts with images", fix="use a CLIP or SigLIP folder")
        bias = getattr(self._model, "logit_bias", None)
        return float(self._model.logit_scale.detach().exp()), None if bias is None else float(bias.detach())

    def _need_text(self) -> None:
        if not self.takes_text:
            raise UsageError(f"{self.name!r} reads images, found a text", fix="pass an image, or a model of texts")

    def _need_images(self) -> None:
        if not self.takes_images:
            raise UsageError(f"{self.name!r} reads texts, found an image", fix="pass a text, or a model of images")
        if self.config.model_type in PAIRS.limits:
            said, fix = PAIRS.refusal(self.config.model_type)
            raise CheckpointError(f"{self.name!r} is a {self.config.model_type!r}, {said}", fix=fix)

    @cached_property
    def _pad(self) -> int | None:
        pad = self._tokenizer.pad_token_id
        return None if pad is None else int(pad)

    def _checked_text(self, text: str) -> str:
        """Return a text that can be read.

        Raises:
            InputError: it is empty, has too many characters, or is no UTF-8.
        """
        if not text.strip():
            raise InputError("expected a text, found an empty one", fix="write some words")
        if len(text) > _MOST_CHARACTERS:
            raise InputError(
                f"expected a text of at most {_MOST_CHARACTERS:,} characters, found {len(text):,}", fix="shorten it"
            )
        if not is_text(text):
            raise InputError(f"expected a text in UTF-8, found other bytes in {text[:40]!r}", fix="save it as UTF-8")
        return text

    def _known(self, ids: list[int]) -> list[int]:
        """Return the ids of tokens, all of which the net knows.

        Raises:
            CheckpointError: it does not.
        """
        rows = self._text_config.vocab_size
        if ids and max(ids) >= rows:
            raise CheckpointError(
                f"the tokenizer of {self.name!r} gives token {max(ids)}, and its net knows {rows:,}",
                fix="use the tokenizer that the net was trained with",
            )
        return ids

    def _tokens(self, text: str, pair: str | None) -> _Tokens:
        for one in (text, pair):
            if one is not None:
                self._checked_text(one)
        full = self._full_length
        with quiet_transformers(), self._running():
            found = self._tokenizer(
                text, pair, padding="max_length" if full else False, max_length=full, truncation=False,
                return_token_type_ids=True, return_offsets_mapping=self._tokenizer.is_fast,
            )  # fmt: skip
        ids = list(found["input_ids"])
        most, config = full or self.most_tokens, self._text_config
        if most is not None and len(ids) > most:
            raise InputError(f"expected at most {most:,} tokens, found {len(ids):,}", fix="shorten the text")
        layers, heads = config.num_hidden_layers, config.num_attention_heads
        if 4 * layers * heads * len(ids) ** 2 > _MOST_BYTES:
            raise InputError(
                f"the attention of {len(ids):,} tokens in {layers} layers of {heads} heads takes "
                f"{4 * layers * heads * len(ids) ** 2 / 1e9:.1f} GB, expected at most {_MOST_BYTES / 1e9:.1f}",
                fix="shorten the text",
            )
        self._known(ids)
        names, words, special = self._named(ids)
        offsets = found.get("offset_mapping")
        if offsets is not None and pair is None:
            # Tokens of bytes show the character that they are a part of.
            words = tuple(
                text[a:b] if b > a and not s else w for w, s, (a, b) in zip(words, special, offsets, strict=True)
            )
        types = list(found.get("token_type_ids") or [0] * len(ids))
        return _Tokens(ids, types, names, words, special)

    def _named(self, ids: list[int]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[bool, ...]]:
        names = tuple(map(str, self._tokenizer.convert_ids_to_tokens(ids)))
        known = set(self._tokenizer.all_special_ids)
        unknown = self._tokenizer.unk_token_id
        return names, names, tuple(i in known and i != unknown for i in ids)

    @property
    def _full_length(self) -> int | None:
        if self.config.model_type not in _FULL_LENGTH:
            return None
        return int(self._text_config.max_position_embeddings)

    def _padded(self, part: Sequence[_Tokens]) -> tuple[dict[str, torch.Tensor], list[list[int]]]:
        """Return the inputs of a batch, and the places of each text's own tokens."""
        longest = max(len(t.ids) for t in part)
        ids = torch.full((len(part), longest), self._pad or 0)
        mask, types = torch.zeros_like(ids), torch.zeros_like(ids)
        for row, one in enumerate(part):
            n = len(one.ids)
            ids[row, :n], mask[row, :n], types[row, :n] = torch.tensor(one.ids), 1, torch.tensor(one.types)
        inputs = {"input_ids": ids}
        if self._full_length is None:
            inputs["attention_mask"] = mask
        if getattr(self._text_config, "type_vocab_size", 0) > 1 and self.kind == "text":
            inputs["token_type_ids"] = types
        return inputs, [list(range(len(t.ids))) for t in part]

    def _checked(self, layers: Sequence[Any] | None, expected: int) -> Sequence[Any]:
        found = [a for a in layers or () if a is not None and a.ndim == 4]
        if len(found) != expected:
            raise CheckpointError(
                f"expected the attention of {expected} layers from {self.name!r}, found {len(found)}",
                fix="use another model; this one does not return its weights",
            )
        return found


def open_published(name: str) -> Published:
    """Return the checkpoint at `hf:FOLDER` or `hf:OWNER/MODEL`; an id is looked up in the local cache, then fetched.

    Raises:
        MissingExtraError: transformers is not installed.
        CheckpointError: no such folder or id.
    """
    from importlib.util import find_spec

    if find_spec("transformers") is None:
        raise MissingExtraError(f"{name!r} needs transformers", fix="pip install 'eyewright[hf]'")
    where = name.removeprefix("hf:")
    if not where.strip():
        raise CheckpointError("expected a folder or OWNER/MODEL after 'hf:', found nothing", fix="name the model")
    folder = Path(where).expanduser()
    if not folder.is_dir():
        if where.count("/") != 1 or where.startswith((".", "/", "~")):
            raise CheckpointError(
                f"expected a folder or OWNER/MODEL after 'hf:', found {quoted(where)}", fix="check the path"
            )
        folder = snapshot(where, TOKENIZER_FILES)
    return Published(name, folder)
