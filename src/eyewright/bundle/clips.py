"""Predict a long video or a live stream window by window, with a model for clips."""

__all__ = ["predict_windows"]

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.load import Bundle
from eyewright.bundle.streams import Carried, open_stream
from eyewright.core.errors import UsageError
from eyewright.core.prediction import Prediction
from eyewright.core.task import task_of
from eyewright.imaging.clips import check_windows, paced_frames, sliding_windows
from eyewright.imaging.sources.frames import Frame


def predict_windows(
    bundle: Bundle, frames: Iterable[Frame], *, window_s: float, hop_s: float, conf: float | None = None
) -> Iterator[Prediction]:
    """Yield a prediction for every window of `window_s` seconds, each `hop_s` after the last.

    `start_s` and `end_s` of a prediction are seconds since the first frame, `time_s` is `end_s`. A bundle with a model
    for streams computes each frame once, and knows the mean picture from before the window too; any other computes
    all frames of every window.

    Raises:
        UsageError: the model is not for clips, or a window or hop of no length, or a window shorter than the span that
            the model sees.
    """
    clip = bundle.preparation.clip
    if clip is None:
        raise UsageError(
            f"windows of time are not supported for {task_of(bundle.task_name).words.noun}", fix="use a video model"
        )
    if clip.span_s is not None and window_s < clip.span_s - 1e-9:
        raise UsageError(
            f"expected windows of at least the {clip.span_s:g} s that the model sees, found {window_s:g} s",
            fix=f"pass --window {clip.span_s:g}",
        )
    origin = ""

    def watched() -> Iterator[Frame]:
        nonlocal origin
        for frame in frames:
            origin = frame.origin
            yield frame

    stream = open_stream(bundle)
    if stream is not None:
        check_windows(window_s, hop_s)
        for index, (found, start_s, end_s) in enumerate(_carried(bundle, stream, watched(), window_s, hop_s, conf)):
            yield replace(found, source=origin, index=index, time_s=end_s, start_s=start_s, end_s=end_s)
        return
    windows = sliding_windows(watched(), clip, window_s=window_s, hop_s=hop_s)
    for index, window in enumerate(windows):
        (found,) = bundle.predict_images([window.strip], conf=conf)
        yield replace(
            found, source=origin, index=index, time_s=window.end_s, start_s=window.start_s, end_s=window.end_s
        )


def _carried(
    bundle: Bundle, stream: Carried, frames: Iterable[Frame], window_s: float, hop_s: float, conf: float | None
) -> Iterator[tuple[Prediction, float, float]]:
    """Yield predictions with their times, at the times of `sliding_windows`."""
    clip = bundle.preparation.clip
    assert clip is not None
    one = bundle.preparation.frame()
    step_s = (clip.span_s or window_s) / (clip.frames - 1)
    first_s: float | None = None
    now = due_s = 0.0
    probabilities: NDArray[np.float32] | None = None
    given_s = -math.inf

    def read(start_s: float) -> tuple[Prediction, float, float]:
        assert probabilities is not None
        (found,) = bundle.read({"probabilities": probabilities}, (place,), conf=conf)
        return found, max(0.0, start_s), now

    for frame, count in paced_frames(frames, clip, step_s=step_s):
        time_s = frame.time_s or 0.0
        if first_s is None:
            first_s, due_s = time_s, window_s
        now = time_s - first_s
        if count:
            pixels, place = one(frame.image)
            for _ in range(count):
                probabilities = stream.push(pixels)
        if now + 1e-9 < due_s:
            continue
        yield read(now - window_s)
        given_s = now
        due_s += hop_s * max(1, math.ceil((now + 1e-9 - due_s) / hop_s))
    if probabilities is not None and now > given_s:
        # The last window ends with the video.
        yield read(now - window_s)
