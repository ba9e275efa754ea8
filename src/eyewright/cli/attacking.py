"""The verbs of robustness: attack and certify, and the options of training against attacks."""

__all__ = ["add_attacking", "attack", "certify"]

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eyewright.cli.numbers import Checked, Number
from eyewright.cli.terminal import Result, shown_path, talk
from eyewright.core.durations import parse_duration_s

_IMAGES = Number(1, 1_000_000)


def add_attacking(verb: Callable[[str], argparse.ArgumentParser], add_measured: Callable[..., None]) -> None:
    """Add the options of attack and certify."""
    p = verb("attack")
    p.add_argument("model", metavar="RUN|BUNDLE", help="a run folder, or a bundle")
    add_measured(p)
    p.add_argument(
        "--eps",
        metavar="E,E",
        help="perturbation bounds for pixels from 0 to 1, such as 8/255,0.3 (default: chosen by the images)",
    )
    p.add_argument("--norm", default="linf", metavar="NORM", help="linf or l2 (default linf)")
    p.add_argument(
        "--suite",
        default="standard",
        metavar="NAME",
        help="suite of attacks: quick, standard or full (default standard)",
    )
    p.add_argument(
        "--attacks", metavar="NAMES", help="instead of a suite: fgsm, pgd, apgd, apgd_t, fab_t, square, boundary"
    )
    p.add_argument(
        "--steps", type=Number(1, 10_000), default=50, metavar="N", help="steps of gradient attacks (default 50)"
    )
    p.add_argument(
        "--restarts",
        type=Number(1, 100),
        default=1,
        metavar="N",
        help="random restarts of each gradient attack (default 1)",
    )
    p.add_argument(
        "--queries",
        type=Number(1, 1_000_000),
        default=1000,
        metavar="N",
        help="queries per image of the black-box attacks (default 1000)",
    )
    p.add_argument(
        "-n", type=_IMAGES, default=1000, metavar="N", help="number of images, sampled with --seed (default 1000)"
    )
    p.add_argument("--budget", type=Checked(parse_duration_s), metavar="TIME", help="time limit, such as 90s or 10m")
    p.add_argument(
        "--out",
        metavar="DIR",
        help="write robustness.html and robustness.json to this folder (default for a run: inside it)",
    )
    p.add_argument("--resume", action="store_true", help="continue an interrupted attack")

    p = verb("certify")
    p.add_argument("model", metavar="RUN|BUNDLE", help="a run folder, or a bundle")
    add_measured(p)
    p.add_argument(
        "--sigma",
        default="0.25",
        metavar="S,S",
        help="standard deviations of the noise, for pixels from 0 to 1 (default 0.25)",
    )
    p.add_argument("--n0", type=_IMAGES, default=100, metavar="N", help="samples for selecting the class (default 100)")
    p.add_argument(
        "--samples",
        type=Number(1, 10_000_000),
        default=10_000,
        metavar="N",
        help="samples for bounding its probability (default 10000)",
    )
    p.add_argument(
        "--alpha", type=Number(0, 1, whole=False, open_low=True, open_high=True), default=0.001, metavar="P",
        help="probability that a certificate is wrong (default 0.001)",
    )  # fmt: skip
    p.add_argument(
        "--eps", metavar="E,E", help="also certify linf bounds by interval bound propagation at these eps (runs only)"
    )
    p.add_argument(
        "-n", type=_IMAGES, default=500, metavar="N", help="number of images, sampled with --seed (default 500)"
    )
    p.add_argument("--budget", type=Checked(parse_duration_s), metavar="TIME", help="time limit, such as 90s or 10m")
    p.add_argument("--out", metavar="DIR", help="write certificate.json to this folder (default for a run: inside it)")


def attack(o: argparse.Namespace) -> Result:
    """Attack a model, and print what is left of its accuracy."""
    from eyewright import lifecycle
    from eyewright.evaluation import show_metric

    names = None if o.attacks is None else tuple(t.strip() for t in o.attacks.split(",") if t.strip())
    report = lifecycle.attack(
        o.model,
        o.data,
        suite=o.suite,
        attacks=names,
        norm=o.norm,
        eps=o.eps,
        steps=o.steps,
        restarts=o.restarts,
        queries=o.queries,
        n=o.n,
        budget=o.budget,
        out=o.out,
        resume=o.resume,
        **_measured(o),
        **talk(o),
    )
    text = [
        "",
        report.sentence(),
        "",
        f"{'clean':14} {show_metric(report.metric, report.clean)}",
        *(
            f"{'eps ' + level.shown:14} {show_metric(report.metric, level.robust)}"
            + (
                ""
                if report.one_attack
                else f", in 8 bits {show_metric('accuracy', level.eight_bit).rpartition(' n=')[0]}"
            )
            for level in report.levels
        ),
        *(f"{name:14} {show_metric('accuracy', metric)}" for name, metric in report.extra.items()),
        *(
            [f"{'corruptions':14} mean error {show_metric('accuracy', c.mean_error)}"]
            if (c := report.corrupted)
            else []
        ),
        *report.warnings,
    ]
    folder = _folder(o)
    out = {} if folder is None else {"report": (folder / "robustness.html").resolve()}
    text += [f"report   {shown_path(p)}" for p in out.values()]
    findings = [
        {
            "code": "check_failed",
            "path": "",
            "line": None,
            "message": f"the check {c.name!r} failed: {c.said}",
            "fix": "the robust accuracy is no evidence: remove what hides the gradients, and attack again",
            "severity": "error",
        }
        for c in report.failed
    ]
    return {
        "task": report.task,
        "out": out,
        "metrics": {k: _metric(m) for k, m in report.metrics.items()},
        "robustness": report.to_json(),
        "findings": findings,
        "text": text,
        "exit": int(not report.is_evidence),
    }


def certify(o: argparse.Namespace) -> Result:
    """Certify a model, and print the certified accuracy at several radii."""
    from eyewright import lifecycle
    from eyewright.evaluation import show_metric

    found = lifecycle.certify(
        o.model,
        o.data,
        sigma=o.sigma,
        n0=o.n0,
        samples=o.samples,
        alpha=o.alpha,
        eps=o.eps,
        n=o.n,
        budget=o.budget,
        out=o.out,
        **_measured(o),
        **talk(o),
    )
    text = ["", found.sentence(), ""]
    for smoothed in found.smoothed:
        text.append(
            f"sigma {smoothed.sigma:g}: clean {show_metric('accuracy', smoothed.accuracy)}, "
            f"abstained on {smoothed.abstained:,}"
        )
        text += [f"  l2 {radius:<10g} {show_metric('accuracy', m)}" for radius, m in smoothed.certified.items()]
    text += [f"linf {name:11} {show_metric('accuracy', m)} by interval bounds" for name, m in found.bounded.items()]
    text += list(found.warnings)
    folder = _folder(o)
    out = {} if folder is None else {"certificate": (folder / "certificate.json").resolve()}
    text += [f"written  {shown_path(p)}" for p in out.values()]
    return {
        "task": found.task,
        "out": out,
        "metrics": {k: _metric(m) for k, m in found.metrics.items()},
        "certificate": found.to_json(),
        "text": text,
    }


def _measured(o: argparse.Namespace) -> dict[str, Any]:
    return {
        "split": o.split,
        "allow_leaks": o.allow_leaks,
        "group_by": o.group_by,
        "label_depth": o.label_depth,
        "ignore": tuple(o.ignore),
        "seed": o.seed or 0,
    }


def _folder(o: argparse.Namespace) -> Path | None:
    """Return where the verb wrote: to --out, of a run without it into the run."""
    if o.out is not None:
        return Path(o.out)
    inner = Path(o.model) / "robustness"
    return inner if (Path(o.model) / "run.json").exists() and not (Path(o.model) / "bundle.json").exists() else None


def _metric(m: Any) -> dict[str, Any]:
    groups = {} if m.groups is None else {"groups": m.groups}
    return {"value": m.value, "low": m.low, "high": m.high, "n": m.n, **groups}
