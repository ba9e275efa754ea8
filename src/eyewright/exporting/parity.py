"""The parity gate: the exported model must answer as the trained one does, on real files, from the bytes up."""

__all__ = ["DECISION_MARGIN", "TOLERANCE", "Parity", "check_parity"]

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import ParityError
from eyewright.core.predictor import Predictor
from eyewright.data.dataset import Dataset

TOLERANCE = 1e-4
"""Largest difference of a probability between the trained net and the bundle."""

_CHUNK = 128


@dataclass(frozen=True)
class Parity:
    """What the gate saw: largest |difference| of a probability, answers that differ, and the number of images."""

    worst: float
    decisions_changed: int
    n: int
    tolerance: float = TOLERANCE


def check_parity(
    trained: Predictor,
    exported: Predictor,
    dataset: Dataset,
    *,
    trained_pixels: Callable[[NDArray[np.int64]], NDArray[np.uint8]] | None = None,
) -> Parity:
    """Compare two models on every image of `dataset`, each through its own preparation.

    The trained side sees what training saw: `trained_pixels(indices)` if given (the training cache), else the
    trained model's own preparation of the decoded file. The exported side starts from the file again, so a fault
    anywhere on its way (decoding, orientation, resizing, channel order, scaling) fails the gate.

    Raises:
        ParityError: a probability differs by more than 1e-4, or an answer differs.
    """
    worst, changed = 0.0, 0
    for start in range(0, len(dataset), _CHUNK):
        chosen = np.arange(start, min(start + _CHUNK, len(dataset)))
        images = [dataset.image(int(i)) for i in chosen]
        pixels = trained.preparation.batch(images)[0] if trained_pixels is None else trained_pixels(chosen)
        ours = trained.raw(pixels)["probabilities"]
        theirs = exported.raw(exported.preparation.batch(images)[0])["probabilities"]
        if ours.shape != theirs.shape:
            raise ParityError(f"expected probabilities {ours.shape}, found {theirs.shape}", fix="export again")
        worst = max(worst, float(np.abs(ours - theirs).max()))
        differs = ours.argmax(1) != theirs.argmax(1)
        if differs.any():
            # Two classes level to the last bits may change places; that is no other decision.
            rows = np.flatnonzero(differs)
            gap = ours[rows, ours[rows].argmax(1)] - ours[rows, theirs[rows].argmax(1)]
            changed += int((gap > DECISION_MARGIN).sum())
    if not worst <= TOLERANCE or changed:
        raise ParityError(
            f"the exported model differs from the trained one: by up to {worst:.3g} in a probability "
            f"(allowed {TOLERANCE:g}), in {changed} of {len(dataset)} answers",
            fix="nothing was exported; check the preparation and the net's operations",
        )
    return Parity(worst, changed, len(dataset))


DECISION_MARGIN = 1e-6
