"""CLIP and SigLIP folders: tuned on pairs, exported with their tokenizer, and searched without torch."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image
from safetensors.numpy import load_file
from tests.conftest import draw_shape
from tests.nets.checkpoints import TRAINED_ON, write_pair, write_published

import eyewright as ew
from eyewright import lifecycle
from eyewright.bundle import load_bundle
from eyewright.bundle.verify import bundle_digest
from eyewright.cli import main
from eyewright.core.errors import BundleError, CheckpointError, RefusedError, UsageError
from eyewright.lifecycle.indexes import ServedIndexes
from eyewright.lifecycle.searching import index_folder, open_embedder, search
from eyewright.tasks.embed_report import summarise

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 70, 230), "yellow": (230, 220, 50)}
TEXTS = ["a red disc", "it's a GREEN cross!", "🙂 naïve", "word " * 60, "x" * 10_000, "سيارة حمراء", "  two   spaces "]


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images of a coloured shape with a caption that says so."""
    folder, rng = tmp_path_factory.mktemp("captions"), np.random.default_rng(0)
    rows = []
    for i in range(60):
        colour, kind = list(COLOURS)[i % 4], ("disc", "square", "cross")[i // 4 % 3]
        image = draw_shape(kind, rng)
        image[image.max(-1) >= 150] = COLOURS[colour]
        Image.fromarray(image).save(folder / f"{i}.png")
        rows.append({"file_name": f"{i}.png", "text": [f"a {colour} {kind}", f"{kind}, {colour}"][: 1 + i % 2]})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture(scope="module", params=["clip", "siglip"])
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pair(tmp_path_factory.mktemp("published") / request.param, request.param)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pair(tmp_path_factory.mktemp("published") / "clip", "clip")


@pytest.fixture(scope="module")
def bundle(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return lifecycle.export(f"hf:{published}", tmp_path_factory.mktemp("as_it_is") / "bundle")


@pytest.fixture(scope="module")
def run(published: Path, captions: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("tuned") / "run"
    return lifecycle.train(captions, task="embed", model=f"hf:{published}", epochs=2, lr=1e-3, batch=16, out=out)


def theirs(folder: Path, texts: list[str], images: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors of transformers, at length 1."""
    model = hf.AutoModel.from_pretrained(folder).eval()
    tokenizer, processor = hf.AutoTokenizer.from_pretrained(folder), hf.AutoImageProcessor.from_pretrained(folder)
    length = model.config.text_config.max_position_embeddings
    given = tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    with torch.inference_mode():
        found = [
            model.get_text_features(input_ids=given["input_ids"]).pooler_output,
            model.get_image_features(processor(images, return_tensors="pt")["pixel_values"]).pooler_output,
        ]
    first, second = (torch.nn.functional.normalize(f).numpy() for f in found)
    return first, second


def test_a_bundle_of_a_published_model_answers_as_transformers_does(bundle: Any, published: Path) -> None:
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((48, 48), (70, 50), (31, 90))]
    texts, seen = theirs(published, TEXTS, images)
    assert bundle.embed_texts(TEXTS) == pytest.approx(texts, abs=1e-5)
    assert np.stack([p.embedding for p in bundle.predict_images(images)]) == pytest.approx(seen, abs=1e-4)
    # One by one as in a batch: nothing depends on how long the others are.
    assert np.concatenate([bundle.embed_texts([t]) for t in TEXTS]) == pytest.approx(texts, abs=1e-5)
    model = hf.AutoModel.from_pretrained(published)
    assert bundle.texts.scale == pytest.approx(float(model.logit_scale.detach().exp()), rel=1e-5)
    assert bundle.texts.bias == pytest.approx(float(getattr(model, "logit_bias", torch.zeros(1)).detach()))
    assert "nothing was trained here" in (bundle.folder / "README.md").read_text()


def test_images_of_odd_sizes_have_one_vector_as_a_bundle_a_published_model_and_in_transformers(
    bundle: Any, published: Path
) -> None:
    rng = np.random.default_rng(2)
    sides = (1, 2, 3, 4, 5, 47, 49)
    images = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h in sides for w in sides]
    processor = hf.AutoImageProcessor.from_pretrained(published, backend="pil")
    model = hf.AutoModel.from_pretrained(published).eval()
    # Pillow's pictures have no channels to mistake for rows.
    given = processor([Image.fromarray(i) for i in images], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(model.get_image_features(given).pooler_output).numpy()
    found = open_embedder(f"hf:{published}").images(images)
    assert found / np.linalg.norm(found, axis=1, keepdims=True) == pytest.approx(expected, abs=1e-4)
    assert np.stack([p.embedding for p in bundle.predict_images(images)]) == pytest.approx(expected, abs=1e-4)


def test_special_tokens_in_a_text_and_long_texts_are_read_in_one_way(bundle: Any, published: Path) -> None:
    embedder = open_embedder(f"hf:{published}")
    assert embedder.texts is not None
    special = hf.AutoTokenizer.from_pretrained(published).all_special_tokens
    texts = [f"a {name} red disc" for name in special] + [*special, "disc </s> <|endoftext|> [MASK] <s>", *TEXTS]
    found = embedder.texts(texts)
    assert found / np.linalg.norm(found, axis=1, keepdims=True) == pytest.approx(bundle.embed_texts(texts), abs=1e-5)
    prepare = bundle.texts.preparation
    ends = {*prepare.tokenizer.first, *prepare.tokenizer.last}
    for text in texts:
        assert not ends & set(prepare.numbers(text)[len(prepare.tokenizer.first) : -1]), text
    long = "a red disc " * 60
    # 20 positions less both ends for CLIP, 16 less the end for SigLIP.
    n = len(hf.AutoTokenizer.from_pretrained(published)(long, add_special_tokens=False)["input_ids"])
    most = 18 if "startoftext" in "".join(special) else 15
    assert embedder.overlong(long) == prepare.overlong(long)
    assert f"{n} tokens, of which the first {most} are read: {n - most} are cut off" in prepare.overlong(long)
    assert prepare.overlong("a red disc") == ""
    assert bundle.embed_texts([long]) == pytest.approx(bundle.embed_texts(["a red disc " * 20]), abs=1e-6)


def test_tuning_changes_the_top_alone_and_is_exported_with_parity(run: Any, published: Path, tmp_path: Path) -> None:
    before = dict(hf.AutoModel.from_pretrained(published).state_dict())
    after = {k.removeprefix("body.model."): v for k, v in run.net.state_dict().items()}
    changed = {k for k, v in before.items() if not torch.equal(v, after[k])}
    blocks = {k for k in changed if ".encoder.layers." in k}
    # One of four blocks of each tower.
    assert blocks
    assert all(".layers.3." in k for k in blocks)
    assert not any("embeddings" in k for k in changed)
    assert run.about["calibration"]["published_recall"] >= 0
    made = lifecycle.export(run, tmp_path / "bundle")
    texts = ["a red disc", "blue", "z" * 3000]
    assert made.embed_texts(texts) == pytest.approx(run.predictor.embed_texts(texts), abs=1e-5)
    assert load_bundle(tmp_path / "bundle").manifest.published is None
    near = made.predict_images([np.zeros((48, 48, 3), np.uint8)])[0].typicality
    assert 0 <= near[0] <= 1


def test_a_run_is_read_again_without_the_checkpoint(run: Any, published: Path, tmp_path: Path) -> None:
    texts = ["a red disc", "no such words"]
    expected = run.predictor.embed_texts(texts)
    copy = tmp_path / "run"
    shutil.copytree(run.folder, copy)
    hidden = published.with_name("hidden")
    published.rename(hidden)
    try:
        assert lifecycle.load_run(copy).predictor.embed_texts(texts) == pytest.approx(expected, abs=1e-6)
    finally:
        hidden.rename(published)


def test_what_was_stopped_and_resumed_ends_with_the_same_weights(clip: Path, captions: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"task": "embed", "model": f"hf:{clip}", "epochs": 3, "batch": 16, "baseline": "none"}
    whole = lifecycle.train(captions, out=tmp_path / "whole", **options)

    def stop(row: Any) -> None:
        if row["epoch"] == "1":
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        lifecycle.train(captions, out=tmp_path / "cut", observe=stop, **options)
    cut = lifecycle.train(captions, out=tmp_path / "cut", resume=True, **options)
    first, second = (load_file(r.folder / "checkpoints" / "best" / "model.safetensors") for r in (whole, cut))
    assert first.keys() == second.keys()
    assert all(np.array_equal(v, second[k]) for k, v in first.items())


def test_layer_decay_tunes_all_blocks(clip: Path, captions: Path, tmp_path: Path) -> None:
    tuned = lifecycle.train(
        captions, task="embed", model=f"hf:{clip}", epochs=1, layer_decay=0.8, baseline="none", out=tmp_path / "run",
        loss="sigmoid",
    )  # fmt: skip
    name = "text_model.encoder.layers.0.mlp.fc1.weight"
    before: Any = hf.AutoModel.from_pretrained(clip)
    body: Any = tuned.net.body
    assert not torch.equal(before.state_dict()[name], body.model.state_dict()[name])
    # Pairs that are judged one by one have a bias, which CLIP is not published with.
    assert float(body.bias.detach()) < 0


def test_the_report_says_whether_it_is_above_the_floor(run: Any) -> None:
    report = ew.evaluate(run)
    compared = report.tables["baseline"]
    assert compared["baseline"] == "pair_ridge"
    low, value, high = (compared["differences"]["recall_at_10"][k] for k in ("low", "value", "high"))
    assert low <= value <= high
    assert "pair_ridge, the floor of fixed features" in summarise(report)


def test_a_published_model_is_measured_as_it_is(clip: Path, captions: Path) -> None:
    report = ew.evaluate(f"hf:{clip}", captions)
    assert report.n == 60
    assert report.metrics["recall_at_10"].value is not None


def test_an_index_is_searched_without_torch_and_by_either_form_of_the_model(
    bundle: Any, published: Path, captions: Path, tmp_path: Path
) -> None:
    code = (
        "import sys\n"
        "from eyewright.lifecycle.searching import index_folder, search\n"
        f"index_folder({str(captions)!r}, model={str(bundle.folder)!r}, out={str(tmp_path / 'ix')!r})\n"
        f"print([h.row.path for h in search({str(tmp_path / 'ix')!r}, 'a green cross', n=5).hits])\n"
        "assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    hits = json.loads(done.stdout.replace("'", '"'))
    # What the checkpoint has indexed is searched with the bundle that it was exported to.
    index_folder(captions, model=f"hf:{published}", out=tmp_path / "hf")
    assert [h.row.path for h in search(tmp_path / "hf", "a green cross", n=5).hits] == hits
    found = search(tmp_path / "hf", "a green cross", n=5, model=str(bundle.folder)).hits
    assert [h.row.path for h in found] == hits


class _Served:
    """What the server knows of a model, as far as an index asks."""

    def __init__(self, name: str, bundle: Any, digest: str) -> None:
        self.name, self.manifest, self.digest = name, bundle.manifest, digest


def test_the_server_takes_an_index_of_the_checkpoint_with_its_bundle(
    clip: Path, captions: Path, tmp_path: Path
) -> None:
    index_folder(captions, model=f"hf:{clip}", out=tmp_path / "ix")
    made = lifecycle.export(f"hf:{clip}", tmp_path / "bundle")
    digest = bundle_digest(made.folder)
    indexes = ServedIndexes([tmp_path / "ix"])
    indexes.check({"m": _Served("m", made, digest)})  # type: ignore[dict-item]
    assert indexes.digest("ix") == digest
    other = lifecycle.export(f"hf:{write_pair(tmp_path / 'siglip', 'siglip')}", tmp_path / "other")
    with pytest.raises(RefusedError, match="eyewright export hf:"):
        indexes.check({"m": _Served("m", other, bundle_digest(other.folder))})  # type: ignore[dict-item]


def test_a_bundle_is_asked_for_where_a_checkpoint_is_given(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", f"hf:{clip}"]) == 3
    assert f"eyewright export hf:{clip} --out BUNDLE" in capsys.readouterr().err


def test_a_changed_tokenizer_is_refused(bundle: Any, tmp_path: Path) -> None:
    shutil.copytree(bundle.folder, tmp_path / "copy")
    content = json.loads((tmp_path / "copy" / "tokenizer.json").read_text())
    content["normalizer"] = None
    (tmp_path / "copy" / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(BundleError, match="tokenizer"):
        load_bundle(tmp_path / "copy").embed_texts(["a"])


def _without_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _of_words(folder: Path) -> None:
    shutil.rmtree(folder)
    write_published(folder, "clip")


def _other_end(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 7
    (folder / "config.json").write_text(json.dumps(config))


def _small_table(folder: Path) -> None:
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["onemore"])
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_without_tokenizer, "tokenizer.json"),
        (_of_words, "'Whitespace' is not known"),
        (_other_end, "looks for token 7"),
        (_small_table, "its net knows"),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_refused_in_a_line(
    spoil: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    folder = write_pair(tmp_path / "net", "clip", layers=1)
    spoil(folder)
    with pytest.raises(CheckpointError, match=said):
        lifecycle.export(f"hf:{folder}", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_images_without_captions_are_refused(clip: Path, captions: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for image in sorted(captions.glob("?.png")):
        shutil.copy(image, folder)
    with pytest.raises(UsageError, match="expected captions"):
        lifecycle.train(folder, task="embed", model=f"hf:{clip}", out=tmp_path / "run", epochs=1)


@pytest.mark.parametrize("kind", ["classifier", "segmenter"])
def test_other_published_models_are_exported_as_they_are(kind: str, tmp_path: Path) -> None:
    names = {"id2label": {0: "sky", 1: "sea"}, "label2id": {"sky": 0, "sea": 1}}
    small = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 16}
    if kind == "classifier":
        net: Any = hf.ViTForImageClassification(hf.ViTConfig(**small, image_size=32, patch_size=8, **names))
        processor: Any = hf.ViTImageProcessorPil(size={"height": 32, "width": 32})
    else:
        sizes = {"depths": [1] * 4, "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2]}
        net = hf.SegformerForSemanticSegmentation(hf.SegformerConfig(**sizes, decoder_hidden_size=16, **names))
        processor = hf.SegformerImageProcessorPil(size={"height": 32, "width": 32})
    net.save_pretrained(tmp_path / "net")
    processor.save_pretrained(tmp_path / "net")
    made = lifecycle.export(f"hf:{tmp_path / 'net'}", tmp_path / "bundle")
    assert made.labels.names == ("sky", "sea")
    assert made.manifest.familiarity["method"] == "none"


def test_the_attention_of_a_tuned_run_is_that_of_transformers(run: Any, tmp_path: Path) -> None:
    image = np.random.default_rng(2).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    found = ew.attend(run, image)
    tower = run.net.body.model.vision_model
    tower.set_attn_implementation("eager")
    with torch.inference_mode():
        pixels = run.net.scale(torch.from_numpy(np.array(run.preparation(image)[0][None])))
        expected = tower(pixel_values=pixels, output_attentions=True).attentions
    assert found.weights == pytest.approx(torch.stack(expected)[:, 0].numpy(), abs=1e-6)
    assert found.grid_hw == (6, 6)
    lifecycle.export(run, tmp_path / "bundle", attention=True)
    assert ew.attend(tmp_path / "bundle", image).weights == pytest.approx(found.weights, abs=1e-5)


def test_a_siglip_folder_is_read_by_its_spiece_model(tmp_path: Path) -> None:
    spm = pytest.importorskip("sentencepiece")
    folder = write_pair(tmp_path / "siglip", "siglip")
    rows = json.loads((folder / "config.json").read_text())["text_config"]["vocab_size"]
    (tmp_path / "texts").write_text("\n".join(re.sub(r"[^a-z ]", "", t.lower()) for t in TRAINED_ON))
    spm.SentencePieceTrainer.train(
        input=str(tmp_path / "texts"), model_prefix=str(folder / "spiece"), model_type="unigram", vocab_size=rows,
        hard_vocab_limit=False, unk_id=2, eos_id=1, pad_id=0, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    (folder / "spiece.vocab").unlink()
    for name in ("tokenizer.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "SiglipTokenizer"}))
    bundle = tmp_path / "bundle"
    assert main(["export", f"hf:{folder}", "--out", str(bundle)]) == 0

    theirs = hf.AutoTokenizer.from_pretrained(folder)(TEXTS, padding="max_length", max_length=16, truncation=True)
    model = hf.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = model.get_text_features(torch.tensor(theirs["input_ids"])).pooler_output
    expected = torch.nn.functional.normalize(expected, dim=-1).numpy()
    assert np.abs(load_bundle(bundle).embed_texts(TEXTS) - expected).max() < 1e-5


def test_a_damaged_spiece_model_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_pair(tmp_path / "siglip", "siglip")
    (folder / "tokenizer.json").unlink()
    (folder / "spiece.model").write_bytes(b"\x0a\xff\x01cut")
    assert main(["export", f"hf:{folder}", "--out", str(tmp_path / "bundle")]) == 4
    assert "tokenizer" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["export", "index", "attend"])
def test_images_of_any_shape_are_refused_by_name(
    verb: str, captions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
    config = hf.Siglip2Config(
        text_config={**small, "vocab_size": 40, "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 1},
        vision_config={**small, "patch_size": 8, "num_patches": 36},
    )
    hf.AutoModel.from_config(config).save_pretrained(tmp_path / "naflex")
    hf.Siglip2ImageProcessorPil().save_pretrained(tmp_path / "naflex")
    name, out = f"hf:{tmp_path / 'naflex'}", ["--out", str(tmp_path / "out")]
    asked = {
        "export": ["export", name, *out],
        "index": ["index", str(captions), "--model", name, *out],
        "attend": ["attend", name, str(captions / "0.png")],
    }
    assert main(asked[verb]) == 4
    assert "NaFlex" in capsys.readouterr().err


def test_a_text_of_clip_is_embedded_at_its_own_length(clip: Path, tmp_path: Path) -> None:
    assert main(["export", f"hf:{clip}", "--out", str(tmp_path / "bundle")]) == 0
    tower = load_bundle(tmp_path / "bundle").texts
    prepared = tower.preparation.batch(["a red disc", "x"])[0]
    short = tower.preparation.trimmed(prepared)
    assert short.shape[1] < prepared.shape[1] == 20
    whole = tower.session.run(["embedding"], {"text": prepared})[0]
    assert np.abs(tower(["a red disc", "x"]) - whole).max() < 1e-6


def test_a_text_of_siglip_keeps_its_full_length(tmp_path: Path) -> None:
    folder = write_pair(tmp_path / "siglip", "siglip")
    assert main(["export", f"hf:{folder}", "--out", str(tmp_path / "bundle")]) == 0
    preparation = load_bundle(tmp_path / "bundle").texts.preparation
    prepared = preparation.batch(["a red disc"])[0]
    assert preparation.trimmed(prepared).shape == prepared.shape == (1, 16)


def test_a_checkpoint_without_hf_is_told_how_to_be_named(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attend", str(clip), "Hello"]) == 4
    assert f"write hf:{clip}" in capsys.readouterr().err
