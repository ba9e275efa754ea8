"""Which layers bear being made smaller: each alone, everything else as it was."""

__all__ = ["layer_sensitivity", "pruning_sensitivity", "score_on_validation"]

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eyewright.bundle.load import Bundle
from eyewright.compression.pruning import layer_costs, prune_channels
from eyewright.compression.quantising import Calibrated, quantisable_layers, quantise_static
from eyewright.compression.trials import Parent, Precise, candidate_bundle
from eyewright.core.errors import RefusedError
from eyewright.core.task import task_of
from eyewright.nets.pixels import PixelNet
from eyewright.training.learner import learner_of
from eyewright.training.loop import FitData, run_through

_IMAGES = 64
_HALF = 0.5
_MOST_LAYERS = 64


def layer_sensitivity(
    model: bytes, calibrated: Calibrated, base: Bundle, pixels: NDArray[np.uint8]
) -> list[tuple[str, float]]:
    """Round one layer after another to 8 bits, all others in float; return the mean squared change of the answers.

    The most sensitive layer comes first. Of a large model only the 64 layers that are computed first are looked at.
    """
    some = pixels[:_IMAGES]
    wanted = candidate_bundle(base, Precise(model, "float32")).raw(some)
    name = "scores" if "scores" in wanted else task_of(base.task_name).output_names[0]
    layers = quantisable_layers(calibrated.model)
    found = []
    for layer in layers[:_MOST_LAYERS]:
        rounded = quantise_static(calibrated, keep=[n for n in layers if n != layer])
        answers = candidate_bundle(base, Precise(rounded, "int8")).raw(some)[name]
        found.append((layer, float(np.square(answers.astype(np.float64) - wanted[name]).mean())))
    return sorted(found, key=lambda one: -one[1])


def score_on_validation(parent: Parent) -> Callable[[PixelNet], float]:
    """Return a function that measures a net's main metric on at most 128 evenly chosen validation images."""
    data, preparation = parent.data.val, parent.bundle.preparation
    few = data.with_samples(data.samples[:: max(1, len(data) // 128)])
    pixels, placements = preparation.batch(list(few.examples(preparation)))
    learner = learner_of(data.task)
    sizes = [place.source_hw for place in placements]
    targets = learner.targets(few, sizes, preparation, f"sensitivity {parent.digest}")
    recipe = parent.known_run.recipe
    seen = learner.fed(FitData(pixels, targets, pixels, targets), recipe, few, preparation)
    learning = learner.learn(parent.net, seen, recipe, few, preparation)

    def score(net: PixelNet) -> float:
        kept = run_through(net, seen.val_pixels, seen.val_targets, learning.condense, torch.device("cpu"))
        return float(learning.measure(kept, seen.val_targets)[learning.main_metric])

    return score


def pruning_sensitivity(
    parent: Parent, *, until: float, now: Callable[[], float] = time.monotonic
) -> list[dict[str, Any]]:
    """Halve the channels of one layer after another, without learning again; return what that costs on validation
    images.

    One row per layer: its name, its fraction of all multiplications, the main metric before and after. Layers that
    depend on each other lose channels together. Ends at `until`, a value of `now`.

    Raises:
        RefusedError: the net cannot be taken apart.
        MissingExtraError: torch-pruning is not installed.
    """
    net, score = parent.net, score_on_validation(parent)
    before = score(net)
    costs = layer_costs(net, size_hw=parent.size_hw, channels=parent.channels)
    whole = sum(c.work for c in costs) or 1
    rows: list[dict[str, Any]] = []
    for cost in costs:
        if now() > until:
            break
        try:
            pruned = prune_channels(net, {cost.name: _HALF}, size_hw=parent.size_hw, channels=parent.channels)
        except RefusedError:
            if not rows:
                raise
            continue
        row = {"layer": cost.name, "channels": cost.channels, "work": round(cost.work / whole, 4)}
        rows.append({**row, "before": round(before, 4), "after": round(score(pruned), 4)})
    return rows
