"""Nothing that Eyewright stands on reports home: ONNX Runtime and OpenVINO do by default, and leave an identifier."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# With these set the libraries are silent anyway.
_CI = ("CI", "TF_BUILD", "JENKINS_URL", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY")


def _at_home(home: Path, *words: object) -> list[str]:
    """Run a command as a user whose home is new; return what it left there."""
    environment = {k: v for k, v in os.environ.items() if k not in _CI and not k.startswith("XDG_")}
    environment |= {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    home.mkdir()
    command = [sys.executable, "-m", "eyewright", *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [str(p.relative_to(home)) for p in home.rglob("*") if p.is_file()]


def test_predicting_leaves_no_identifier(finished, shapes: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    left = _at_home(tmp_path / "home", "predict", finished.paths["bundle"], "--source", shapes / "disc/000.png")
    assert [p for p in left if not p.startswith(".cache/eyewright/")] == []


def test_openvino_leaves_no_identifier(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("openvino")
    bundle = finished.paths["bundle"]
    left = _at_home(tmp_path / "home", "export", bundle, "--to", "openvino", "--out", tmp_path / "ov")
    assert not [p for p in left if "intel" in p or "Microsoft" in p]


def test_what_is_imported_later_finds_it_switched_off() -> None:
    code = "import os, eyewright; print(os.environ['ORT_DISABLE_TELEMETRY'], os.environ['HF_HUB_DISABLE_TELEMETRY'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]
