"""Hugging Face checkpoints from local folders that transformers wrote: its own numbers are the oracle."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf

import eyewright as ew
from eyewright.catalog import build_of
from eyewright.core.errors import CheckpointError, UsageError
from eyewright.core.labels import LabelSpace
from eyewright.nets import PixelNet
from eyewright.training.optimisers import above_body, layer_depths

LABELS = {"id2label": {0: "square", 1: "cross", 2: "disc"}, "label2id": {"square": 0, "cross": 1, "disc": 2}}
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
SIZE = {"height": 32, "width": 32}

KINDS = {
    "vit": (lambda: hf.ViTConfig(**SMALL, **LABELS), lambda: hf.ViTImageProcessorPil(size=SIZE)),
    "deit": (
        lambda: hf.DeiTConfig(**SMALL, **LABELS),
        lambda: hf.DeiTImageProcessorPil(size={"height": 40, "width": 40}, crop_size=SIZE),
    ),
    "dinov2": (
        lambda: hf.Dinov2Config(**{k: v for k, v in SMALL.items() if k != "intermediate_size"}, **LABELS),
        lambda: hf.BitImageProcessorPil(size={"shortest_edge": 38}, crop_size=SIZE),
    ),
    "resnet": (
        lambda: hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **LABELS),
        lambda: hf.ConvNextImageProcessorPil(size={"shortest_edge": 32}),
    ),
    "convnext": (
        lambda: hf.ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], image_size=32, **LABELS),
        lambda: hf.ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=0.8),
    ),
    "swin": (
        lambda: hf.SwinConfig(
            image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4, **LABELS
        ),
        lambda: hf.ViTImageProcessorPil(size=SIZE, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.25]),
    ),
    "mobilevit": (
        lambda: hf.MobileViTConfig(
            image_size=32, hidden_sizes=[8, 8, 16], neck_hidden_sizes=[4, 4, 8, 8, 8, 8, 16], **LABELS
        ),
        lambda: hf.MobileViTImageProcessorPil(size={"shortest_edge": 36}, crop_size=SIZE),
    ),
}


def write_checkpoint(folder: Path, kind: str = "vit") -> Path:
    """Write a small checkpoint of random weights, as `save_pretrained` does."""
    make, process = KINDS[kind]
    config = make()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        name = hf.models.auto.modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES[config.model_type]
        config.architectures = [name if isinstance(name, str) else name[0]]
        model = hf.AutoModelForImageClassification.from_config(config)
        # Fresh heads are all but zero: larger weights make a fault in the order of classes show.
        for p in model.parameters():
            p.data.add_(torch.randn_like(p) * 0.05)
    model.save_pretrained(folder)
    process().save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint")


@pytest.mark.parametrize("kind", KINDS)
def test_before_training_the_logits_are_those_of_transformers(tmp_path: Path, kind: str) -> None:
    folder = write_checkpoint(tmp_path, kind)
    builder = build_of(f"hf:{folder}")
    builder.check()
    classes = LabelSpace(("cross", "disc", "square"))
    net = PixelNet(builder.for_labels(classes)(3), mean=builder.scaling["mean"], std=builder.scaling["std"]).eval()
    model = hf.AutoModelForImageClassification.from_pretrained(folder).eval()
    processor = hf.AutoImageProcessor.from_pretrained(folder, backend="pil")
    rng = np.random.default_rng(0)
    for shape in ((50, 91, 3), (32, 32, 3), (77, 40, 3)):
        image = rng.integers(0, 256, shape).astype(np.uint8)
        pixels, _ = builder.preparation(image)
        with torch.inference_mode():
            ours = net(torch.from_numpy(pixels[None].copy()))
            inputs = torch.from_numpy(np.asarray(processor(image, return_tensors="np")["pixel_values"])).float()
            theirs = model(pixel_values=inputs).logits[:, [1, 2, 0]]
        assert theirs.abs().max() > 1e-3
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_a_checkpoint_is_tuned_explained_and_exported_without_its_folder(
    shapes: Path, checkpoint: Path, tmp_path: Path
) -> None:
    run = ew.train(shapes, model=f"hf:{checkpoint}", epochs=3, batch=8, lr=3e-3, out=tmp_path / "run")
    assert run.recipe.optimizer == "adamw"
    assert (run.recipe.freeze, run.recipe.layer_decay) == (0.1, 0.8)
    assert run.preparation.fit == "stretch"
    assert run.about["scaling"] == {"mean": [0.5] * 3, "std": [0.5] * 3}
    image = shapes / "disc/003.png"
    before = run.predictor.raw(run.preparation.batch([ew.read_image(image)])[0])["probabilities"]
    # The checkpoint may go: a run is complete in itself, and so is its bundle.
    shutil.rmtree(checkpoint)
    again = ew.load_run(tmp_path / "run")
    np.testing.assert_array_equal(
        again.predictor.raw(run.preparation.batch([ew.read_image(image)])[0])["probabilities"], before
    )
    bundle = ew.export(again, tmp_path / "b.bundle")
    told = [p.read_bytes() for p in (tmp_path / "b.bundle").rglob("*") if p.is_file()]
    assert not any(str(checkpoint).encode() in content for content in told), "a bundle names no folder of this machine"
    assert "hf:checkpoint" in (tmp_path / "b.bundle/README.md").read_text()
    np.testing.assert_allclose(bundle.predict(image).probabilities, before[0], atol=1e-4)
    (found,) = ew.explain(again, image, method="rollout")
    assert found.heat.shape == (32, 32)
    assert found.verdict.unlearnt is not None


def test_new_classes_get_a_new_head_and_the_body_keeps_its_weights(checkpoint: Path) -> None:
    net = build_of(f"hf:{checkpoint}").for_labels(LabelSpace(("a", "b", "c", "d", "e")))(5)
    model = hf.AutoModelForImageClassification.from_pretrained(checkpoint)
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 5)
    assert torch.equal(net.model.vit.embeddings.cls_token, model.vit.embeddings.cls_token)
    head, body = above_body(PixelNet(net, mean=[0.5] * 3, std=[0.5] * 3))
    assert [tuple(p.shape) for p in head] == [(5, 32), (5,)]
    assert sum(p.numel() for p in body) == sum(p.numel() for p in model.vit.parameters())
    depths = layer_depths(PixelNet(net, mean=[0.5] * 3, std=[0.5] * 3))
    # The head is on top, three layers below it, and what comes before them lowest.
    assert sorted(set(depths)) == [0, 1, 2, 3, 4]
    assert depths[0] == 4


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "found no weights"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "pickled weights only"),
        (lambda f: (f / "config.json").unlink(), "found no config.json"),
        (lambda f: (f / "preprocessor_config.json").unlink(), "preprocessing of .* cannot be read"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x08" * 64), "cannot be read"),
        (lambda f: edit(f / "config.json", num_hidden_layers=4), "lacks 16 of its weights"),
        (lambda f: edit(f / "config.json", model_type="bert"), "does not classify images|cannot be read"),
        (lambda f: edit(f / "preprocessor_config.json", rescale_factor=0.01), "cannot be repeated here"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_in_one_line(shapes, checkpoint, tmp_path, damage, said) -> None:  # type: ignore[no-untyped-def]
    damage(checkpoint)
    with pytest.raises(CheckpointError, match=said) as refused:
        ew.train(shapes, model=f"hf:{checkpoint}", epochs=1, out=tmp_path / "run")
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 4


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_options_that_the_checkpoint_decides_are_refused(shapes: Path, checkpoint: Path, tmp_path: Path) -> None:
    model = f"hf:{checkpoint}"
    with pytest.raises(UsageError, match="expected no imgsz"):
        ew.train(shapes, model=model, imgsz=64, epochs=1, out=tmp_path / "a")
    with pytest.raises(UsageError, match="expected no activation"):
        ew.train(shapes, model=model, activation="relu", epochs=1, out=tmp_path / "b")
    with pytest.raises(UsageError, match="expected no dropout"):
        ew.train(shapes, model=model, dropout=0.1, epochs=1, out=tmp_path / "c")


def test_an_id_is_looked_up_and_only_safe_files_are_asked_for(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked: list[dict[str, object]] = []

    def snapshot(repository: str, **options: object) -> str:
        asked.append({"repository": repository, **options})
        if options.get("local_files_only") or repository == "owner/nowhere":
            raise LocalEntryNotFoundError("not in the cache")
        return str(checkpoint)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert build_of("hf:owner/model").folder == checkpoint
    assert [a.get("local_files_only", False) for a in asked] == [True, False]
    patterns = asked[1]["allow_patterns"]
    assert isinstance(patterns, list)
    assert all(p.endswith((".json", ".safetensors")) for p in patterns)
    with pytest.raises(CheckpointError, match="not in the local cache and cannot be fetched"):
        build_of("hf:owner/nowhere")
    for wrong in ("hf:./nowhere", "hf:a/b/c", "hf:name"):
        with pytest.raises(CheckpointError, match="expected a folder or OWNER/MODEL"):
            build_of(wrong)
