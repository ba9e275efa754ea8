"""The loop over images: each is attacked by every attack until one succeeds; chunk by chunk, so that it can resume."""

__all__ = ["Chunk", "Plan", "attack_images", "check_resumable", "join_chunks"]

import io
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.files import write_bytes, write_json
from eyewright.core.quoting import quoted
from eyewright.core.rng import generator
from eyewright.robustness.attacks import ATTACKS, attack_of
from eyewright.robustness.model import Victim, ask_in_parts, is_right, to_grid
from eyewright.robustness.threat import Norm, Threat

if TYPE_CHECKING:
    from eyewright.robustness.white import White

CHUNK = 25
"""Images that are attacked together, and lost together when the process is killed or the budget ends."""

FELL_BEFORE = -3
"""The code of an image that fell within a smaller bound and not within this one."""

_AGAIN = 20
Images = NDArray[np.float32]


class _LateError(Exception):
    """The budget ended while some images were attacked: what is known of them is dropped."""


@dataclass(frozen=True)
class Plan:
    """How images are attacked. `eps` is in ascending order; `steps` are those of gradient attacks, from `restarts`
    random starts, `queries` those of attacks by scores or labels."""

    norm: Norm
    eps: tuple[float, ...]
    attacks: tuple[str, ...]
    steps: int = 50
    restarts: int = 1
    queries: int = 1000
    seed: int = 0

    @property
    def threats(self) -> tuple[Threat, ...]:
        return tuple(Threat(self.norm, e) for e in self.eps)


@dataclass(frozen=True)
class Chunk:
    """What became of some images, E bounds and N images.

    `clean` whether each was right to begin with; `by` int8 (E, N) the attack that succeeded: its place in the plan, -1
    where none did, -2 where the image was wrong to begin with, -3 where it only fell within a smaller bound.
    `eight_bit` bool (E, N) whether it is still right when the attacker must hand in whole 8-bit values. `answer` and
    `picture` are the class and the changed image, uint8, at the smallest bound at which it fell. `invalid` counts
    changed images outside the bound, which count as failures.
    """

    rows: NDArray[np.int64]
    clean: NDArray[np.bool_]
    by: NDArray[np.int8]
    eight_bit: NDArray[np.bool_]
    answer: NDArray[np.int64]
    picture: NDArray[np.uint8]
    invalid: NDArray[np.int64]


def attack_images(
    victim: Victim,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    plan: Plan,
    *,
    folder: Path | None = None,
    resume: bool = False,
    identity: dict[str, Any] | None = None,
    deadline: float | None = None,
    chunk: int | None = None,
    advance: Callable[[int, str], None] = lambda n, text: None,
    now: Callable[[], float] = time.monotonic,
) -> Iterator[Chunk]:
    """Yield what became of uint8 (N, H, W, C), chunk by chunk in their order, until all are done or `deadline`.

    With `folder` every chunk is kept there; `resume` takes those that are there, of the same model, images and plan
    (`identity`), and continues in chunks of their size. Otherwise a chunk has `chunk` images (default 25).

    Raises:
        UsageError: `resume` finds the work of another plan.
    """
    chunk = chunk or CHUNK
    if folder is not None:
        chunk = _open_work(folder, {**(identity or {}), **asdict(plan)}, chunk, resume=resume)

    def late() -> bool:
        return deadline is not None and now() >= deadline

    for start in range(0, len(pixels), chunk):
        rows = np.arange(start, min(start + chunk, len(pixels)))
        path = None if folder is None else folder / f"chunk-{start // chunk:05d}.npz"
        if path is not None and path.is_file():
            found = _read_chunk(path)
        else:
            try:
                found = _attack_chunk(victim, pixels[rows], labels[rows], rows, plan, late)
            except _LateError:
                return
            if path is not None:
                _write_chunk(path, found)
        advance(len(rows), "")
        yield found


def _attack_chunk(
    victim: Victim,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    rows: NDArray[np.int64],
    plan: Plan,
    late: Callable[[], bool] = lambda: False,
) -> Chunk:
    images = pixels.astype(np.float32) / np.float32(255)
    clean = is_right(victim.scores(images), labels)
    bounds = len(plan.eps)
    by = np.where(clean, -1, -2).astype(np.int8)[None].repeat(bounds, 0)
    eight_bit = clean[None].repeat(bounds, 0)
    answer, picture = labels.copy(), pixels.copy()
    survived, invalid = np.zeros(len(rows), np.bool_), 0
    # From the largest bound down: an image that no attack changed within it is only tried by the first one within the
    # smaller bounds, so that each image costs one failure of the whole suite and not one for every bound.
    for e in reversed(range(bounds)):
        threat = plan.threats[e]
        for a, name in enumerate(plan.attacks):
            left = np.flatnonzero((by[e] == -1) & (~survived | (a == 0)))
            if not len(left):
                continue
            if late():
                raise _LateError
            changed = run_attack(name, victim, images[left], labels[left], threat, plan, int(rows[0]), e)
            valid = threat.kept_by(changed, images[left])
            invalid += int((~valid).sum())
            scores = ask_in_parts(victim.scores, changed)
            found, fell = scores.argmax(1), valid & ~is_right(scores, labels[left])
            if not fell.any():
                continue
            at = left[fell]
            by[e, at] = a
            grid, holds = _in_a_file(victim, changed[fell], images[at], labels[at], threat)
            eight_bit[e, at] = holds
            answer[at] = np.where(holds, found[fell], victim.scores(grid).argmax(1))
            picture[at] = np.rint(np.where(holds[:, None, None, None], changed[fell], grid) * 255).astype(np.uint8)
        survived |= by[e] == -1
    for e in range(1, bounds):
        # What falls within a smaller bound lies within this one too.
        fell = (by[e - 1] >= 0) | (by[e - 1] == FELL_BEFORE)
        by[e] = np.where(fell & (by[e] == -1), FELL_BEFORE, by[e])
        eight_bit[e] &= eight_bit[e - 1]
    return Chunk(rows, clean, by, eight_bit, answer, picture, np.array([invalid]))


def run_attack(
    name: str,
    victim: Victim,
    images: Images,
    labels: NDArray[np.int64],
    threat: Threat,
    plan: Plan,
    *where: int,
) -> Images:
    """Return images attacked once, float32 (N, H, W, C); `where` names the random stream, so that every draw is a
    function of the seed and the place.

    An attack that starts at random is repeated `plan.restarts` times on what it has not changed the answer of.
    """
    attack = attack_of(name)
    if ATTACKS[name].needs != "gradients":
        found: Images = attack(
            victim, images, labels, threat, rng=generator(plan.seed, name, *where), steps=plan.queries
        )
        return found
    import torch

    from eyewright.robustness.white import from_numpy, to_numpy

    white: White = victim  # type: ignore[assignment]
    found, left = images.copy(), np.arange(len(images))
    for restart in range(plan.restarts):
        seed = int(generator(plan.seed, name, *where, restart).integers(2**62))
        given = from_numpy(images[left]), torch.from_numpy(labels[left])
        changed = to_numpy(attack(white, *given, threat, rng=torch.Generator().manual_seed(seed), steps=plan.steps))
        found[left] = changed
        if restart + 1 == plan.restarts:
            break
        left = left[is_right(victim.scores(changed), labels[left])]
        if not len(left):
            break
    return found


def _in_a_file(
    victim: Victim, changed: Images, images: Images, labels: NDArray[np.int64], threat: Threat
) -> tuple[Images, NDArray[np.bool_]]:
    """Return changed images with whole 8-bit values, and which of them are predicted right again.

    Those that are, are attacked again among the 8-bit values.
    """
    grid = to_grid(changed, images)
    holds = is_right(victim.scores(grid), labels)
    if victim.on_grid or not holds.any():
        return grid, holds
    import torch

    from eyewright.robustness.attacks.gradient import ascent, project
    from eyewright.robustness.white import class_loss, from_numpy, grad_of, to_numpy

    white: White = victim  # type: ignore[assignment]
    left = np.flatnonzero(holds)
    clean, moving = from_numpy(images[left]), from_numpy(changed[left])
    own = torch.from_numpy(labels[left])
    size = max(threat.eps / 8, (1.0 if threat.norm == "linf" else 2.0) / 255)
    for _ in range(_AGAIN):
        gradient, _, _ = grad_of(white, moving, class_loss(own))
        moving = project(moving + size * ascent(gradient, threat.norm), clean, threat)
        rounded = to_grid(to_numpy(moving), images[left])
        fell = holds[left] & ~is_right(victim.scores(rounded), labels[left])
        grid[left[fell]], holds[left[fell]] = rounded[fell], False
        if not holds.any():
            break
    return grid, holds


def join_chunks(chunks: Sequence[Chunk]) -> Chunk:
    """Return the chunks as one."""
    axis = {"by": 1, "eight_bit": 1}
    joined = {f.name: np.concatenate([getattr(c, f.name) for c in chunks], axis.get(f.name, 0)) for f in fields(Chunk)}
    return Chunk(**joined)


def check_resumable(folder: Path, plan: Plan, identity: dict[str, Any]) -> bool:
    """Return whether `folder` holds work to resume; it may be asked before anything is computed.

    Raises:
        UsageError: it is the work of another model, plan or other images (`identity`).
    """
    return _held_work(folder, {**identity, **asdict(plan)}) is not None


def _held_work(folder: Path, identity: dict[str, Any]) -> int | None:
    """Return how many images a chunk of the work in a folder has; None where there is none."""
    import json

    about = folder / "plan.json"
    wanted = json.loads(json.dumps(identity))
    if about.is_file():
        try:
            found = json.loads(about.read_text("utf-8"))
        except ValueError:
            found = None
        size = found.pop("chunk", CHUNK) if isinstance(found, dict) else CHUNK
        if found != wanted:
            keys = sorted(k for k in wanted if not isinstance(found, dict) or found.get(k) != wanted[k])
            raise UsageError(
                f"the work in {quoted(folder.parent)} differs in: {', '.join(keys)}",
                fix="resume with the same model, data and options, or choose another --out",
            )
        return int(size)
    return None


def _open_work(folder: Path, identity: dict[str, Any], chunk: int, *, resume: bool) -> int:
    """Return how many images a chunk of the work in a folder has: `chunk`, or what it was started with."""
    held = _held_work(folder, identity) if resume else None
    if held is not None:
        return held
    for path in folder.glob("chunk-*.npz"):
        path.unlink()
    write_json(folder / "plan.json", {**identity, "chunk": chunk})
    return chunk


def _write_chunk(path: Path, chunk: Chunk) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **{f.name: getattr(chunk, f.name) for f in fields(Chunk)})
    write_bytes(path, buffer.getvalue())


def _read_chunk(path: Path) -> Chunk:
    """Return a chunk of this command's own; files are written whole, so a damaged one is refused.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            return Chunk(**{f.name: found[f.name] for f in fields(Chunk)})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{quoted(path)} is damaged", fix="run again without --resume") from error
