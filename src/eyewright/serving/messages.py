"""What the server and its workers say to each other: length, then MessagePack; never pickle."""

__all__ = [
    "ANSWERS",
    "BATCH",
    "FRAME",
    "Answer",
    "Array",
    "Batch",
    "Failure",
    "Filling",
    "Job",
    "ModelPlace",
    "Progress",
    "Seen",
]

import struct

import msgspec

from eyewright.metrics.conformal import Method
from eyewright.metrics.conformal_boxes import BoxBy

FRAME = struct.Struct("<I")
"""The length of the message that follows, in bytes."""


class Array(msgspec.Struct, array_like=True, frozen=True):
    """A tensor: numpy's name of its type, its shape, its bytes in row-major order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class ModelPlace(msgspec.Struct, array_like=True, frozen=True):
    """A model and the folder of its bundle."""

    name: str
    folder: str
    digest: str


class Filling(msgspec.Struct, array_like=True, frozen=True):
    """How an image is to be filled: under a mask, the last `mask_bytes` of what was sent, or in `box` (left,
    top, width and height in pixels). The other values are those of `imaging.inpainting.inpaint_pixels`."""

    mask_bytes: int = 0
    box: tuple[int, int, int, int] | None = None
    method: str = "auto"
    grow: int = 0
    feather: int = 0


class Job(msgspec.Struct, array_like=True, frozen=True):
    """One image to answer, encoded; or with `tensors` prepared arrays, by the name of the input.

    `until` is the end of its deadline on CLOCK_MONOTONIC, in seconds. `wants` says what to give back: "prediction",
    "raw" (the model's own arrays), "explain" (heatmaps), "over_time" (of clips, probabilities over time), "hub"
    (Hugging Face's form, alone), "picture" (the image as it is kept), "doubt" (`Doubted`); alone: "mask" (class ids),
    "words" (`data` is a text to embed), "thumbnail" (of `top` pixels a side), "inpaint" (as `filling` says).
    On its way `data` is empty, and lies or follows elsewhere (`Batch`) as so many bytes as `follows` says.
    """

    id: int
    data: bytes
    until: float
    wants: tuple[str, ...]
    tensors: dict[str, Array] | None = None
    conf: float | None = None
    iou: float | None = None
    top: int | None = None
    coverage: float | None = None
    label: str | None = None
    coverage_by: BoxBy | None = None
    sets: Method | None = None
    follows: int = 0
    miss_rate: float | None = None
    filling: Filling | None = None


class Doubted(msgspec.Struct, frozen=True):
    """What of a query is not read or not known to its model, in words, and whether it was trained on queries like it.

    It is the prediction of "words", and that of an image as `doubt`."""

    notes: list[str]
    familiar: bool


class Batch(msgspec.Struct, array_like=True, frozen=True):
    """Jobs of one model that are run together.

    Their images lie one after another on the worker's buffer, or without `in_buffer` follow the batch.
    """

    model: str
    jobs: list[Job]
    in_buffer: bool = False


class Failure(msgspec.Struct, array_like=True, frozen=True):
    """Why there is no answer: the name of an `EyewrightError`, and its words."""

    kind: str
    code: str
    message: str
    fix: str


class Seen(msgspec.Struct, array_like=True, frozen=True):
    """What is logged of an answer: the image's numbers, and the answer in C numbers, both float32."""

    look: bytes
    answer: bytes
    size_hw: tuple[int, int]
    label: str
    score: float
    unfamiliar: float | None


class Answer(msgspec.Struct, array_like=True, frozen=True):
    """The result of one job."""

    id: int
    failure: Failure | None = None
    prediction: bytes = b""
    raw: dict[str, Array] = {}
    seen: Seen | None = None
    picture: bytes = b""
    timing_ms: tuple[float, float] = (0.0, 0.0)
    refused: tuple[str, ...] = ()


class Progress(msgspec.Struct, array_like=True, frozen=True):
    """What a worker says: "ready" with nothing, "decoded", "done" with the answers of the batch, or "failed"
    with what was found and what to do."""

    state: str
    answers: list[Answer] = []
    text: str = ""
    fix: str = ""


BATCH = msgspec.msgpack.Decoder(Batch)
ANSWERS = msgspec.msgpack.Decoder(Progress)
