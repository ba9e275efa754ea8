"""Take a bundle to where it must run, and measure it there."""

__all__ = ["TARGETS", "Delivered", "bench", "check_target", "deliver", "prepare", "sign", "sign_copy"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.core.errors import MissingExtraError, OutputError, RefusedError, UsageError, spelling_hint
from eyewright.core.files import checked_output, staged_folder, write_bytes
from eyewright.core.installed import installed
from eyewright.core.quoting import quoted
from eyewright.core.regular import require_path
from eyewright.lifecycle.datasets import PathLike, Say, load_dataset, part_of_run, silent, target_of
from eyewright.lifecycle.loading import OF_WEIGHTS, bundle_folder, need_torch, open_kind, sessions_of_weights
from eyewright.lifecycle.opening import load_run, run_in

if TYPE_CHECKING:
    from eyewright.bundle import Bundle
    from eyewright.delivery.benchmark import Bench
    from eyewright.evaluation.parity import Parity

TARGETS = ("onnx", "openvino", "web", "transformers.js", "torch", "executorch", "docker", "systemd")
"""Where `eyewright export --to` takes a model."""


@dataclass(frozen=True)
class Delivered:
    """A target's folder, and the result of its parity check, if it has a model that runs here."""

    folder: Path
    target: str
    task: str
    parity: "Parity | None"
    about: Mapping[str, Any]


def deliver(
    model: PathLike,
    out: PathLike,
    *,
    to: str,
    data: PathLike | None = None,
    runtime: PathLike | None = None,
    quiet: bool = True,
    say: Say = silent,
) -> Delivered:
    """Make a bundle, or the bundle inside a run, ready for another runtime, in the folder `out`.

    "openvino" is Intel's intermediate representation, "web" a folder of static files that runs in a browser,
    "transformers.js" what its `pipeline("image-classification")` opens, "torch" a `torch.export` program, "executorch"
    that program lowered for PyTorch's small runtime, "docker" and "systemd" serve the bundle. A target with a model
    passes the parity check: its predictions equal the bundle's on every validation image of `data` (a run knows its
    own), or on the bundle's golden images where there are no others.

    Raises:
        ParityError: the target gives other outputs; nothing is left at `out`.
        RefusedError: the target lacks an operation of the model.
        MissingExtraError: the target's tools are not installed.
    """
    from eyewright.bundle import load_bundle
    from eyewright.bundle.verify import bundle_digest, read_verified
    from eyewright.delivery.target import TARGET_FILE, GoldenImages, seal_target
    from eyewright.evaluation.parity import check_parity

    known = [*(t for t in TARGETS if t != "onnx"), *installed("eyewright.targets")]
    if to not in known:
        raise UsageError(f"unknown target {to!r}", fix=spelling_hint(to, known))
    source = bundle_folder(Path(model))
    require_path(source, "a bundle")
    if not (source / "bundle.json").exists():
        raise UsageError(
            f"expected a bundle to export to {to}, found none at {quoted(model)}", fix="export the run first"
        )
    out = Path(out)
    if out.exists() and not (out / TARGET_FILE).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{quoted(out)} exists and is not a target", fix="choose another --out")
    bundle = load_bundle(source)
    _, content = read_verified(source)
    digest = bundle_digest(source)
    parity = None
    with staged_folder(out) as stage, checked_output(out):
        about = _write(to, bundle, content[bundle.manifest.model], source, stage, runtime)
        if to not in ("docker", "systemd"):
            write_bytes(stage / "golden.npz", content["golden.npz"])
            seal_target(stage, to, bundle, digest, about=about)
            images = _images(Path(model), data, bundle) or GoldenImages.of(content["golden.npz"], bundle.inputs)
            names = (f"the {to} model", "the bundle")
            parity = check_parity(
                bundle, open_kind(stage, to), images, precision=bundle.manifest.precision, names=names
            )
        seal_target(stage, to, bundle, digest, about=about, parity={} if parity is None else parity.to_json())
    return Delivered(out, to, bundle.task_name, parity, about)


def _write(to: str, bundle: "Bundle", model: bytes, source: Path, stage: Path, runtime: Any) -> dict[str, Any]:
    if to == "openvino":
        from eyewright.delivery.openvino import write_openvino

        write_openvino(bundle, model, stage, layers_of=_layers_of())
        return {"files": ["model.xml", "model.bin"]}
    if to == "web":
        from eyewright.delivery.web import RUNTIME_VERSION, write_web

        size = write_web(bundle, model, stage, runtime=None if runtime is None else Path(runtime))
        return {"download_bytes": size, "onnxruntime_web": RUNTIME_VERSION}
    if to == "transformers.js":
        return _write_pipeline(bundle, model, stage)
    if to in OF_WEIGHTS:
        return _write_weights(to, bundle, stage)
    if to not in TARGETS:
        from eyewright.delivery.target import installed_targets

        return dict(installed_targets()[to].write(bundle, model, stage))
    from eyewright.delivery.hosts import write_docker, write_systemd

    (write_docker if to == "docker" else write_systemd)(bundle, source, stage)
    return {}


def _write_pipeline(bundle: "Bundle", model: bytes, stage: Path) -> dict[str, Any]:
    from eyewright.delivery.transformers_js import write_pipeline

    if find_spec("onnx") is None:
        raise MissingExtraError(
            "the transformers.js target needs onnx, which is not installed", fix="pip install 'eyewright[train]'"
        )
    from eyewright.exporting.pixel_values import with_pixel_values

    write_pipeline(bundle, model, stage, wrap=with_pixel_values)
    return {"files": ["config.json", "preprocessor_config.json", bundle.manifest.model]}


def _layers_of() -> Any:
    """Return a function that names the layers of an operator, where the workshop is installed."""
    if find_spec("torch") is None or find_spec("onnx") is None:
        return None
    from eyewright.exporting.onnx_model import layers_of

    return layers_of


def _write_weights(to: str, bundle: "Bundle", stage: Path) -> dict[str, Any]:
    """Write a target that is made of the net and not of its ONNX model."""
    need_torch()

    owner = run_in(bundle) if bundle.manifest.precision == "float32" else None
    if owner is None:
        raise RefusedError(
            f"the bundle holds no weights of a catalogue net in float32, which the {to} target is made of",
            fix="export it to onnx, openvino or web",
            code="no_weights",
        )
    if to == "torch":
        from eyewright.exporting.program import FILE
        from eyewright.exporting.program import write_program as write
    else:
        from eyewright.exporting.executorch import FILE
        from eyewright.exporting.executorch import write_executorch as write

    size, channels = bundle.preparation.size_hw, bundle.preparation.shape[2]
    write(owner.net, stage, task=bundle.task_name, temperature=owner.temperature, size_hw=size, channels=channels)
    return {"files": [FILE]}


def _images(model: Path, data: PathLike | None, bundle: "Bundle") -> Any:
    """Return the images that parity is tried on, if any others than the golden ones are known."""
    if data is not None:
        dataset = load_dataset(data, task=bundle.task_name, target=target_of(bundle.task_name, bundle.labels))
        dataset = dataset.val if "val" in dataset.splits else dataset
        return dataset.seen_by(*bundle.inputs.values())
    if (model / "run.json").exists() and find_spec("torch") is not None:
        return part_of_run(load_run(model), "val").seen_by(*bundle.inputs.values())
    return None


def bench(
    model: PathLike,
    *,
    batches: Sequence[int] = (1, 8),
    threads: Sequence[int] | None = None,
    against: PathLike | None = None,
    seconds: float = 1.0,
    store: bool = False,
    out: PathLike | None = None,
) -> "Bench":
    """Measure a bundle on this machine: latency by batch and threads, throughput, memory, start, energy.

    `against` is another bundle whose speed is measured in turns with this one. With `store` the best way is written
    into the bundle, where machines like this one use it; with `out` a page and a JSON file are written there.

    Raises:
        BundleError: damaged or changed.
        UsageError: `store` for a signed bundle.
    """
    from eyewright.bundle.signature import SIGNATURE
    from eyewright.delivery.benchmark import bench_bundle, store_advice, write_bench

    folder = bundle_folder(Path(model))
    other = None if against is None else bundle_folder(Path(against))
    if store and (folder / SIGNATURE).exists():
        raise UsageError(
            f"the bundle at {quoted(folder)} is signed, and --store changes what is signed",
            fix=f"remove {SIGNATURE}, store, and sign it again",
        )
    found = bench_bundle(folder, batches=batches, threads=threads, against=other, seconds=seconds)
    if store:
        store_advice(folder, found)
    if out is not None:
        from eyewright.bundle.manifest import read_manifest

        write_bench(found, Path(out), title=read_manifest(folder).name)
    return found


def sign(path: PathLike, key: PathLike, *, password: bytes | None = None) -> Path:
    """Sign a bundle or a target with a private key; return the path of `model.sig`, which replaces one that is there.

    Every file is checked first: what is signed is what was exported.

    Raises:
        BundleError: it is not what was exported.
        MissingExtraError: the extra `sign` is not installed.
        UsageError: the key cannot be used.
    """
    from eyewright.bundle.signature import SIGNATURE, make_signature
    from eyewright.bundle.verify import checked_digests
    from eyewright.delivery.target import checked_target_digests, target_in

    folder = Path(path)
    if target_in(folder) is None:
        folder = bundle_folder(folder)
        digests = checked_digests(folder)
    else:
        digests = checked_target_digests(folder)
    write_bytes(folder / SIGNATURE, make_signature(folder.resolve().name, digests, key, password=password))
    return folder / SIGNATURE


def sign_copy(path: PathLike, out: PathLike, key: PathLike, *, password: bytes | None = None) -> Path:
    """Copy a bundle to `out` and sign the copy; return the path of `model.sig`. Its own folder is signed where it is.

    Raises:
        BundleError: it is not what was exported.
        OutputError: `out` holds something else.
        UsageError: the key cannot be used.
    """
    from eyewright.bundle.signature import SIGNATURE, make_signature
    from eyewright.bundle.verify import checked_digests

    source, out = bundle_folder(Path(path)), Path(out)
    if out.resolve() == source.resolve():
        return sign(source, key, password=password)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{quoted(out)} exists and is not empty", fix="choose another --out")
    with staged_folder(out) as stage, checked_output(out):
        for name in checked_digests(source):
            write_bytes(stage / name, (source / name).read_bytes())
        signature = make_signature(out.resolve().name, checked_digests(stage), key, password=password)
        write_bytes(stage / SIGNATURE, signature)
    return out / SIGNATURE


def check_target(request: Mapping[str, Any], payload: bytes = b"") -> tuple[dict[str, Any], list[bytes]]:
    """Open the target in "folder" in this very process and run its golden pairs: the job of a first run."""
    from eyewright.delivery.target import check_target as check

    return check(request, payload, others=sessions_of_weights())


def prepare(request: Mapping[str, Any]) -> None:
    """Import the runtime of the target in "folder", whose time is not the model's."""
    from eyewright.delivery.target import target_in

    sessions_of_weights()
    if target_in(Path(request["folder"])) == "executorch":
        import executorch.runtime  # noqa: F401
