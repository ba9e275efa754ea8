"""The web: a folder of static files that runs the model inside a browser; images never leave the device."""

__all__ = ["RUNTIME_VERSION", "find_runtime", "web_session", "write_web"]

import base64
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eyewright.bundle.load import Bundle
from eyewright.bundle.session import open_session
from eyewright.core.errors import MissingExtraError, RefusedError, UsageError
from eyewright.core.files import write_bytes, write_json, write_text
from eyewright.core.quoting import quoted
from eyewright.core.task import task_of
from eyewright.imaging.drawing import DRAWING_SCRIPT

RUNTIME_VERSION = "1.30.0"
"""The onnxruntime-web that the page is written and tested for."""

_PACKAGE = f"onnxruntime-web@{RUNTIME_VERSION}"
_INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
# What a browser loads of it, by SHA-256: on the processor, and where there is a graphics processor.
_FILES = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
_GPU_FILES = {
    "ort.webgpu.min.mjs": "3dffff71811bc13a3a3d9591c57ca5ee5735b8f5f3eaf789510b02bb040ae3a0",
    "ort-wasm-simd-threaded.asyncify.mjs": "3d1c85995364bb643302fc6fd877a0c3ba5ae72401815e0f24828a53d9191e28",
    "ort-wasm-simd-threaded.asyncify.wasm": "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
}
_PAGE = Path(__file__).parent / "page"
_PACK_TIMEOUT_S = 600


def write_web(bundle: Bundle, model: bytes, out: Path, *, runtime: Path | None = None, webgpu: bool = True) -> int:
    """Write the page, the model and the runtime into the folder `out`; return the bytes that a visitor downloads.

    `runtime` is a folder that holds onnxruntime-web's files, such as `node_modules/onnxruntime-web/dist`; without one
    npm is asked for them. Any web server that serves files serves the folder; nothing is built and nothing is called.

    Raises:
        UsageError: the bundle needs what the page does not support: processing steps, instances, the contract of an
        imported model.
        MissingExtraError: neither npm nor a `runtime` is there.
    """
    _check(bundle)
    files = _FILES | (_GPU_FILES if webgpu else {})
    found = find_runtime(runtime)
    (out / "runtime").mkdir()
    (out / "onnx").mkdir()
    for name, digest in files.items():
        data = (found / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise RefusedError(
                f"{quoted(found / name)} is not that of {_PACKAGE}", fix=f"install {_PACKAGE}, or leave --runtime out"
            )
        write_bytes(out / "runtime" / name, data)
    page = [file for file in [*sorted(_PAGE.iterdir()), DRAWING_SCRIPT] if file.suffix in (".html", ".js", ".css")]
    for file in page:
        write_bytes(out / file.name, file.read_bytes())
    name = bundle.manifest.model
    write_bytes(out / name, model)
    write_json(out / "contract.json", _contract(bundle, name, len(model), webgpu))
    visited = (
        sum(f.stat().st_size for f in page) + len(model) + sum((out / "runtime" / n).stat().st_size for n in _FILES)
    )
    write_text(out / "README.md", _README.format(name=bundle.manifest.name, bytes=visited, version=RUNTIME_VERSION))
    return visited


def _check(bundle: Bundle) -> None:
    again = "serve the bundle with eyewright serve"
    task = task_of(bundle.task_name)
    if "web" not in task.options:
        raise UsageError(f"the web target is not supported for {task.words.noun}", fix=again, code="target_task")
    if bundle.preparation.steps:
        raise UsageError(
            f"the web target does not support the processing steps of this model ({bundle.preparation.steps!r})",
            fix=again,
            code="target_operator",
        )
    if "contract" in bundle.manifest.decoding:
        raise UsageError("the web target does not support imported models", fix=again, code="target_contract")


def _contract(bundle: Bundle, model: str, size: int, webgpu: bool) -> dict[str, Any]:
    """Return what the page must know: classes, preparation, tensors, operating points."""
    manifest = bundle.manifest
    points = bundle.thresholds
    return {
        "name": manifest.name,
        "task": manifest.task,
        "labels": list(manifest.labels.names),
        "preparation": bundle.preparation.to_json(),
        "input": manifest.tensors["inputs"][0]["name"],
        "outputs": [o["name"] for o in manifest.tensors["outputs"]],
        "thresholds": None if points is None else points.tolist(),
        "decoding": dict(bundle.decoding),
        "precision": manifest.precision,
        "model": model,
        "bytes": size,
        "webgpu": webgpu,
    }


def web_session(data: Mapping[str, bytes]) -> Any:
    """Open the model that the page runs, on ONNX Runtime here: the same file, without a browser."""
    model = next(name for name in data if name.startswith("onnx/"))
    return open_session(data[model])


def find_runtime(given: Path | None = None) -> Path:
    """Return a folder with onnxruntime-web's files: the given one, the one that was fetched before, or one from npm.

    npm's package is checked against the digest that is written down here before anything of it is used.

    Raises:
        MissingExtraError: npm is not there, or cannot fetch it.
        RefusedError: what was fetched is not what was expected.
    """
    if given is not None:
        places = (given, given / "dist", given / "onnxruntime-web" / "dist")
        found = next((p for p in places if (p / "ort.wasm.min.mjs").is_file()), None)
        if found is None:
            raise MissingExtraError(
                f"expected onnxruntime-web in {quoted(given)}, found none", fix=f"npm install {_PACKAGE}"
            )
        return found
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eyewright" / _PACKAGE.replace("@", "-")
    if all((cache / n).is_file() for n in (*_FILES, *_GPU_FILES)):
        return cache
    npm = shutil.which("npm")
    how = f"install npm, or run 'npm install {_PACKAGE}' elsewhere and pass --runtime node_modules/onnxruntime-web"
    if npm is None:
        raise MissingExtraError("the web target needs onnxruntime-web from npm, which is not installed", fix=how)
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run(
                [npm, "pack", _PACKAGE, "--silent", "--pack-destination", folder],
                cwd=folder,
                check=True,
                capture_output=True,
                timeout=_PACK_TIMEOUT_S,
            )
            (archive,) = Path(folder).glob("*.tgz")
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            raise MissingExtraError(f"npm cannot fetch {_PACKAGE}", fix=how) from error
        content = archive.read_bytes()
    if hashlib.sha512(content).digest() != base64.b64decode(_INTEGRITY):
        raise RefusedError(f"the package from npm is not {_PACKAGE}", fix="check the registry that npm uses")
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as opened:
        for name in (*_FILES, *_GPU_FILES):
            # By its one name: nothing is unpacked to where the archive says.
            member = opened.extractfile(f"package/dist/{name}")
            assert member is not None
            write_bytes(cache / name, member.read())
    return cache


_README = """# {name} in a browser

Any web server that serves files will do:

    python -m http.server --bind 127.0.0.1 --directory . 8080

The page runs the model with onnxruntime-web {version} on the device that opens it. Images stay there: the page's
policy lets it load these files and nothing else. A first visit downloads {bytes:,} bytes before compression, later ones
none. `target.json` holds the digest of every file; `eyewright verify .` checks them.
"""
