"""A published vision transformer from a local folder: its logits here against transformers' own, before training.

    python benchmarks/published.py [FOLDER]

Without FOLDER a ViT of random weights is written with transformers (192 wide, 4 layers, 64x64). Real images are
scikit-learn's digits and crops of its photographs. Target: 1e-5.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from sklearn.datasets import load_digits, load_sample_images

from eyewright.core.labels import LabelSpace
from eyewright.nets.hub import hub_builder
from eyewright.nets.pixels import PixelNet


def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    digits = [np.repeat((d * 15.9).astype(np.uint8)[..., None], 3, 2) for d in load_digits().images[:100]]
    crops = []
    for photo in load_sample_images().images:
        for _ in range(50):
            height, width = rng.integers(40, 400, 2)
            top, left = rng.integers(0, 427 - height), rng.integers(0, 640 - width)
            crops.append(np.ascontiguousarray(photo[top : top + height, left : left + width]))
    return digits + crops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    given = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given or temporary)
        if given is None:
            torch.manual_seed(0)
            config = transformers.ViTConfig(
                hidden_size=192, num_hidden_layers=4, num_attention_heads=3, intermediate_size=384, image_size=64,
                patch_size=8, num_labels=10, architectures=["ViTForImageClassification"],
            )  # fmt: skip
            transformers.ViTForImageClassification(config).save_pretrained(folder)
            transformers.ViTImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
        builder = hub_builder(f"hf:{folder}")
        model = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
        names = tuple(model.config.id2label[i] for i in range(model.config.num_labels))
        body = builder.for_labels(LabelSpace(names))(len(names))
        net = PixelNet(body, mean=builder.scaling["mean"], std=builder.scaling["std"]).eval()
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
        worst, size = 0.0, 0.0
        found = images()
        with torch.inference_mode():
            for image in found:
                ours = net(torch.from_numpy(builder.preparation(image)[0][None].copy()))
                inputs = np.asarray(processor(image, return_tensors="np")["pixel_values"])
                theirs = model(pixel_values=torch.from_numpy(inputs).float()).logits
                worst = max(worst, float((ours - theirs).abs().max()))
                size = max(size, float(theirs.abs().max()))
        print(f"{len(found)} images: largest difference {worst:.1e} of logits up to {size:.2f}")


if __name__ == "__main__":
    main()
