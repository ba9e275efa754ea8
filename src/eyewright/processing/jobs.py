"""What one worker process does for a batch: read a file, apply steps, write the result."""

__all__ = ["process_file", "processed_bytes"]

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.files import write_bytes
from eyewright.imaging.decode import probe_image, read_image
from eyewright.imaging.encode import DEEP_FORMATS, encode_image
from eyewright.imaging.headers import Limits
from eyewright.imaging.steps import Steps
from eyewright.imaging.steps.geometry import target_hw
from eyewright.processing.losses import reading_losses

_GREY = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"})


def process_file(request: Mapping[str, Any], payload: bytes) -> tuple[dict[str, Any], NDArray[Any] | None]:
    """Process one file and write the result without metadata; return its size, the bytes in and out, in words
    what of the file the result does not hold, and the SHA-256 of the result.

    The request holds `path`, `out`, `format`, `steps` (JSON), `quality`, `seed`, `draft` and `limits`.
    """
    answer, data = processed_bytes(request)
    write_bytes(Path(request["out"]), data)
    return answer, None


def processed_bytes(request: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Process one file; return what `process_file` returns, and the bytes of the result, which is not written."""
    # One thread of OpenCV for one worker: the batch already has a worker for every core.
    with contextlib.suppress(ImportError):
        import cv2

        cv2.setNumThreads(1)
    source = Path(request["path"])
    limits = Limits(**request["limits"])
    image = read_native(source, Steps.from_json(request["steps"]), limits, draft=request["draft"])
    lost = reading_losses(source, probe_image(source, limits=limits), limits=limits)
    before = image.shape[:2]
    done = Steps.from_json(request["steps"])(image, seed=int(request["seed"]))
    if done.dtype == np.uint16 and request["format"] not in DEEP_FORMATS:
        lost.append("the low byte of 16 bits")
        done = (done >> 8).astype(np.uint8)
    data = encode_image(done, format=request["format"], quality=float(request["quality"]))
    answer = {
        "before_hw": before,
        "after_hw": done.shape[:2],
        "bytes_in": source.stat().st_size,
        "bytes_out": len(data),
        "lost": lost,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return answer, data


def read_native(source: Path, steps: Steps, limits: Limits, *, draft: bool = False) -> NDArray[Any]:
    """Read a file as the steps want it: grey stays (H, W), 16 bits stay 16, floats are refused."""
    info = probe_image(source, limits=limits)
    at_least = None
    if draft and steps.steps and steps.steps[0].name == "resize" and info.format == "JPEG":
        values = steps.steps[0].values
        wanted = target_hw(str(values.get("size", "640")), str(values.get("side", "long")), info.size_hw)
        # Twice the size that is wanted: the resize that follows still has something to average.
        at_least = (2 * wanted[0], 2 * wanted[1])
    image: NDArray[Any] = read_image(source, depth="native", limits=limits, at_least=at_least)
    if image.dtype not in (np.uint8, np.uint16):
        image = read_image(source, limits=limits)
    return np.ascontiguousarray(image[..., 0]) if info.mode in _GREY else image
