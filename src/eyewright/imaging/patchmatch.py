"""Fill a hole by patches of the same image: nearest patches by PatchMatch, votes, from coarse to fine."""

__all__ = ["fill_by_patches"]

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.imaging.steps.arrays import opencv

Floats = NDArray[np.float32]
Places = NDArray[np.int64]
Mask = NDArray[np.bool_]

_SIDES = (7, 5, 3)
_LEAST_SOURCES = 64
_COARSEST = 24
# Structures are found where the image is small and rounds are cheap.
_ROUNDS_COARSEST, _ROUNDS, _ROUNDS_FINEST = 20, 6, 2
_JUMPS = (1, -1)
_AT_ONCE = 20_000


@dataclass
class _Level:
    """One size of the image: pixels float32 (H, W, C), the hole, and where whole known patches lie.

    `targets` are the flat indices of the centres of patches that touch the hole, and `nearest` those of the known
    patches that are most like them.
    """

    pixels: Floats
    hole: Mask
    side: int
    targets: Places
    sources: Places
    valid: Mask
    trust: Floats


def fill_by_patches(pixels: Floats, hole: Mask, first: Floats, *, rng: np.random.Generator) -> Floats:
    """Return pixels, float32 (H, W, C), whose hole, bool (H, W), is filled with what known patches of it vote for.

    Patches that touch the hole look for the known patch most like them, by PatchMatch (Barnes et al. 2009); every pixel
    becomes the mean of what the patches over it propose, weighted by likeness and by nearness to what is known (Wexler,
    Shechtman and Irani 2007). It begins with `first`, a rough filling, at an eighth of the size or so, where large
    structures are small.

    Raises:
        UsageError: nowhere is a patch known as a whole.
    """
    cv2 = opencv()
    sizes = [pixels.shape[:2]]
    thick = float(cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 3).max())
    while thick > 2 and min(sizes[-1]) > 2 * _COARSEST:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
        thick /= 2
    filled = np.where(hole[..., None], first, pixels)
    known_before: _Level | None = None
    nearest = np.zeros(0, np.int64)
    for k, (height, width) in reversed(list(enumerate(sizes))):
        level_pixels, level_hole = _reduced(pixels, hole, filled, (height, width)) if k else (filled, hole)
        if not level_hole.any():
            continue
        level = _level_of(level_pixels, level_hole)
        if level is None:
            if not k:
                raise UsageError("expected a patch of pixels outside the mask, found none", fix="use the method ns")
            continue
        nearest = _guessed(level, known_before, nearest, rng)
        rounds = _ROUNDS_FINEST if k == 0 else _ROUNDS_COARSEST if known_before is None else _ROUNDS
        for _ in range(rounds):
            nearest, apart = _search(level, nearest, rng)
            _vote(level, nearest, apart)
        known_before = level
        if k:
            next_hw = sizes[k - 1]
            larger = cv2.resize(level.pixels, next_hw[::-1], interpolation=cv2.INTER_CUBIC).reshape(*next_hw, -1)
            filled = _spread(pixels, hole, larger)
        else:
            filled = level.pixels
    return filled.astype(np.float32)


def _spread(pixels: Floats, hole: Mask, larger: Floats) -> Floats:
    """Return the filling at the full size, from which the next level is made."""
    whole = larger
    if larger.shape != pixels.shape:
        whole = opencv().resize(larger, hole.shape[::-1], interpolation=opencv().INTER_LINEAR).reshape(pixels.shape)
    found: Floats = np.where(hole[..., None], whole, pixels)
    return found


def _reduced(pixels: Floats, hole: Mask, filled: Floats, size_hw: tuple[int, int]) -> tuple[Floats, Mask]:
    """Return pixels and hole at a smaller size; a pixel is known where all that it stands for is."""
    cv2 = opencv()
    small = cv2.resize(filled, size_hw[::-1], interpolation=cv2.INTER_AREA).reshape(*size_hw, -1)
    share = cv2.resize(hole.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_AREA)
    return small, share > 0.3


def _level_of(pixels: Floats, hole: Mask) -> _Level | None:
    cv2 = opencv()
    for side in _SIDES:
        if min(hole.shape) <= side:
            continue
        window = np.ones((side, side), np.uint8)
        inside = np.zeros(hole.shape, bool)
        half = side // 2
        inside[half:-half, half:-half] = True
        near = cv2.dilate(hole.astype(np.uint8), window).astype(bool)
        valid = inside & ~near
        if valid.sum() < _LEAST_SOURCES and side > _SIDES[-1]:
            continue
        if not valid.any():
            return None
        depth = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 3)
        trust = np.power(np.float32(1.3), -depth).astype(np.float32)
        targets = np.flatnonzero(near & inside)
        return _Level(pixels.copy(), hole, side, targets, np.flatnonzero(valid), valid, trust)
    return None


def _guessed(level: _Level, before: _Level | None, nearest: Places, rng: np.random.Generator) -> Places:
    """Return where each patch looks first: where the coarser level found it, else anywhere."""
    anywhere = level.sources[rng.integers(0, len(level.sources), len(level.targets))]
    if before is None:
        return anywhere
    height, width = level.hole.shape
    small_h, small_w = before.hole.shape
    table = np.full(small_h * small_w, -1, np.int64)
    table[before.targets] = nearest
    y, x = np.divmod(level.targets, width)
    there = table[np.minimum(y // 2, small_h - 1) * small_w + np.minimum(x // 2, small_w - 1)]
    from_y, from_x = np.divmod(there, small_w)
    guess_y, guess_x = from_y * 2 + y % 2, from_x * 2 + x % 2
    fits = (there >= 0) & (guess_y < height) & (guess_x < width)
    guess = np.where(fits, guess_y * width + guess_x, 0)
    fits &= level.valid.reshape(-1)[guess]
    return np.where(fits, guess, anywhere)


def _offsets(level: _Level) -> Places:
    half, width = level.side // 2, level.hole.shape[1]
    steps = np.arange(-half, half + 1)
    found: Places = (steps[:, None] * width + steps).reshape(-1)
    return found


def _distances(level: _Level, rows: Places, candidates: Places) -> Floats:
    """Return the mean squared difference of patches, (n,); what is nearer to what is known counts more."""
    flat = level.pixels.reshape(-1, level.pixels.shape[2])
    weights = level.trust.reshape(-1)
    offsets, out = _offsets(level), np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _AT_ONCE):
        at = level.targets[rows[start : start + _AT_ONCE], None] + offsets
        apart = flat[at] - flat[candidates[start : start + _AT_ONCE, None] + offsets]
        squares = np.einsum("nkc,nkc->nk", apart, apart)
        own = weights[at]
        out[start : start + _AT_ONCE] = (squares * own).sum(1) / own.sum(1)
    return out


def _search(level: _Level, nearest: Places, rng: np.random.Generator) -> tuple[Places, Floats]:
    """Return better places and their distances: those of the neighbours, moved along, and random ones ever nearer."""
    height, width = level.hole.shape
    every = np.arange(len(level.targets))
    best, apart = nearest.copy(), _distances(level, every, nearest)
    valid = level.valid.reshape(-1)
    table = np.full(height * width, -1, np.int64)

    def try_places(rows: Places, candidates: Places) -> None:
        fits = (candidates >= 0) & (candidates < height * width)
        fits[fits] = valid[candidates[fits]]
        fits &= candidates != best[rows]
        rows, candidates = rows[fits], candidates[fits]
        if not len(rows):
            return
        found = _distances(level, rows, candidates)
        better = found < apart[rows]
        best[rows[better]], apart[rows[better]] = candidates[better], found[better]

    for jump in (4, 2, 1):
        for step in (jump, -jump, jump * width, -jump * width):
            table[level.targets] = best
            beside = level.targets - step
            inside = (beside >= 0) & (beside < height * width)
            rows = every[inside]
            told = table[beside[inside]]
            try_places(rows[told >= 0], told[told >= 0] + step)
    radius = max(height, width) // 2
    while radius >= 1:
        from_y, from_x = np.divmod(best, width)
        to_y = np.clip(from_y + rng.integers(-radius, radius + 1, len(best)), 0, height - 1)
        to_x = np.clip(from_x + rng.integers(-radius, radius + 1, len(best)), 0, width - 1)
        try_places(every, to_y * width + to_x)
        radius //= 3
    return best, apart


def _vote(level: _Level, nearest: Places, apart: Floats) -> None:
    """Set the pixels of the hole to the weighted mean of what the patches over them propose."""
    channels = level.pixels.shape[2]
    flat = level.pixels.reshape(-1, channels)
    usual = float(np.quantile(apart, 0.75)) + 1e-3
    weights = np.exp(-apart / (2 * usual)) * level.trust.reshape(-1)[level.targets] + np.float32(1e-6)
    sums = np.zeros((channels, level.hole.size))
    total = np.zeros(level.hole.size)
    holes = level.hole.reshape(-1)
    for offset in _offsets(level):
        at = level.targets + offset
        wanted = holes[at]
        to, weight = at[wanted], weights[wanted]
        colours = flat[nearest[wanted] + offset]
        total += np.bincount(to, weight, level.hole.size)
        for c in range(channels):
            sums[c] += np.bincount(to, weight * colours[:, c], level.hole.size)
    reached = np.flatnonzero(holes & (total > 0))
    flat[reached] = (sums[:, reached] / total[reached]).T
