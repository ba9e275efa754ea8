"""The torch target: a `torch.export` program, without the code that made the net and without pickle."""

__all__ = ["FILE", "program_session", "write_program"]

import io
import json
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eyewright.core.errors import BundleError, RefusedError
from eyewright.core.files import write_bytes
from eyewright.nets.pixels import PixelNet
from eyewright.training.learner import learner_of

FILE = "model.pt2"
"""What a target's program is called."""


def write_program(
    net: PixelNet, out: Path, *, task: str, temperature: float, size_hw: tuple[int, int], channels: int
) -> None:
    """Write `model.pt2` into the folder `out`: uint8 (N, H, W, C) in, the task's arrays out, N open.

    Raises:
        RefusedError: the net holds an operation that cannot be exported.
    """
    model = learner_of(task).answers(net, temperature=temperature).eval()
    example = torch.zeros(2, *size_hw, channels, dtype=torch.uint8)
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
            # An example of the inputs would be stored as a pickle.
            program.example_inputs = None
            torch.export.save(program, buffer)
    except Exception as error:  # the exporter raises many types of its own
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise RefusedError(
            f"the net cannot be exported by torch.export: {reason}", fix="export to onnx", code="target_operator"
        ) from error
    _refuse_pickle(buffer.getvalue())
    write_bytes(out / FILE, buffer.getvalue())


def program_session(data: Mapping[str, bytes]) -> "ProgramSession":
    """Open a target's program.

    Raises:
        BundleError: it cannot be opened, or holds a pickle.
    """
    content = data[FILE]
    _refuse_pickle(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(io.BytesIO(content))
        return ProgramSession(program.module())
    except Exception as error:  # as above
        raise BundleError(f"torch cannot open the program: {error}", fix="export it again") from error


class ProgramSession:
    """A program, run as ONNX Runtime's session is."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def run(self, names: Sequence[str], feeds: Mapping[str, NDArray[Any]], options: Any = None) -> list[NDArray[Any]]:
        """Return the outputs, in the order of the task."""
        (pixels,) = feeds.values()
        # A program of an open batch does not take one image alone where it was made from two.
        alone = len(pixels) == 1
        given = np.concatenate([pixels, pixels]) if alone else pixels
        with torch.inference_mode():
            found = self._module(torch.from_numpy(np.ascontiguousarray(given)))
        parts = found if isinstance(found, tuple) else (found,)
        return [p.numpy()[: len(pixels)] for p in parts]


def _refuse_pickle(content: bytes) -> None:
    """Refuse an archive in which anything would be unpickled, before torch sees it."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            # torch stores and does not compress: what is packed here could grow without end.
            if any(e.compress_type != zipfile.ZIP_STORED or e.file_size > e.compress_size for e in archive.infolist()):
                raise BundleError("the program is compressed, which torch's own files are not", fix="export it again")
            for name in archive.namelist():
                if not name.endswith((".json", ".pt", ".pkl")):
                    continue
                data = archive.read(name)
                if name.endswith(".json") and _asks_for_pickle(json.loads(data)):
                    raise BundleError("the program holds a pickle", fix="export it again")
                # Ours are empty: there are no examples of inputs in what we write, in whatever form.
                if name.endswith((".pt", ".pkl")) and data:
                    raise BundleError("the program holds a pickle", fix="export it again")
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, RecursionError, EOFError) as error:
        raise BundleError(f"the program is damaged: {error}", fix="export it again") from error


def _asks_for_pickle(content: Any) -> bool:
    if isinstance(content, dict):
        return content.get("use_pickle") is True or any(_asks_for_pickle(v) for v in content.values())
    return isinstance(content, list) and any(_asks_for_pickle(v) for v in content)
