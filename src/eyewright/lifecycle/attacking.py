"""Attack: how much of a model's accuracy is left when images are changed on purpose; and what a certificate proves."""

__all__ = ["attack", "certify", "harden"]

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from eyewright.core.durations import parse_duration_s
from eyewright.core.errors import LeakError, UsageError
from eyewright.core.task import task_of
from eyewright.lifecycle.datasets import (
    PathLike,
    Say,
    count_seen,
    fingerprint_of,
    grouped_as,
    known_images,
    other_images_fix,
    part_of_path,
    part_of_run,
    scan_of,
    silent,
    untouched,
)
from eyewright.lifecycle.opening import load_model
from eyewright.lifecycle.stages import title_of, train
from eyewright.training.options import HardenOptions, named_options

if TYPE_CHECKING:
    from eyewright.bundle import Bundle
    from eyewright.data import Dataset
    from eyewright.robustness import RobustnessReport
    from eyewright.robustness.certifying import Certificate
    from eyewright.training.run import Run

FOLDER = "robustness"
"""The folder in a run folder that holds how robust it is."""


def attack(
    model: "Run | Bundle | PathLike",
    data: "Dataset | PathLike | None" = None,
    *,
    suite: str = "standard",
    attacks: Sequence[str] | None = None,
    norm: str = "linf",
    eps: "str | Sequence[float] | None" = None,
    steps: int = 50,
    restarts: int = 1,
    queries: int = 1000,
    n: int = 1000,
    budget: str | float | None = None,
    out: PathLike | None = None,
    resume: bool = False,
    split: str | None = None,
    allow_leaks: bool = False,
    group_by: str | None = None,
    label_depth: int | None = None,
    ignore: Sequence[str] = (),
    seed: int = 0,
    quiet: bool = True,
    say: Say = silent,
) -> "RobustnessReport":
    """Attack a run or a bundle and return how many images it still predicts right, with an interval.

    An image counts as robust only if every attack of the `suite` ("quick", "standard", "full"), or of `attacks`, failed
    on it. Eight checks of the measurement decide whether the number is evidence (`RobustnessReport.verdict`). A run is
    attacked by its gradients; a bundle by its scores, without torch, which gives an upper bound.

    Other tasks are attacked by one attack, PGD on the loss they were trained by, and the report holds their main metric
    before and after: an upper bound of what is robust.

    `eps` is one bound or several, "8/255,0.3", of pixels in [0, 1], in `norm` "linf" or "l2". `data` is chosen as by
    `evaluate`; `n` images of it are drawn by `seed`. With `budget` ("10m") the report is about the images that were
    attacked in that time. With `out` robustness.html and robustness.json are written there, and `resume` continues
    from the images that are done; a run without `out` keeps them in its own folder, where `export` finds them.

    Raises:
        UsageError: a task without attacks, an unknown attack, an invalid eps.
        LeakError: some of the images were trained on.
        BudgetError: the budget ended before an image was attacked.
    """
    from eyewright.robustness import attack_predictor, parse_eps
    from eyewright.robustness.model import answers_one_class
    from eyewright.robustness.pages import write_pages

    started = time.monotonic()
    predictor, owner = load_model(model)
    task_of(predictor.task_name).require("attack")
    bounds = parse_eps(eps) if isinstance(eps, str) else None if eps is None else tuple(sorted(eps))
    _check_numbers(steps=steps, restarts=restarts, queries=queries, n=n)
    folder = Path(out) if out is not None else None if owner is None else owner.folder / FOLDER
    if resume and folder is None:
        raise UsageError("expected --out with --resume, found none", fix="name the folder to continue in")
    dataset, warnings = _measured(
        predictor, owner, data, split, allow_leaks, group_by, label_depth, ignore, quiet=quiet
    )
    deadline = None if budget is None else started + parse_duration_s(budget)
    shared: dict[str, Any] = {
        "norm": norm,
        "eps": bounds,
        "steps": steps,
        "restarts": restarts,
        "n": n,
        "seed": seed,
        "deadline": deadline,
        "model": _identity(predictor, owner),
        "quiet": quiet,
        "say": say,
    }
    if answers_one_class(task_of(predictor.task_name)):
        report = attack_predictor(
            predictor,
            dataset,
            suite=suite,
            attacks=None if attacks is None else tuple(attacks),
            queries=queries,
            trained_for=_trained_for(predictor, owner, norm),
            work=None if folder is None else folder / "work",
            resume=resume,
            **shared,
        )
    else:
        report = _attack_task(predictor, owner, dataset, attacks, resume, shared)
    from dataclasses import replace

    report = replace(report, warnings=(*warnings, *report.warnings))
    if folder is not None:
        write_pages(folder, report, title=title_of(predictor, owner))
    return report


def _attack_task(
    predictor: Any,
    owner: "Run | None",
    dataset: "Dataset",
    attacks: Sequence[str] | None,
    resume: bool,
    shared: dict[str, Any],
) -> "RobustnessReport":
    """Attack a task of other answers than one class by its own objective.

    Raises:
        UsageError: a model without the net, or an option that only classes have.
    """
    noun = task_of(predictor.task_name).words.noun
    if owner is None:
        raise UsageError(f"expected a run, whose loss attacks on {noun} need, found another model", fix="pass the run")
    if resume or (attacks is not None and tuple(attacks) != ("pgd",)):
        raise UsageError(
            f"expected --attacks pgd and no --resume for {noun}, found other options",
            fix="leave --attacks and --resume out",
        )
    from eyewright.robustness.objectives import attack_task

    records = scan_of(dataset, quiet=shared["quiet"]).records
    sizes = [(0, 0) if r.info is None else r.info.size_hw for r in records]
    return attack_task(owner, dataset, sizes=sizes, **shared)


def _measured(
    predictor: Any,
    owner: "Run | None",
    data: "Dataset | PathLike | None",
    split: str | None,
    allow_leaks: bool,
    group_by: str | None,
    label_depth: int | None,
    ignore: Sequence[str],
    *,
    quiet: bool,
) -> "tuple[Dataset, tuple[str, ...]]":
    """Return the images that are measured, chosen and grouped as by `evaluate`, and warnings about them.

    Raises:
        UsageError: a bundle without data.
        LeakError: some of them were trained on.
    """
    if data is None:
        if owner is None:
            raise UsageError("expected data to attack the bundle on, found none", fix="pass a dataset")
        return part_of_run(owner, split or "test"), ()
    left_out = ""
    if isinstance(data, str | Path):
        dataset = part_of_path(data, split, label_depth, predictor.task_name, ignore)
        left_out = dataset.account.summary()
    else:
        dataset = data
    about = owner.about if owner is not None else getattr(getattr(predictor, "manifest", None), "provenance", {})
    if owner is None and not allow_leaks and dataset.splits != ("test",):
        made_from = (about.get("dataset") or {}).get("fingerprint")
        if made_from is not None and made_from == fingerprint_of(dataset, quiet=quiet):
            raise LeakError(
                "this is the data that the bundle was trained on",
                fix="use other images, or --allow-leaks",
            )
    own = untouched(owner, dataset, quiet=quiet)
    if group_by is not None or (not own and dataset.grouping is None):
        dataset = grouped_as(about, dataset, group_by=group_by, quiet=quiet)
    known = known_images(owner or predictor)
    seen = count_seen(dataset, known, quiet=quiet) if known and not own else 0
    if seen and not allow_leaks:
        raise LeakError(f"{seen:,} of the {len(dataset):,} images were trained on", fix=other_images_fix(owner))
    warned = [f"{seen} of these {len(dataset)} images were trained on (--allow-leaks)."] if seen else []
    return dataset, (*warned, *([f"{left_out}."] if left_out else []))


def _check_numbers(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise UsageError(f"expected {name} of 1 or more, found {value}", fix=f"change {name}")


def _trained_for(predictor: Any, owner: "Run | None", norm: str) -> float | None:
    """Return the bound that a model was hardened against in this norm; None for any other model."""
    about = owner.about if owner is not None else getattr(getattr(predictor, "manifest", None), "provenance", {})
    threat = about.get("threat") or {}
    return float(threat["eps"]) if threat.get("norm") == norm and threat.get("eps") else None


def _identity(predictor: Any, owner: "Run | None") -> dict[str, Any]:
    """Return what names a model: the digest of a bundle, or of a run's best weights."""
    if owner is not None:
        weights = owner.folder / "checkpoints" / "best" / "model.safetensors"
        return {"kind": "run", "digest": hashlib.sha256(weights.read_bytes()).hexdigest()}
    if hasattr(predictor, "manifest"):
        from eyewright.bundle import bundle_digest

        return {"kind": "bundle", "digest": bundle_digest(predictor.folder)}
    return {"kind": type(predictor).__name__}


def certify(
    model: "Run | Bundle | PathLike",
    data: "Dataset | PathLike | None" = None,
    *,
    sigma: "str | float | Sequence[float]" = 0.25,
    n0: int = 100,
    samples: int = 10_000,
    alpha: float = 0.001,
    eps: "str | Sequence[float] | None" = None,
    n: int = 500,
    budget: str | float | None = None,
    out: PathLike | None = None,
    split: str | None = None,
    allow_leaks: bool = False,
    group_by: str | None = None,
    label_depth: int | None = None,
    ignore: Sequence[str] = (),
    seed: int = 0,
    quiet: bool = True,
    say: Say = silent,
) -> "Certificate":
    """Return what no attack can change: certified accuracy by randomised smoothing (l2), for each `sigma`.

    `n0` noisy copies of an image choose its class and `samples` others bound that class's probability (Clopper-Pearson,
    at confidence 1 - `alpha`). Images on which the smoothed model abstains count as not certified. It works on runs and
    bundles, without torch for the latter. With `eps` the net of a run is bounded exactly as well (interval bounds,
    linf). `data`, `budget` and `out` are as for `attack`.

    Raises:
        UsageError: a task without certificates, or a net without interval bounds.
        LeakError: some of the images were trained on.
        BudgetError: the budget ended before an image was certified.
    """
    from eyewright.core.files import write_json
    from eyewright.robustness import parse_eps
    from eyewright.robustness.certifying import certify_predictor, parse_sigma

    started = time.monotonic()
    predictor, owner = load_model(model)
    task_of(predictor.task_name).require("certify")
    _check_numbers(n0=n0, samples=samples, n=n)
    text = sigma if isinstance(sigma, str) else ",".join(map(repr, sigma if isinstance(sigma, Sequence) else [sigma]))
    bounds = parse_eps(eps) if isinstance(eps, str) else tuple(eps or ())
    folder = Path(out) if out is not None else None if owner is None else owner.folder / FOLDER
    dataset, _ = _measured(predictor, owner, data, split, allow_leaks, group_by, label_depth, ignore, quiet=quiet)
    found = certify_predictor(
        predictor,
        dataset,
        sigmas=parse_sigma(text),
        n0=n0,
        samples=samples,
        alpha=alpha,
        eps=bounds,
        n=n,
        seed=seed,
        deadline=None if budget is None else started + parse_duration_s(budget),
        model=_identity(predictor, owner),
        quiet=quiet,
        say=say,
    )
    if folder is not None:
        write_json(folder / "certificate.json", found.to_json())
    return found


@named_options(HardenOptions)
def harden(
    data: "Dataset | PathLike",
    *,
    method: str = "adversarial",
    **options: Unpack[HardenOptions],
) -> "Run":
    """Train against attacks: `train` with a step of `method` "adversarial", "trades", "fast", "augmix" or "noise".

    `options` are those of `train`, among them `eps`, `norm`, `attack_steps`, `beta` and `sigma`.

    Raises:
        UsageError: an unknown method, or one that the task does not support.
    """
    return train(data, step=method, **options)
