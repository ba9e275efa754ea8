"""Fixtures: small real-looking data drawn here, and one trained run with its bundle for a whole session."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from eyewright.imaging import encode_image

SHARED = Path(os.environ.get("EYEWRIGHT_DATA", Path(__file__).parents[2] / "shared" / "data"))


def draw_shape(kind: str, rng: np.random.Generator, *, side: int = 32) -> np.ndarray:
    """Draw a disc, a square or a cross of random place, size and colour on a noisy ground, uint8 (side, side, 3)."""
    image = rng.integers(0, 70, (side, side, 3)).astype(np.uint8)
    radius = rng.integers(side // 5, side // 3)
    y, x = rng.integers(radius + 1, side - radius - 1, 2)
    rows, columns = np.mgrid[0:side, 0:side]
    dy, dx = np.abs(rows - y), np.abs(columns - x)
    mask = {
        "disc": dy**2 + dx**2 <= radius**2,
        "square": np.maximum(dy, dx) <= radius * 0.8,
        "cross": (np.minimum(dy, dx) <= max(1, radius // 4)) & (np.maximum(dy, dx) <= radius),
    }[kind]
    image[mask] = rng.integers(150, 256, 3)
    return image


def write_shapes(folder: Path, *, a_class: int = 24, seed: int = 0, side: int = 32) -> Path:
    """Write an ImageFolder of shapes."""
    rng = np.random.default_rng(seed)
    for kind in ("cross", "disc", "square"):
        for i in range(a_class):
            place = folder / kind / f"{i:03d}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(encode_image(draw_shape(kind, rng, side=side)))
    return folder


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ImageFolder of 3 classes, 24 images each, 32x32."""
    return write_shapes(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="session")
def finished(shapes: Path, tmp_path_factory: pytest.TempPathFactory):
    """A whole `run` on the shapes, once a session. Do not write into it; `bundle_copy` is for that."""
    import eyewright as ew

    return ew.run(shapes, out=tmp_path_factory.mktemp("runs") / "shapes", epochs=6, batch=16)


@pytest.fixture
def bundle_copy(finished, tmp_path: Path) -> Path:
    """A copy of the finished bundle that a test may damage."""
    target = tmp_path / "copy.bundle"
    shutil.copytree(finished.paths["bundle"], target)
    return target


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared real data; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no shared data at {SHARED}; set EYEWRIGHT_DATA")
    return SHARED
