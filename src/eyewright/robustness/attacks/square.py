"""Square: random search by scores alone (Andriushchenko et al. 2020, "Square attack")."""

__all__ = ["square"]

import numpy as np
from numpy.typing import NDArray

from eyewright.robustness.model import Victim, margins, to_grid
from eyewright.robustness.threat import Threat, distances

_SHARE = 0.8
Images = NDArray[np.float32]


def square(
    victim: Victim,
    images: Images,
    labels: NDArray[np.int64],
    threat: Threat,
    *,
    rng: np.random.Generator,
    steps: int = 1000,
) -> Images:
    """Return images after `steps` queries each; squares of the change are redrawn where that lowers the margin.

    Images are float32 (N, H, W, C) in [0, 1]. An image that is misclassified is asked for no more.
    """
    if victim.on_grid:
        threat = threat.on_grid()
    if not len(images) or threat.eps == 0:
        return images.copy()

    def settled(changed: Images, clean: Images) -> Images:
        kept = np.clip(changed, 0, 1)
        return to_grid(kept, clean) if victim.on_grid else kept

    draw = _Linf if threat.norm == "linf" else _L2
    found = settled(draw.start(images, threat, rng), images)
    least = margins(victim.scores(found), labels)
    for k in range(steps):
        left = np.flatnonzero(least > 0)
        if not len(left):
            break
        clean = images[left]
        tried = settled(draw.step(found[left], clean, threat, _side(clean.shape, k, steps), rng), clean)
        margin = margins(victim.scores(tried), labels[left])
        better = margin < least[left]
        found[left[better]], least[left[better]] = tried[better], margin[better]
    return found


def _side(shape: tuple[int, ...], k: int, steps: int) -> int:
    """Return the side of the squares at query k: their fraction of the area is halved as the search proceeds."""
    at = int(k / steps * 10_000)
    halved = sum(at > bound for bound in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000))
    share = _SHARE / 2**halved
    return int(np.clip(round(np.sqrt(share * shape[1] * shape[2])), 1, min(shape[1], shape[2])))


class _Linf:
    """Every pixel at an edge of the bound; vertical stripes to begin with."""

    @staticmethod
    def start(images: Images, threat: Threat, rng: np.random.Generator) -> Images:
        n, _, width, channels = images.shape
        stripes = rng.choice(np.array([-1, 1], np.float32), (n, 1, width, channels))
        moved: Images = (images + np.float32(threat.eps) * stripes).astype(np.float32)
        return moved

    @staticmethod
    def step(found: Images, clean: Images, threat: Threat, side: int, rng: np.random.Generator) -> Images:
        tried = found.copy()
        n, height, width, channels = found.shape
        tops, lefts = rng.integers(0, height - side + 1, n), rng.integers(0, width - side + 1, n)
        signs = rng.choice(np.array([-1, 1], np.float32), (n, channels))
        for i, (top, left) in enumerate(zip(tops.tolist(), lefts.tolist(), strict=True)):
            window = np.s_[i, top : top + side, left : left + side]
            tried[window] = clean[window] + np.float32(threat.eps) * signs[i]
        return tried


class _L2:
    """The change lies in bumps; a step moves the norm of one window into another."""

    @staticmethod
    def start(images: Images, threat: Threat, rng: np.random.Generator) -> Images:
        n, height, width, channels = images.shape
        side = max(1, min(height, width) // 5)
        delta = np.zeros_like(images)
        for top in range(0, height - side + 1, side):
            for left in range(0, width - side + 1, side):
                signs = rng.choice(np.array([-1, 1], np.float32), (n, 1, 1, channels))
                delta[:, top : top + side, left : left + side] += _bump(side)[None, ..., None] * signs
        return _scaled(images, delta, threat)

    @staticmethod
    def step(found: Images, clean: Images, threat: Threat, side: int, rng: np.random.Generator) -> Images:
        n, height, width, channels = found.shape
        side = max(3, side | 1) if min(height, width) >= 3 else 1
        side = min(side, min(height, width))
        delta = found - clean
        for i in range(n):
            top, left = (int(rng.integers(0, s - side + 1)) for s in (height, width))
            from_top, from_left = (int(rng.integers(0, s - side + 1)) for s in (height, width))
            to = np.s_[i, top : top + side, left : left + side]
            source = np.s_[i, from_top : from_top + side, from_left : from_left + side]
            whole = float((delta[i] ** 2).sum())
            freed = float((delta[to] ** 2).sum() + (delta[source] ** 2).sum())
            unused = max(0.0, threat.eps**2 - whole)
            old = delta[to]
            signs = rng.choice(np.array([-1, 1], np.float32), (1, 1, channels))
            kept = old / max(1e-12, float(np.sqrt((old**2).sum())))
            fresh = kept + _bump(side)[..., None] * signs
            delta[source] = 0
            length = np.sqrt(max(0.0, freed + unused))
            delta[to] = fresh / max(1e-12, float(np.sqrt((fresh**2).sum()))) * length
        return _scaled(clean, delta, threat)


def _bump(side: int) -> NDArray[np.float32]:
    """Return the pattern of the paper: nested rectangles, the inner ones larger, in two halves of opposite sign."""
    if side < 2:
        return np.ones((side, side), np.float32)
    half = side // 2
    pattern = np.zeros((side, side), np.float32)
    for sign, (start, rows) in ((1, (0, half)), (-1, (half, side - half))):
        part = np.zeros((rows, side), np.float32)
        for ring in range((min(rows, side) + 1) // 2):
            part[ring : rows - ring, ring : side - ring] += 1 / (ring + 1) ** 2
        pattern[start : start + rows] = sign * part
    norm = float(np.sqrt((pattern**2).sum()))
    scaled: NDArray[np.float32] = pattern / np.float32(norm)
    return scaled


def _scaled(clean: Images, delta: Images, threat: Threat) -> Images:
    """Return images changed by at most the bound, and by all of it where they were changed at all."""
    norms = np.sqrt((delta.reshape(len(delta), -1) ** 2).sum(1)).reshape(-1, 1, 1, 1)
    changed = np.clip(clean + delta / np.maximum(norms, 1e-12) * np.float32(threat.eps), 0, 1)
    over = distances(changed, clean, "l2").reshape(-1, 1, 1, 1)
    shrunk = np.minimum(1.0, threat.eps / np.maximum(over, 1e-12)).astype(np.float32)
    found: Images = (clean + (changed - clean) * shrunk).astype(np.float32)
    return found
