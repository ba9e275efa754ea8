"""Published networks: Hugging Face checkpoints that classify, detect or segment, from a folder or by id."""

__all__ = ["HubBody", "HubBuilder", "hub_builder"]

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
from eyewright.nets.hub_scenes import HubDetector, HubSegmenter

_WANTED = ("config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
_BGR = "eyewright_bgr"
_CLASSES = MappingProxyType(
    {
        "classify": ("AutoModelForImageClassification", "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING", "classify images"),
        "detect": ("AutoModelForObjectDetection", "MODEL_FOR_OBJECT_DETECTION_MAPPING", "find objects"),
        "segment": ("AutoModelForSemanticSegmentation", "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING", "segment images"),
    }
)
# Detectors whose last class is "nothing", by softmax; the others ask of each class by itself.
_ONE_BACKGROUND = frozenset({"detr", "yolos", "table-transformer", "conditional_detr_softmax"})
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
        with _quiet_transformers():
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
        with _quiet_transformers() as transformers:
            config = self._config
            own = {name: i for i, name in config.id2label.items()}
            keeps_head = set(own) == set(classes) and len(own) == len(classes)
            if not self._weight_files:
                with torch.random.fork_rng(devices=[]):
                    model = getattr(transformers, _CLASSES[self.task][0]).from_config(config)
            else:
                model = self._load(transformers, None if keeps_head else classes)
                # A configuration keeps what it does not know, so the net can be built from it alone.
                setattr(model.config, _BGR, self._preprocessing[2])
        order = [own[name] for name in classes] if keeps_head else list(range(n_classes))
        if self.task == "detect":
            return HubDetector(model, order, one_background=config.model_type in _ONE_BACKGROUND)
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
            model, found = getattr(transformers, _CLASSES[self.task][0]).from_pretrained(
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
                f"the checkpoint {self.name!r} cannot be read: {_first_line(error)}", fix="check the folder"
            ) from error
        head = tuple(f"{name}." for name in _head_of(model)) if classes is not None and self.task == "classify" else ()
        missing = sorted(n for n in found["missing_keys"] if not n.startswith(head or "\0"))
        if self.task != "classify":
            # New classes get new heads, which transformers names as mismatched, and not as missing.
            missing = [n for n in missing if "class_" not in n and "classifier" not in n and "score_head" not in n]
        if missing:
            raise CheckpointError(
                f"{self.name!r} lacks {len(missing)} of its weights, such as {missing[0]}", fix="download it again"
            )
        return model

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that the checkpoint was published with, in the order of its answers."""
        with _quiet_transformers():
            own = self._config.id2label
        return tuple(str(own[i]) for i in sorted(own))

    @cached_property
    def _config(self) -> Any:
        path = self.folder / "config.json"
        if not path.is_file():
            raise CheckpointError(
                f"expected a Hugging Face model in {str(self.folder)!r}, found no config.json", fix="check the path"
            )
        with _quiet_transformers() as transformers:
            try:
                config = transformers.AutoConfig.from_pretrained(
                    self.folder, local_files_only=True, trust_remote_code=False
                )
            except (OSError, ValueError, KeyError) as error:
                raise CheckpointError(
                    f"the configuration of {self.name!r} cannot be read: {_first_line(error)}",
                    fix="use a model that transformers knows",
                ) from error
            _, mapping, does = _CLASSES[self.task]
            if type(config) not in getattr(transformers, mapping):
                raise CheckpointError(
                    f"{self.name!r} is a {config.model_type!r}, which does not {does}", fix="use another model"
                )
        return config

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
            CheckpointError: there is none, or it does something that a Preparation cannot.
        """
        return self._preprocessing[0]

    @cached_property
    def scaling(self) -> Mapping[str, list[float]]:
        """The model's own mean and std a channel, for pixels in [0, 1]."""
        return self._preprocessing[1]

    @cached_property
    def _preprocessing(self) -> tuple[Preparation, dict[str, list[float]], bool]:
        with _quiet_transformers() as transformers:
            try:
                processor = transformers.AutoImageProcessor.from_pretrained(
                    self.folder, local_files_only=True, trust_remote_code=False, backend="pil"
                )
            except (OSError, ValueError, KeyError, ImportError) as error:
                raise CheckpointError(
                    f"the preprocessing of {self.name!r} cannot be read: {_first_line(error)}",
                    fix="add its preprocessor_config.json",
                ) from error
            mean = [float(v) for v in (processor.image_mean if processor.do_normalize else (0.0,) * 3)]
            std = [float(v) for v in (processor.image_std if processor.do_normalize else (1.0,) * 3)]
            # EfficientNet divides by the deviation twice, MobileViT takes blue first.
            twice = [s * s for s in std]
            for preparation in _candidates(processor):
                for deviation, bgr in ((std, False), (std, True), (twice, False)):
                    scaling = {"mean": mean, "std": deviation}
                    if _same(processor, preparation, scaling, bgr=bgr):
                        return preparation, scaling, bgr
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
            f"the model {repository!r} is not in the local cache and cannot be fetched: {_first_line(error)}",
            fix="check the name and the network, or pass a folder",
        ) from error


def _candidates(processor: Any) -> Iterator[Preparation]:
    """Give the preparations that a processor may mean; which one it does mean is tried on images."""

    def side(size: Any, *names: str) -> int:
        values = [getattr(size, n, None) or (size.get(n) if isinstance(size, Mapping) else None) for n in names]
        return next((int(v) for v in values if v), 0)

    filter = cast(Any, _FILTERS.get(int(getattr(processor, "resample", 2) or 0), "bilinear"))
    size, crop = processor.size, getattr(processor, "crop_size", None) or {}
    height, width, shorter = side(size, "height"), side(size, "width"), side(size, "shortest_edge")
    crop_hw = (side(crop, "height", "shortest_edge"), side(crop, "width", "shortest_edge"))
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
def _quiet_transformers() -> Iterator[Any]:
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


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
