"""What a foreign model takes and gives, declared: from pixels to its tensors, from its tensors to a task's."""

__all__ = ["CONTRACTS", "Contract"]

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError, UsageError, plain_reason, spelling_hint
from eyewright.imaging.preparation import Preparation

Kind = Literal["probabilities", "boxes_scores", "joined", "grid", "pixels"]
Layout = Literal["NCHW", "NHWC"]
Colour = Literal["rgb", "bgr", "grey"]
BoxFormat = Literal["xyxy", "cxcywh", "xywh"]
Activation = Literal["none", "sigmoid", "softmax"]
Units = Literal["pixels", "shares"]

_ORDERS: Mapping[str, Sequence[int]] = MappingProxyType({"rgb": (0, 1, 2), "bgr": (2, 1, 0), "grey": (0,)})


@dataclass(frozen=True)
class Contract:
    """What a model's own tensors mean.

    In: `layout`, `dtype` ("float32" or "uint8"), `colour`, and (pixel - `mean`) / `std` of values 0-255, one number or
    one per channel. Out, by `outputs`:

    - "probabilities": one tensor (N, C), of classes, or with `activation` logits;
    - "pixels": one tensor (N, C, H, W), of classes at every pixel, or logits;
    - "boxes_scores": a tensor of boxes (N, A, 4) and one of scores (N, A, C), or (N, C, A);
    - "joined": one tensor (N, A, 4 + C) of boxes, then scores, or (N, 4 + C, A) as YOLOv8 gives; with `objectness` one
      number is between them, and scores are multiplied by it;
    - "grid": one tensor (N, 1 + 4 + C, H, W): objectness, the centre's offset from the cell's corner in cells (with
      `squashed` before its tanh), width and height as fractions of the image (with `squashed` before their sigmoid),
      scores.

    `box_format`, `box_units` ("pixels" of the input, or "shares" of its sides) say what four numbers mean. A class
    `background` is left out. Scores are objectness^`objectness_power` * score^`score_power`. `boxes` and `scores` name
    the tensors; without them the only one, or the one whose last side is 4, is taken. `iou` is the IoU above which two
    boxes count as duplicates; 1 for models without duplicates. `batched` tells whether several images can
    be passed at once. Logits of probabilities are divided by `temperature`, which `eyewright import --data` fits.

    >>> contract = Contract(outputs="joined", box_format="cxcywh")
    >>> contract.answers([np.zeros((1, 6, 8), np.float32)], (32, 32))["boxes"].shape
    (1, 8, 4)
    """

    outputs: Kind = "probabilities"
    layout: Layout = "NCHW"
    dtype: Literal["float32", "uint8"] = "float32"
    colour: Colour = "rgb"
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 255.0
    activation: Activation = "none"
    box_format: BoxFormat = "xyxy"
    box_units: Units = "pixels"
    objectness: bool = False
    squashed: bool = False
    objectness_power: float = 1.0
    score_power: float = 1.0
    background: int | None = None
    boxes: str | None = None
    scores: str | None = None
    iou: float = 0.5
    batched: bool = False
    temperature: float = 1.0
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for name in ("outputs", "layout", "dtype", "colour", "activation", "box_format", "box_units"):
            value, choices = getattr(self, name), get_args(hints[name])
            if value not in choices:
                raise UsageError(f"unknown {name} {value!r} in the contract", fix=spelling_hint(str(value), choices))
        for name in ("mean", "std"):
            values = np.atleast_1d(np.asarray(getattr(self, name), np.float64))
            if len(values) not in (1, len(_ORDERS[self.colour])) or not np.isfinite(values).all():
                raise UsageError(f"expected {name} as one number or one per channel, found {values.tolist()}")
            if name == "std" and (values == 0).any():
                raise UsageError("expected std other than 0", fix="use 1 for no scaling")
        if not 0.05 <= self.temperature <= 20:
            raise UsageError(f"expected temperature in [0.05, 20], found {self.temperature}", fix="change it")
        if not 0 < self.iou <= 1:
            raise UsageError(f"expected iou in (0, 1], found {self.iou}", fix="change it")

    def feed(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the model's input for prepared pixels, uint8 (N, H, W, C)."""
        ordered: NDArray[Any] = pixels[..., list(_ORDERS[self.colour])]
        if self.dtype == "float32":
            mean, std = (np.asarray(v, np.float32) for v in (self.mean, self.std))
            ordered = (ordered.astype(np.float32) - mean) / std
        return np.ascontiguousarray(ordered.transpose(0, 3, 1, 2) if self.layout == "NCHW" else ordered)

    def answers(self, found: Sequence[NDArray[Any]], size_hw: tuple[int, int]) -> dict[str, NDArray[np.float32]]:
        """Return the task's arrays from the model's, for an input of `size_hw`.

        Raises:
            BundleError: tensors of other shapes than declared.
        """
        arrays = [np.asarray(a) for a in found]
        if self.outputs in ("probabilities", "pixels"):
            values = arrays[0].astype(np.float32)
            if self.outputs == "pixels" and self.layout == "NHWC":
                values = values.transpose(0, 3, 1, 2)
            if self.activation != "none":
                values = self._activated(values, 1)
            return {"probabilities": self._tempered(values)}
        if self.outputs == "grid":
            boxes, scores = self._from_grid(arrays[0], size_hw)
        elif self.outputs == "joined":
            boxes, scores = self._from_joined(arrays[0])
        else:
            boxes, scores = self._from_pair(arrays)
        unit = np.array([size_hw[1], size_hw[0]] * 2 if self.box_units == "shares" else [1] * 4, np.float32)
        boxes = self._as_corners(boxes.astype(np.float32)) * unit
        if self.background is not None:
            scores = np.delete(scores, self.background, axis=2)
        return {"boxes": boxes, "scores": np.clip(scores, 0, 1).astype(np.float32)}

    def _tempered(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities, (N, C, …), as they are with their logits divided by the temperature."""
        if self.temperature == 1:
            return values
        # The logarithm of a probability is its logit up to a constant, which the softmax takes out.
        logits = np.log(np.maximum(values.astype(np.float64), 1e-300)) / self.temperature
        power = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(power / power.sum(1, keepdims=True), np.float32)

    def _from_pair(self, arrays: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
        by_name = dict(zip(self.names, arrays, strict=False))
        boxes = by_name.get(self.boxes or "")
        scores = by_name.get(self.scores or "")
        if boxes is None:
            several = [a for a in arrays if a.ndim == 3 and a.shape[2] == 4 and a is not scores]
            boxes = several[0] if several else None
        if scores is None:
            others = [a for a in arrays if a is not boxes and a.ndim == 3]
            scores = others[0] if others else None
        if boxes is None or scores is None:
            shapes = ", ".join(str(a.shape) for a in arrays)
            raise BundleError(
                f"expected boxes (N, A, 4) and scores (N, A, C), found {shapes}", fix="correct the contract"
            )
        if scores.shape[1] != boxes.shape[1] and scores.shape[2] == boxes.shape[1]:
            scores = scores.transpose(0, 2, 1)
        if scores.shape[1] != boxes.shape[1]:
            raise BundleError(
                f"expected a score for each box, found {scores.shape} for {boxes.shape}", fix="correct the contract"
            )
        return boxes, self._activated(scores.astype(np.float32), 2)

    def _from_joined(self, array: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        if array.ndim != 3:
            raise BundleError(f"expected (N, A, 4 + C), found {array.shape}", fix="correct the contract")
        # There are more places than numbers a place; YOLOv8 puts the places last.
        if array.shape[1] < array.shape[2]:
            array = array.transpose(0, 2, 1)
        first = 5 if self.objectness else 4
        scores = self._activated(array[..., first:].astype(np.float32), 2)
        if self.objectness:
            sure = self._sigmoid(array[..., 4:5]) if self.activation == "sigmoid" else array[..., 4:5]
            scores = sure**self.objectness_power * scores**self.score_power
        return array[..., :4], scores

    def _from_grid(self, array: NDArray[Any], size_hw: tuple[int, int]) -> tuple[NDArray[Any], NDArray[Any]]:
        if array.ndim != 4 or array.shape[1] < 6:
            raise BundleError(f"expected (N, 1 + 4 + C, H, W), found {array.shape}", fix="correct the contract")
        n, _, rows, columns = array.shape
        flat = array.reshape(n, array.shape[1], -1).transpose(0, 2, 1).astype(np.float32)
        y, x = (v.ravel() for v in np.mgrid[:rows, :columns])
        way, size = flat[..., 1:3], flat[..., 3:5]
        if self.squashed:
            way, size = np.tanh(way), self._sigmoid(size)
        centre = np.stack([(x + way[..., 0]) / columns, (y + way[..., 1]) / rows], 2)
        sure = flat[..., :1].clip(0) ** self.objectness_power
        scores = self._activated(flat[..., 5:], 2).clip(0) ** self.score_power
        sides = np.array(size_hw[::-1] if self.box_units == "pixels" else (1, 1), np.float32)
        return np.concatenate([centre * sides, size * sides], 2), sure * scores

    def _as_corners(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        first, second = boxes[..., :2], boxes[..., 2:]
        if self.box_format == "xywh":
            return np.concatenate([first, first + second], -1)
        if self.box_format == "cxcywh" or self.outputs == "grid":
            return np.concatenate([first - second / 2, first + second / 2], -1)
        return boxes

    def _activated(self, values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        if self.activation == "sigmoid":
            return self._sigmoid(values)
        if self.activation == "softmax":
            power = np.exp(values - values.max(axis, keepdims=True))
            return np.asarray(power / power.sum(axis, keepdims=True), np.float32)
        return values

    @staticmethod
    def _sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(1 / (1 + np.exp(-np.clip(values, -60, 60))), np.float32)

    def check(self, inputs: Sequence[Any], outputs: Sequence[Any], preparation: Preparation) -> None:
        """Compare with the model's own declaration.

        Raises:
            BundleError: several inputs, another type, or sides that cannot be the preparation's.
        """
        if len(inputs) != 1:
            raise BundleError(
                f"expected a model with one input, found {len(inputs)}", fix="export one that takes images"
            )
        channels = len(_ORDERS[self.colour])
        height, width = preparation.size_hw
        expected = (channels, height, width) if self.layout == "NCHW" else (height, width, channels)
        shape = list(inputs[0].shape)
        fits = len(shape) == 4 and all(
            not isinstance(s, int) or s == e for s, e in zip(shape[1:], expected, strict=True)
        )
        if not fits or inputs[0].type != f"tensor({'float' if self.dtype == 'float32' else 'uint8'})":
            raise BundleError(
                f"the contract declares {self.dtype} (N, {', '.join(map(str, expected))}), "
                f"the model takes {inputs[0].type} {tuple(shape)}",
                fix="correct layout, dtype, colour or imgsz",
            )

    def to_json(self) -> dict[str, Any]:
        """Return the declaration as plain JSON types."""
        found = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}
        # Earlier versions do not know it, and read all contracts without it.
        return found if self.temperature != 1 else {k: v for k, v in found.items() if k != "temperature"}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Contract":
        """Read `to_json`'s form.

        Raises:
            UsageError: an unknown key, or an invalid value.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        for key in data:
            if key not in known:
                raise UsageError(f"unknown key {key!r} in the contract", fix=spelling_hint(key, known))
        try:
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
            return cls(**fields)
        except (TypeError, ValueError) as error:
            raise UsageError(f"the contract is not valid: {plain_reason(error)}", fix="correct it") from None


CONTRACTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "fastestdet": {
            "outputs": "grid", "squashed": True, "colour": "bgr", "box_units": "shares", "objectness_power": 0.6,
            "score_power": 0.4, "iou": 0.45,
        },
        "ultraface": {
            "outputs": "boxes_scores", "mean": 127.0, "std": 128.0, "box_units": "shares", "background": 0, "iou": 0.3,
        },
        "yolov5": {"outputs": "joined", "box_format": "cxcywh", "objectness": True, "iou": 0.45},
        "yolov8": {"outputs": "joined", "box_format": "cxcywh", "iou": 0.7},
        "detr": {
            "outputs": "boxes_scores", "box_format": "cxcywh", "box_units": "shares", "activation": "sigmoid",
            "iou": 1.0,
        },
    }
)  # fmt: skip
"""Contracts of families of models that many have, by the name that `--contract` takes."""
