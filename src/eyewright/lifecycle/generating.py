"""Draw images by a bundle or a run of the task generate: marked as generated, tested for copies and collapse."""

__all__ = ["GeneratedFile", "Generation", "digest_of", "generate_images"]

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyewright.core.drawing import CLASS, NOISE, noise_of
from eyewright.core.errors import UsageError, plain_reason
from eyewright.core.files import checked_output, write_bytes
from eyewright.core.inputs import prepare
from eyewright.core.predictor import inputs_of
from eyewright.core.progress import track_progress
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.core.rng import generator

if TYPE_CHECKING:
    from eyewright.bundle.judge import Judge
    from eyewright.core.predictor import Predictor

PathLike = str | Path

_AT_ONCE, _MOST = 250, 100_000
# All images of a grid are held in memory, and few viewers open a larger one.
_MOST_IN_GRID = 4_096
_COPIES, _COLLAPSED, _ENOUGH = 0.02, 0.5, 100
# Of fewer images, coverage depends on which they happen to be: they are compared with so many draws of real ones.
_LEAST, _DRAWS, _LOWEST = 5, 100, 0.025
_TOLD = frozenset({"copies", "collapse", "undertrained"})
_OURS = re.compile(r"(\d+-.*|grid)\.png")


@dataclass(frozen=True)
class GeneratedFile:
    """One image: where it lies, its class and the seed of its noise; None for one between two classes."""

    out: Path
    label: str
    seed: int | None


@dataclass(frozen=True)
class Generation:
    """What `generate` made, and what was found: copies of training images, a collapse, by what was drawn or by the
    model's own report. `removed` files of an earlier draw were in the folder."""

    folder: Path
    files: tuple[GeneratedFile, ...]
    grid: Path | None
    findings: tuple[Finding, ...]
    digest: str
    copies: float | None
    removed: int = 0


def generate_images(
    model: PathLike,
    out: PathLike,
    *,
    n: int = 64,
    label: str | None = None,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    truncation: float = 1.0,
    grid: bool = False,
    interpolate: tuple[str, str] | None = None,
    overwrite: bool = False,
    quiet: bool = True,
) -> Generation:
    """Generate `n` images, of one class or of all in turn, and write them to a folder as PNG files that say so.

    Image k has the noise of the seed `seed + k`: the same on every machine. Each file holds IPTC's digital source type
    `trainedAlgorithmicMedia`, the model's digest and its seed.

    Args:
        steps: the steps of a flow; only a run can take others than it was exported with.
        guidance: how strongly a flow follows the class, 1: as in training; only a run can.
        truncation: the noise is multiplied by it, in (0, 1]: smaller values give more usual and less varied images.
        grid: also write `grid.png`, all images side by side.
        interpolate: two classes: the images lie between two noises of theirs; `label` is not accepted.
        overwrite: replace an earlier draw in `out`: its files that are not written again are removed. Other files stay.

    Raises:
        UsageError: an unknown class, a model of another task, a value out of its range, outputs that exist.
    """
    from eyewright.lifecycle.opening import load_model

    if not 1 <= n <= _MOST:
        raise UsageError(f"expected -n from 1 to {_MOST:,}, found {n:,}", fix="change -n")
    if not 0 < truncation <= 1:
        raise UsageError(f"expected a truncation above 0 and up to 1, found {truncation:g}", fix="change --truncation")
    if seed < 0:
        raise UsageError(f"expected a seed of 0 or more, found {seed}", fix="change --seed")
    if grid and n > _MOST_IN_GRID:
        raise UsageError(
            f"expected at most {_MOST_IN_GRID:,} images with --grid, found {n:,}", fix="change -n, or leave --grid out"
        )
    if label is not None and interpolate is not None:
        raise UsageError("expected --class or --interpolate, found both", fix="leave one out")
    predictor, owner = load_model(model)
    inputs = inputs_of(predictor)
    if set(inputs) != {NOISE, CLASS}:
        raise UsageError(
            f"expected a model that generates images, found one for {predictor.task_name!r}",
            fix="train one with --task generate",
        )
    draw = _drawing(predictor, owner, steps, guidance)
    folder = Path(out)
    ids = [_class_id(predictor, name) for name in (interpolate or (() if label is None else (label,)))]
    draws = _asked(inputs[NOISE].shape, len(predictor.labels), ids, n, seed, interpolate is not None)
    names = predictor.labels.names
    called = [_safe(names[c]) for c in draws.classes.tolist()]
    if interpolate is not None:
        called = ["-to-".join(_safe(names[c]) for c in ids)] * n
    paths = [folder / f"{k:0{len(str(n - 1))}d}-{name}.png" for k, name in enumerate(called)]
    sheet = folder / "grid.png" if grid else None
    wanted = [*paths, *([] if sheet is None else [sheet])]
    if not overwrite and (there := next((p for p in wanted if p.exists()), None)) is not None:
        raise UsageError(f"{quoted(there)} exists", fix="pass --overwrite, or another --out", code="exists")
    with checked_output(folder):
        folder.mkdir(parents=True, exist_ok=True)
    digest = digest_of(predictor, owner)
    judge: Judge | None = getattr(predictor, "judge", None)
    files: list[GeneratedFile] = []
    shown: list[NDArray[np.uint8]] = []
    features: list[NDArray[np.float32]] = []
    with track_progress("drawing", n, quiet=quiet) as advance:
        # Written as they are drawn: memory does not depend on how many there are.
        for start in range(0, n, _AT_ONCE):
            part = slice(start, min(n, start + _AT_ONCE))
            images = draw(draws.noise(part) * np.float32(truncation), draws.classes[part])
            labels = [names[c] for c in draws.classes[part]]
            files += _write(images, paths[part], labels, draws.seeds[part], digest)
            if judge is not None:
                features.append(judge(images)[0])
            if sheet is not None:
                shown.append(images)
            advance(len(images), "")
    if sheet is not None:
        columns = n if interpolate is not None else max(1, round(n**0.5))
        _write_sheet(np.concatenate(shown), sheet, columns, digest)
    removed = _remove_others(folder, wanted) if overwrite else 0
    findings: list[Finding] = []
    copies = None
    if judge is not None:
        findings, copies = _found(judge, np.concatenate(features), whole=not ids, truncated=truncation < 1)
    reported = _reported(owner.folder if owner is not None else predictor.folder)
    if any(f.code == "undertrained" for f in reported):
        # What is drawn is far from real images, and the report says why.
        findings = [f for f in findings if f.code != "collapse"]
    seen = {f.code for f in findings}
    findings += [f for f in reported if f.code not in seen]
    return Generation(folder, tuple(files), sheet, tuple(findings), digest, copies, removed)


class _Draws(NamedTuple):
    """What is asked of a generator: noise (m, ...) of some of the images, the classes and seeds of all."""

    noise: Callable[[slice], NDArray[np.float32]]
    classes: NDArray[np.int64]
    seeds: list[int | None]


def _asked(shape: Sequence[int], n_classes: int, ids: Sequence[int], n: int, seed: int, between: bool) -> _Draws:
    """Return what is asked of a generator; between two noises along the arc, on which all points are as far from 0 as
    noise is."""
    if not between:
        classes = np.array([ids[0] if ids else k % n_classes for k in range(n)], np.int64)
        seeds = range(seed, seed + n)
        return _Draws(lambda part: np.stack([noise_of(s, shape) for s in seeds[part]]), classes, list(seeds))
    first, last = noise_of(seed, shape), noise_of(seed + 1, shape)
    cosine = float((first * last).sum() / np.sqrt((first**2).sum() * (last**2).sum()))
    angle = np.arccos(np.clip(cosine, -1, 1))
    at = np.linspace(0, 1, n) if n > 1 else np.zeros(1)

    def along(part: slice) -> NDArray[np.float32]:
        rows = [(np.sin((1 - t) * angle) * first + np.sin(t * angle) * last) / np.sin(angle) for t in at[part]]
        return np.array(rows, np.float32)

    classes = np.array([ids[0] if t < 0.5 else ids[1] for t in at], np.int64)
    return _Draws(along, classes, [seed if t == 0 else seed + 1 if t == 1 else None for t in at])


def _class_id(predictor: "Predictor", name: str) -> int:
    from eyewright.core.task import task_of

    return task_of(predictor.task_name).label_id(name, predictor.labels.names)


def _drawing(predictor: Any, owner: Any, steps: int | None, guidance: float | None) -> Any:
    """Return noise and classes to images, uint8 (N, H, W, C): of a run with the steps and the guidance.

    Raises:
        UsageError: a bundle, or a net of one pass, is asked for others.
    """
    if steps is None and guidance is None:

        def as_exported(noise: NDArray[np.float32], classes: NDArray[np.int64]) -> NDArray[np.uint8]:
            examples = [{NOISE: z, CLASS: int(c)} for z, c in zip(noise, classes, strict=True)]
            found = np.asarray(predictor.raw(prepare(inputs_of(predictor), examples)[0])["image"])
            levels: NDArray[np.uint8] = np.clip(np.rint(found), 0, 255).astype(np.uint8)
            return levels

        return as_exported
    asked = "--steps" if steps is not None else "--guidance"
    if owner is None:
        raise UsageError(f"{asked} needs the run: the steps of a bundle are part of its model", fix="pass the run")
    body = owner.net.body
    if not body.guided:
        raise UsageError(f"{asked} is for flow_net, found {owner.recipe.model_name!r}", fix=f"leave {asked} out")
    from eyewright.learners.generate import draw_levels

    return lambda noise, classes: draw_levels(body, noise, classes, steps=steps, guidance=guidance)


def _write(
    images: NDArray[np.uint8], paths: Sequence[Path], labels: Sequence[str], seeds: Sequence[int | None], digest: str
) -> list[GeneratedFile]:
    from eyewright.imaging.marking import marked_png

    files = []
    for image, path, label, seed in zip(images, paths, labels, seeds, strict=True):
        about = {"model": digest, "class": label, **({} if seed is None else {"seed": str(seed)})}
        write_bytes(path, marked_png(image, about))
        files.append(GeneratedFile(path, label, seed))
    return files


def _write_sheet(images: NDArray[np.uint8], sheet: Path, columns: int, digest: str) -> None:
    from eyewright.imaging.marking import marked_png
    from eyewright.tasks.generate_page import grid_of

    write_bytes(sheet, marked_png(grid_of(images, columns), {"model": digest}))


def _remove_others(folder: Path, kept: Iterable[Path]) -> int:
    """Remove the images of an earlier draw that were not written again; return how many. A file is one of them if it is
    named so and its mark says that a model made it."""
    from eyewright.imaging.marking import is_marked

    names = {path.name for path in kept}
    old = [p for p in folder.iterdir() if p.name not in names and _OURS.fullmatch(p.name) and p.is_file()]
    old = [p for p in old if not p.is_symlink() and is_marked(p.read_bytes())]
    with checked_output(folder):
        for path in old:
            path.unlink()
    return len(old)


def _reported(folder: Path) -> list[Finding]:
    """Return the copies and the collapse that the model's own report has found, as findings of what it draws."""
    place = folder / "report.json"
    if not place.is_file():
        return []
    try:
        told = json.loads(place.read_bytes()).get("sections", {}).get("findings") or ()
        found = [Finding(**f) for f in told]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        text = f"the model's report cannot be read: {quoted(place)}: {plain_reason(error)}"
        return [Finding("report_damaged", text, "measure the model again with eyewright evaluate", severity="warning")]
    errors = [f for f in found if f.code in _TOLD and f.severity == "error"]
    return [replace(f, message=f"the model's own report says: {f.message}") for f in errors]


def _found(
    judge: "Judge", features: NDArray[np.float32], *, whole: bool, truncated: bool
) -> tuple[list[Finding], float | None]:
    """Return what is wrong with the images that were drawn, by their features (N, D), and the share that is near to
    training images."""
    from eyewright.metrics.bootstrap import wilson_interval
    from eyewright.metrics.generation import copy_test

    n = len(features)
    found = []
    test = copy_test(judge.train, judge.held_out, features)
    low, high = wilson_interval(float(test.near.sum()), n)
    if low > _COPIES:
        text = f"{test.share:.1%} [{low:.1%}, {high:.1%}] of the images are nearer to a training image than 99% of "
        text += "held-out images: copies"
        found.append(Finding("copies", text, "train on more images, or shorter", severity="error"))
    # Images of one class cover little whatever they look like; so do truncated ones.
    if whole and not truncated and min(n, len(judge.held_out) - 1, len(judge.train)) > _LEAST:
        ours, floor = _covered(judge, features)
        if ours < _COLLAPSED * floor:
            text = f"the images cover {ours:.1%} of held-out images, as many real ones {floor:.1%}: mode collapse"
            found.append(Finding("collapse", text, "train longer, or with the other --model", severity="error"))
    return found, test.share


def _covered(judge: "Judge", features: NDArray[np.float32]) -> tuple[float, float]:
    """Return the fractions of held-out images that features cover, and that as many real training images do.

    Which images a small sample holds decides how much it covers. Its second fraction is what 97.5 % of such samples of
    real images reach.
    """
    from eyewright.metrics.generation import coverage_of_sets

    n, train = len(features), judge.train
    real: list[NDArray[np.int64]] = [np.linspace(0, len(train) - 1, n).astype(int)]
    if min(n, len(judge.held_out), len(train)) < _ENOUGH:
        rng = generator(0, "coverage of few")
        real = [rng.choice(len(train), min(n, len(train)), replace=False) for _ in range(_DRAWS)]
    ours, *floors = coverage_of_sets(judge.held_out, [features, *(train[rows] for rows in real)])
    return ours, floors[0] if len(floors) == 1 else float(np.quantile(floors, _LOWEST))


def digest_of(predictor: Any, owner: Any) -> str:
    """Return the SHA-256 that names the model: of the bundle's manifest, or of a run's weights."""
    if owner is None:
        from eyewright.bundle.verify import bundle_digest

        return bundle_digest(predictor.folder)
    return hashlib.sha256((owner.folder / "checkpoints/best/model.safetensors").read_bytes()).hexdigest()


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:40] or "class"
