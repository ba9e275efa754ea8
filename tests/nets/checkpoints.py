"""Small checkpoints of random weights, as `save_pretrained` writes them: one of each family whose attention is read."""

import json
import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

WORDS = ["hello", ",", "my", "name", "is", "john", ".", "a", "red", "blue", "car", "house", "of", "the", "sea"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
VOCABULARY = {word: k for k, word in enumerate([*SPECIAL, *WORDS])}
_SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
_TEXT = {**_SMALL, "vocab_size": 40, "max_position_embeddings": 48, "pad_token_id": 0}
_IMAGE = {**_SMALL, "image_size": 32, "patch_size": 8}
_ENDS = {"bos_token_id": 2, "eos_token_id": 3}


def _clip(kind: Any) -> Any:
    text = {**_TEXT, "max_position_embeddings": 20, "projection_size": 16, **_ENDS}
    return kind(text_config=text, vision_config=dict(_IMAGE), projection_dim=16)


CONFIGS = {
    "bert": lambda: hf.BertConfig(**_TEXT),
    "roberta": lambda: hf.RobertaConfig(**{**_TEXT, "pad_token_id": 0}),
    "distilbert": lambda: hf.DistilBertConfig(
        vocab_size=40, max_position_embeddings=48, n_layers=3, n_heads=4, dim=32, hidden_dim=48
    ),
    "t5": lambda: hf.T5Config(
        vocab_size=40, d_model=32, d_kv=8, d_ff=48, num_layers=3, num_decoder_layers=2, num_heads=4,
        decoder_start_token_id=0,
    ),
    "vit": lambda: hf.ViTConfig(**_IMAGE),
    "dinov2_with_registers": lambda: hf.Dinov2WithRegistersConfig(
        **{k: v for k, v in _IMAGE.items() if k != "intermediate_size"}, num_register_tokens=4
    ),
    "clip": lambda: _clip(hf.CLIPConfig),
    "siglip": lambda: _clip(hf.SiglipConfig),
}  # fmt: skip
TEXTS = ("bert", "roberta", "distilbert", "t5", "clip", "siglip")
IMAGES = ("vit", "dinov2_with_registers", "clip", "siglip")


def write_tokenizer(folder: Path, *, extra: int = 0) -> None:
    """Write a tokenizer of a few words; `extra` more words that no net knows."""
    vocabulary = {**VOCABULARY, **{f"more{k}": len(VOCABULARY) + k for k in range(extra)}}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()  # type: ignore[assignment]
    tokenizer.post_processor = TemplateProcessing(  # type: ignore[assignment]
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)


def write_published(folder: Path, kind: str) -> Path:
    """Write a checkpoint whose weights are large enough for its attention to differ from a mean."""
    config = CONFIGS[kind]()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = hf.AutoModel.from_config(config)
        for p in model.parameters():
            p.data.add_(torch.randn_like(p) * 0.2)
    model.save_pretrained(folder)
    if kind in TEXTS:
        write_tokenizer(folder)
    if kind in IMAGES:
        hf.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


TRAINED_ON = (
    "a red disc", "red square, large", "a green cross on grey", "blue disc", "a yellow square", "it's a photo of a car",
    "two houses by the sea", "disc, cross and square: 12 of them", "the green disc isn't blue", "naïve café",
)  # fmt: skip
"""What the tokenizers below are trained on."""

_CLIP_WORDS = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def clip_tokenizer() -> Tokenizer:
    """Return a small tokenizer with all the steps of CLIP's: byte-pair encoding whose words end in `</w>`."""
    ends = ["<|startoftext|>", "<|endoftext|>"]
    made = Tokenizer(
        models.BPE(unk_token=ends[1], continuing_subword_prefix="", end_of_word_suffix="</w>", fuse_unk=False)
    )
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP_WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=ends, end_of_word_suffix="</w>", initial_alphabet=alphabet
    )
    made.train_from_iterator(TRAINED_ON, trainer)
    about = json.loads(made.to_str())
    ids = about["model"]["vocab"]
    for letter in sorted(alphabet):
        ids.setdefault(f"{letter}</w>", len(ids))
    about["post_processor"] = {
        "type": "RobertaProcessing", "sep": [ends[1], ids[ends[1]]], "cls": [ends[0], ids[ends[0]]],
        "trim_offsets": False, "add_prefix_space": False,
    }  # fmt: skip
    return Tokenizer.from_str(json.dumps(about))


def siglip_tokenizer(charsmap: bytes = b"") -> Tokenizer:
    """Return a small unigram tokenizer with the steps of SigLIP's: no punctuation, small letters, words with a mark."""
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "</s>"]
    trained.train_from_iterator(
        [t.lower() for t in TRAINED_ON],
        trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>"),
    )
    steps: Sequence[Any] = [
        normalizers.Lowercase(),
        normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), ""),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
        *([normalizers.Precompiled(charsmap)] if charsmap else []),
    ]
    trained.normalizer = normalizers.Sequence(list(steps))
    trained.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])  # type: ignore[assignment]
    return trained


def gemma_tokenizer() -> Tokenizer:
    """Return a small tokenizer with the steps of SigLIP 2's: byte-pair encoding of texts, and bytes."""
    made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "▁")])
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{b:02X}>" for b in range(256))]
    made.train_from_iterator(TRAINED_ON, trainers.BpeTrainer(vocab_size=500, special_tokens=special))
    made.post_processor = TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])  # type: ignore[assignment]
    return made


def write_pair(folder: Path, kind: str, *, layers: int = 4) -> Path:
    """Write a "clip" or "siglip" of random weights that reads images of 48 pixels, with a tokenizer of its kind."""
    small = {"hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": 48}
    image = {**small, "image_size": 48, "patch_size": 8}
    if kind == "clip":
        tokenizer = clip_tokenizer()
        ids = tokenizer.get_vocab()
        ends = {"bos_token_id": ids["<|startoftext|>"], "eos_token_id": ids["<|endoftext|>"]}
        text = {**small, "vocab_size": len(ids), "max_position_embeddings": 20, "projection_size": 16, **ends}
        config: Any = hf.CLIPConfig(
            text_config={**text, "pad_token_id": ends["eos_token_id"]}, vision_config=image, projection_dim=16
        )
        names = dict.fromkeys(("eos_token", "pad_token", "unk_token"), "<|endoftext|>")
        names["bos_token"] = "<|startoftext|>"
        processor: Any = hf.CLIPImageProcessorPil(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48})
    else:
        tokenizer = siglip_tokenizer()
        ends = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 1}
        text = {**small, "vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 16, **ends}
        config = hf.SiglipConfig(text_config={**text, "projection_size": 32}, vision_config=image)
        names = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
        processor = hf.SiglipImageProcessorPil(size={"height": 48, "width": 48})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = hf.AutoModel.from_config(config)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p) * 0.1)
            if kind == "siglip":
                model.logit_scale.fill_(4.77)
                model.logit_bias.fill_(-16.5)
    model.save_pretrained(folder)
    hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
