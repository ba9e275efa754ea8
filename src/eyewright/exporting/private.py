"""What a bundle of a private run holds, and what it does not: checked against the checkpoint before it is claimed."""

__all__ = ["noise_images", "private_claim", "say_private"]

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import RefusedError
from eyewright.core.rng import generator
from eyewright.privacy.accounting import Steps, epsilon_of
from eyewright.training.checkpoints import load_newest
from eyewright.training.run import Run


def private_claim(run: Run) -> dict[str, Any] | None:
    """Return what a run claims of its privacy; None where it was not trained privately.

    Raises:
        RefusedError: the claim is not what the run's checkpoint counted, or not what its noise costs.
    """
    about = run.about.get("privacy")
    if about is None and not run.recipe.private:
        return None
    try:
        claim = dict(about or {})
        _, state, _ = load_newest(run.folder / "checkpoints")
        counted = dict(state.guard or {})
        done = [Steps(**s) for s in claim["released"]] + [Steps(claim["noise"], claim["rate"], claim["steps"])]
        spent = epsilon_of(done, claim["delta"])
        same = (
            all(counted[k] == claim[k] for k in ("noise", "rate", "delta")) and counted["noise_steps"] == claim["steps"]
        )
        if not same or abs(spent - claim["epsilon"]) > 1e-9 * spent or abs(spent - counted["epsilon"]) > 1e-9 * spent:
            raise RefusedError(
                f"the run claims epsilon {claim['epsilon']:.6g}, and its checkpoint counted {counted['noise_steps']:,} "
                f"steps that cost {spent:.6g}",
                fix="train it again",
            )
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(f"the run's claim of privacy is damaged: {error!r}", fix="train it again") from error
    return claim


def noise_images(size_hw: tuple[int, int], n: int) -> list[NDArray[np.uint8]]:
    """Return images of noise, for golden pairs that show nobody."""
    rng = generator(0, "golden", "noise")
    return [rng.integers(0, 256, (*size_hw, 3), dtype=np.uint8) for _ in range(n)]


def say_private(about: Mapping[str, Any]) -> list[str]:
    """Return what the card says of privacy."""
    found = about.get("privacy")
    if not found:
        return []
    lines = [
        f"Trained with differential privacy: epsilon {found['epsilon']:.3f} at delta {found['delta']:.1e}; unit: one "
        f"{found['unit']}; neighbours: {found['adjacency']}; sampling: {found['sampling']}; accountant: "
        f"{found['accountant']}.",
        f"Counted in epsilon: {'; '.join(found['counted'])}.",
        f"Declared public: {'; '.join(found['public'])}.",
        f"Left out, because it would reveal training images: {'; '.join(found['left_out'])}.",
    ]
    return lines + [f"**Warning: {w}.**" for w in found.get("warnings", ())]
