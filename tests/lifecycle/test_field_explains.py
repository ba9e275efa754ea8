"""Occlusion and RISE explain a bundle where torch cannot be imported."""

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "captum", "transformers", "safetensors", "onnx"):
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, NoTorch())
from eyewright.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("method", ["occlusion", "rise"])
def test_a_bundle_is_explained_without_torch(finished, shapes: Path, tmp_path: Path, method: str) -> None:  # type: ignore[no-untyped-def]
    arguments = ["explain", str(finished.paths["bundle"]), str(shapes / "disc/001.png"), "--method", method]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments, "--out", str(tmp_path / "heat")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {p.suffix for p in (tmp_path / "heat").iterdir()} == {".png", ".npz", ".json"}
