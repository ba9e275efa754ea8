"""A bundle that is stored, images for it, and workers that an image can kill."""

import os
from pathlib import Path

import numpy as np
import pytest

from eyewright.imaging import encode_image

# Only child processes import it, as `ray`.
collect_ignore = ["fake_ray"]

BUNDLE = Path(__file__).parents[1] / "bundle" / "format1"

_POISON = """
import os, signal, sys, time

if "eyewright.scaling.worker" in sys.orig_argv:
    stat = os.stat

    def poisoned(path, *args, **kwargs):
        name = os.path.basename(os.fspath(path)) if isinstance(path, (str, os.PathLike)) else ""
        if name.startswith("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith("segv"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if name.startswith("hang"):
            time.sleep(3600)
        return stat(path, *args, **kwargs)

    os.stat = poisoned
"""


@pytest.fixture
def bundle() -> Path:
    """A bundle of three classes that an earlier version wrote."""
    return BUNDLE


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """40 images in two folders, one of them damaged."""
    rng = np.random.default_rng(0)
    for i in range(40):
        place = tmp_path / "images" / "ab"[i % 2] / f"{i:02d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encode_image(rng.integers(0, 255, (12 + i, 20, 3)).astype(np.uint8)))
    damaged = tmp_path / "images" / "b" / "07.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    return tmp_path / "images"


@pytest.fixture
def poison(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """In worker processes, a file whose name begins with kill, segv or hang does that when it is looked at."""
    folder = tmp_path_factory.mktemp("poison")
    (folder / "sitecustomize.py").write_text(_POISON)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
