"""Published networks: Hugging Face checkpoints that classify, detect or segment, from a folder or by id."""

__all__ = ["HubBuilder", "hub_builder", "snapshot"]

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from eyewright.core.errors import CheckpointError, MissingExtraError, UsageError
from eyewright.core.files import write_json
from eyewright.core.labels import LabelSpace
from eyewright.core.quoting import quoted
from eyewright.core.tokens import TokenPreparation
from eyewright.imaging.preparation import Preparation
from eyewright.imaging.sampling import ClipSampling
from eyewright.nets.hub_classifier import HubBody, head_of
from eyewright.nets.hub_clips import open_processor
from eyewright.nets.hub_files import check_checkpoint
from eyewright.nets.hub_kinds import CLASSIFIERS, HubKind
from eyewright.nets.hub_library import BGR, first_line, need_weights, quiet_transformers, reading
from eyewright.nets.hub_pairs import TOKENIZER_FILES, open_token_preparation, write_token_preparation
from eyewright.nets.hub_preprocessing import Preprocessing, prove_preprocessing, side_of

_WANTED = (
    "config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
)
_MOST_SIDE = 1024
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")


@dataclass(frozen=True)
class HubBuilder:
    """What makes a checkpoint's net: with its weights from a whole folder, without from its configuration alone.

    `name` is what the user called it, `folder` where it lies, `labels` the classes that the net will answer in.
    """

    name: str
    folder: Path
    labels: LabelSpace | None = None
    kind: HubKind = CLASSIFIERS

    def for_labels(self, labels: LabelSpace) -> "HubBuilder":
        """Return a builder for these classes: if they are the checkpoint's own, its head is kept."""
        return HubBuilder(self.name, self.folder, labels, self.kind)

    def __call__(
        self,
        n_classes: int,
        *,
        channels: int = 3,
        size_hw: tuple[int, int] = (0, 0),
        frames: int | None = None,
        dropout: float | None = None,
    ) -> nn.Module:
        """Build the net; `channels`, `size_hw` and `frames` are the preparation's and are only checked.

        Raises:
            CheckpointError: the weights are missing, pickled or not this net's.
        """
        if dropout is not None:
            raise UsageError(f"expected no dropout with {self.name!r}, whose layers are given", fix="leave it out")
        self.check_frames(frames)
        if self.kind.answers:
            with quiet_transformers() as transformers:
                return self.kind.body(self._model(transformers, None), self.texts)
        classes = self.labels.names if self.labels is not None else tuple(map(str, range(n_classes)))
        with quiet_transformers() as transformers:
            config = self._config
            own = {name: i for i, name in config.id2label.items()}
            keeps_head = set(own) == set(classes) and len(own) == len(classes)
            model = self._model(transformers, None if keeps_head else classes)
        order = [own[name] for name in classes] if keeps_head else list(range(n_classes))
        return self.kind.body(model, order, config.model_type)

    def _model(self, transformers: Any, classes: tuple[str, ...] | None) -> Any:
        if not self._weight_files:
            with torch.random.fork_rng(devices=[]):
                return getattr(transformers, self._auto).from_config(self._config)
        model = self._load(transformers, classes)
        # A configuration keeps what it does not know, so the net can be built from it alone.
        setattr(model.config, BGR, self._preprocessing.bgr)
        return model

    @cached_property
    def texts(self) -> TokenPreparation:
        """How a model that reads texts too prepares them.

        Raises:
            CheckpointError: the tokenizer is missing, or does what is not known here.
        """
        return open_token_preparation(self.folder, self.name, self._config)

    def _load(self, transformers: Any, classes: tuple[str, ...] | None) -> Any:
        new: dict[str, Any] = {}
        if classes is not None:
            new = {
                "num_labels": len(classes),
                "id2label": dict(enumerate(classes)),
                "label2id": {name: i for i, name in enumerate(classes)},
                "ignore_mismatched_sizes": True,
            }
        install = "use a checkpoint that transformers builds alone, such as DETR's revision no_timm, or install it"
        with reading(f"the checkpoint {self.name!r}", missing=install):
            model, found = getattr(transformers, self._auto).from_pretrained(
                self.folder,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
                **new,
            )
        # New classes get new heads, which transformers names as mismatched, and not as missing.
        own = () if self.kind.heads or classes is None else tuple(f"{name}." for name in head_of(model))
        missing = (
            n
            for n in found["missing_keys"]
            if not n.startswith(own or "\0") and not any(h in n for h in self.kind.heads)
        )
        need_weights(self.name, missing)
        return model

    @property
    def frames(self) -> int | None:
        """How many frames of a clip it takes, which its codes of positions fix; None for a net of images."""
        return int(self._config.num_frames) if self.kind.over_time else None

    def check_frames(self, frames: int | None) -> None:
        """Refuse another number of frames than the checkpoint's.

        Raises:
            UsageError: it is another.
        """
        if frames not in (None, self.frames):
            raise self._other_frames(frames)

    def _other_frames(self, frames: int | None) -> UsageError:
        takes = "images" if self.frames is None else f"{self.frames} frames of a clip"
        return UsageError(f"expected no frames with {self.name!r}, which takes {takes}, found {frames}", fix="omit it")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that the checkpoint was published with, in the order of its answers."""
        if self.kind.answers:
            return self.kind.answers
        with quiet_transformers():
            own = self._config.id2label
        return tuple(str(own[i]) for i in sorted(own))

    @cached_property
    def _config(self) -> Any:
        path = self.folder / "config.json"
        if not os.path.lexists(path):
            raise CheckpointError(
                f"expected a Hugging Face model in {quoted(self.folder)}, found no config.json", fix="check the path"
            )
        check_checkpoint(self.folder, self.name)
        with quiet_transformers() as transformers:
            with reading(f"the configuration of {self.name!r}", fix="use a model that transformers knows"):
                config = transformers.AutoConfig.from_pretrained(
                    self.folder, local_files_only=True, trust_remote_code=False
                )
            if self._auto_of(config, transformers) is None:
                said, fix = self.kind.refusal(config.model_type)
                raise CheckpointError(f"{self.name!r} is a {config.model_type!r}, {said}", fix=fix)
        return config

    def _auto_of(self, config: Any, transformers: Any) -> str | None:
        """Return the name of transformers' class that makes a net of this configuration do our task."""
        for name, mapping, types in self.kind.autos:
            if type(config) in getattr(transformers, mapping) and (types is None or config.model_type in types):
                return name
        return None

    @property
    def is_own(self) -> bool:
        """Return whether the checkpoint was published to do just this, not as a body for a head of ours."""
        with quiet_transformers() as transformers:
            config, named = self._config, self._auto
            mapping = next(m for name, m, _ in self.kind.autos if name == named)
            found = getattr(transformers, mapping)[type(config)]
        several = found if isinstance(found, tuple) else (found,)
        return any(one.__name__ in (config.architectures or ()) for one in several)

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
        found = self._preprocessing.preparation
        if found is None:
            raise CheckpointError(
                f"{self.name!r} takes images of any size, and here one must be chosen",
                fix="train with it, which chooses one for the images",
            )
        if self.frames is None:
            return found
        height, width = found.size_hw
        # Twice the shorter side: most frames then reach the checkpoint's own resizing as they are.
        side = min(_MOST_SIDE, max(ClipSampling().side, 2 * (found.inner or max(height, width))))
        sampling = ClipSampling(self.frames, side)
        return replace(found, size_hw=(height * self.frames, width), clip=sampling)

    @property
    def has_size(self) -> bool:
        """Return whether its preprocessing makes all images one size."""
        return self._preprocessing.preparation is not None

    def usual_edges(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Return the height and width to which the processor of a net without a fixed size brings an image."""
        with quiet_transformers():
            size = self._processor.size
        height, width = size_hw
        shorter, longest = side_of(size, "shortest_edge"), side_of(size, "longest_edge")
        scale = shorter / min(height, width) if shorter else longest / max(height, width)
        if longest:
            scale = min(scale, longest / max(height, width))
        return round(height * scale), round(width * scale)

    @cached_property
    def scaling(self) -> Mapping[str, list[float]]:
        """The model's own mean and std a channel, for pixels in [0, 1]."""
        return self._preprocessing.scaling

    @cached_property
    def _processor(self) -> Any:
        what = f"the preprocessing of {self.name!r}"
        with quiet_transformers() as transformers, reading(what, fix="add its preprocessor_config.json"):
            if self.kind.over_time:
                return open_processor(transformers, self.folder)
            return transformers.AutoImageProcessor.from_pretrained(
                self.folder, local_files_only=True, trust_remote_code=False, backend="pil"
            )

    @cached_property
    def _preprocessing(self) -> Preprocessing:
        return prove_preprocessing(self.name, self._processor, any_size=self.kind.any_size)

    def write(self, folder: Path, body: nn.Module) -> None:
        """Write what is needed to build the net again without the checkpoint: its configuration, no weights."""
        model = cast(HubBody, body).model
        write_json(folder / "config.json", json.loads(model.config.to_json_string(use_diff=False)))
        if self.kind.answers:
            write_token_preparation(self.texts, folder)


def hub_builder(name: str, kind: HubKind | None = CLASSIFIERS) -> HubBuilder:
    """Return the builder for `hf:FOLDER` or `hf:OWNER/MODEL`; an id is looked up in the local cache, then fetched.

    Only safetensors and JSON are fetched, and no code of the checkpoint is run.

    Raises:
        MissingExtraError: transformers is not installed.
        CheckpointError: no such folder or id, or it cannot be fetched.
        UsageError: a task that no checkpoint is read for.
    """
    if kind is None:
        raise UsageError(
            f"published models such as {name!r} are not supported for this task", fix="use a net of the catalogue"
        )
    from importlib.util import find_spec

    if find_spec("transformers") is None:
        raise MissingExtraError(f"{name!r} needs transformers", fix="pip install 'eyewright[hf]'")
    where = name.removeprefix("hf:")
    if not where.strip():
        raise CheckpointError("expected a folder or OWNER/MODEL after 'hf:', found nothing", fix="name the model")
    if Path(where).is_dir():
        return HubBuilder(name, Path(where), kind=kind)
    if where.count("/") != 1 or where.startswith((".", "/", "~")):
        raise CheckpointError(
            f"expected a folder or OWNER/MODEL after 'hf:', found {quoted(where)}", fix="check the path"
        )
    return HubBuilder(name, snapshot(where, TOKENIZER_FILES if kind.answers else ()), kind=kind)


def snapshot(repository: str, more: Sequence[str] = ()) -> Path:
    """Return the folder of a published model: from the local cache, else fetched; `more` are patterns of other files.

    Raises:
        CheckpointError: it is not in the cache and cannot be fetched.
    """
    wanted = [*_WANTED, *more]
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, allow_patterns=wanted, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        pass
    try:
        return Path(snapshot_download(repository, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise CheckpointError(
            f"the model {repository!r} is not in the local cache and cannot be fetched: {first_line(error)}",
            fix="check the name and the network, or pass a folder",
        ) from error
