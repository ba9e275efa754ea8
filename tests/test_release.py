"""A release: wheel and sdist are complete and install into a bare environment, and one version is everywhere."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

import eyewright

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "eyewright"
UV = shutil.which("uv")

needs_uv = pytest.mark.skipif(UV is None, reason="uv is not installed")


def test_changelog_and_tag_are_of_this_version() -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == eyewright.__version__
    tag = os.environ.get("EYEWRIGHT_TAG")
    assert tag in (None, f"v{eyewright.__version__}"), "the tag is not the version: pass EYEWRIGHT_TAG=v…"


def test_a_licence_that_only_the_wheel_has_is_filled_in(tmp_path: Path) -> None:
    bsd = """Redistributions of source code must retain the above copyright
    notice. Redistributions in binary form must reproduce the above copyright notice. Neither the name may be used to
    endorse or promote products derived from this software without specific prior written permission."""
    wheels = {
        "proto_buf": ("LICENSE", bsd, ""),
        "named": ("README", "", "License: 3-Clause BSD License\n"),
        "bare": ("README", "", ""),
    }
    site = tmp_path / "env/lib/python3.11/site-packages"
    for name, (file, text, line) in wheels.items():
        about = site / f"{name}-1.dist-info"
        about.mkdir(parents=True)
        (about / file).write_text(text)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{line}")
        (about / "RECORD").write_text(f"{about.name}/{file},,\n{about.name}/METADATA,,\n")
    components = [{"name": n, "version": "1"} for n in ("proto-buf", "named", "bare")]
    components.append({"name": "said", "version": "1", "licenses": [{"license": {"id": "MIT"}}]})
    (tmp_path / "sbom.json").write_text(json.dumps({"components": components}))
    script = [sys.executable, ROOT / ".ci" / "licences.py", "sbom.json", "licences.csv", "env"]
    said = subprocess.run(script, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert said.endswith("without a declared licence: bare\n")
    rows = (tmp_path / "licences.csv").read_text().split("\n")
    assert {r.strip() for r in rows[1:5]} == {
        "proto-buf,1,BSD-3-Clause", "named,1,3-Clause BSD License", "said,1,MIT", "bare,1,not declared in its metadata",
    }  # fmt: skip
    filled = json.loads((tmp_path / "sbom.json").read_text())["components"][0]
    assert filled["properties"] == [{"name": "eyewright:licence-from", "value": "LICENSE"}]


def test_licences_are_listed_and_missing_ones_are_reported(tmp_path: Path) -> None:
    components = [
        {
            "name": "b",
            "version": "1",
            "licenses": [{"license": {"id": "MIT"}}, {"expression": "Apache-2.0 OR BSD-3-Clause"}],
        },
        {"name": "a", "version": "2"},
    ]
    (tmp_path / "sbom.json").write_text(json.dumps({"components": components}))
    script = [sys.executable, ROOT / ".ci" / "licences.py", "sbom.json", "licences.csv"]
    assert "without a declared licence: a" in _run(script, tmp_path)
    rows = (tmp_path / "licences.csv").read_text().split()
    assert rows[:2] == ["name,version,licence", "a,2,not"]
    assert "b,1,MIT AND (Apache-2.0 OR BSD-3-Clause)" in (tmp_path / "licences.csv").read_text()


def _run(command: Sequence[str | Path], cwd: Path) -> str:
    # Neither this environment nor this checkout may lend anything to what was installed.
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    _run([UV or "uv", "build", "-q", "--out-dir", out, ROOT], out)
    return out


@pytest.mark.slow
@needs_uv
def test_the_wheel_holds_every_file_of_the_source(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        held = {n.removeprefix("eyewright/") for n in opened.namelist() if n.startswith("eyewright/")}
    there = {
        p.relative_to(SOURCE).as_posix() for p in SOURCE.rglob("*") if p.is_file() and "__pycache__" not in p.parts
    }
    assert there - held == set()


@pytest.mark.slow
@needs_uv
@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_a_bare_environment_runs_what_was_built(built: Path, tmp_path: Path, kind: str) -> None:
    (made,) = built.glob(kind)
    _run([UV or "uv", "venv", "-q", "--python", "3.11", tmp_path / "bare"], tmp_path)
    python = tmp_path / "bare" / "bin" / "python"
    _run([UV or "uv", "pip", "install", "-q", "--python", python, "-c", ROOT / "constraints.txt", made], tmp_path)
    command = python.with_name("eyewright")
    assert eyewright.__version__ in _run([command, "--version"], tmp_path)
    where = _run([python, "-c", "import eyewright; print(eyewright.__file__)"], tmp_path)
    assert str(tmp_path / "bare") in where
    assert json.loads(_run([command, "info", "--json"], tmp_path))["ok"]


@pytest.mark.slow
@needs_uv
def test_quickstart_runs_from_the_wheel_alone(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    _run([UV or "uv", "venv", "-q", "--python", "3.11", tmp_path / "bare"], tmp_path)
    python = tmp_path / "bare" / "bin" / "python"
    wanted = f"eyewright[train,pixels,serve] @ {wheel.as_uri()}"
    _run([UV or "uv", "pip", "install", "-q", "--python", python, "-c", ROOT / "constraints.txt", wanted], tmp_path)
    out = tmp_path / "quick"
    _run([python.with_name("eyewright"), "quickstart", "--out", out, "--quiet"], tmp_path)
    (bundle,) = out.rglob("bundle.json")
    _run([python.with_name("eyewright"), "verify", bundle.parent], tmp_path)
