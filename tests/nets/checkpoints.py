"""Small checkpoints of random weights, as `save_pretrained` writes them: one of each family whose attention is read."""

from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer
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
