"""Published models of images and texts (CLIP, SigLIP) as bodies: two towers that are tuned and exported."""

__all__ = ["TOKENIZER_FILES", "HubPairBody", "open_token_preparation", "write_token_preparation"]

import json
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eyewright.core.errors import BundleError, CheckpointError, MissingExtraError, plain_reason
from eyewright.core.files import write_bytes, write_json
from eyewright.core.piece_tokenizer import PieceTokenizer
from eyewright.core.regular import read_regular
from eyewright.core.tokens import TokenPreparation
from eyewright.nets.hub_library import BGR, quiet_transformers, reading
from eyewright.nets.pairs import PairOutputs, unit

TOKENIZER_FILES = ("*.txt", "*.model", "tokenizer*.json", "vocab.json", "special_tokens_map.json")
"""Patterns of the files that a tokenizer is read from."""

# How a run keeps what its texts are prepared by.
_TEXTS, _TOKENIZER = "eyewright_texts.json", "tokenizer.json"
# SentencePiece's file, which SigLIP is published with.
_PIECES = "spiece.model"

# How many training images the typicality is measured against.
CENTRES = 128

_TUNED = 0.25
_LARGEST_SCALE = math.log(100)
_LARGEST_TOKENIZER = 256 << 20
# Above the blocks of both towers: what makes one vector of a tower's last states, and brings both into one space.
_TOP = (
    "visual_projection", "text_projection", "vision_model.post_layernorm", "vision_model.head",
    "text_model.final_layer_norm", "text_model.head", "logit_scale", "logit_bias",
)  # fmt: skip
# Signs and scripts in which tokenizers differ first.
_PROBES = (
    "a photo of a cat", "Hello, World!!", "it's what they'll've said", "  two   spaces ", "tab\tand\nnew line",
    "12 apples, 3.5 %", "naïve café", "e\u0301 and \u00e9", "Straße ΟΔΟΣ İstanbul", "🙂 👨‍👩‍👧 🇩🇪", "ein roter Wagen",
    "שלום עולם", "مرحبا", "中文字符", "한국어", "ﬁne ½ ①", "x" * 300, "_under_ #tag @you",
)  # fmt: skip


class HubPairBody(nn.Module):
    """A transformers model of images and texts as a body: normalised float (N, C, H, W) and token ids (N, L) to vectors
    of length 1 in one space.

    It has the form of `nets.pairs.PairBody`: a fixed part, which is empty here, and a learnt one. Only the blocks at
    the top of both towers and what lies above them are tuned. `texts` is how a text becomes token ids.
    """

    takes_targets = True
    learns = True
    sees_views = False
    shares = (1.0,)
    most_centres = CENTRES
    centres: Tensor
    largest_scale: Tensor

    def __init__(self, model: Any, texts: TokenPreparation) -> None:
        super().__init__()
        self.model, self.texts = model, texts
        self.head_names = tuple(f"model.{name}" for name in _TOP)
        config = model.config
        size = getattr(config, "projection_dim", None) if hasattr(model, "visual_projection") else None
        self.size = int(size or config.vision_config.hidden_size)
        self.widths = (0, self.size)
        self.register_buffer("centres", torch.zeros(CENTRES, self.size))
        own = getattr(model, "logit_bias", None)
        self.own_bias = None if own is not None else nn.Parameter(torch.zeros(()))
        # Models that were published with a larger one keep it.
        largest = max(_LARGEST_SCALE, float(model.logit_scale.detach()))
        self.register_buffer("largest_scale", torch.tensor(largest))

    def _top(self) -> set[str]:
        """Return the names of the weights in the upper quarter of the blocks of both towers, and above them."""
        names = [name for name, _ in self.model.named_parameters()]
        found = {n for n in names if n.startswith(_TOP)}
        for tower in ("vision_model", "text_model"):
            start = f"{tower}.encoder.layers."
            own = [n for n in names if n.startswith(start)]
            count = 1 + max((int(n[len(start) :].partition(".")[0]) for n in own), default=-1)
            first = count - math.ceil(_TUNED * count)
            found |= {n for n in own if int(n[len(start) :].partition(".")[0]) >= first}
        return found

    @property
    def log_scale(self) -> Tensor:
        """The logarithm of what cosines are multiplied by, as it is learnt."""
        found: Tensor = self.model.logit_scale.reshape(())
        return found

    @property
    def bias(self) -> Tensor:
        """What is added to a logit where pairs are judged one by one."""
        found: Tensor = (self.own_bias if self.own_bias is not None else self.model.logit_bias).reshape(())
        return found

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by; clamped, since it would be learnt away otherwise."""
        return torch.minimum(self.log_scale.clamp(min=0.0), self.largest_scale).exp()

    @property
    def weight(self) -> Tensor:
        """The weight of the learnt part: the whole."""
        return torch.ones(())

    @torch.no_grad()
    def begin(self, loss: str, batch: int, *, fresh: bool, whole: bool) -> None:
        """Choose what is tuned: the top, or with `whole` everything, and set the bias for a loss: a softmax has none;
        pairs that are judged one by one begin with the published one, or with the odds of a right pair in a batch."""
        top = self._top()
        for name, weight in self.model.named_parameters():
            weight.requires_grad_(whole or name in top)
        place = self.own_bias if self.own_bias is not None else self.model.logit_bias
        if not fresh:
            pass
        elif loss != "sigmoid":
            place.zero_()
        elif self.own_bias is not None:
            # Cosines of CLIP's texts with their images are near 0.25, of others a little lower.
            place.fill_(math.log(1 / max(1, batch - 1)) - 0.25 * float(self.scale))
        place.requires_grad_(loss == "sigmoid")

    def choose(self, place: int) -> None:
        """Do nothing: there is one part."""

    @torch.no_grad()
    def settle(self, seen: Sequence[Tensor]) -> None:
        """Note the vectors of training images, float (N, C, H, W) each, against which the typicality is measured."""
        found = torch.cat([self.embed_images(x) for x in seen])[:CENTRES]
        self.centres.zero_()
        self.centres[: len(found)] = found

    def embed_images(self, x: Tensor) -> Tensor:
        """Return the vectors of images, (N, D), of length 1."""
        if getattr(self.model.config, BGR, False):
            x = x.flip(1)
        return unit(_pooled(self.model.get_image_features(pixel_values=x)))

    def embed_texts(self, ids: Tensor) -> Tensor:
        """Return the vectors of texts, (N, D), of length 1, from token ids."""
        # Every position counts, as both were taught: CLIP reads to the end mark, SigLIP the padding too.
        return unit(_pooled(self.model.get_text_features(input_ids=ids.to(torch.int64))))

    @property
    def grid_hw(self) -> tuple[int, int]:
        """How many patches a column and a row of the image hold."""
        config = self.model.config.vision_config
        side = int(config.image_size) // int(config.patch_size)
        return side, side

    def attentions(self, x: Tensor) -> list[Tensor]:
        """Return every layer's weights in the tower of images, (N, heads, T, T); the last tokens are the patches."""
        tower = self.model.vision_model
        before = getattr(tower.config, "_attn_implementation", None)
        with quiet_transformers():
            try:
                # The fused kernels do not keep the weights.
                self.model.set_attn_implementation("eager")
                found = tower(pixel_values=x, output_attentions=True).attentions
            finally:
                if before:
                    self.model.set_attn_implementation(before)
        return [layer for layer in found or () if layer is not None]

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return an empty part, the images' vectors, and how near the nearest training image is, in [0, 1]."""
        found = self.embed_images(x)
        near = (found @ self.centres.T).amax(1, keepdim=True).clamp(0.0, 1.0)
        return found[:, :0], found, near

    def text_parts(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return an empty part and the texts' vectors."""
        found = self.embed_texts(ids)
        return found[:, :0], found

    def join(self, fixed: Tensor, learnt: Tensor) -> Tensor:
        """Return the vectors: there is one part."""
        return learnt

    def forward(self, x: Tensor, targets: Any = None) -> PairOutputs:
        """Return the vectors; with `targets`, token ids (N, L) first, also the logits of all pairs."""
        found = self.embed_images(x)
        scores = None
        if targets is not None:
            scores = self.scale * found @ self.embed_texts(targets[0]).T + self.bias
        return PairOutputs(found[:, :0], found, scores, None, self, x)

    def example_targets(self, n: int) -> tuple[Tensor]:
        """Return what a training batch of `n` images brings: token ids of one text each."""
        return (torch.from_numpy(self.texts.batch(["a red car", "a house", "two birds"] * n)[0][:n]),)


def _pooled(found: Any) -> Tensor:
    vectors: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return vectors


def open_token_preparation(folder: Path, name: str, config: Any) -> TokenPreparation:
    """Return how a checkpoint prepares texts, proven on texts against its own tokenizer.

    A run keeps it in a form of its own, which is read without transformers.

    Raises:
        CheckpointError: the tokenizer cannot be read, or does what is not known here.
    """
    if (folder / _TEXTS).is_file():
        try:
            about = json.loads(read_regular(folder / _TEXTS, most=1 << 20))
            return TokenPreparation.from_json(about, read_regular(folder / _TOKENIZER, most=_LARGEST_TOKENIZER))
        except (BundleError, ValueError) as error:
            raise CheckpointError(
                f"the tokenizer in {name!r} is damaged: {plain_reason(error)}", fix="copy the run again"
            ) from error
    length = int(config.text_config.max_position_embeddings)
    theirs = _their_tokenizer(folder, name)
    with quiet_transformers(), reading(f"the tokenizer of {name!r}"):
        if theirs is None or not theirs.is_fast:
            content, pad = _pieces(folder, name)
        elif theirs.pad_token_id is None:
            raise CheckpointError(f"the tokenizer of {name!r} has no padding token", fix="use another checkpoint")
        else:
            content, pad = theirs.backend_tokenizer.to_str().encode(), int(theirs.pad_token_id)
        left = theirs is not None and theirs.padding_side == "left"
    try:
        found = TokenPreparation.from_json({"length": length, "pad": pad, "left": left}, content)
        found = replace(found, brief=_reads_to_end(found, config))
    except BundleError as error:
        raise CheckpointError(
            f"texts of {name!r} cannot be prepared here: {error.message}", fix="use another model"
        ) from error
    if theirs is not None:
        _prove_texts(found, theirs, name)
    _check_ids(found, config, name)
    return found


def _their_tokenizer(folder: Path, name: str) -> Any:
    """Return transformers' tokenizer of a folder; None where it cannot open one without a library that is absent.

    Raises:
        CheckpointError: the folder has no tokenizer, or it cannot be opened.
    """
    pieces = os.path.lexists(folder / _PIECES)
    if not pieces and not os.path.lexists(folder / _TOKENIZER) and not (folder / "vocab.json").is_file():
        raise CheckpointError(
            f"expected tokenizer.json or spiece.model in {name!r}, found neither",
            fix="download the tokenizer of the checkpoint too",
        )
    try:
        with quiet_transformers() as hf, reading(f"the tokenizer of {name!r}"):
            return hf.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except MissingExtraError:
        # For spiece.model transformers asks for the library sentencepiece, which is not needed here.
        if pieces:
            return None
        raise


def _pieces(folder: Path, name: str) -> tuple[bytes, int]:
    """Return what `spiece.model` says as the content of a tokenizer, and the id that fills.

    Raises:
        CheckpointError: there is none, it is damaged, or of another kind.
    """
    if not os.path.lexists(folder / _PIECES):
        raise CheckpointError(
            f"the tokenizer of {name!r} is not one of the library tokenizers and has no {_PIECES}",
            fix="use another checkpoint",
        )
    about, said = {}, folder / "tokenizer_config.json"
    try:
        if os.path.lexists(said):
            about = json.loads(read_regular(said, most=1 << 20, error=CheckpointError, follow=True))
        data = read_regular(folder / _PIECES, most=_LARGEST_TOKENIZER, error=CheckpointError, follow=True)
        content = PieceTokenizer.content(data, about)
        return content, int(json.loads(content)["pad"])
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"the {_PIECES} of {name!r} cannot be read: {error}", fix="use another model") from None


def _prove_texts(found: TokenPreparation, theirs: Any, name: str) -> None:
    """Refuse a preparation that gives other ids than the checkpoint's own tokenizer."""
    with quiet_transformers(), reading(f"the tokenizer of {name!r}"):
        expected = theirs(
            list(_PROBES), padding="max_length", max_length=found.length, truncation=True, split_special_tokens=True
        )["input_ids"]
    ours = found.batch(_PROBES)[0].tolist()
    wrong = next((t for t, a, b in zip(_PROBES, ours, expected, strict=True) if a != b), None)
    if wrong is not None:
        raise CheckpointError(
            f"the tokenizer of {name!r} cannot be repeated here: it reads {wrong[:40]!r} otherwise",
            fix="use another model",
        )


def _reads_to_end(texts: TokenPreparation, config: Any) -> bool:
    """Return whether a text's vector depends on nothing after its first end mark: CLIP takes the state at that token,
    and no token sees a later one. SigLIP was trained on full lengths, whose padding counts."""
    if config.model_type != "clip" or texts.left or len(texts.tokenizer.last) != 1:
        return False
    end = getattr(config.text_config, "eos_token_id", None)
    # With the id 2, which the first configurations had, the net looks for the largest id.
    return end == texts.tokenizer.last[0] if end != 2 else texts.tokenizer.last[0] == texts.tokenizer.size - 1


def _check_ids(texts: TokenPreparation, config: Any, name: str) -> None:
    rows = int(config.text_config.vocab_size)
    if texts.tokenizer.size > rows:
        raise CheckpointError(
            f"the tokenizer of {name!r} has {texts.tokenizer.size:,} tokens and its net knows {rows:,}",
            fix="use the tokenizer that the net was trained with",
        )
    end = getattr(config.text_config, "eos_token_id", None)
    # CLIP reads the vector at the end mark; without one it would read the first token, which is the same for all texts.
    if config.model_type == "clip" and end != 2 and end not in texts.tokenizer.last:
        raise CheckpointError(
            f"texts of {name!r} end with {list(texts.tokenizer.last)}, and its net looks for token {end}",
            fix="use the tokenizer that the net was trained with",
        )


def write_token_preparation(texts: TokenPreparation, folder: Path) -> None:
    """Write what `open_token_preparation` reads without the checkpoint."""
    write_json(folder / _TEXTS, texts.to_json())
    write_bytes(folder / _TOKENIZER, texts.content)
