"""Sample images of a bundle: real images, never noise, and none where the bundle is not what was loaded."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from eyewright.bundle.verify import read_verified
from eyewright.imaging import read_image
from eyewright.serving.samples import _is_noise, read_samples


def test_the_images_of_the_golden_pairs_are_samples(finished) -> None:  # type: ignore[no-untyped-def]
    folder = Path(finished.paths["bundle"])
    manifest, _ = read_verified(folder)
    images = [read_image(data) for data in read_samples(folder, manifest)]
    assert len(images) >= 3
    assert all(image.shape == (32, 32, 3) for image in images)


def test_a_changed_file_gives_no_samples(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = shutil.copytree(finished.paths["bundle"], tmp_path / "bundle")
    manifest, _ = read_verified(folder)
    (folder / "golden.npz").write_bytes(b"else")
    assert read_samples(folder, manifest) == ()
    (folder / "golden.npz").unlink()
    assert read_samples(folder, manifest) == ()


@pytest.mark.parametrize("side", [8, 64])
def test_noise_is_no_sample(side: int) -> None:
    rng = np.random.default_rng(0)
    assert _is_noise(rng.integers(0, 256, (side, side, 3)).astype(np.uint8))
    ramp = np.repeat(np.arange(side, dtype=np.uint8)[None, :, None], side, 0).repeat(3, 2)
    assert not _is_noise(ramp)
