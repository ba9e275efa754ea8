"""Predict a long video or a live stream window by window, with a model for clips."""

__all__ = ["predict_windows"]

from collections.abc import Iterable, Iterator
from dataclasses import replace

from eyewright.bundle.load import Bundle
from eyewright.core.errors import UsageError
from eyewright.core.prediction import Prediction
from eyewright.core.task import task_of
from eyewright.imaging.clips import sliding_windows
from eyewright.imaging.sources.frames import Frame


def predict_windows(
    bundle: Bundle, frames: Iterable[Frame], *, window_s: float, hop_s: float, conf: float | None = None
) -> Iterator[Prediction]:
    """Yield a prediction for every window of `window_s` seconds, each `hop_s` after the last.

    `start_s` and `end_s` of a prediction are seconds since the first frame, `time_s` is `end_s`.

    Raises:
        UsageError: the model is not for clips, or a window or hop of no length.
    """
    clip = bundle.preparation.clip
    if clip is None:
        raise UsageError(
            f"windows of time are not supported for {task_of(bundle.task_name).words.noun}", fix="use a video model"
        )
    origin = ""

    def watched() -> Iterator[Frame]:
        nonlocal origin
        for frame in frames:
            origin = frame.origin
            yield frame

    windows = sliding_windows(watched(), clip, window_s=window_s, hop_s=hop_s)
    for index, window in enumerate(windows):
        (found,) = bundle.predict_images([window.strip], conf=conf)
        yield replace(
            found, source=origin, index=index, time_s=window.end_s, start_s=window.start_s, end_s=window.end_s
        )
