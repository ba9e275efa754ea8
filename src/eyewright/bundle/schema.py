"""The schema of `bundle.json`: types, ranges, and what its parts must agree on, checked before any of it is used."""

__all__ = ["MODEL_FILES", "PRECISIONS", "FileEntry", "check_file_entries", "check_manifest"]

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from eyewright.bundle.inputs import only_image, read_inputs
from eyewright.core.errors import BundleError
from eyewright.core.inputs import IMAGE, Inputs
from eyewright.core.task import is_task, task_of
from eyewright.imaging.preparation import Preparation

MODEL_FILES = ("onnx/model.onnx", "onnx/model_quantized.onnx", "onnx/model_fp16.onnx")
"""The names that a bundle's model may have: those by which other libraries look for one of its precision."""

PRECISIONS = ("float32", "float16", "int8")
"""What a model may compute in; the tolerances of self-test and parity go by it."""

_AGAIN = "export the model again"
_MOST_CLASSES = 100_000
_MOST_FILES = 10_000

_Name = Annotated[str, Meta(min_length=1, max_length=1000)]
_Word = Annotated[str, Meta(max_length=1000)]
_Sentence = Annotated[str, Meta(max_length=20_000)]
_Sentences = Annotated[list[_Sentence], Meta(max_length=1000)]
_Count = Annotated[int, Meta(ge=0, le=2**53)]
_Side = Annotated[int, Meta(ge=1, le=8192)]
# Frames of a clip, one below the other; what a frame may be, `Preparation` checks.
_StripSide = Annotated[int, Meta(ge=1, le=256 * 1024)]
_Fraction = Annotated[float, Meta(ge=0, le=1)]
_Number = Annotated[float, Meta(ge=-1e12, le=1e12)]
_Positive = Annotated[float, Meta(gt=0, le=1e6)]
_Power = Annotated[float, Meta(gt=0, le=10)]
_Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_Dimension = Annotated[int, Meta(ge=1, le=2**31)] | _Name


class _ClipSampling(Struct, forbid_unknown_fields=True):
    frames: Annotated[int, Meta(ge=2, le=256)]
    side: Annotated[int, Meta(ge=16, le=1024)]
    span_s: Annotated[float, Meta(ge=0.05, le=3600)] | None = None


class _TileCut(Struct, forbid_unknown_fields=True):
    reach: Annotated[int, Meta(ge=0, le=256)]
    degrade: Annotated[str, Meta(min_length=1, max_length=200)]
    align: Literal[2, 4, 8, 16, 32] = 2


class _Preparation(Struct, forbid_unknown_fields=True):
    size_hw: tuple[_StripSide, _Side]
    fit: Literal["stretch", "crop", "letterbox", "shorter", "line"] = "stretch"
    filter: Literal["nearest", "box", "bilinear", "bicubic", "lanczos"] = "bilinear"
    channels: Literal[1, 3] = 3
    fill: Annotated[int, Meta(ge=0, le=255)] = 0
    inner: _Side | None = None
    steps: Annotated[list[dict[str, Any]], Meta(max_length=64)] = []
    clip: _ClipSampling | None = None
    tile: _TileCut | None = None
    version: Literal[1, 2] = 1


class _Tensor(Struct):
    name: _Name
    dtype: Annotated[str, Meta(pattern="^[a-z0-9]{1,16}$")]
    shape: Annotated[list[_Dimension], Meta(max_length=8)]
    layout: _Word = ""
    colour: _Word = ""
    range: tuple[_Number, _Number] | None = None


class _Tensors(Struct, forbid_unknown_fields=True):
    inputs: Annotated[list[_Tensor], Meta(max_length=64)]
    outputs: Annotated[list[_Tensor], Meta(min_length=1, max_length=64)]


class _Metric(Struct):
    value: _Number | None
    low: _Number | None = None
    high: _Number | None = None
    n: _Count = 0


class _Calibration(Struct):
    method: _Word | None = None
    temperature: _Positive | None = None
    n: _Count | None = None


class _Point(Struct):
    threshold: _Number


class _Thresholds(Struct):
    classes: dict[str, _Point] | None = None
    method: _Word | None = None


class _Contract(Struct, forbid_unknown_fields=True):
    outputs: Literal["probabilities", "boxes_scores", "joined", "grid", "pixels"] = "probabilities"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: Literal["float32", "uint8"] = "float32"
    colour: Literal["rgb", "bgr", "grey"] = "rgb"
    mean: _Number | Annotated[list[_Number], Meta(min_length=1, max_length=3)] = 0.0
    std: _Number | Annotated[list[_Number], Meta(min_length=1, max_length=3)] = 255.0
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    box_format: Literal["xyxy", "cxcywh", "xywh"] = "xyxy"
    box_units: Literal["pixels", "shares"] = "pixels"
    objectness: bool = False
    squashed: bool = False
    objectness_power: _Power = 1.0
    score_power: _Power = 1.0
    background: Annotated[int, Meta(ge=0, le=_MOST_CLASSES)] | None = None
    boxes: _Name | None = None
    scores: _Name | None = None
    iou: Annotated[float, Meta(gt=0, le=1)] = 0.5
    batched: bool = False
    temperature: _Positive = 1.0
    names: Annotated[list[_Name], Meta(max_length=64)] = []


class _Decoding(Struct, forbid_unknown_fields=True):
    iou: Annotated[float, Meta(gt=0, le=1)] | None = None
    spread: Annotated[list[Annotated[float, Meta(gt=0)]], Meta(min_length=1)] | None = None
    contract: _Contract | None = None


class _Leaks(Struct):
    rule: _Word = ""
    said: _Sentence = ""


class _Dataset(Struct):
    name: _Word | None = None
    format: _Word | None = None
    fingerprint: _Word | None = None
    images: dict[str, _Count] | None = None
    groups: dict[str, _Count] | None = None
    leaks: _Leaks | None = None


class _Grouping(Struct):
    rule: _Sentence = ""
    words: _Sentence = ""
    warnings: _Sentences = []


class _Newest(Struct):
    value: _Number | None
    low: _Number | None
    high: _Number | None
    n: _Count


class _Measured(Struct):
    newest_third: _Newest | None = None
    newest_of: _Word | None = None
    said: _Sentences = []


class _Training(Struct):
    seconds: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    epochs: _Count | None = None
    best_epoch: _Count | None = None
    metric: _Word | None = None
    optimism: _Number | None = None


class _Provenance(Struct):
    exported: _Word | None = None
    imported: _Word | None = None
    model: _Word | None = None
    sha256: _Digest | None = None
    dataset: _Dataset | None = None
    training: _Training | None = None
    grouping: _Grouping | None = None
    warnings: _Sentences | None = None
    measured: _Measured | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    versions: dict[str, _Word | None] | None = None
    hardware: dict[str, _Word | _Number | None] | None = None
    commit: _Word | None = None


class FileEntry(Struct):
    """What a manifest says of one file."""

    sha256: _Digest
    bytes: Annotated[int, Meta(ge=0, le=2**40)]


class _Compression(Struct):
    way: _Word | None = None
    how: _Word | None = None


class _Advice(Struct):
    hardware: dict[str, _Word | _Number | None] | None = None
    provider: Literal["cpu", "cuda"] | None = None
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    batch: Annotated[int, Meta(ge=1, le=65_536)] | None = None


class _Features(Struct):
    tensor: _Word
    dimensions: _Count
    images: _Count
    groups: _Count
    appearance_share: Annotated[float, Meta(gt=0, lt=1)]


class _Familiarity(Struct):
    method: Literal["none", "cross-conformal"] | None = None
    reason: _Word = ""
    level: _Fraction | None = None
    folds: Annotated[int, Meta(ge=2, le=1000)] | None = None
    images: _Count = 0
    groups: _Count = 0
    validation_images: _Count = 0
    training_images: _Count = 0
    validation_flagged: _Fraction | None = None
    features: _Features | None = None


class _Evidence(Struct, forbid_unknown_fields=True):
    images: _Count | None = None
    groups: _Count | None = None


class _Manifest(Struct, forbid_unknown_fields=True):
    format: Literal["eyewright-bundle"]
    format_version: Literal[1, 2]
    name: _Name
    task: _Name
    labels: Annotated[list[_Name], Meta(min_length=1, max_length=_MOST_CLASSES)]
    tensors: _Tensors
    metrics: dict[str, _Metric | _Number | None]
    calibration: _Calibration
    thresholds: _Thresholds
    policy: dict[Annotated[str, Meta(pattern="^(min|max)_.{1,500}$")], _Number]
    parity: dict[str, Any]
    provenance: _Provenance
    files: Annotated[dict[str, FileEntry], Meta(max_length=_MOST_FILES)]
    preparation: _Preparation | None = None
    inputs: Annotated[dict[_Name, dict[str, Any]], Meta(max_length=64)] | None = None
    decoding: _Decoding = msgspec.field(default_factory=_Decoding)
    model: Literal["onnx/model.onnx", "onnx/model_quantized.onnx", "onnx/model_fp16.onnx"] = "onnx/model.onnx"
    precision: Literal["float32", "float16", "int8"] = "float32"
    parent: _Word = ""
    compression: _Compression = msgspec.field(default_factory=_Compression)
    advice: _Advice = msgspec.field(default_factory=_Advice)
    familiarity: _Familiarity = msgspec.field(default_factory=_Familiarity)
    evidence: dict[_Name, _Evidence] = msgspec.field(default_factory=dict)


def check_manifest(content: Mapping[str, Any]) -> Inputs:
    """Check the content of `bundle.json` by its schema, and whether its parts agree with each other; return its inputs.

    Raises:
        BundleError: a key is missing, unknown, of another type or out of its range; or classes, tensors, operating
            points, inputs and contract do not belong together.
    """
    try:
        found = msgspec.convert(content, _Manifest)
    except (msgspec.ValidationError, OverflowError, RecursionError, UnicodeError) as error:
        raise BundleError(f"bundle.json is not valid: {_reason(error)}", fix=_AGAIN) from None
    if not is_task(found.task):
        raise _refused(f"the task {found.task!r} is unknown here", fix="upgrade eyewright")
    if len(set(found.labels)) != len(found.labels):
        raise _refused("expected distinct class names")
    check_file_entries(found.files)
    _check_points(found)
    inputs = read_inputs(found.task, _input_rows(found, content))
    if found.decoding.contract is None:
        _check_own_tensors(found, inputs)
    else:
        _check_contract(found, found.decoding.contract, inputs)
    if found.decoding.iou is not None and "iou" not in task_of(found.task).options:
        raise _refused(f"expected no IoU threshold for {task_of(found.task).words.noun}")
    spread = found.decoding.spread
    if spread is not None and (len(spread) != len(found.labels) or not all(map(math.isfinite, spread))):
        raise _refused("expected a finite standard deviation for each label")
    return inputs


def _input_rows(found: _Manifest, content: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the inputs as format 2 writes them; format 1 has one preparation, that of the image.

    Raises:
        BundleError: the other format's key, none, or an image whose preparation is not valid by its schema.
    """
    first = found.format_version == 1
    if (found.preparation is None, found.inputs is None) != ((False, True) if first else (True, False)):
        key = "preparation" if first else "inputs"
        raise _refused(f"expected the key {key!r} in format {found.format_version}, not the other format's")
    if found.inputs is None:
        return {IMAGE: {"kind": Preparation.kind, **content["preparation"]}}
    for name, row in found.inputs.items():
        if row.get("kind") == Preparation.kind:
            try:
                msgspec.convert({k: v for k, v in row.items() if k != "kind"}, _Preparation)
            except (msgspec.ValidationError, OverflowError, RecursionError, UnicodeError) as error:
                raise BundleError(f"bundle.json is not valid: input {name!r}: {_reason(error)}", fix=_AGAIN) from None
    return found.inputs


def check_file_entries(files: Mapping[str, FileEntry]) -> None:
    """Check that the names of files are plain paths below the folder.

    Raises:
        BundleError: an absolute path, a step upwards, or a name that no file of ours has.
    """
    for name in files:
        parts = name.split("/")
        if not name or len(name) > 500 or any(p in ("", ".", "..") for p in parts) or re.search(r"[\\\x00-\x1f]", name):
            raise _refused(f"{name[:80]!r} is not the path of a file inside the folder")


def _check_points(found: _Manifest) -> None:
    points = found.thresholds.classes
    if points and set(points) != set(found.labels):
        other = sorted(set(points) ^ set(found.labels))[0]
        raise _refused(f"expected an operating point for each class, found {other[:80]!r} in only one of the two lists")
    least, most = task_of(found.task).points
    for name, point in (points or {}).items():
        if not least <= point.threshold <= most:
            shown = f"{point.threshold:g} for {name[:80]!r}"
            raise _refused(f"expected operating points from {least:g} to {most:g}, found {shown}")


def _check_own_tensors(found: _Manifest, inputs: Inputs) -> None:
    """Compare tensors of our own models with the inputs, the task and the classes."""
    tensors = [(t.name, t) for t in found.tensors.inputs]
    if found.format_version == 1:
        # Format 1 does not say by which name the ONNX file takes the image: it takes nothing else.
        tensors = [(IMAGE, t) for _, t in tensors]
    if sorted(name for name, _ in tensors) != sorted(inputs):
        raise _refused(f"the inputs are {sorted(inputs)}, the tensors {[t.name[:80] for t in found.tensors.inputs]}")
    for name, given in tensors:
        one, wanted = inputs[name], list(inputs[name].shape)
        if given.dtype != one.dtype or len(given.shape) != len(wanted) + 1 or list(given.shape[1:]) != wanted:
            raise _refused(
                f"the preparation gives {one.dtype} (N, {wanted}), the tensors say {given.dtype} {given.shape}"
            )
    outputs = {o.name: o.shape for o in found.tensors.outputs}
    n = len(found.labels)
    for name, own in ((o.name, o.expected(n)) for o in task_of(found.task).outputs):
        shape = outputs.get(name)
        if shape is None:
            raise _refused(f"the outputs are not those of the task {found.task!r}: {name!r} is missing")
        sides = zip(shape[1:], own, strict=False)
        if len(shape) != len(own) + 1 or any(w is not None and isinstance(s, int) and s != w for s, w in sides):
            raise _refused(f"expected {name!r} of {n} classes, found the shape {shape}")


def _check_contract(found: _Manifest, contract: _Contract, inputs: Inputs) -> None:
    if not only_image(inputs) or len(found.tensors.inputs) != 1:
        raise _refused("expected one image as the input of a model with a contract")
    if contract.outputs not in task_of(found.task).contracts:
        raise _refused(f"expected outputs of the task {found.task!r} in the contract, found {contract.outputs!r}")
    channels = 1 if contract.colour == "grey" else 3
    given = inputs[IMAGE].shape[-1]
    if given != channels:
        raise _refused(f"the contract takes {channels} channels, the preparation gives {given}")
    for name in ("mean", "std"):
        value = getattr(contract, name)
        values = value if isinstance(value, list) else [value]
        if len(values) not in (1, channels) or (name == "std" and 0 in values):
            raise _refused(f"expected {name} as one number or one per channel, and std other than 0, found {values}")
    if contract.background is not None and contract.background > len(found.labels):
        raise _refused(f"the background is class {contract.background} of {len(found.labels) + 1}")


def _refused(text: str, *, fix: str = _AGAIN) -> BundleError:
    return BundleError(f"bundle.json contradicts itself: {text}", fix=fix)


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) < 400 else text[:400] + " …"
