"""Published nets of clips from folders that transformers wrote: its own numbers are the oracle."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from tests.drawn_clips import draw_crossing, write_clip

import eyewright as ew
from eyewright.catalog import build_of
from eyewright.core.errors import CheckpointError, UsageError
from eyewright.core.labels import LabelSpace
from eyewright.imaging.clips import cut_strip, iter_clips
from eyewright.nets.pixels import PixelNet

_NAMES = ("rightwards", "still", "leftwards")
LABELS = {"id2label": dict(enumerate(_NAMES)), "label2id": {n: i for i, n in enumerate(_NAMES)}}
_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
_IMAGE = {**_SMALL, "image_size": 32}
_SIZES = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
KINDS = {
    "videomae": (
        lambda: hf.VideoMAEConfig(**_IMAGE, patch_size=8, num_frames=6, tubelet_size=2, **LABELS),
        lambda: hf.VideoMAEImageProcessorPil(**_SIZES, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.25]),
    ),
    "timesformer": (
        lambda: hf.TimesformerConfig(**_IMAGE, patch_size=8, num_frames=6, **LABELS),
        lambda: hf.VideoMAEImageProcessorPil(**_SIZES),
    ),
    "vivit": (
        lambda: hf.VivitConfig(**_IMAGE, num_frames=6, tubelet_size=[2, 8, 8], **LABELS),
        lambda: hf.VivitImageProcessor(**_SIZES),
    ),
}  # fmt: skip


def write_checkpoint(folder: Path, kind: str = "videomae") -> Path:
    """Write a small checkpoint of random weights, as `save_pretrained` does."""
    make, process = KINDS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = hf.AutoModelForVideoClassification.from_config(make())
        # Fresh heads are all but zero: larger weights make a fault in the order of classes or of frames show.
        for p in model.parameters():
            p.data.add_(torch.randn_like(p) * 0.1)
    model.save_pretrained(folder)
    process().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("hub") / "checkpoint")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    for part, n in (("train", 4), ("val", 3), ("test", 3)):
        for label in ("leftwards", "rightwards"):
            for k in range(n):
                clip = draw_crossing(rng, rightwards=label == "rightwards")
                write_clip(folder / part / label / f"{part}-{chr(97 + k)}.avi", clip)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_before_training_the_logits_are_those_of_transformers(tmp_path: Path, kind: str) -> None:
    folder = write_checkpoint(tmp_path, kind)
    builder = build_of(f"hf:{folder}", "video")
    builder.check()
    assert builder.frames == 6
    net = PixelNet(
        builder.for_labels(LabelSpace(("leftwards", "rightwards", "still")))(3, frames=6),
        mean=builder.scaling["mean"],
        std=builder.scaling["std"],
    ).eval()
    model = hf.AutoModelForVideoClassification.from_pretrained(folder).eval()
    processor = KINDS[kind][1]()
    rng = np.random.default_rng(0)
    for shape in ((36, 50, 3), (61, 40, 3)):
        strip = rng.integers(0, 256, (6 * shape[0], *shape[1:])).astype(np.uint8)
        pixels, _ = builder.preparation(strip)
        theirs_in = processor(list(cut_strip(strip, 6)), return_tensors="pt")["pixel_values"].float()
        with torch.inference_mode():
            ours = net(torch.from_numpy(pixels[None].copy()))
            theirs = model(pixel_values=theirs_in).logits[:, [2, 0, 1]]
        assert theirs.abs().max() > 1e-3
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_a_checkpoint_is_tuned_exported_and_read_without_its_folder(clips: Path, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint")
    run = ew.train(clips, model=f"hf:{folder}", epochs=1, out=tmp_path / "run", leaks="allow", group_by="none")
    assert run.recipe.frames == 6
    assert (run.recipe.optimizer, run.recipe.layer_decay, run.recipe.dropout) == ("adamw", 0.8, 0.0)
    assert run.preparation.frame().size_hw == (32, 32)
    assert not (run.folder / "baseline").exists()
    path = clips / "test/leftwards/test-a.avi"
    (frame,) = iter_clips(path, run.preparation.clip)
    (theirs,) = run.predictor.predict_images([frame.image])
    # The checkpoint may go: a run is complete in itself.
    shutil.rmtree(folder)
    bundle = ew.export(ew.load_run(tmp_path / "run"), tmp_path / "b.bundle")
    assert bundle.predict(path).probabilities == pytest.approx(theirs.probabilities, abs=1e-4)


def test_a_published_net_is_measured_as_it_is(checkpoint: Path, clips: Path) -> None:
    report = ew.evaluate(f"hf:{checkpoint}", clips)
    assert report.n == 6
    assert set(report.labels) == {"leftwards", "rightwards", "still"}
    assert "order" in report.tables


@pytest.mark.parametrize(
    ("options", "said"),
    [({"frames": 8}, "takes 6 frames of a clip, found 8"), ({"imgsz": 48}, "takes 32x32, found 48")],
)
def test_another_number_of_frames_or_size_is_refused(
    checkpoint: Path, clips: Path, tmp_path: Path, options: dict[str, int], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        ew.train(clips, model=f"hf:{checkpoint}", out=tmp_path / "run", leaks="allow", **options)


def test_a_net_of_images_is_refused_for_clips(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="does not classify images"):
        build_of(f"hf:{checkpoint}", "classify").check()
    hf.ViTForImageClassification(hf.ViTConfig(**_IMAGE, patch_size=8)).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="does not classify clips"):
        build_of(f"hf:{tmp_path}", "video").check()


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickled weights only"):
        build_of(f"hf:{folder}", "video").check()


def test_a_processor_of_videos_needs_no_torchvision(checkpoint: Path, tmp_path: Path) -> None:
    before = build_of(f"hf:{checkpoint}", "video")
    folder = shutil.copytree(checkpoint, tmp_path / "newer")
    told = json.loads((folder / "preprocessor_config.json").read_text())
    del told["image_processor_type"]
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match="found no preprocessor_config"):
        _ = build_of(f"hf:{folder}", "video").preparation
    told["video_processor_type"] = "VideoMAEVideoProcessor"
    (folder / "video_preprocessor_config.json").write_text(json.dumps(told))
    after = build_of(f"hf:{folder}", "video")
    assert after.preparation == before.preparation
    assert after.scaling == before.scaling
