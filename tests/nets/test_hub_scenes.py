"""Published detectors and segmenters, as folders that the hub would give: small, of random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import eyewright as ew
from eyewright.core.errors import CheckpointError, UsageError
from eyewright.nets.hub import hub_builder
from eyewright.nets.hub_kinds import DETECTORS, OUTLINERS, SEGMENTERS

transformers = pytest.importorskip("transformers")

NAMES = {0: "square", 1: "disc", 2: "cross"}
LABELS = {"id2label": NAMES, "label2id": {v: k for k, v in NAMES.items()}}
STEM = {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1]}
DETR = {
    "encoder_hidden_dim": 32, "encoder_in_channels": [32, 48, 64], "feat_strides": [8, 16, 32], "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32, "d_model": 32, "decoder_in_channels": [32, 32, 32], "decoder_layers": 2,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_denoising": 4, **LABELS,
}  # fmt: skip


def swin() -> Any:
    return transformers.SwinConfig(
        image_size=96, embed_dim=16, depths=[1] * 4, num_heads=[1, 1, 2, 2], window_size=3,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip


def mask2former() -> tuple[Any, Any]:
    config = transformers.Mask2FormerConfig(
        backbone_config=swin(), feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=32,
        dim_feedforward=64, encoder_layers=1, decoder_layers=2, num_attention_heads=4, num_queries=12,
        train_num_points=256, **LABELS,
    )  # fmt: skip
    # Of any size, as published: the shorter side is told, and the images decide the rest.
    processor = transformers.Mask2FormerImageProcessor(size={"shortest_edge": 96, "longest_edge": 128})
    return transformers.Mask2FormerForUniversalSegmentation(config), processor


def maskformer() -> tuple[Any, Any]:
    detr = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 32, "num_queries": 12, "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32, "encoder_attention_heads": 4, "decoder_attention_heads": 4}  # fmt: skip
    config = transformers.MaskFormerConfig(
        backbone_config=swin(), decoder_config=transformers.DetrConfig(**detr, backbone_config=resnet()),
        fpn_feature_size=32, mask_feature_size=32, **LABELS,
    )  # fmt: skip
    processor = transformers.MaskFormerImageProcessor(size={"shortest_edge": 96, "longest_edge": 128})
    return transformers.MaskFormerForInstanceSegmentation(config), processor


def eomt() -> tuple[Any, Any]:
    config = transformers.EomtConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, image_size=96, patch_size=16, num_upscale_blocks=2,
        num_blocks=1, num_queries=12, train_num_points=256, **LABELS,
    )  # fmt: skip
    processor = transformers.EomtImageProcessor(size={"height": 96, "width": 96}, do_split_image=False)
    return transformers.EomtForUniversalSegmentation(config), processor


def resnet() -> Any:
    return transformers.ResNetConfig(**STEM, layer_type="basic", out_features=["stage4"])


def detr() -> tuple[Any, Any]:
    few = {"num_queries": 12, "encoder_layers": 1, "decoder_layers": 2, "d_model": 32, "encoder_ffn_dim": 32,
           "decoder_ffn_dim": 32, "encoder_attention_heads": 4, "decoder_attention_heads": 4}  # fmt: skip
    config = transformers.DetrConfig(backbone_config=resnet(), **few, **LABELS)
    processor = transformers.DetrImageProcessor(size={"shortest_edge": 96, "longest_edge": 128})
    return transformers.DetrForObjectDetection(config), processor


def yolos() -> tuple[Any, Any]:
    config = transformers.YolosConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=[96, 96],
        num_detection_tokens=12, **LABELS,
    )  # fmt: skip
    processor = transformers.YolosImageProcessor(size={"shortest_edge": 96, "longest_edge": 128})
    return transformers.YolosForObjectDetection(config), processor


MASKS = {"mask2former": mask2former, "maskformer": maskformer, "eomt": eomt}
OPEN = {"detr": detr, "yolos": yolos}


def small(kind: str) -> tuple[Any, Any]:
    """A net of random weights and its processor, for 96x96 pixels."""
    size = {"height": 96, "width": 96}
    if kind == "segformer":
        config = transformers.SegformerConfig(
            num_encoder_blocks=4, depths=[1] * 4, hidden_sizes=[8, 16, 24, 32], num_attention_heads=[1, 1, 2, 2],
            decoder_hidden_size=32, **LABELS,
        )  # fmt: skip
        return transformers.SegformerForSemanticSegmentation(config), transformers.SegformerImageProcessor(size=size)
    if kind in MASKS:
        return MASKS[kind]()
    if kind in OPEN:
        return OPEN[kind]()
    processor = transformers.RTDetrImageProcessor(size=size)
    # As many queries as there are places: with random weights the choice among them would hang on the last bits.
    options = {**DETR, "num_queries": 144 + 36 + 9}
    if kind == "rt-detr":
        from transformers.models.rt_detr.configuration_rt_detr_resnet import RTDetrResNetConfig

        stem = RTDetrResNetConfig(**STEM, layer_type="basic", out_features=["stage2", "stage3", "stage4"])
        config = transformers.RTDetrV2Config(backbone_config=stem, **options)
        return transformers.RTDetrV2ForObjectDetection(config), processor
    stem = transformers.HGNetV2Config(
        stem_channels=[3, 8, 16], stage_in_channels=[16, 16, 32, 48], stage_mid_channels=[8, 8, 16, 24],
        stage_out_channels=[16, 32, 48, 64], stage_num_blocks=[1] * 4, stage_numb_of_layers=[1] * 4,
        stage_downsample=[False, True, True, True], stage_light_block=[False, False, True, True],
        stage_kernel_size=[3, 3, 5, 5], **STEM, out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    return transformers.DFineForObjectDetection(transformers.DFineConfig(backbone_config=stem, **options)), processor


def checkpoint(folder: Path, kind: str) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, processor = small(kind)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import importlib.util

    spec = importlib.util.spec_from_file_location("drawn", Path(__file__).parents[1] / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    drawn = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawn)
    made: Path = drawn.write_scenes(tmp_path_factory.mktemp("few"), parts={"train": 8, "val": 4, "test": 4})
    return made


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        ("segformer", "segment"),
        ("d-fine", "detect"),
        pytest.param("rt-detr", "detect", marks=pytest.mark.slow),
        ("detr", "detect"),
        ("yolos", "detect"),
        pytest.param("mask2former", "segment", marks=pytest.mark.slow),
        ("mask2former", "instance"),
        ("maskformer", "instance"),
        ("eomt", "segment"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_published_net_is_tuned_measured_exported_and_read_again(
    kind: str, task: str, few: Path, tmp_path: Path
) -> None:
    folder = checkpoint(tmp_path / kind, kind)
    done = ew.run(few, task=task, model=f"hf:{folder}", epochs=1, batch=4, out=tmp_path / "run")
    assert done.parity.decisions_changed == 0
    assert done.bundle.preparation.size_hw == (96, 96)
    image = ew.read_image(few / "test/test_000.png")
    (again,) = ew.load_run(tmp_path / "run").predictor.predict_images([image])
    assert again.labels == done.bundle.predict_images([image])[0].labels
    # The checkpoint's own classes were ours, so its head was kept, and answers come in our order.
    assert set(done.bundle.labels.names) - {"background"} == set(NAMES.values())


@pytest.mark.filterwarnings("ignore")
def test_boxes_are_the_models_own(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "d", "d-fine")
    from eyewright.core import LabelSpace

    builder = hub_builder(f"hf:{folder}", DETECTORS).for_labels(LabelSpace(("cross", "disc", "square")))
    body = builder(3, channels=3, size_hw=(96, 96)).eval()
    x = torch.rand(2, 3, 96, 96)
    with torch.inference_mode():
        expected = transformers.DFineForObjectDetection.from_pretrained(folder).eval()(pixel_values=x)
        boxes, scores = body.boxes_and_scores(body(x), (96, 96))
    assert np.abs(scores.numpy() - expected.logits.sigmoid()[..., [2, 1, 0]].numpy()).max() < 1e-6
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2 / 96
    assert np.abs(centre.numpy() - expected.pred_boxes[..., :2].numpy()).max() < 1e-5


@pytest.mark.filterwarnings("ignore")
def test_a_net_of_another_task_is_refused_in_one_line(few: Path, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "s", "segformer")
    with pytest.raises(CheckpointError, match="does not find objects"):
        ew.train(few, task="detect", model=f"hf:{folder}", out=tmp_path / "run", epochs=1)
    with pytest.raises(CheckpointError, match="does not outline objects"):
        ew.train(few, task="instance", model=f"hf:{folder}", out=tmp_path / "run", epochs=1)
    with pytest.raises(UsageError, match="published models such as"):
        hub_builder(f"hf:{folder}", None)


@pytest.mark.filterwarnings("ignore")
def test_masks_of_queries_are_the_models_own(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m", "mask2former")
    from eyewright.core import LabelSpace

    labels = LabelSpace(("cross", "disc", "square"))
    theirs = transformers.Mask2FormerForUniversalSegmentation.from_pretrained(folder).eval()
    processor = transformers.Mask2FormerImageProcessor.from_pretrained(folder)
    x = torch.rand(2, 3, 96, 96)
    with torch.inference_mode():
        raw = theirs(pixel_values=x)
        expected = processor.post_process_semantic_segmentation(raw, target_sizes=[(96, 96)] * 2)
        body = hub_builder(f"hf:{folder}", SEGMENTERS).for_labels(labels)(3).eval()
        found = body(x).argmax(1)
        objects = hub_builder(f"hf:{folder}", OUTLINERS).for_labels(labels)(3).eval()
        said = objects(x)
        boxes, scores = objects.boxes_and_scores(said, (96, 96))
    # The checkpoint's classes are square, disc, cross. Its own post-processing sizes masks twice, ours once.
    own = torch.tensor([2, 1, 0])[torch.stack(expected)]
    assert (own == found).float().mean() > 0.97
    # The class times the mean of the pixels inside the mask, as transformers' own post-processing scores an instance.
    mask = raw.masks_queries_logits[0, 3]
    inside = mask > 0
    sure = float((mask.sigmoid() * inside).sum() / (inside.sum() + 1e-6))
    p = raw.class_queries_logits[0, 3].softmax(-1)[:-1]
    assert scores[0, 3].tolist() == pytest.approx([float(p[i]) * sure for i in (2, 1, 0)], abs=1e-5)
    ys, xs = np.nonzero(inside.numpy())
    assert boxes[0, 3].tolist() == [4 * xs.min(), 4 * ys.min(), 4 * (xs.max() + 1), 4 * (ys.max() + 1)]


@pytest.mark.filterwarnings("ignore")
def test_a_backbone_of_another_library_is_named(few: Path, tmp_path: Path) -> None:
    from importlib.util import find_spec

    from safetensors.torch import save_file

    from eyewright.core.errors import MissingExtraError

    if find_spec("timm") is not None:
        pytest.skip("timm is installed here")
    config = transformers.DetrConfig(
        use_timm_backbone=True, backbone="resnet50", use_pretrained_backbone=False, **LABELS
    )
    config.save_pretrained(tmp_path / "d")
    transformers.DetrImageProcessor().save_pretrained(tmp_path / "d")
    save_file({f"x{k}": torch.zeros(1) for k in range(16)}, tmp_path / "d/model.safetensors")
    with pytest.raises(MissingExtraError, match="requires the timm library"):
        ew.train(few, task="detect", model=f"hf:{tmp_path / 'd'}", epochs=1, out=tmp_path / "run")


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_of_any_size_gets_the_images_own(few: Path, tmp_path: Path) -> None:
    builder = hub_builder(f"hf:{checkpoint(tmp_path / 'd', 'detr')}", DETECTORS)
    assert not builder.has_size
    assert builder.usual_edges((480, 640)) == (96, 128)
    assert builder.usual_edges((100, 400)) == (32, 128)
    with pytest.raises(CheckpointError, match="images of any size"):
        _ = builder.preparation
    run = ew.train(few, task="detect", model=f"hf:{tmp_path / 'd'}", imgsz=64, epochs=1, batch=4, out=tmp_path / "run")
    assert run.preparation.size_hw == (64, 64)
