"""Follow one object through a source, from its box in the first frame."""

__all__ = ["OneFrame", "track_one"]

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Finding
from eyewright.imaging.sources import open_source
from eyewright.imaging.sources.sampling import frame_times, sample_by_time
from eyewright.tracking.single import SinglePrediction, SingleTracker


@dataclass(frozen=True, eq=False)
class OneFrame:
    """One frame of `track_one`: uint8 (H, W, 3) RGB, its index and time, and where the object is."""

    image: NDArray[np.uint8]
    index: int
    time_s: float
    found: SinglePrediction


def track_one(
    source: Any,
    box_xywh: tuple[float, float, float, float],
    *,
    method: str = "csrt",
    fps: float | None = None,
    rate: float | None = None,
    stride: int = 1,
    max_frames: int | None = None,
    latest: bool = False,
    note: Callable[[Finding], None] | None = None,
) -> Iterator[OneFrame]:
    """Yield every frame of a source with the place of the object that is in `box_xywh` in the first one, or "lost".

    `method` is one of `tracking.single.SINGLE_METHODS`; the file of `onnx:FILE` is the caller's own. `note` takes what
    `open_source` leaves out.

    Raises:
        UsageError: a box that is not valid, or an unknown method.
        BundleError: a file that is not such a model.
        InputError: the source cannot be read.
    """
    if method.startswith("onnx:") and Path(method[5:]).is_file():
        from eyewright.bundle.onnx_scan import refuse_outside_data

        refuse_outside_data(Path(method[5:]).read_bytes())
    tracker = SingleTracker(method)
    most = None if rate else max_frames
    with open_source(source, stride=stride, max_frames=most, latest=latest, pages=True, note=note) as opened:
        frames = frame_times(opened, fps=fps)
        if rate is not None:
            frames = sample_by_time(frames, rate)
        for given, frame in enumerate(frames, 1):
            if given == 1:
                tracker.start(frame.image, box_xywh)
                x, y, w, h = box_xywh
                found = SinglePrediction("tracked", np.array([x, y, x + w, y + h], np.float64), 1.0)
            else:
                found = tracker.update(frame.image)
            yield OneFrame(frame.image, frame.index, float(frame.time_s or 0.0), found)
            if max_frames is not None and given >= max_frames:
                return
