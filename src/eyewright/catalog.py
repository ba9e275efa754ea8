"""What there is, by name: literal dicts, imported late so that listing them costs nothing."""

__all__ = ["MODELS", "build_of", "nets_of", "tasks_of_net"]

import importlib
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from eyewright.core.checkpoints import published_fix
from eyewright.core.errors import UsageError, spelling_hint
from eyewright.core.installed import import_own, installed, open_installed
from eyewright.core.task import task_names, task_of

MODELS = MappingProxyType(
    {
        "quick_net": (
            "vector", "eyewright.nets:quick_net", "default for small images: whitened stem, 0.1-0.2 M weights",
        ),
        "photo_net": (
            "vector", "eyewright.nets:photo_net", "default for photographs: whitened stem, residual, ~0.9 M weights",
        ),
        "conv_net": ("vector", "eyewright.nets:conv_net", "the founding article's network, as printed"),
        "mlp": ("vector", "eyewright.nets:mlp", "multilayer perceptron, 256 and 128 hidden"),
        "resnet": ("vector", "eyewright.nets:resnet", "residual network of basic blocks, ~2.8 M weights"),
        "vit": (
            "vector", "eyewright.nets:vit", "small vision transformer whose attention can be read, ~0.8 M weights",
        ),
        "private_net": (
            "vector", "eyewright.nets.private:private_net", "for --private: tempered sigmoids, group norm, ~0.03 M",
        ),
        "scatter_linear": (
            "vector", "eyewright.nets.private:scatter_linear", "default for --private: linear on scattering",
        ),
        "gru_net": (
            "vector over time", "eyewright.nets.clips:gru_net", "default for clips: frame encoder, GRU, 0.3 M weights",
        ),
        "lstm_net": ("vector over time", "eyewright.nets.clips:lstm_net", "frame encoder and LSTM"),
        "gru_stream_net": (
            "vector over time", "eyewright.nets.clips:gru_stream_net", "gru_net for streams: encodes each frame once",
        ),
        "lstm_stream_net": (
            "vector over time", "eyewright.nets.clips:lstm_stream_net", "lstm_net for streams: encodes each frame once",
        ),
        "clip_former": (
            "vector over time", "eyewright.nets.clips:clip_former", "frame encoder and transformer over time",
        ),
        "mean_net": (
            "vector over time", "eyewright.nets.clips:mean_net", "frame encoder and mean: the order-blind baseline",
        ),
        "spot_net": (
            "boxes", "eyewright.nets:spot_net", "default detector: one stage, anchor-free, ~1.3 M weights",
        ),
        "pair_net": (
            "embedding", "eyewright.nets.pairs:pair_net", "default for captions: pair_ridge and a net in addition",
        ),
        "pair_ridge": (
            "embedding", "eyewright.nets.pairs:pair_ridge", "fixed features and ridge to captions, in seconds",
        ),
        "outline_net": (
            "pixels", "eyewright.nets:outline_net", "default segmenter: encoder-decoder, sub-pixel, ~1.2 M weights",
        ),
        "crnn": (
            "classes a step", "eyewright.nets.readers:crnn", "default reader of lines: convolutions, LSTM, CTC",
        ),
        "crnn_gru": ("classes a step", "eyewright.nets.readers:crnn_gru", "convolutions, GRU, CTC"),
        "fine_net": (
            "image", "eyewright.nets:fine_net", "default restorer: half resolution, knows the noise, ~0.4 M weights",
        ),
        "partial_net": (
            "image", "eyewright.nets:partial_net", "default net for holes: partial convolutions, U-Net, ~0.4 M weights",
        ),
        "gan_net": (
            "drawn image", "eyewright.nets:gan_net", "generator against a discriminator (GAN): one pass, 1.2 M weights",
        ),
        "flow_net": (
            "drawn image", "eyewright.nets:flow_net", "default generator: rectified flow, 8 passes, 1.4 M weights",
        ),
        "spot_mask_net": (
            "boxes and masks",
            "eyewright.nets:spot_mask_net",
            "default for instances: spot_net with a mask for every object",
        ),
    }
)  # fmt: skip
"""Networks by the name that `--model` takes: what they answer (`Task.net`), where the builder is, a line about it."""


def nets_of(task: str) -> list[str]:
    """Return the nets of the catalogue that answer what a task asks."""
    return [name for name, (answers, _, _) in MODELS.items() if answers == task_of(task).net]


def tasks_of_net(name: str) -> list[str]:
    """Return the tasks that a net of the catalogue can be trained for, those that are built in first.

    >>> tasks_of_net("spot_net")
    ['detect']
    """
    return [task for task in task_names() if task_of(task).net == MODELS[name][0]]


def _tasks_with(answers: str) -> str:
    return " or ".join(repr(n) for n in task_names() if task_of(n).net == answers)


def build_of(name: str, task: str = "classify") -> Callable[..., Any]:
    """Return the builder for a catalogue name, one of an installed package (entry points of "eyewright.nets"), `hf:`
    and a folder or id, or the user's own `package.module:function`.

    A builder is called as `builder(n_classes, channels=..., size_hw=...)` and gives a `torch.nn.Module` from
    normalised float (N, C, H, W) to what `Task.net` says: logits (N, n_classes) for "vector", (N, n_classes, H, W) for
    "pixels", a `nets.Detections` for "boxes" and "boxes and masks". A builder of a package is for classification unless
    its attribute `task` names another task.

    Raises:
        UsageError: no such name, one of another task, or the user's module cannot be imported.
        CheckpointError: no such Hugging Face checkpoint.
    """
    if name in MODELS:
        answers, place, _ = MODELS[name]
        if answers != task_of(task).net:
            fix = f"use {', '.join(nets_of(task))}"
            raise UsageError(f"{name!r} is for the task {_tasks_with(answers)}, not for {task!r}", fix=fix)
        module, _, function = place.partition(":")
        builder: Callable[..., Any] = getattr(importlib.import_module(module), function)
        return builder
    if name in installed("eyewright.nets"):
        found: Callable[..., Any] = open_installed("eyewright.nets", name)
        theirs = getattr(found, "task", "classify")
        if task_of(theirs).net != task_of(task).net:
            raise UsageError(f"{name!r} is for the task {theirs!r}, not for {task!r}", fix="choose another --model")
        return found
    if name.startswith("hf:"):
        from eyewright.nets.hub import hub_builder
        from eyewright.training.learner import learner_of

        return hub_builder(name, learner_of(task).hub)
    if ":" not in name:
        known = [*nets_of(task), *installed("eyewright.nets")]
        raise UsageError(
            f"unknown model {name!r}", fix=published_fix(name, spelling_hint(name, known)), code="unknown_model"
        )
    own: Callable[..., Any] = import_own(name, "model")
    return own
