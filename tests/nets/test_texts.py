"""Attention and embeddings of published networks: transformers' own `output_attentions` is the oracle."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from eyewright.core.errors import CheckpointError, EyewrightError, InputError, UsageError
from eyewright.nets.texts import Published, open_published


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"nets_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


made = _load("checkpoints")
SENTENCES = ("Hello, my name is john.", "a red car", "the house of the sea is blue . a car of the sea", "name")
LOWER = tuple(s.lower() for s in SENTENCES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("published")
    return {kind: made.write_published(root / kind, kind) for kind in made.CONFIGS}


def opened(folder: Path) -> Published:
    return open_published(f"hf:{folder}")


def theirs(folder: Path) -> Any:
    return hf.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()


def ids_of(folder: Path, text: str, pair: str | None = None) -> dict[str, torch.Tensor]:
    found = hf.AutoTokenizer.from_pretrained(folder)(text, pair, return_tensors="pt", return_token_type_ids=True)
    return {"input_ids": found["input_ids"], "token_type_ids": found["token_type_ids"]}


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "clip"])
def test_text_weights_of_a_padded_batch_are_those_of_transformers_one_by_one(folders, kind: str) -> None:  # type: ignore[no-untyped-def]
    model = theirs(folders[kind])
    model = getattr(model, "text_model", model)
    for text, (one,) in zip(LOWER, opened(folders[kind]).text_attention(LOWER), strict=True):
        ids = ids_of(folders[kind], text)["input_ids"]
        with torch.inference_mode():
            out = model(input_ids=ids, output_attentions=True)
        expected = np.stack([a[0].numpy() for a in out.attentions])
        assert one.weights.shape == (3, 4, ids.shape[1], ids.shape[1]) == expected.shape
        np.testing.assert_allclose(one.weights, expected, atol=1e-6)
        np.testing.assert_allclose(one.weights.sum(-1), 1, atol=1e-6)
        assert one.hidden_shape == tuple(out.last_hidden_state.shape[1:])
        assert one.tokens[0] == "[CLS]"
        assert one.tokens[-1] == "[SEP]"
        assert one.special == (True, *[False] * (ids.shape[1] - 2), True)


def test_siglip_is_given_the_padding_it_was_trained_with(folders) -> None:  # type: ignore[no-untyped-def]
    model = theirs(folders["siglip"]).text_model
    ((one,), *_) = opened(folders["siglip"]).text_attention(["a red car"])
    ids = torch.tensor([[2, *(made.VOCABULARY[w] for w in ("a", "red", "car")), 3, *[0] * 15]])
    with torch.inference_mode():
        expected = np.stack([a[0].numpy() for a in model(input_ids=ids, output_attentions=True).attentions])
    np.testing.assert_allclose(one.weights, expected, atol=1e-6)
    assert one.special[5:] == (True,) * 15


def test_what_a_checkpoint_reads_is_told_by_its_net(tmp_path: Path) -> None:
    """BEiT has a vocabulary and DETR a decoder, and both read images; Whisper reads neither texts nor images."""
    small = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    beit = hf.BeitConfig(**made._IMAGE)
    for name, config in (("beit", beit), ("whisper", hf.WhisperConfig(vocab_size=60, **small, **heads))):
        (tmp_path / name).mkdir()
        config.save_pretrained(tmp_path / name)
        (tmp_path / name / "model.safetensors").touch()
    assert opened(tmp_path / "beit").kind == "image"
    with pytest.raises(CheckpointError, match="is a 'whisper', expected a model of texts, of images, or of both"):
        _ = opened(tmp_path / "whisper").kind


def test_a_pair_of_texts_has_segments(folders) -> None:  # type: ignore[no-untyped-def]
    found = ids_of(folders["bert"], "a red car", "the blue sea")
    assert found["token_type_ids"].sum() == 4
    with torch.inference_mode():
        expected = theirs(folders["bert"])(**found, output_attentions=True).attentions
    pairs = opened(folders["bert"]).text_attention(["a red car", "name"], ["the blue sea", "is john"])
    np.testing.assert_allclose(pairs[0][0].weights, torch.cat(expected).numpy(), atol=1e-6)


def test_an_encoder_decoder_has_three_kinds_of_attention(folders) -> None:  # type: ignore[no-untyped-def]
    (found,) = opened(folders["t5"]).text_attention(["a red car"], ["the blue sea"])
    source, target = (ids_of(folders["t5"], t)["input_ids"] for t in ("a red car", "the blue sea"))
    given = torch.cat([torch.zeros(1, 1, dtype=torch.int64), target[:, :-1]], 1)
    with torch.inference_mode():
        out = theirs(folders["t5"])(input_ids=source, decoder_input_ids=given, output_attentions=True)
    lists = {"encoder": out.encoder_attentions, "decoder": out.decoder_attentions, "cross": out.cross_attentions}
    assert [w.name for w in found] == list(lists)
    for one in found:
        np.testing.assert_allclose(one.weights, torch.cat(lists[one.name]).numpy(), atol=1e-6)
    assert [w.weights.shape for w in found] == [(3, 4, 5, 5), (2, 4, 5, 5), (2, 4, 5, 5)]
    (alone,) = opened(folders["t5"]).text_attention(["a red car"])
    assert [w.name for w in alone] == ["encoder"]


@pytest.mark.parametrize("kind", ["vit", "dinov2_with_registers", "clip", "siglip"])
def test_image_weights_are_those_of_transformers(folders, kind: str) -> None:  # type: ignore[no-untyped-def]
    images = [np.random.default_rng(k).integers(0, 256, (40 + k, 50, 3), dtype=np.uint8) for k in range(2)]
    model = theirs(folders[kind])
    model = getattr(model, "vision_model", model)
    processor = hf.AutoImageProcessor.from_pretrained(folders[kind], backend="pil")
    for image, one in zip(images, opened(folders[kind]).image_attention(images), strict=True):
        with torch.inference_mode():
            out = model(**processor(images=image, return_tensors="pt"), output_attentions=True)
        np.testing.assert_allclose(one.weights, torch.cat(out.attentions).numpy(), atol=1e-6)
        before = {"vit": 1, "dinov2_with_registers": 5, "clip": 1, "siglip": 0}[kind]
        assert sum(one.special) == before == one.weights.shape[-1] - 16
        assert one.grid_hw == (4, 4)
    prepared = opened(folders[kind]).prepared(images[0])
    assert prepared is not None
    assert prepared[1].source_hw == (40, 50)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_embeddings_are_those_of_transformers(folders, kind: str) -> None:  # type: ignore[no-untyped-def]
    net, model = opened(folders[kind]), theirs(folders[kind])
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    processor = hf.AutoImageProcessor.from_pretrained(folders[kind], backend="pil")
    padding = {"padding": "max_length", "max_length": 20} if kind == "siglip" else {}
    tokenizer = hf.AutoTokenizer.from_pretrained(folders[kind])
    texts = net.text_features(LOWER)
    with torch.inference_mode():
        seen = model.get_image_features(**processor(images=image, return_tensors="pt"))
        for row, text in zip(texts, LOWER, strict=True):
            ids = tokenizer(text, return_tensors="pt", **padding)["input_ids"]
            said = model.get_text_features(input_ids=ids)
            np.testing.assert_allclose(row, getattr(said, "pooler_output", said)[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(net.image_features([image]), getattr(seen, "pooler_output", seen).numpy(), atol=1e-5)


def test_a_net_that_keeps_fewer_layers_than_it_has_is_refused(folders, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    net = opened(folders["bert"])
    # What transformers does with its default attention: no error, and an empty tuple.
    net._model.set_attn_implementation("sdpa")
    assert net._model(**ids_of(folders["bert"], "a car"), output_attentions=True).attentions in ((), None)
    with pytest.raises(CheckpointError, match=r"expected the attention of 3 layers .* found 0"):
        net.text_attention(["a car"])


def test_a_wrong_input_is_refused_in_one_line(folders, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    bert, vit = opened(folders["bert"]), opened(folders["vit"])
    image = np.zeros((32, 32, 3), np.uint8)
    cases: list[tuple[type[EyewrightError], str, Any]] = [
        (UsageError, "reads images, found a text", lambda: vit.text_attention(["a"])),
        (UsageError, "reads texts, found an image", lambda: bert.image_attention([image])),
        (InputError, "found an empty one", lambda: bert.text_attention([" \n"])),
        (InputError, "expected at most 48 tokens", lambda: bert.text_attention(["car " * 60])),
        (InputError, "at most 48 tokens, found 25,0", lambda: bert.text_attention(["car " * 25_000])),
        (InputError, "takes .* GB", lambda: opened(folders["t5"]).text_attention(["car " * 25_000])),
    ]
    for kind, said, call in cases:
        with pytest.raises(kind, match=said) as refused:
            call()
        assert "\n" not in str(refused.value)
    # RoBERTa's first position comes after its padding's index.
    opened(folders["roberta"]).text_attention(["car " * 45])
    with pytest.raises(InputError, match="at most 47 tokens, found 48"):
        opened(folders["roberta"]).text_attention(["car " * 46])
    # Emoji, and letters from right to left, are unknown words here and no error.
    ((one,),) = bert.text_attention(["🙂 שלום"])
    assert one.tokens == ("[CLS]", "[UNK]", "[UNK]", "[SEP]")
    assert one.words == ("[CLS]", "🙂", "שלום", "[SEP]")


def _copied(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    return target


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: made.write_tokenizer(f, extra=100), "has 119 tokens and its net knows 40"),
        (lambda f: (f / "tokenizer.json").write_text("{"), "tokenizer of .* cannot be read"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "found no weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x08" * 64), "checkpoint .* cannot be read"),
        (lambda f: (f / "config.json").unlink(), "found no config.json"),
        (lambda f: _edit(f / "config.json", model_type="mine", auto_map={"AutoConfig": "code.C"}), "cannot be read"),
        (lambda f: _edit(f / "config.json", num_hidden_layers=4), "lacks 16 of its weights"),
        (lambda f: _edit(f / "config.json", num_hidden_layers=2), "weights of more layers than its config.json says"),
        (lambda f: _edit(f / "config.json", hidden_size=10**9), "a net of other sizes than its weights have"),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_line(folders, tmp_path: Path, damage, said: str) -> None:  # type: ignore[no-untyped-def]
    folder = _copied(folders["bert"], tmp_path / "copy")
    (folder / "code.py").write_text("raise SystemExit('code of the checkpoint was run')")
    damage(folder)
    with pytest.raises(CheckpointError, match=said) as refused:
        opened(folder).text_attention(["a car"])
    assert refused.value.exit_code == 4
    assert "\n" not in str(refused.value)


def _edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
