"""Audit the privacy of a run: can its training images be distinguished from others, and does its epsilon hold?"""

__all__ = ["audit_privacy"]

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eyewright.core.durations import parse_duration_s
from eyewright.core.errors import DatasetError, UsageError, spelling_hint
from eyewright.core.task import task_of
from eyewright.lifecycle.datasets import PathLike, Say, data_of_run, silent
from eyewright.lifecycle.loading import need_torch
from eyewright.lifecycle.opening import load_run

if TYPE_CHECKING:
    from eyewright.data.dataset import Dataset
    from eyewright.privacy.auditing import PrivacyAudit
    from eyewright.training.run import Run

FOLDER = "privacy"
"""The folder in a run folder that holds what its audit found."""

SHADOWS = "shadows.safetensors"
"""The nets to compare with in it, until the audit is done."""

_LEAST = 20


def audit_privacy(
    model: "Run | PathLike",
    *,
    attacks: Sequence[str] | None = None,
    models: int = 16,
    targets: int = 4,
    n: int = 4000,
    canaries: int = 2000,
    budget: str | float | None = None,
    out: PathLike | None = None,
    resume: bool = False,
    seed: int = 0,
    quiet: bool = True,
    say: Say = silent,
) -> "PrivacyAudit":
    """Attack a run, with the data that it was trained on, and return what was found.

    `attacks` are some of "lira", "rmia", "threshold" and "canary"; without them all that apply: canaries need a run
    that was trained with `private`. `models` nets like the run are trained at once on random halves of up to `n`
    images, as many training images as others; `targets` of them are attacked too. Training them ends after `budget`
    ("10m"). They are kept in a file until the audit is done: `resume` continues after an interruption. The page goes to
    `out`, by default the folder "privacy" of the run; it shows the most exposed images: keep it to yourself.

    Raises:
        UsageError: an unknown attack, or one that does not apply; `resume` without anything to continue.
        DatasetError: the run's images are gone, or too few are left that it was not trained on.
    """
    need_torch()
    from eyewright.privacy.audit_pages import write_audit
    from eyewright.privacy.auditing import ATTACKS, PrivacyAudit, audit_membership, canary_plan
    from eyewright.privacy.canaries import audit_canaries

    started = time.monotonic()
    owner = load_run(model) if isinstance(model, str | Path) else model
    task_of(owner.task_name).require("private")
    claim = owner.about.get("privacy")
    chosen = tuple(attacks) if attacks is not None else tuple(a for a in ATTACKS if a != "canary" or claim)
    for name in chosen:
        if name not in ATTACKS:
            raise UsageError(f"unknown attack {name!r}", fix=spelling_hint(name, ATTACKS))
    if not chosen:
        raise UsageError("expected at least one attack, found none", fix=f"choose from {', '.join(ATTACKS)}")
    folder = Path(out) if out is not None else owner.folder / FOLDER
    deadline = None if budget is None else started + parse_duration_s(budget)
    plan = canary_plan(claim, canaries=canaries, seed=seed) if "canary" in chosen else None
    found = PrivacyAudit((), (), None, claim, 0, 0)
    part: Dataset | None = None
    members_only = tuple(a for a in chosen if a != "canary")
    if members_only:
        dataset = data_of_run(owner)
        rng = np.random.default_rng(seed)
        inside = np.array([s.split == "train" for s in dataset.samples])
        each = min(n // 2, int(inside.sum()), int((~inside).sum()))
        if each < _LEAST:
            raise DatasetError(
                f"expected {_LEAST} images or more that the run was not trained on, found {int((~inside).sum())}",
                fix="train with a validation and a test part",
            )
        rows = np.sort(np.concatenate([rng.permutation(np.flatnonzero(side))[:each] for side in (inside, ~inside)]))
        part = replace(dataset, samples=tuple(dataset.samples[i] for i in rows))
        images = list(part.examples(owner.preparation))
        pixels = np.concatenate([owner.preparation.batch(images[i : i + 256])[0] for i in range(0, len(images), 256)])
        found = audit_membership(
            owner,
            pixels,
            part.targets,
            inside[rows],
            [s.id for s in part.samples],
            attacks=members_only,
            models=models,
            targets=targets,
            seed=seed,
            goes_on=lambda: deadline is None or time.monotonic() < deadline,
            say=say,
            keep=folder / SHADOWS,
            resume=resume,
        )
    if plan is not None:
        say(f"training on {plan.canaries:,} canaries through the run's own step, {plan.steps:,} times")
        secret = f"canaries {seed}".encode()
        found = replace(found, canaries=audit_canaries(plan, secret=secret))
    # Shown as they are in their files: what the net saw may have been reduced.
    shown = {} if part is None else {e.row: part.image(e.row) for e in found.exposed}
    write_audit(folder, found, title=owner.folder.name, images=shown)
    (folder / SHADOWS).unlink(missing_ok=True)
    return replace(found, seconds=round(time.monotonic() - started, 1))
