"""The model for streams of a bundle of clips: each frame is computed once, and what is known of the past is carried."""

__all__ = ["STATES", "STREAM_MODEL", "Carried", "open_stream"]

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.load import Bundle
from eyewright.bundle.session import first_line, open_session
from eyewright.core.errors import BundleError, plain_reason

STREAM_MODEL = "onnx/stream.onnx"
"""Where it lies in a bundle."""

STATES = ("still", "before", "seen", "features")
"""The names of the state's arrays; those of the next state begin with `next_`."""


class Carried:
    """A stream's state, and the session that takes it from one frame to the next. One stream has one of them."""

    def __init__(self, session: Any) -> None:
        self._session = session
        inputs = {i.name: i.shape for i in session.get_inputs()}
        outputs = {o.name for o in session.get_outputs()}
        whole = all(isinstance(n, int) for shape in inputs.values() for n in shape)
        if set(inputs) != {"frame", *STATES} or not {"probabilities", *_next()} <= outputs or not whole:
            raise BundleError(
                f"expected {STREAM_MODEL} with a frame and its state, found {', '.join(sorted(inputs))}",
                fix="export the model again",
            )
        self._shapes = inputs
        self._state: dict[str, NDArray[np.float32]] = {}
        self.begin()

    def begin(self) -> None:
        """Forget what was seen."""
        self._state = {name: np.zeros(self._shapes[name], np.float32) for name in STATES}

    def push(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return probabilities, (1, C), after the next prepared frame, uint8 (H, W, C).

        Raises:
            BundleError: the model fails.
        """
        feeds = {"frame": np.ascontiguousarray(frame[None]), **self._state}
        try:
            found, *state = self._session.run(["probabilities", *_next()], feeds)
        except Exception as error:  # runtimes raise many types of their own, none of them documented
            raise BundleError(
                f"the model for streams cannot be run: {first_line(error)}", fix="export the model again"
            ) from error
        self._state = dict(zip(STATES, state, strict=True))
        probabilities: NDArray[np.float32] = found
        return probabilities


def _next() -> list[str]:
    return [f"next_{s}" for s in STATES]


def open_stream(bundle: Bundle) -> Carried | None:
    """Return a new stream of a bundle's model for streams, if it has one.

    Raises:
        BundleError: it has been changed, or cannot be opened.
    """
    entry = bundle.manifest.files.get(STREAM_MODEL)
    if entry is None:
        return None
    try:
        content = (bundle.folder / STREAM_MODEL).read_bytes()
    except OSError as error:
        raise BundleError(
            f"{STREAM_MODEL!r} cannot be read: {plain_reason(error)}", fix="copy the bundle again"
        ) from None
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise BundleError(f"{STREAM_MODEL!r} has been changed since it was exported", fix="copy the bundle again")
    return Carried(open_session(content))
