"""What goes into a bundle's last layer: enough to compute its answers from, and what tells its classes apart."""

from pathlib import Path

import numpy as np
from tests.conftest import draw_shape

from eyewright.bundle import load_bundle
from eyewright.exporting.features import bundle_features


def test_features_of_a_bundle_hold_its_answers(finished) -> None:  # type: ignore[no-untyped-def]
    from PIL import Image

    bundle = load_bundle(Path(finished.paths["bundle"]))
    rng = np.random.default_rng(0)
    shapes = [draw_shape(("cross", "disc", "square")[k % 3], rng) for k in range(40)]
    images = [Image.fromarray(s).convert("RGB") for s in shapes]
    found = bundle_features(bundle, iter(images))
    assert found.shape[0] == 40
    assert found.shape[1] > len(bundle.labels)
    # The head is linear: the logarithms of its probabilities are linear in the features, up to a constant an image.
    pixels = np.stack([bundle.preparation.apply(image)[0] for image in images])
    logits = np.log(np.maximum(bundle.raw(pixels)["probabilities"], 1e-12))
    logits = logits - logits.mean(1, keepdims=True)
    moved = np.c_[found - found.mean(0), np.ones(40)]
    solved = np.linalg.lstsq(moved, logits, rcond=1e-6)[0]
    rest = logits - moved @ solved
    assert float((rest**2).sum()) < 0.02 * float(((logits - logits.mean(0)) ** 2).sum())
