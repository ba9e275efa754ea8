"""Wrap a foreign ONNX model as a bundle: no torch, no change to the model, its tensors declared by a contract."""

__all__ = ["import_model", "read_contract", "read_label_file"]

import hashlib
import io
import json
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.contract import CONTRACTS, Contract
from eyewright.bundle.golden import golden_arrays
from eyewright.bundle.load import Bundle, load_bundle
from eyewright.bundle.manifest import Manifest, write_manifest
from eyewright.bundle.onnx_scan import refuse_outside_data
from eyewright.bundle.trial import TensorInfo, TrialSession
from eyewright.bundle.verify import MOST_MODEL_BYTES, digest_folder
from eyewright.core.errors import BundleError, OutputError, UsageError
from eyewright.core.files import checked_output, staged_folder, write_bytes, write_json, write_text
from eyewright.core.inputs import IMAGE
from eyewright.core.labels import LabelSpace
from eyewright.core.provenance import describe_machine
from eyewright.core.quoting import quoted
from eyewright.core.regular import read_regular
from eyewright.core.rng import generator
from eyewright.core.task import Task, task_of
from eyewright.imaging.preparation import Preparation

_GOLDEN = 2
_LARGEST_CONTRACT = 2**22
_NO_REFERENCE = "the model was imported, so the images that it was trained and validated on are not known"


def import_model(
    model: Path,
    out: Path,
    *,
    task: str,
    labels: Sequence[str],
    contract: Contract,
    size_hw: tuple[int, int] | None = None,
    fit: str = "stretch",
    images: Sequence[NDArray[np.uint8]] = (),
    name: str | None = None,
    about: Mapping[str, Any] | None = None,
    calibration: Mapping[str, Any] | None = None,
    thresholds: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Mapping[str, int]] | None = None,
    fitted: str = "",
) -> Bundle:
    """Write a bundle around the ONNX file `model` at `out`, and give it, loaded and self-tested.

    `size_hw` is needed where the model has no fixed input size. `fit` is how images come to that size
    ("stretch" or "letterbox"). `images`, uint8 (H, W, 3), become the golden pairs; without any, noise does. The model
    is opened and run for the first time in a process of its own, which is killed after some seconds.
    `calibration`, `thresholds` and `evidence` are the manifest's, where they were fitted; `fitted` says so in the card.

    Raises:
        InputError: the file cannot be read.
        BundleError: ONNX Runtime cannot open it, it does not end in time, keeps values in another file, or does not do
            what the contract says.
        UsageError: a task without such outputs, or a wrong number of labels.
        OutputError: `out` cannot be written, or holds something that is not a bundle.
    """
    meaning = task_of(task)
    meaning.require("import")
    if contract.outputs not in meaning.contracts:
        kinds = ", ".join(meaning.contracts)
        raise UsageError(
            f"expected outputs for {meaning.words.noun} ({kinds}), found {contract.outputs!r}", fix="change --outputs"
        )
    if out.exists() and not (out / "bundle.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{quoted(out)} exists and is not a bundle", fix="choose another --out")
    data = read_regular(model, most=MOST_MODEL_BYTES, fix="check the path", follow=True)
    refuse_outside_data(data)
    with TrialSession(data) as session:
        size = _size_of(session.get_inputs(), contract, size_hw)
        contract = replace(contract, names=tuple(o.name for o in session.get_outputs()))
        contract = replace(contract, batched=not isinstance(session.get_inputs()[0].shape[0], int))
        channels = 1 if contract.colour == "grey" else 3
        preparation = Preparation(size, fit=cast(Any, fit), channels=channels, fill=114)
        contract.check(session.get_inputs(), session.get_outputs(), preparation)
        tensors = _tensors(session)
        given = list(images) or _noise(size)
        pixels, _ = preparation.batch(given)
        found = _run(session, contract, pixels, size)
    _check_labels(found, meaning, len(labels), contract)
    suppression = {"iou": contract.iou} if "iou" in meaning.options else {}
    decoding = {"contract": contract.to_json(), **suppression}
    manifest = Manifest(
        name=name or model.stem,
        task=task,
        labels=LabelSpace(tuple(labels)),
        inputs={IMAGE: preparation},
        tensors=tensors,
        files={},
        calibration=dict(calibration or {"method": "none"}),
        thresholds=dict(thresholds or {}),
        evidence=dict(evidence or {}),
        decoding=decoding,
        familiarity={"method": "none", "reason": _NO_REFERENCE},
        provenance={
            "imported": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "model": model.name,
            "sha256": hashlib.sha256(data).hexdigest(),
            **dict(about or {}),
            **describe_machine(),
        },
    )
    with staged_folder(out) as stage, checked_output(out):
        (stage / "onnx").mkdir()
        write_bytes(stage / "onnx" / "model.onnx", data)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **golden_arrays(manifest.inputs, given), **found)
        write_bytes(stage / "golden.npz", buffer.getvalue())
        ids = {str(i): n for i, n in enumerate(manifest.labels.names)}
        write_json(stage / "config.json", {"model_type": "eyewright", "eyewright_task": task, "id2label": ids})
        write_text(stage / "README.md", _card(manifest) + fitted)
        write_manifest(stage, replace(manifest, files=digest_folder(stage)))
        load_bundle(stage)
    return load_bundle(out)


def read_contract(named: str | None, options: Mapping[str, Any]) -> Contract:
    """Return the contract of a known family or of a TOML or JSON file, with `options` over it.

    Raises:
        UsageError: no such family or file, or one that cannot be meant.
    """
    content: dict[str, Any] = {}
    if named in CONTRACTS:
        content = dict(CONTRACTS[str(named)])
    elif named is not None:
        path = Path(named)
        if not path.exists():
            known = ", ".join(CONTRACTS)
            raise UsageError(f"expected a contract file or one of {known}, found {named!r}", fix="check it")
        try:
            text = read_regular(path, most=_LARGEST_CONTRACT, error=UsageError, follow=True).decode("utf-8-sig")
            content = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the contract {named!r} cannot be read: {error}", fix="correct it") from None
        if not isinstance(content, dict):
            raise UsageError(f"expected keys and values in {named!r}, found another form", fix="correct it")
    return Contract.from_json({**content, **options})


def read_label_file(text: str) -> tuple[str, ...]:
    """Return class names of a text: one per line, a JSON list, a JSON object of ids and names, or comma-separated.

    >>> read_label_file("cat, dog"), read_label_file('{"1": "dog", "0": "cat"}')
    (('cat', 'dog'), ('cat', 'dog'))
    """
    if text.lstrip().startswith(("[", "{")):
        try:
            content = json.loads(text)
            if isinstance(content, dict):
                content = content.get("id2label", content)
                return tuple(str(content[k]) for k in sorted(content, key=int))
            return tuple(str(v) for v in content)
        except (ValueError, TypeError, RecursionError):
            raise UsageError(
                "expected class names as a JSON list or as numbers and names, found something else",
                fix='write ["cat", "dog"] or {"0": "cat", "1": "dog"}',
            ) from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) == 1 and "," in lines[0]:
        lines = [part.strip() for part in lines[0].split(",") if part.strip()]
    return tuple(lines)


def _size_of(inputs: Sequence[TensorInfo], contract: Contract, size_hw: tuple[int, int] | None) -> tuple[int, int]:
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        found = ", ".join(str(i.shape) for i in inputs) or "none"
        raise BundleError(f"expected one input of images with 4 axes, found {found}", fix="use another model")
    shape = inputs[0].shape
    height, width = shape[2:4] if contract.layout == "NCHW" else shape[1:3]
    if isinstance(height, int) and isinstance(width, int):
        if size_hw is not None and (height, width) != size_hw:
            raise UsageError(
                f"the model takes {width}x{height}, found {size_hw[1]}x{size_hw[0]}", fix="leave imgsz out"
            )
        return height, width
    if size_hw is None:
        raise UsageError("the model has no fixed input size", fix="pass --imgsz")
    return size_hw


def _noise(size_hw: tuple[int, int]) -> list[NDArray[np.uint8]]:
    rng = generator(0, "import", "golden")
    return [rng.integers(0, 256, (*size_hw, 3)).astype(np.uint8) for _ in range(_GOLDEN)]


def _run(
    session: TrialSession, contract: Contract, pixels: NDArray[np.uint8], size_hw: tuple[int, int]
) -> dict[str, NDArray[np.float32]]:
    name = session.get_inputs()[0].name
    parts = [contract.answers(session.run(None, {name: contract.feed(one[None])}), size_hw) for one in pixels]
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}


def _check_labels(found: Mapping[str, NDArray[np.float32]], task: Task, n: int, contract: Contract) -> None:
    """Refuse a wrong number of names, and answers that cannot be what the contract calls them."""
    output = next(o for o in task.outputs if "C" in o.shape)
    array = found[output.name]
    own = array.shape[1 + output.shape.index("C")]
    if own != n:
        left_out = "" if contract.background is None else ", its background left out"
        raise UsageError(f"the model knows {own} classes{left_out}, found {n} labels", fix="correct the labels")
    if output.sums:
        sums = array.sum(1)
        if np.abs(sums - 1).max() > 1e-2:
            raise BundleError(
                "the model's outputs do not sum to 1 over the classes, so they are not probabilities",
                fix="declare activation softmax",
            )


def _tensors(session: TrialSession) -> dict[str, Any]:
    def row(value: TensorInfo) -> dict[str, Any]:
        shape = [s if isinstance(s, int) else "N" for s in value.shape]
        return {"name": value.name, "dtype": value.type.removeprefix("tensor(").rstrip(")"), "shape": shape}

    return {"inputs": [row(v) for v in session.get_inputs()], "outputs": [row(v) for v in session.get_outputs()]}


def _card(manifest: Manifest) -> str:
    shown = ", ".join(manifest.labels.names[:20]) + (", …" if len(manifest.labels) > 20 else "")
    does = task_of(manifest.task).words.does
    return f"""---
library_name: eyewright
tags: ["eyewright", "onnx"]
---

# {manifest.name}

{manifest.provenance["model"]}, wrapped by `eyewright import`. {does} {len(manifest.labels)} classes: {shown}.

The file is unchanged (SHA-256 `{manifest.provenance["sha256"]}`). What its tensors mean was declared, not measured:
see `decoding.contract` in `bundle.json`. Its licence is that of its authors. To measure it on your images, run
`eyewright evaluate . DATA` (task {manifest.task}).
"""
