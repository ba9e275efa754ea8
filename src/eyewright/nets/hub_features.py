"""The features of published networks: of any checkpoint that transformers opens as a body, from a local folder."""

__all__ = ["hub_features"]

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import CheckpointError, MissingExtraError
from eyewright.core.quoting import quoted
from eyewright.nets.hub_bodies import described, open_body
from eyewright.nets.hub_files import check_checkpoint
from eyewright.nets.hub_library import pixel_values, quiet_transformers, reading

_BATCH = 16


def hub_features(name: str, images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return a description of each image, float32 (N, D), by the checkpoint at `hf:FOLDER`.

    It is the checkpoint's own image embedding where it has one, its pooled output, or the mean of its last layer.
    Nothing is fetched, and no code of the checkpoint is run. `images` are uint8 (H, W, 3) RGB.

    Raises:
        MissingExtraError: transformers is not installed.
        CheckpointError: no such folder, no safetensors, or no net for images.
    """
    from importlib.util import find_spec

    if find_spec("transformers") is None:
        raise MissingExtraError(f"{name!r} needs transformers", fix="pip install 'eyewright[hf]'")
    folder = Path(name.removeprefix("hf:")).expanduser()
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"expected a folder with config.json after 'hf:', found none at {quoted(folder)}", fix="check the path"
        )
    if not any(folder.glob("*.safetensors")):
        raise CheckpointError(
            f"expected model.safetensors in {name!r}, found no weights", fix="use a checkpoint in safetensors"
        )
    check_checkpoint(folder, name)
    with quiet_transformers() as transformers:
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        with reading(f"the checkpoint {name!r}"):
            processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil", **local)
            model = open_body(transformers, folder, name)
        model.eval()
        parts: list[NDArray[np.float32]] = []
        batch: list[NDArray[np.uint8]] = []

        def flush() -> None:
            if batch:
                with reading(f"{name!r} cannot be run, or what it gives"):
                    pixels = pixel_values(processor, list(batch), kind="pt")
                    parts.append(described(model, pixels))
                batch.clear()

        for image in images:
            batch.append(image)
            if len(batch) == _BATCH:
                flush()
        flush()
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
