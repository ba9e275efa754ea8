"""The verb evaluate: a report, and how far a bundle's single predictions can be trusted."""

__all__ = ["add_promises", "add_trust", "evaluate"]

import argparse
from pathlib import Path
from typing import Any

from eyewright.cli import following
from eyewright.cli.numbers import Fraction
from eyewright.cli.scaling import add_job, evaluate_job, is_job, plan_report, refuse_with_job, verify_report
from eyewright.cli.terminal import Result, finding, is_quiet, metrics, per_label, shown_path


def add_promises(p: argparse.ArgumentParser) -> None:
    """Add the options that say what `--coverage` is kept for, and `--miss-rate`."""
    p.add_argument(
        "--coverage-by",
        choices=("all", "class", "image"),
        help="guarantee the coverage over all images (default), for each class, or for all detected objects of an "
        "image together (boxes)",
    )
    p.add_argument(
        "--sets", choices=("threshold", "adaptive"), help="how a conformal set is formed (default threshold)"
    )
    p.add_argument(
        "--miss-rate",
        type=Fraction(0.001, 0.999, whole=False),
        metavar="FRACTION",
        help="detectors: choose the confidence threshold so that this fraction of the objects of an image is missed "
        "on average",
    )


def add_trust(p: argparse.ArgumentParser) -> None:
    """Add the options that measure conformal sets and the test for unfamiliar images."""
    p.add_argument(
        "--coverage",
        type=Fraction(0.01, 0.999, whole=False),
        metavar="FRACTION",
        help="bundles: measure conformal sets of labels with this coverage, such as 0.9; for detectors, conformal "
        "margins of boxes",
    )
    add_promises(p)
    p.add_argument(
        "--unfamiliar",
        metavar="DIR",
        help="bundles: measure how well these out-of-distribution images are recognised as unfamiliar",
    )
    add_job(p, format=False)


def evaluate(o: argparse.Namespace) -> Result:
    """Measure a run or a bundle, and say what was found."""
    as_job = is_job(o)
    if as_job and (o.verify or o.task is not None):
        refuse_with_job(o, {"task": None})
        return verify_report(o)
    if o.task is not None:
        return following.evaluate_tracks(o)
    from eyewright import lifecycle

    options: dict[str, Any] = {
        "out": o.out, "split": o.split, "allow_leaks": o.allow_leaks, "group_by": o.group_by,
        "label_depth": o.label_depth, "ignore": tuple(o.ignore), "seed": o.seed or 0, "quiet": is_quiet(o),
        "coverage": o.coverage, "coverage_by": o.coverage_by, "sets": o.sets,
        "miss_rate": o.miss_rate, "unfamiliar": o.unfamiliar,
    }  # fmt: skip
    job: dict[str, Any] = {}
    if o.plan:
        return plan_report(o, options)
    if as_job:
        report, job = evaluate_job(o, options)
    else:
        report = lifecycle.evaluate(o.model, o.data, **options)
    from eyewright.data.account import Account
    from eyewright.evaluation import said_findings, say_trust, show_metric, summarise

    out = {} if o.out is None else {"report": Path(o.out, "report.html").resolve()}
    text = [summarise(report), *said_findings(report), *say_trust(report), ""]
    text += [f"{name:20} {show_metric(name, metric)}" for name, metric in report.metrics.items()]
    text += [f"report   {shown_path(p)}" for p in out.values()]
    findings = [*job.get("findings", ()), *(finding(f) for f in report.sections.get("findings", ()))]
    out |= job.get("out", {})
    account = report.sections.get("account", {})
    if summary := Account.from_json(account).summary():
        text.insert(0, summary)
    return {
        "task": report.task,
        "out": out,
        "metrics": metrics(report),
        **per_label(report),
        "account": account,
        "findings": findings,
        **({"trust": report.tables["trust"]} if "trust" in report.tables else {}),
        **{k: v for k, v in job.items() if k not in ("out", "findings")},
        "text": text,
        "exit": 1 if lifecycle.errors_in(report) or job.get("findings") else 0,
    }
