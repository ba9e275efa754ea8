"""Features of Hugging Face checkpoints: transformers' own body is the oracle."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf

from eyewright.core.errors import CheckpointError
from eyewright.nets.hub_features import hub_features


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_features_are_those_of_the_body(tmp_path: Path, kind: str) -> None:
    size = {"height": 32, "width": 32}
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = {
        "vit": hf.ViTConfig(**small, image_size=32, patch_size=8),
        "resnet": hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
    }[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = hf.AutoModel.from_config(config).eval()
    model.save_pretrained(tmp_path)
    processor = hf.ViTImageProcessorPil(size=size)
    processor.save_pretrained(tmp_path)
    images = [np.random.default_rng(k).integers(0, 256, (40 + k, 50, 3)).astype(np.uint8) for k in range(18)]
    found = hub_features(f"hf:{tmp_path}", iter(images))
    with torch.inference_mode():
        expected = model(**processor(images=images, return_tensors="pt")).pooler_output.reshape(18, -1).numpy()
    assert found.shape == expected.shape
    assert np.allclose(found, expected, atol=1e-4)


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        hub_features(f"hf:{tmp_path}", [])
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytest_model.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="found no weights"):
        hub_features(f"hf:{tmp_path}", [])
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="cannot be read"):
        hub_features(f"hf:{tmp_path}", [])
