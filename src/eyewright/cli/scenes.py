"""The commands for annotations and imported models: convert and import."""

__all__ = ["CONTRACT_OPTIONS", "convert", "import_model", "only_classes"]

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from eyewright.cli.signing import key_password
from eyewright.cli.terminal import Result, shown_path, talk
from eyewright.core.errors import UsageError

if TYPE_CHECKING:
    from eyewright.core.prediction import Prediction
    from eyewright.tasks.detect import BoxPrediction

CONTRACT_OPTIONS: Mapping[str, str] = {
    "outputs": "probabilities, pixels, boxes_scores, joined or grid",
    "layout": "NCHW or NHWC",
    "dtype": "float32 or uint8",
    "colour": "rgb, bgr or grey",
    "mean": "mean to subtract from pixel values 0-255: one number, or one per channel (default 0)",
    "std": "standard deviation to divide by: one number, or one per channel (default 255)",
    "activation": "activation to apply to the scores: none, sigmoid or softmax",
    "box_format": "xyxy, cxcywh or xywh",
    "box_units": "pixels or shares",
    "background": "id of the background class",
    "iou": "IoU threshold of non-maximum suppression; 1 for none",
}
"""What `eyewright import` takes in addition to a contract, by the contract's own names."""


def convert(o: argparse.Namespace) -> Result:
    """Write a dataset in another format."""
    from eyewright import lifecycle
    from eyewright.core.task import task_of

    found = lifecycle.convert(o.data, to=o.to, out=o.out, task=o.task, ignore=tuple(o.ignore), edits=o.edits, **talk(o))
    objects = f", {found.objects:,} object{'s' * (found.objects != 1)}" if found.objects else ""
    one = task_of(found.task).reads
    text = [f"wrote    {found.images:,} {one}{'s' * (found.images != 1)}{objects} to {shown_path(found.folder)}"]
    text += [f"lost     {line}" for line in found.lost]
    return {
        "task": found.task,
        "out": {"data": found.folder.resolve()},
        "lost": list(found.lost),
        "images": found.images,
        "objects": found.objects,
        "account": found.account.to_json(),
        "text": text,
        "exit": 0 if found.complete else 1,
    }


def import_model(o: argparse.Namespace) -> Result:
    """Wrap an imported ONNX model as a bundle."""
    from eyewright import lifecycle
    from eyewright.core.task import task_of

    password = key_password(o)
    options = {k: _value(k, getattr(o, k)) for k in CONTRACT_OPTIONS if getattr(o, k) is not None}
    bundle = lifecycle.import_onnx(
        o.model,
        out=o.out,
        task=o.task,
        labels=o.labels,
        contract=o.contract,
        imgsz=_size(o.imgsz),
        fit=o.fit,
        golden=o.golden,
        name=o.name,
        data=o.data,
        group_by=o.group_by,
        seed=o.seed or 0,
        **options,
    )
    height, width = bundle.preparation.size_hw
    text = [
        f"bundle   {shown_path(bundle.folder)}",
        f"{bundle.task_name}, {task_of(bundle.task_name).words.count(len(bundle.labels))}, {width}x{height}",
    ]
    fitted = bundle.manifest.evidence.get("thresholds")
    if fitted is not None:
        text.append(f"fitted   on {fitted['images']:,} images in {fitted['groups']:,} groups (see README.md there)")
    out = {"bundle": bundle.folder.resolve()}
    if o.sign is not None:
        out["signature"] = lifecycle.sign(bundle.folder, o.sign, password=password).resolve()
        text.append(f"signed   {shown_path(out['signature'])}")
    return {"task": bundle.task_name, "out": out, "fitted": fitted, "text": text}


def _value(name: str, text: str) -> Any:
    if name in ("mean", "std", "iou", "background"):
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            raise UsageError(f"expected numbers for --{name}, found {text!r}", fix="use 0.5 or 0.5,0.4,0.3") from None
        if name == "background":
            return int(numbers[0])
        return numbers[0] if len(numbers) == 1 else numbers
    return text


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    wide, _, high = text.lower().partition("x")
    try:
        return int(high or wide), int(wide)
    except ValueError:
        raise UsageError(f"expected --imgsz as N or WxH, found {text!r}", fix="use 640 or 640x480") from None


def only_classes(prediction: "Prediction", task: str, names: str | None) -> "Prediction":
    """Return of a prediction of objects those of some classes, named with commas between them."""
    if names is None:
        return prediction
    import numpy as np

    from eyewright.core.task import task_of

    task_of(task).require("classes")
    ids = [prediction.label_space.id(name.strip()) for name in names.split(",") if name.strip()]
    found = cast("BoxPrediction", prediction)
    return found.chosen(np.isin(found.label_ids, ids))
