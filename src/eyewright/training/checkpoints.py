"""Checkpoints: one safetensors file each, whose header carries the state as JSON and the digest of both. No pickle."""

__all__ = ["CheckpointState", "load_newest", "read_tensors", "save_best", "save_last", "unshared"]

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from eyewright.core.errors import CheckpointError, plain_reason
from eyewright.core.files import checked_output, write_bytes
from eyewright.core.jsonable import dumps_json
from eyewright.core.quoting import quoted


@dataclass(frozen=True)
class CheckpointState:
    """Where training stands: steps done, the best score so far, seconds spent, whose recipe it is, and whether it is
    computed in bfloat16; `guard` is what keeps the training images private (`plan.Guard.state`).

    Every random draw is a function of (seed, step), so no generator's state needs to be kept.
    """

    step: int
    best_score: float | None
    best_epoch: int
    improved_epoch: int
    elapsed_s: float
    recipe_digest: str
    history: tuple[Mapping[str, str], ...] = ()
    low_precision: bool = False
    guard: Mapping[str, Any] | None = None


def save_last(folder: Path, tensors: Mapping[str, Tensor], state: CheckpointState) -> None:
    """Write `last`, keeping the one before as `previous`: a file that is found damaged leaves one to go back to."""
    path = folder / "last" / "state.safetensors"
    if path.exists():
        before = folder / "previous" / "state.safetensors"
        with checked_output(before):
            before.parent.mkdir(parents=True, exist_ok=True)
            # A second name for the same file: at no instant is there none.
            staged = before.with_name(".state.tmp")
            staged.unlink(missing_ok=True)
            os.link(path, staged)
            try:
                os.replace(staged, before)
            finally:
                staged.unlink(missing_ok=True)
    _write(path, tensors, asdict(state))


def save_best(folder: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write `best`: the weights that validate best, as they will be exported."""
    _write(folder / "best" / "model.safetensors", tensors, about)


def unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors on the CPU, each with memory of its own: published nets have weights under several names."""
    plain: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().to("cpu").contiguous()
        plain[name] = own.clone() if own.numel() and own.data_ptr() in seen else own
        seen.add(own.data_ptr())
    return plain


def load_newest(folder: Path) -> tuple[dict[str, Tensor], CheckpointState, str]:
    """Return the newest undamaged checkpoint, and a sentence if it is not the last one.

    Raises:
        CheckpointError: there is none.
    """
    damage = ""
    for name in ("last", "previous"):
        path = folder / name / "state.safetensors"
        if not path.exists():
            continue
        try:
            tensors, about = read_tensors(path)
            history = tuple(about.pop("history", ()))
            return tensors, CheckpointState(**about, history=history), damage
        except CheckpointError as error:
            damage = f"{error.message}; the checkpoint before it is used"
    raise CheckpointError(
        damage.partition(";")[0] or f"expected a checkpoint in {quoted(folder)}, found none",
        fix="train without --resume",
    )


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint and check its digest.

    Raises:
        CheckpointError: missing, cut off or changed.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = dict(file.metadata() or {})
            # Copied: what is mapped keeps the file open, and Windows replaces no such file.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"the checkpoint {quoted(path)} cannot be read: {plain_reason(error)}", fix="train again"
        ) from error
    if about.get("sha256") != _digest(tensors, about.get("state", "")):
        raise CheckpointError(f"the checkpoint {quoted(path)} has been changed or damaged", fix="train again")
    state: dict[str, Any] = json.loads(about["state"])
    return tensors, state


def _write(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    plain = unshared(tensors)
    state = dumps_json(about)
    write_bytes(path, save(plain, metadata={"state": state, "sha256": _digest(plain, state)}))


def _digest(tensors: Mapping[str, Tensor], state: str) -> str:
    digest = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()
