"""The whole life cycle in one call: on your folder, or on images that ship inside dependencies."""

__all__ = ["RunResult", "quickstart", "run"]

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.core.durations import show_duration
from eyewright.core.errors import BudgetError
from eyewright.core.report import Finding, Report
from eyewright.core.task import task_of
from eyewright.data import leak_rule, write_digits
from eyewright.lifecycle.datasets import PathLike, Say, load_dataset, settled, silent
from eyewright.lifecycle.opening import asked_of, check_model, free_folder, need_torch, recipe_of
from eyewright.lifecycle.stages import evaluate, export_checked, title_of, train_on
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


@dataclass(frozen=True)
class RunResult:
    """What `run` made: the run, the bundle, the report, and where they lie."""

    run: "Run"
    bundle: "Bundle"
    report: Report
    parity: "Parity"
    findings: tuple[Finding, ...]
    paths: Mapping[str, Path]


def run(
    data: PathLike,
    *,
    task: str | None = None,
    budget: str | float | None = None,
    out: PathLike | None = None,
    recipe: "Recipe | None" = None,
    leaks: str | None = None,
    allow_leaks: bool = False,
    group_by: str | None = None,
    label_depth: int | None = None,
    ignore: Sequence[str] = (),
    target: Sequence[str] = (),
    workers: int | None = None,
    quiet: bool = True,
    say: Say = silent,
    **options: Any,
) -> RunResult:
    """Walk the whole life cycle: audit → split → train → evaluate → explain → export → verify.

    `budget` is for all of it; a sixth of it, between 12 s and a minute, is kept for what comes after training. `leaks`
    is as for `train`.

    Raises:
        EyewrightError: as the single verbs; what was finished stays in the run folder.
    """
    from eyewright.evaluation import show_metric

    started = time.monotonic()
    leaks = leak_rule(leaks, allow_leaks)
    need_torch()
    resolved = recipe_of(recipe, budget=budget, task=task, **options)
    given: dict[str, Any] = {"group_by": group_by, "label_depth": label_depth, "ignore": ignore, "target": target}
    dataset = load_dataset(data, **asked_of(resolved), **given, quiet=quiet, say=say)
    check_model(resolved.model, dataset.task)
    dataset = settled(dataset, leaks, quiet=quiet)
    folder = Path(out) if out is not None else free_folder(Path("runs") / dataset.task, dataset.name)
    deadline = None
    if resolved.budget_s is not None:
        kept = min(60.0, max(12.0, resolved.budget_s / 6))
        deadline = started + resolved.budget_s - kept
        if deadline - time.monotonic() < 3:
            raise BudgetError(
                f"expected a budget of {show_duration(time.monotonic() - started + kept + 3)} or more for this data, "
                f"found {show_duration(resolved.budget_s)}",
                fix="give a larger --budget",
            )
    owner = train_on(
        dataset,
        resolved,
        folder,
        RunPlan(deadline=deadline, workers=workers, baseline=True, quiet=quiet, say=say),
        leaks=leaks,
    )
    findings = tuple(owner.about["audit"])
    for line in _told(findings):
        say(line)
    report, paths = _report_of_run(owner, dataset, quiet=quiet)
    main = task_of(report.task).main_metric
    say(f"test: {main} {show_metric(main, report.metrics[main])}")
    bundle, parity = export_checked(owner, folder / "bundle", validation=dataset.val, report=report)
    say(f"bundle verified: {parity}")
    paths = {"run": folder, "bundle": folder / "bundle", **paths}
    return RunResult(owner, bundle, report, parity, findings, {k: p.resolve() for k, p in paths.items()})


def _told(findings: Sequence[Finding]) -> list[str]:
    """Return a line for each of the first kinds of findings, the first of its kind: many of one kind hide no other."""
    kinds = Counter(f.code for f in findings)
    firsts = [next(f for f in findings if f.code == code) for code in list(kinds)[:_TOLD]]
    lines = [f"{f}" + (f" ({kinds[f.code] - 1:,} more like it)" if kinds[f.code] > 1 else "") for f in firsts]
    left = len(findings) - sum(kinds[f.code] for f in firsts)
    if left:
        lines.append(f"and {left:,} more findings")
    return [*lines, "every finding: see the report"] if len(findings) > len(firsts) else lines


def _report_of_run(owner: "Run", dataset: "Dataset", *, quiet: bool) -> tuple[Report, dict[str, Path]]:
    """Evaluate a run on its test part and write its report, with heatmaps for the mistakes of highest confidence."""
    from eyewright.evaluation import reporting_of, write_report

    test = dataset.test.seen_by(owner.preparation)
    report = evaluate(owner, test, quiet=quiet)
    reporting = reporting_of(report.task)
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


def quickstart(
    out: PathLike = "eyewright-quickstart", *, quiet: bool = True, say: Say = silent, **options: Any
) -> RunResult:
    """Walk the whole life cycle on real images that ship with scikit-learn: 1,797 handwritten digits.

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
