"""What goes over HTTP, as msgspec structs: requests are parsed into them, and OpenAPI's schemas are made from them.

A part of a request that may be large is `msgspec.Raw`, a view of the body, with its schema next to it. Answers are
open: clients must accept further fields.
"""

__all__ = [
    "Answered",
    "Error",
    "Event",
    "Feedback",
    "HubOptions",
    "HubRow",
    "ImageBody",
    "HubImageBody",
    "IndexRow",
    "InferCall",
    "InferInput",
    "Inferred",
    "LabelStudioHealth",
    "LabelStudioResults",
    "LabelStudioSetup",
    "LabelStudioTasks",
    "LabelStudioVersion",
    "Live",
    "MaskQuery",
    "ModelList",
    "ModelReady",
    "ModelShown",
    "Options",
    "Prediction",
    "Ready",
    "Reloaded",
    "ServerAbout",
    "SourceList",
    "SourceShown",
    "Stored",
    "TensorModel",
    "TritonConfig",
    "TritonStats",
    "WatchShown",
    "WebhookQuery",
    "WebhookStored",
]

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from eyewright.core.task import task_names
from eyewright.metrics.conformal import Method
from eyewright.metrics.conformal_boxes import BoxBy
from eyewright.serving.trust_schemas import LabelSet, Margins, MissRate, Refused, Unfamiliar
from eyewright.tasks.feedback import Verdict

MOST_OBJECTS = 2000
MOST_TASKS = 64
MOST_DIMENSIONS = 8
MOST_TEXT = 2**16

Fraction = Annotated[float, Meta(ge=0, le=1)]
Name = Annotated[str, Meta(max_length=200)]


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """What a client may choose of an answer; what is left out is up to the model."""

    conf: Annotated[float, Meta(ge=0, le=1, description="Lowest score that is returned")] | None = None
    iou: Annotated[float, Meta(ge=0.01, le=1, description="IoU above which two boxes count as duplicates")] | None = (
        None
    )
    top: Annotated[int, Meta(ge=1, le=1000, description="Largest number of labels or objects")] | None = None
    coverage: (
        Annotated[float, Meta(ge=0.01, le=0.999, description="Coverage of sets of labels, or of margins of boxes")]
        | None
    ) = None
    coverage_by: (
        Annotated[
            BoxBy,
            Meta(description="Whether coverage is kept over all, for each class, or for all found objects of an image"),
        ]
        | None
    ) = None
    miss_rate: (
        Annotated[
            float,
            Meta(ge=0.001, le=0.999, description="Fraction of an image's objects that may be missed; chooses conf"),
        ]
        | None
    ) = None
    sets: (
        Annotated[Method, Meta(description="Conformal sets: one threshold of probability, or sets that adapt")] | None
    ) = None
    label: Annotated[str, Meta(max_length=200, description="The label to explain")] | None = None
    explain: Annotated[bool, Meta(description="Whether to add a heatmap")] | None = None
    over_time: (
        Annotated[bool, Meta(description="Clips: whether to add the probabilities over the time of the video")] | None
    ) = None


class HubOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """What Hugging Face's clients may choose; `threshold` is `conf`, `top_k` is `top`."""

    threshold: Annotated[float, Meta(ge=0, le=1, description="Lowest score that is returned")] | None = None
    top_k: Annotated[int, Meta(ge=1, le=1000, description="Largest number of labels or objects")] | None = None
    conf: Annotated[float, Meta(ge=0, le=1, description="As threshold")] | None = None
    top: Annotated[int, Meta(ge=1, le=1000, description="As top_k")] | None = None


class MaskQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """With a mask as the body: which prediction it corrects."""

    prediction_id: (
        Annotated[str, Meta(max_length=80, description="With a mask as the body: the prediction that it corrects")]
        | None
    ) = None


class WebhookQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """What an annotation may add."""

    new_classes: Annotated[str, Meta(description="Classes it may add, separated by commas")] | None = None


_BASE64: dict[str, Any] = {
    "type": "string",
    "minLength": 1,
    "format": "image-base64",
    "contentEncoding": "base64",
    "description": "An image file in base64, or a data address",
}


def _options_of(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


class ImageBody(Struct, forbid_unknown_fields=True):
    """An image in JSON."""

    inputs: Annotated[Raw, Meta(extra_json_schema=_BASE64)] | UnsetType = UNSET
    image: Annotated[Raw, Meta(extra_json_schema=_BASE64)] | UnsetType = UNSET
    parameters: Annotated[dict[str, Any], Meta(extra_json_schema=_options_of("Options"))] | None = None


class HubImageBody(Struct, forbid_unknown_fields=True):
    """An image in JSON, as Hugging Face's clients send it."""

    inputs: Annotated[Raw, Meta(extra_json_schema=_BASE64)] | UnsetType = UNSET
    image: Annotated[Raw, Meta(extra_json_schema=_BASE64)] | UnsetType = UNSET
    parameters: Annotated[dict[str, Any], Meta(extra_json_schema=_options_of("HubOptions"))] | None = None


class Segmentation(Struct):
    """A mask as COCO's compressed run-length encoding."""

    size: Annotated[list[Annotated[int, Meta(ge=1, lt=2**20)]], Meta(min_length=2, max_length=2)]
    counts: str


class FeedbackObject(Struct):
    """One object that is in the image, in pixels of the image that was sent, or one that is not."""

    label: Annotated[str, Meta(min_length=1, max_length=200)]
    box_xyxy: Annotated[list[Annotated[float, Meta(gt=-1e9, lt=1e9)]], Meta(min_length=4, max_length=4)] | None = None
    segmentation: Segmentation | None = None
    verdict: Verdict | None = None
    predicted: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class Feedback(Struct, forbid_unknown_fields=True):
    """Feedback on a prediction; at least one of label, correct, objects, classes, values, tags and
    text."""

    prediction_id: Annotated[str, Meta(max_length=80)]
    label: Name | None = None
    correct: bool | None = None
    comment: Annotated[str, Meta(max_length=2000)] | None = None
    objects: Annotated[list[FeedbackObject], Meta(max_length=MOST_OBJECTS)] | None = None
    classes: dict[str, bool] | None = None
    values: dict[str, Annotated[float, Meta(gt=-1e9, lt=1e9)]] | None = None
    tags: dict[str, bool] | None = None
    text: Annotated[str, Meta(max_length=2000)] | None = None
    new_classes: list[Annotated[str, Meta(min_length=1, max_length=200)]] | None = None


def _list_of(name: str, **bounds: int) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}, **bounds}


_SHAPE = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
    "maxItems": MOST_DIMENSIONS,
}


class InferInput(Struct):
    """An input tensor as it is prepared (GET /v2/models/{name} names them); of a model that takes one image, "image" as
    UINT8 [N, H, W, C], or image files as BYTES [N]."""

    name: Annotated[Raw, Meta(extra_json_schema={"type": "string", "examples": ["image"]})]
    shape: Annotated[Raw, Meta(extra_json_schema=_SHAPE)]
    datatype: Annotated[Raw, Meta(extra_json_schema={"enum": ["UINT8", "BYTES", "INT32", "INT64", "FP32"]})]
    parameters: Annotated[Raw, Meta(extra_json_schema={"type": "object"})] | UnsetType = UNSET
    data: Annotated[Raw, Meta(extra_json_schema={"type": "array"})] | UnsetType = UNSET


_OUTPUTS: dict[str, Any] = {
    "type": "array",
    "maxItems": 32,
    "items": {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "parameters": {"type": "object"}},
    },
}


class InferCall(Struct):
    """A request of Open Inference V2."""

    inputs: Annotated[Raw, Meta(extra_json_schema=_list_of("InferInput", maxItems=64))]
    outputs: Annotated[Raw, Meta(extra_json_schema=_OUTPUTS)] | UnsetType = UNSET
    parameters: Annotated[Raw, Meta(extra_json_schema={"type": "object"})] | UnsetType = UNSET
    id: Annotated[Raw, Meta(extra_json_schema={"type": "string", "maxLength": 200})] | UnsetType = UNSET


_Config = Annotated[
    str,
    Meta(
        description="XML: Label Studio's labelling configuration, with a place for what the model finds",
        extra_json_schema={"format": "label-studio-config"},
    ),
]


class LabelStudioTask(Struct):
    """One task; the image is a data address or the name of a file of the server's."""

    data: dict[str, Any] = {}


class LabelStudioTasks(Struct):
    """Tasks to predict."""

    tasks: Annotated[list[LabelStudioTask], Meta(max_length=MOST_TASKS)]
    label_config: _Config | None = None


class LabelStudioSetup(Struct):
    """A labelling configuration; it must have a place for what the model finds."""

    schema: _Config | None = None
    label_config: _Config | None = None


class Event(Struct):
    """An event of Label Studio's; whatever is not an annotation is answered and not used."""

    action: Any = None
    annotation: Any = None
    task: Any = None


# Answers.


class Error(Struct):
    """Why a request is refused: a sentence, a stable code, and what to do."""

    error: str
    code: str
    fix: str = ""


class Timing(Struct):
    """Milliseconds."""

    decode: float
    model: float
    total: float


class OverTimeShown(Struct):
    """Probabilities of windows of a video: the middle of each window in seconds, the classes with the highest peaks,
    and for each of them its probability in each window."""

    time_s: list[float]
    labels: list[str]
    label_ids: list[int]
    scores: dict[str, list[float]]


class VideoShown(Struct):
    """What is special about a video file: by how many degrees its metadata turn it (frames are read upright), whether
    it has sound, which is not used (null: not known), whether frames are unevenly far apart, and how it breaks off."""

    rotation: int
    sound: bool | None
    variable_rate: bool
    shortest_s: float
    longest_s: float
    breaks_off: str


class ClipShown(VideoShown):
    """The same, with a sentence on each thing to know."""

    notes: list[str]


class Prediction(Struct):
    """The answer in the command line's form for its task, and what else was asked for."""

    model: str
    digest: str
    task: Annotated[str, Meta(extra_json_schema={"enum": list(task_names())})]
    prediction_id: str
    timing_ms: Timing
    calibration: str | None = None
    labels: list[str] | UnsetType = UNSET
    scores: list[float] | UnsetType = UNSET
    unfamiliar: Annotated[
        Unfamiliar | None,
        Meta(description="Whether the image looks unlike those that the model knows; null where that is not known"),
    ] = None
    unfamiliar_reason: (
        Annotated[str, Meta(description="Why `unfamiliar` is null, in words; absent where it is not")] | UnsetType
    ) = UNSET
    set: Annotated[LabelSet, Meta(description="The conformal set, where `coverage` is given")] | UnsetType = UNSET
    outer_boxes_xyxy: (
        Annotated[list[list[float]], Meta(description="The boxes with their margins, where `coverage` is given")]
        | UnsetType
    ) = UNSET
    margins: Annotated[Margins, Meta(description="What the margins promise")] | UnsetType = UNSET
    miss_rate: Annotated[MissRate, Meta(description="The threshold, where `miss_rate` is given")] | UnsetType = UNSET
    over_time: (
        Annotated[OverTimeShown | None, Meta(description="Where `over_time` is true; null where there are no times")]
        | UnsetType
    ) = UNSET
    over_time_reason: Annotated[str, Meta(description="Why `over_time` is null")] | UnsetType = UNSET
    video: Annotated[ClipShown, Meta(description="Of a model of clips: about the video")] | UnsetType = UNSET
    notes: Annotated[list[str], Meta(description="What to know about the image, in words")] | UnsetType = UNSET
    accepted: (
        Annotated[list[str], Meta(description="With `serve --refuse`: the label, or none if the prediction is refused")]
        | UnsetType
    ) = UNSET
    refused: (
        Annotated[list[Refused], Meta(description="With `serve --refuse`: why nothing is accepted")] | UnsetType
    ) = UNSET


class InputShown(Struct):
    """An input of a model: what sort it is, and the type and shape of one prepared example."""

    kind: str
    dtype: str
    shape: list[int]
    words: str


class ModelShown(Struct):
    """What a client may know of a model; `size_hw` and `channels` are of one that takes one image. `reads` is "image"
    or "clip". `label_words` are what one label is called, and several, empty where labels say nothing to a person;
    `metric_titles` are the names of its main metrics for people, `rates` the metrics that are shown in per cent, and
    `units` those of metrics that have one; `samples` is how many sample images there are."""

    name: str
    title: str
    task: str
    reads: str
    options: list[str]
    digest: str
    labels: list[str]
    label_words: list[str]
    metric_titles: dict[str, str]
    rates: list[str]
    units: dict[str, str]
    inputs: dict[str, InputShown]
    pages: list[str]
    samples: int
    size_hw: list[int] | UnsetType = UNSET
    channels: int | UnsetType = UNSET


class ModelList(Struct):
    """The models that are served."""

    models: list[ModelShown]


class Stored(Struct):
    """Feedback is stored; `image_kept` tells whether its image can be learnt from."""

    stored: bool
    image_kept: bool


class WatchShown(Struct):
    """What the monitor sees, by model; of live sources the counts of the last 24 hours."""

    models: dict[str, Any]
    sources: dict[str, Any]
    trouble: str
    dropped: int


class SourceShown(Struct):
    """A live source: its state, and what was counted.

    `state` is starting, connecting, live, lost, ended, failed or restarting; `tracks` are the objects of the newest
    frame, null for a model without boxes; `headline` is what such a model predicts. `age_s` tells how old that is.
    `video` is null unless the source is a video file.
    """

    name: str
    model: str
    state: str
    message: str
    note: str
    video: VideoShown | None
    frames: int
    dropped: int
    reconnects: int
    restarts: int
    frames_per_s: float | None
    age_s: float | None
    width: int | None
    height: int | None
    viewers: int
    headline: str
    tracks: list[dict[str, Any]] | None
    n_tracks: int
    lines: dict[str, dict[str, Any]]
    zones: dict[str, dict[str, Any]]
    events: list[dict[str, Any]]


class SourceList(Struct):
    """The live sources, as the operator named them."""

    sources: list[SourceShown]


class Reloaded(Struct):
    """The names of the models that are served now."""

    models: list[str]


class HubRow(Struct):
    """A label, box or mask (PNG in base64) with its score."""

    label: str
    score: float
    box: dict[str, int] | UnsetType = UNSET
    mask: str | UnsetType = UNSET


class ServerAbout(Struct):
    """The server and its extensions."""

    name: str
    version: str
    extensions: list[str]


class Live(Struct):
    """The process answers."""

    live: bool


class Ready(Struct):
    """Whether requests are answered."""

    ready: bool


class ModelReady(Struct):
    """Whether a model's requests are answered."""

    name: str
    ready: bool


class TensorAbout(Struct):
    """A tensor; -1 is a dimension of any size."""

    name: str
    datatype: str
    shape: list[int]


class TensorModel(Struct):
    """A model's tensors."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorAbout]
    outputs: list[TensorAbout]
    parameters: dict[str, str] = {}


class TritonTensor(Struct):
    """A tensor in Triton's words, without its first dimension."""

    name: str
    data_type: str
    dims: list[int]


class TritonConfig(Struct):
    """As much of Triton's model configuration as is true here."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[TritonTensor]
    output: list[TritonTensor]
    dynamic_batching: dict[str, Any] = {}


class TritonStat(Struct):
    """How often a model was asked."""

    name: str
    version: str
    inference_count: int


class TritonStats(Struct):
    """How often models were asked."""

    model_stats: list[TritonStat]


class IndexRow(Struct):
    """One model of the repository."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class Inferred(Struct):
    """Output tensors."""

    model_name: str
    model_version: str
    outputs: list[dict[str, Any]]
    id: str | UnsetType = UNSET
    parameters: dict[str, Any] = {}


class LabelStudioHealth(Struct):
    """The backend runs."""

    status: Literal["UP"]
    model_class: str


class LabelStudioVersion(Struct):
    """Which model answers."""

    model_version: str


class LabelStudioResult(Struct):
    """The prediction for one task; `error` says why there is none."""

    result: list[dict[str, Any]]
    score: float
    model_version: str
    error: str | UnsetType = UNSET


class LabelStudioResults(Struct):
    """One row per task."""

    results: list[LabelStudioResult]


class WebhookStored(Struct):
    """How much feedback an event became."""

    status: Literal["ok"]
    stored: int


class Answered(Struct):
    """Done, with nothing to say."""
