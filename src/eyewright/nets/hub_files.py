"""The files of a checkpoint that somebody else wrote, looked over before transformers opens any of them."""

__all__ = ["check_checkpoint", "digest_of_checkpoint"]

import hashlib
import json
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eyewright.core.errors import CheckpointError
from eyewright.core.quoting import quoted
from eyewright.core.regular import digest_of, open_regular, read_regular

_FIX = "download it again"
# The largest tokenizers of published models have some 40 MB.
_LARGEST_TEXT = 256 << 20
_LARGEST_HEADER = 100 << 20
_LARGEST_WEIGHTS = 1 << 40
_READ = frozenset({".json", ".txt", ".model", ".jinja", ".safetensors"})
_LARGEST_SIDE = 8192
# Of a configuration without weights, as a run keeps it.
_MOST_LAYERS = 1_000
_LAYERS = ("num_hidden_layers", "num_layers", "num_decoder_layers", "n_layers", "encoder_layers", "decoder_layers")


def check_checkpoint(folder: Path, name: str) -> None:
    """Refuse files that are not regular or far too large, weights that contradict their header, and a configuration
    of more layers than there are weights.

    Raises:
        CheckpointError: one of them; the file is named.
    """
    n_tensors, several = 0, False
    try:
        entries = sorted(e.path for e in os.scandir(folder))
    except OSError as error:
        raise CheckpointError(f"cannot read {quoted(folder)}: {error.strerror}", fix="check the path") from None
    for entry in entries:
        path = Path(entry)
        if path.suffix not in _READ or (path.exists() and stat.S_ISDIR(path.stat().st_mode)):
            continue
        if path.suffix == ".safetensors":
            n_tensors += _n_tensors(path)
            continue
        with open_regular(path, most=_LARGEST_TEXT, error=CheckpointError, fix=_FIX, follow=True):
            several |= path.name.endswith(".index.json")
    if several:
        _check_parts(folder)
    config = _json(folder / "config.json", name)
    _check_layers(config, n_tensors, name)
    for given in ("preprocessor_config.json", "processor_config.json"):
        if (folder / given).exists():
            _check_sides(_json(folder / given, name), given, name)


def _json(path: Path, name: str) -> Mapping[str, Any]:
    try:
        found = json.loads(read_regular(path, most=_LARGEST_TEXT, error=CheckpointError, fix=_FIX, follow=True))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"the {path.name} of {name!r} cannot be read: {' '.join(str(error).split())[:120]}", fix=_FIX
        ) from None
    if not isinstance(found, dict):
        raise CheckpointError(f"expected an object in the {path.name} of {name!r}, found another JSON", fix=_FIX)
    return found


def _n_tensors(path: Path) -> int:
    """Return how many tensors a file holds, whose header must describe all of it."""
    with open_regular(path, most=_LARGEST_WEIGHTS, error=CheckpointError, fix=_FIX, follow=True) as file:
        size, start = os.fstat(file.fileno()).st_size, file.read(8)
        if not size:
            # Whoever needs the weights is told so by who opens them.
            return 0
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        try:
            if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
                raise ValueError("its header has no length")
            header = json.loads(file.read(length))
            ends = [int(v["data_offsets"][1]) for k, v in header.items() if k != "__metadata__"]
        except (ValueError, RecursionError, KeyError, TypeError, IndexError, AttributeError) as error:
            said = " ".join(str(error).split())[:120]
            raise CheckpointError(f"the checkpoint {quoted(path)} cannot be read: {said}", fix=_FIX) from None
    described = 8 + length + max(ends, default=0)
    if described != size:
        raise CheckpointError(
            f"the checkpoint {quoted(path)} cannot be read: it has {size:,} bytes, its header describes {described:,}",
            fix=_FIX,
        )
    return len(ends)


def _check_parts(folder: Path) -> None:
    """Refuse an index of weights that names a file outside its folder."""
    for path in folder.glob("*.safetensors.index.json"):
        parts = _json(path, str(folder)).get("weight_map")
        names = parts.values() if isinstance(parts, dict) else [None]
        for part in names:
            if not isinstance(part, str) or os.path.basename(part) != part or not (folder / part).is_file():
                raise CheckpointError(f"{quoted(path)} names weights that are not there: {str(part)[:80]!r}", fix=_FIX)


def _check_layers(config: Mapping[str, Any], n_tensors: int, name: str) -> None:
    most = n_tensors or _MOST_LAYERS
    for key, value in _numbers(config, _LAYERS):
        # Every layer has a tensor at least, so that no configuration builds more than there is.
        if not isinstance(value, int) or not 1 <= value <= most:
            raise CheckpointError(
                f"the configuration of {name!r} has {key}: {str(value)[:40]}, and there are {n_tensors:,} weights",
                fix=_FIX,
            )


def _check_sides(config: Mapping[str, Any], file: str, name: str) -> None:
    for key in ("size", "crop_size"):
        size = config.get(key)
        sides = size.values() if isinstance(size, dict) else [size]
        for side in sides:
            if isinstance(side, int | float) and not 1 <= side <= _LARGEST_SIDE:
                raise CheckpointError(
                    f"the {file} of {name!r} has {key}: {str(side)[:40]}, expected 1 to {_LARGEST_SIDE} pixels",
                    fix=_FIX,
                )


def _numbers(config: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict) and key.endswith("config"):
            yield from _numbers(value, names)
        elif key in names and value is not None:
            yield key, value


def digest_of_checkpoint(folder: Path) -> str:
    """Return one SHA-256 of all files of a checkpoint that its answers depend on.

    Raises:
        CheckpointError: one of them cannot be read.
    """
    whole = hashlib.sha256()
    for path in sorted(p for end in ("json", "safetensors", "txt", "model") for p in folder.glob(f"*.{end}")):
        digest, _ = digest_of(path, most=_LARGEST_WEIGHTS, error=CheckpointError, follow=True)
        whole.update(path.name.encode() + b"\0" + bytes.fromhex(digest))
    return whole.hexdigest()
