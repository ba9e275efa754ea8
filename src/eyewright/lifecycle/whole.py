"""The whole life cycle in one call: on your folder, or on images that ship inside dependencies."""

__all__ = ["RunResult", "kept_after_training", "measuring_seconds", "quickstart", "run"]

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from eyewright.core.durations import show_duration
from eyewright.core.errors import BudgetError
from eyewright.core.report import Finding, Report
from eyewright.core.task import task_of
from eyewright.data import label_error_rule, leak_rule, write_digits
from eyewright.lifecycle.adding import AddGenerated, train_with_generated
from eyewright.lifecycle.datasets import PathLike, Say, load_dataset, settled, silent
from eyewright.lifecycle.loading import need_torch
from eyewright.lifecycle.opening import asked_of, check_model, free_folder, recipe_of
from eyewright.lifecycle.stages import errors_in, evaluate, export_checked, title_of, train_on
from eyewright.training.options import QuickstartOptions, RunOptions, named_options
from eyewright.training.plan import RunPlan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from eyewright.bundle import Bundle
    from eyewright.data import Dataset
    from eyewright.explanation import Explanation
    from eyewright.exporting import Parity
    from eyewright.training import Recipe
    from eyewright.training.run import Run


_TOLD = 5
_LEAST_CPU_S = 0.5
# Predictions that the heatmaps of a report take: some ten images, deletion and insertion, shuffled weights.
_EXPLAINED = 2000


@dataclass(frozen=True)
class RunResult:
    """What `run` made: the run, the bundle, the report, and where they lie.

    There is no bundle, and no parity, where the report finds an error in the model itself, such as one that loses to
    its baseline.
    """

    run: "Run"
    bundle: "Bundle | None"
    report: Report
    parity: "Parity | None"
    findings: tuple[Finding, ...]
    paths: Mapping[str, Path]


@named_options(RunOptions)
def run(
    data: PathLike,
    *,
    task: str | None = None,
    budget: str | float | None = None,
    out: PathLike | None = None,
    recipe: "Recipe | None" = None,
    leaks: str | None = None,
    allow_leaks: bool = False,
    label_errors: str | None = None,
    group_by: str | None = None,
    label_depth: int | None = None,
    ignore: Sequence[str] = (),
    target: Sequence[str] = (),
    workers: int | None = None,
    add_generated: "AddGenerated | PathLike | None" = None,
    quiet: bool = True,
    say: Say = silent,
    **options: Unpack[RunOptions],
) -> RunResult:
    """Run the whole life cycle: audit → split → train → evaluate → explain → export → verify.

    `budget` is for all of it. A sixth of it, between 12 s and a minute, is kept for what follows training: more where
    there are many images to measure or the net is slow, and where the machine is busy, up to half of the budget.
    `leaks`,
    `label_errors` and `add_generated` are as for `train`.

    Raises:
        EyewrightError: as the single verbs; what was finished stays in the run folder.
    """
    from eyewright.evaluation import show_metric

    started, cpu_s = time.monotonic(), _cpu_seconds()
    leaks = leak_rule(leaks, allow_leaks)
    label_errors = label_error_rule(label_errors)
    need_torch()
    resolved = recipe_of(recipe, budget=budget, task=task, **options)
    given: dict[str, Any] = {"group_by": group_by, "label_depth": label_depth, "ignore": ignore, "target": target}
    dataset = load_dataset(data, **asked_of(resolved), **given, quiet=quiet, say=say)
    check_model(resolved.model, dataset.task)
    dataset = settled(dataset, leaks, quiet=quiet)
    folder = Path(out) if out is not None else free_folder(Path("runs") / dataset.task, dataset.name)
    deadline, reserve = None, None
    if resolved.budget_s is not None:
        read_s = time.monotonic() - started
        kept = kept_after_training(resolved.budget_s, wall_s=read_s, cpu_s=_cpu_seconds() - cpu_s)
        deadline = started + resolved.budget_s - kept
        reserve = partial(
            measuring_seconds,
            n_test=len(dataset.test),
            n_val=len(dataset.val),
            read_s=read_s / max(1, len(dataset)),
            most=resolved.budget_s / 2 - kept,
        )
        if deadline - time.monotonic() < 3:
            raise BudgetError(
                f"expected a budget of {show_duration(time.monotonic() - started + kept + 3)} or more for this data, "
                f"found {show_duration(resolved.budget_s)}",
                fix="give a larger --budget",
            )
    plan = RunPlan(
        deadline=deadline,
        reserve=reserve,
        workers=workers,
        baseline=True,
        label_errors=label_errors,
        quiet=quiet,
        say=say,
    )
    if add_generated is None:
        owner = train_on(dataset, resolved, folder, plan, leaks=leaks)
    else:
        asked = add_generated if isinstance(add_generated, AddGenerated) else AddGenerated(add_generated)
        owner = train_with_generated(dataset, resolved, folder, plan, asked, leaks=leaks, train=train_on)
    findings = tuple(owner.about["audit"])
    for line in _told(findings):
        say(line)
    report, paths = _report_of_run(owner, dataset, quiet=quiet)
    main = task_of(report.task).main_metric
    say(f"test: {main} {show_metric(main, report.metrics[main])}")
    bundle, parity = None, None
    paths = {"run": folder, **paths}
    if wrong := errors_in(report):
        say(f"no bundle was written: {wrong[0].message}")
    else:
        bundle, parity = export_checked(owner, folder / "bundle", validation=dataset.val, report=report)
        say(f"bundle verified: {parity}")
        paths["bundle"] = folder / "bundle"
    return RunResult(owner, bundle, report, parity, findings, {k: p.resolve() for k, p in paths.items()})


def kept_after_training(budget_s: float, *, wall_s: float, cpu_s: float) -> float:
    """Return the seconds of a budget that are kept for what follows training, whatever the data is.

    `wall_s` and `cpu_s` are what reading the data took: on a busy machine the first is larger, and so is the reserve.

    >>> kept_after_training(600, wall_s=4, cpu_s=4), kept_after_training(40, wall_s=6, cpu_s=4)
    (60.0, 18.0)
    >>> kept_after_training(40, wall_s=8, cpu_s=2)
    20.0
    """
    kept = min(60.0, max(12.0, budget_s / 6))
    busy = 1.0 if cpu_s < _LEAST_CPU_S else max(1.0, wall_s / cpu_s)
    return max(kept, min(budget_s / 2, kept * busy))


def measuring_seconds(image_s: float, *, n_test: int, n_val: int, read_s: float, most: float) -> float:
    """Return the seconds that measuring takes after training, of a net that needs `image_s` for an image.

    Test images are predicted once, validation images by the net and by its export; explanations of a few images need
    many predictions. `read_s` is the time to read an image.

    >>> measuring_seconds(0.001, n_test=10_000, n_val=5_000, read_s=0.0005, most=300)
    32.0
    """
    return max(0.0, min(most, round((n_test + 2 * n_val) * (image_s + read_s) + _EXPLAINED * image_s, 3)))


def _cpu_seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _told(findings: Sequence[Finding]) -> list[str]:
    """Return a line for each of the first kinds of findings, the first of its kind: many of one kind hide no other."""
    kinds = Counter(f.code for f in findings)
    firsts = [next(f for f in findings if f.code == code) for code in list(kinds)[:_TOLD]]
    lines = [f"{f}" + (f" ({kinds[f.code] - 1:,} more like it)" if kinds[f.code] > 1 else "") for f in firsts]
    left = len(findings) - sum(kinds[f.code] for f in firsts)
    if left:
        lines.append(f"and {left:,} more finding{'s' * (left != 1)}")
    return [*lines, "every finding: see the report"] if len(findings) > len(firsts) else lines


def _report_of_run(owner: "Run", dataset: "Dataset", *, quiet: bool) -> tuple[Report, dict[str, Path]]:
    """Evaluate a run on its test part and write its report, with heatmaps for the mistakes of highest confidence."""
    from eyewright.evaluation import reporting_of, write_report

    test = dataset.test.seen_by(owner.preparation)
    report = evaluate(owner, test, quiet=quiet)
    reporting = reporting_of(report.task)
    if owner.about.get("privacy"):
        return report, write_report(report, owner.folder, title=title_of(owner.predictor, owner), pictures={})
    pictures = reporting.pictures(report, test, lambda _: owner.predictor)

    def explain(
        images: "Sequence[NDArray[np.uint8]]", ids: Sequence[str], labels: Sequence[str] = ()
    ) -> "list[Explanation]":
        asked = labels or [""] * len(ids)
        found: list[Explanation] = []
        for label in dict.fromkeys(asked):
            rows = [k for k, own in enumerate(asked) if own == label]
            found += _explanations(owner, [images[k] for k in rows], [ids[k] for k in rows], label or None)
        return found

    pictures = reporting.explained(report, test, pictures, explain)
    return report, write_report(report, owner.folder, title=title_of(owner.predictor, owner), pictures=pictures)


def _explanations(
    owner: "Run", images: "Sequence[NDArray[np.uint8]]", ids: Sequence[str], label: str | None
) -> "Sequence[Explanation]":
    """Explain the prediction of highest confidence of each image, or `label`, by Grad-CAM where that is faithful, else
    by occlusion, which costs more and fails less."""
    from eyewright.explanation import explain_images

    if "gradients" not in task_of(owner.task_name).options:
        return explain_images(owner.predictor, images, method="occlusion", label=label, sources=ids, most=1)
    by_id = dict(zip(ids, images, strict=True))

    def explained(method: str, names: Sequence[str]) -> "list[Explanation]":
        chosen = [by_id[n] for n in names]
        return explain_images(owner.predictor, chosen, method=method, net=owner.net, label=label, sources=names, most=1)

    if not _has_convolution(owner):
        return explained("occlusion", ids)
    found = explained("gradcam", ids)
    # An image may have several things to explain, or none.
    again = {e.source: e for e in explained("occlusion", [e.source for e in found if not e.verdict.faithful])}
    found = [again[e.source] if e.source in again and again[e.source].verdict.faithful else e for e in found]
    return found


def _has_convolution(owner: "Run") -> bool:
    return any(p.ndim == 4 for p in owner.net.parameters())


@named_options(QuickstartOptions)
def quickstart(
    out: PathLike = "eyewright-quickstart",
    *,
    quiet: bool = True,
    say: Say = silent,
    **options: Unpack[QuickstartOptions],
) -> RunResult:
    """Run the whole life cycle on real images that ship with scikit-learn: 1,797 handwritten digits.

    They are written to `out/digits` as an ImageFolder first, so that the way is the way of a user's own folder.

    Raises:
        MissingExtraError: scikit-learn or torch is not installed.
        OutputError: `out` cannot be written.
    """
    need_torch()

    out = Path(out)
    say(f"writing 1,797 real handwritten digits to {out / 'digits'}")
    write_digits(out / "digits")
    return run(out / "digits", out=free_folder(out, "run"), quiet=quiet, say=say, **options)
