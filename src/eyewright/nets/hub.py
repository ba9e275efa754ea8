"""Published networks: Hugging Face checkpoints that classify, detect or segment, from a folder or by id."""

__all__ = ["HubBody", "HubBuilder", "first_line", "hub_builder", "quiet_transformers"]

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from eyewright.core.errors import CheckpointError, MissingExtraError, UsageError
from eyewright.core.files import write_json
from eyewright.core.labels import LabelSpace
from eyewright.core.rng import generator
from eyewright.imaging.preparation import Preparation
from eyewright.nets.hub_scenes import HubDetector, HubMasks, HubSegmenter

_WANTED = ("config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
_BGR = "eyewright_bgr"
_UNIVERSAL = ("AutoModelForUniversalSegmentation", "MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING")
_CLASSES = MappingProxyType(
    {
        "classify": (("AutoModelForImageClassification", "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING"),),
        "detect": (("AutoModelForObjectDetection", "MODEL_FOR_OBJECT_DETECTION_MAPPING"),),
        "segment": (("AutoModelForSemanticSegmentation", "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING"), _UNIVERSAL),
        "instance": (_UNIVERSAL,),
    }
)
_DOES = MappingProxyType(
    {
        "classify": "classify images",
        "detect": "find objects",
        "segment": "segment images",
        "instance": "outline objects",
    }
)
# Nets of mask queries that take an image alone; OneFormer wants a text with it.
_QUERIES = frozenset({"mask2former", "maskformer", "eomt", "eomt_dinov3"})
# Detectors whose last class is "nothing", by softmax; the others ask of each class by itself.
_ONE_BACKGROUND = frozenset({"detr", "yolos", "table-transformer"})
# The step in which sizes are chosen that a checkpoint leaves open.
_STEP = 32
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box"}


class HubBody(nn.Module):
    """A transformers model as a body: normalised float (N, C, H, W) in, logits (N, classes) out.

    `order` puts the checkpoint's classes into ours; where the classes are new, it is 0, 1, 2, ...
    """

    order: Tensor

    def __init__(self, model: Any, order: list[int]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("order", torch.tensor(order, dtype=torch.int64))
        self.head_names = tuple(f"model.{name}." for name in _head_of(model))

    def forward(self, x: Tensor) -> Tensor:
        if getattr(self.model.config, _BGR, False):
            x = x.flip(1)
        out: Tensor = self.model(pixel_values=x).logits[:, self.order]
        return out

    @property
    def grid_hw(self) -> tuple[int, int]:
        """How many patches a column and a row of the image hold; (0, 0) for a net without global attention."""
        config = getattr(self.model.config, "vision_config", self.model.config)
        patch, size = getattr(config, "patch_size", None), getattr(config, "image_size", None)
        if not isinstance(patch, int) or not isinstance(size, int) or hasattr(config, "window_size"):
            return 0, 0
        return size // patch, size // patch

    def attentions(self, x: Tensor) -> list[Tensor]:
        """Give every layer's weights, (N, heads, T, T); the last tokens are the patches, row by row."""
        before = getattr(self.model.config, "_attn_implementation", None)
        with quiet_transformers():
            try:
                # The fused kernels do not keep the weights.
                self.model.set_attn_implementation("eager")
                found = getattr(self.model(pixel_values=x, output_attentions=True), "attentions", None)
            finally:
                if before:
                    self.model.set_attn_implementation(before)
        return list(found or ())


@dataclass(frozen=True)
class HubBuilder:
    """What makes a checkpoint's net: with its weights from a whole folder, without from its configuration alone.

    `name` is what the user called it, `folder` where it lies, `labels` the classes that the net will answer in.
    """

    name: str
    folder: Path
    labels: LabelSpace | None = None
    task: str = "classify"

    def for_labels(self, labels: LabelSpace) -> "HubBuilder":
        """Give a builder for these classes: if they are the checkpoint's own, its head is kept."""
        return HubBuilder(self.name, self.folder, labels, self.task)

    def __call__(
        self, n_classes: int, *, channels: int = 3, size_hw: tuple[int, int] = (0, 0), dropout: float | None = None
    ) -> nn.Module:
        """Build the net; `channels` and `size_hw` are the preparation's and are only checked.

        Raises:
            CheckpointError: the weights are missing, pickled or not this net's.
        """
        if dropout is not None:
            raise UsageError(f"expected no dropout with {self.name!r}, whose layers are given", fix="leave it out")
        classes = self.labels.names if self.labels is not None else tuple(map(str, range(n_classes)))
        with quiet_transformers() as transformers:
            config = self._config
            own = {name: i for i, name in config.id2label.items()}
            keeps_head = set(own) == set(classes) and len(own) == len(classes)
            if not self._weight_files:
                with torch.random.fork_rng(devices=[]):
                    model = getattr(transformers, self._auto).from_config(config)
            else:
                model = self._load(transformers, None if keeps_head else classes)
                # A configuration keeps what it does not know, so the net can be built from it alone.
                setattr(model.config, _BGR, self._preprocessing[2])
        order = [own[name] for name in classes] if keeps_head else list(range(n_classes))
        if self.task == "detect":
            return HubDetector(model, order, one_background=config.model_type in _ONE_BACKGROUND)
        if config.model_type in _QUERIES:
            return HubMasks(model, order, instances=self.task == "instance")
        return HubSegmenter(model, order) if self.task == "segment" else HubBody(model, order)

    def _load(self, transformers: Any, classes: tuple[str, ...] | None) -> Any:
        new: dict[str, Any] = {}
        if classes is not None:
            new = {
                "num_labels": len(classes),
                "id2label": dict(enumerate(classes)),
                "label2id": {name: i for i, name in enumerate(classes)},
                "ignore_mismatched_sizes": True,
            }
        try:
            model, found = getattr(transformers, self._auto).from_pretrained(
                self.folder,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
                **new,
            )
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise CheckpointError(
                f"the checkpoint {self.name!r} cannot be read: {first_line(error)}", fix="check the folder"
            ) from error
        except ImportError as error:
            # Such as a backbone that timm builds; its first line names what is not there.
            raise MissingExtraError(
                f"{self.name!r} cannot be built: {first_line(error)}",
                fix="use a checkpoint that transformers builds alone, such as DETR's revision no_timm, or install it",
            ) from error
        head = tuple(f"{name}." for name in _head_of(model)) if classes is not None and self.task == "classify" else ()
        missing = sorted(n for n in found["missing_keys"] if not n.startswith(head or "\0"))
        if self.task != "classify":
            # New classes get new heads, which transformers names as mismatched, and not as missing.
            heads = ("class_", "class_head", "classifier", "score_head", "criterion.empty_weight")
            missing = [n for n in missing if not any(h in n for h in heads)]
        if missing:
            raise CheckpointError(
                f"{self.name!r} lacks {len(missing)} of its weights, such as {missing[0]}", fix="download it again"
            )
        return model

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that the checkpoint was published with, in the order of its answers."""
        with quiet_transformers():
            own = self._config.id2label
        return tuple(str(own[i]) for i in sorted(own))

    @cached_property
    def _config(self) -> Any:
        path = self.folder / "config.json"
        if not path.is_file():
            raise CheckpointError(
                f"expected a Hugging Face model in {str(self.folder)!r}, found no config.json", fix="check the path"
            )
        with quiet_transformers() as transformers:
            try:
                config = transformers.AutoConfig.from_pretrained(
                    self.folder, local_files_only=True, trust_remote_code=False
                )
            except (OSError, ValueError, KeyError) as error:
                raise CheckpointError(
                    f"the configuration of {self.name!r} cannot be read: {first_line(error)}",
                    fix="use a model that transformers knows",
                ) from error
            if self._auto_of(config, transformers) is None:
                raise CheckpointError(
                    f"{self.name!r} is a {config.model_type!r}, which does not {_DOES[self.task]}",
                    fix="use another model",
                )
        return config

    def _auto_of(self, config: Any, transformers: Any) -> str | None:
        """Give the name of transformers' class that makes a net of this configuration do our task."""
        for name, mapping in _CLASSES[self.task]:
            universal = mapping == _UNIVERSAL[1]
            if type(config) in getattr(transformers, mapping) and (not universal or config.model_type in _QUERIES):
                return name
        return None

    @property
    def _auto(self) -> str:
        with quiet_transformers() as transformers:
            return self._auto_of(self._config, transformers) or ""

    @property
    def _weight_files(self) -> list[Path]:
        return sorted(self.folder.glob("*.safetensors"))

    def check(self) -> None:
        """Refuse a folder that cannot be trained from, before anything else is done.

        Raises:
            CheckpointError: no weights, or only pickled ones, which can run code when they are opened.
        """
        _ = self._config
        if self._weight_files:
            return
        pickled = [p.name for pattern in _PICKLED for p in sorted(self.folder.glob(pattern))]
        if pickled:
            raise CheckpointError(
                f"{self.name!r} has pickled weights only ({pickled[0]}), which can run code when they are opened",
                fix="use a checkpoint with model.safetensors",
            )
        raise CheckpointError(f"expected model.safetensors in {self.name!r}, found no weights", fix="download it again")

    @cached_property
    def preparation(self) -> Preparation:
        """The model's own preprocessing as a Preparation, proven on images against transformers' processor.

        Raises:
            CheckpointError: there is none, it does something that a Preparation cannot, or its size is not fixed.
        """
        found = self._preprocessing[0]
        if found is None:
            raise CheckpointError(
                f"{self.name!r} takes images of any size, and here one must be chosen",
                fix="train with it, which chooses one for the images",
            )
        return found

    @property
    def has_size(self) -> bool:
        """Tell whether its preprocessing makes all images one size."""
        return self._preprocessing[0] is not None

    def usual_edges(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Give the height and width to which the processor of a net without a fixed size brings an image."""
        with quiet_transformers():
            size = self._processor.size
        height, width = size_hw
        shorter, longest = _side(size, "shortest_edge"), _side(size, "longest_edge")
        scale = shorter / min(height, width) if shorter else longest / max(height, width)
        if longest:
            scale = min(scale, longest / max(height, width))
        return round(height * scale), round(width * scale)

    @cached_property
    def scaling(self) -> Mapping[str, list[float]]:
        """The model's own mean and std a channel, for pixels in [0, 1]."""
        return self._preprocessing[1]

    @cached_property
    def _processor(self) -> Any:
        with quiet_transformers() as transformers:
            try:
                return transformers.AutoImageProcessor.from_pretrained(
                    self.folder, local_files_only=True, trust_remote_code=False, backend="pil"
                )
            except (OSError, ValueError, KeyError, ImportError) as error:
                raise CheckpointError(
                    f"the preprocessing of {self.name!r} cannot be read: {first_line(error)}",
                    fix="add its preprocessor_config.json",
                ) from error

    @cached_property
    def _preprocessing(self) -> tuple[Preparation | None, dict[str, list[float]], bool]:
        """Give the preparation (None: any size does), mean and std, and whether blue comes first; all proven."""
        with quiet_transformers():
            processor = self._processor
            mean = [float(v) for v in (processor.image_mean if processor.do_normalize else (0.0,) * 3)]
            std = [float(v) for v in (processor.image_std if processor.do_normalize else (1.0,) * 3)]
            # EfficientNet divides by the deviation twice, MobileViT takes blue first.
            twice = [s * s for s in std]
            scalings = ((std, False), (std, True), (twice, False))
            for preparation in _candidates(processor):
                for deviation, bgr in scalings:
                    scaling = {"mean": mean, "std": deviation}
                    if _same(processor, preparation, scaling, bgr=bgr):
                        return preparation, scaling, bgr
            if self.task != "classify" and (
                _side(processor.size, "shortest_edge") or _side(processor.size, "longest_edge")
            ):
                for deviation, bgr in scalings:
                    scaling = {"mean": mean, "std": deviation}
                    if _same_scaling(processor, scaling, bgr=bgr):
                        return None, scaling, bgr
        raise CheckpointError(
            f"{self.name!r} prepares images by {type(processor).__name__} in a way that cannot be repeated here",
            fix="use another model",
        )

    def write(self, folder: Path, body: nn.Module) -> None:
        """Write what is needed to build the net again without the checkpoint: its configuration, no weights."""
        model = cast(HubBody, body).model
        write_json(folder / "config.json", json.loads(model.config.to_json_string(use_diff=False)))


def hub_builder(name: str, task: str = "classify") -> HubBuilder:
    """Give the builder for `hf:FOLDER` or `hf:OWNER/MODEL`; an id is looked up in the local cache, then fetched.

    Nothing but safetensors and JSON is fetched, and no code of the checkpoint is run.

    Raises:
        MissingExtraError: transformers is not installed.
        CheckpointError: no such folder or id, or it cannot be fetched.
        UsageError: a task that no checkpoint is read for.
    """
    if task not in _CLASSES:
        raise UsageError(
            f"expected a task of {', '.join(_CLASSES)} with {name!r}, found {task!r}", fix="use our own nets"
        )
    from importlib.util import find_spec

    if find_spec("transformers") is None:
        raise MissingExtraError(f"{name!r} needs transformers", fix="pip install 'eyewright[hf]'")
    where = name.removeprefix("hf:")
    if Path(where).is_dir():
        return HubBuilder(name, Path(where), task=task)
    if where.count("/") != 1 or where.startswith((".", "/", "~")):
        raise CheckpointError(f"expected a folder or OWNER/MODEL after 'hf:', found {where!r}", fix="check the path")
    return HubBuilder(name, _snapshot(where), task=task)


def _head_of(model: Any) -> list[str]:
    """Give the parts of a transformers model that answer in classes: what stands beside its base model."""
    parts = {name.split(".")[0] for name, _ in model.named_parameters()}
    base = model.base_model_prefix
    if base in parts:
        return sorted(parts - {base})
    return [name for name in ("classifier", "head", "fc") if name in parts]


def _snapshot(repository: str) -> Path:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, allow_patterns=list(_WANTED), local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        pass
    try:
        return Path(snapshot_download(repository, allow_patterns=list(_WANTED)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise CheckpointError(
            f"the model {repository!r} is not in the local cache and cannot be fetched: {first_line(error)}",
            fix="check the name and the network, or pass a folder",
        ) from error


def _candidates(processor: Any) -> Iterator[Preparation]:
    """Give the preparations that a processor may mean; which one it does mean is tried on images."""

    filter = cast(Any, _FILTERS.get(int(getattr(processor, "resample", 2) or 0), "bilinear"))
    size, crop = processor.size, getattr(processor, "crop_size", None) or {}
    height, width, shorter = _side(size, "height"), _side(size, "width"), _side(size, "shortest_edge")
    crop_hw = (_side(crop, "height", "shortest_edge"), _side(crop, "width", "shortest_edge"))
    part = getattr(processor, "crop_pct", None)
    tried: list[dict[str, Any]] = []
    if height and width:
        tried.append({"size_hw": (height, width)})
        if all(crop_hw):
            tried.append({"size_hw": crop_hw, "inner": height})
    if shorter:
        if all(crop_hw):
            tried.append({"size_hw": crop_hw, "fit": "shorter", "inner": shorter})
            if part:
                tried.append({"size_hw": crop_hw, "fit": "shorter", "inner": int(shorter / part)})
            # LeViT's own: the shorter side to 256/224 of the size.
            tried.append({"size_hw": crop_hw, "fit": "shorter", "inner": int((256 / 224) * shorter)})
        if part:
            tried.append({"size_hw": (shorter, shorter), "fit": "shorter", "inner": int(shorter / part)})
        tried.append({"size_hw": (shorter, shorter)})
    for options in tried:
        try:
            yield Preparation(filter=filter, **options)
        except UsageError:
            continue


def _side(size: Any, *names: str) -> int:
    """Give the first of some sides that a processor's size states, else 0."""
    values = [getattr(size, n, None) or (size.get(n) if isinstance(size, Mapping) else None) for n in names]
    return next((int(v) for v in values if v), 0)


def _same_scaling(processor: Any, scaling: Mapping[str, list[float]], *, bgr: bool) -> bool:
    """Tell whether pixels are scaled as the processor scales them, where it is told to keep an image's size."""
    image = generator(0, "hub", "scaling").integers(0, 256, (64, 96, 3), dtype=np.uint8)
    mean, std = (np.array(scaling[k], np.float64)[:, None, None] for k in ("mean", "std"))
    try:
        theirs = np.asarray(processor(image, return_tensors="np", do_resize=False, do_pad=False)["pixel_values"])[0]
    except (ValueError, TypeError, KeyError, RuntimeError):
        return False
    ours = (image.transpose(2, 0, 1) / 255.0 - mean) / std
    ours = ours[::-1] if bgr else ours
    return theirs.shape == ours.shape and bool(np.abs(theirs - ours).max() <= 1e-4)


def _same(processor: Any, preparation: Preparation, scaling: Mapping[str, list[float]], *, bgr: bool) -> bool:
    """Tell whether a preparation gives what the processor gives, on noise of awkward shapes."""
    rng = generator(0, "hub", "preparation")
    mean, std = (np.array(scaling[k], np.float64)[:, None, None] for k in ("mean", "std"))
    for shape in ((301, 203, 3), (97, 410, 3), (30, 20, 3)):
        image = rng.integers(0, 256, shape, dtype=np.uint8)
        try:
            theirs = np.asarray(processor(image, return_tensors="np")["pixel_values"])[0]
        except (ValueError, TypeError, KeyError, RuntimeError):
            return False
        ours = (preparation(image)[0].transpose(2, 0, 1) / 255.0 - mean) / std
        ours = ours[::-1] if bgr else ours
        if theirs.shape != ours.shape or np.abs(theirs - ours).max() > 1e-4:
            return False
    return True


@contextmanager
def quiet_transformers() -> Iterator[Any]:
    """Import transformers and keep it from speaking: what matters is said by us, in one line."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import transformers
    from transformers.utils import logging as its_logging

    logging: Any = its_logging

    level = logging.get_verbosity()
    bar = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield transformers
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def first_line(error: BaseException) -> str:
    """Return the first line that an error of transformers says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
