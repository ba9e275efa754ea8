"""The command line: parse, call one function of the same name, print its result."""

__all__ = ["main"]

import argparse
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from eyewright.core.errors import EyewrightError, UsageError

Result = dict[str, Any]
"""What a verb gives: the keys of the `--json` object, and `exit` and `text` for the terminal."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; give its exit code.

    0 done · 1 done, with findings · 2 usage · 3 input that cannot be read · 4 the model or bundle refused · 5 out of
    a budget that was asked for · 70 a fault of ours · 130 interrupted · 143 terminated, checkpoint written.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in args
    # What decoders say of damaged files is said by us, once and in one line.
    warnings.simplefilter("ignore")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    verb = next((a for a in args if not a.startswith("-")), "")
    started = time.monotonic()
    try:
        options = _parser().parse_args(args)
        verb = options.verb
        # SIGTERM outside the training loop, which handles its own, still ends with the documented code.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        result = options.call(options)
    except EyewrightError as error:
        return _fail(verb, error, started, as_json)
    except KeyboardInterrupt:
        return _fail(verb, _EndedError("interrupted", "run it again, or go on with --resume", 130), started, as_json)
    except SystemExit as end:
        if end.code == 143:
            return _fail(verb, _EndedError("terminated", "go on with --resume", 143), started, as_json)
        return end.code if isinstance(end.code, int) else 0
    except BrokenPipeError:
        _drop_stdout()
        return 0
    except MemoryError:
        short = UsageError("there is not enough memory", fix="use a smaller --batch or --imgsz", code="memory")
        return _fail(verb, short, started, as_json)
    except Exception as fault:
        if os.environ.get("EYEWRIGHT_DEBUG"):
            raise
        text = f"a fault of ours: {type(fault).__name__}: {fault}"
        return _fail(
            verb, _EndedError(text, "please report it with what EYEWRIGHT_DEBUG=1 shows", 70), started, as_json
        )
    try:
        return _finish(verb, result, started, options)
    except BrokenPipeError:
        _drop_stdout()
        return 0


class _EndedError(EyewrightError):
    """An end that is nobody's input error: a signal, or a fault of ours."""

    def __init__(self, message: str, fix: str, exit_code: int) -> None:
        super().__init__(message, fix=fix, code={130: "interrupted", 143: "terminated"}.get(exit_code, "fault"))
        self.exit_code = exit_code


class _Parser(argparse.ArgumentParser):
    """An argparse whose complaint is one line, with the exit code of usage."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, fix=f"see {self.prog} --help")


# -- verbs ------------------------------------------------------------------------------------------------------------


def _quickstart(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    return _run_result(lifecycle.quickstart(o.out or "eyewright-quickstart", **_talk(o), **_recipe_options(o)))


def _run(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    return _run_result(lifecycle.run(o.data, out=o.out, **_talk(o), **_data_options(o), **_recipe_options(o)))


def _run_result(done: Any) -> Result:
    from eyewright.evaluation import summarise

    bundle, report = _shown_path(done.paths["bundle"]), _shown_path(done.paths["report"])
    use = f"import eyewright as ew; print(ew.load_bundle('{bundle}').predict('IMAGE').top1)"
    text = [
        "",
        summarise(done.report),
        "",
        f"  report   {report}",
        f"  bundle   {bundle}",
        "",
        "Use it:",
        f"  {_shown_program('eyewright')} predict {bundle} --source IMAGE",
        f"  {_shown_program('eyewright')} explain {bundle} IMAGE --out heatmaps",
        f'  {_shown_program("python")} -c "{use}"',
    ]
    return {
        "task": done.report.task,
        "out": dict(done.paths),
        "metrics": _metrics(done.report),
        "findings": [_finding(f) for f in done.findings],
        "text": text,
    }


def _doctor(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    findings = lifecycle.doctor(o.data, label_depth=o.label_depth, **_talk(o))
    serious = [f for f in findings if o.strict or f.severity != "note"]
    text = [str(f) for f in findings]
    text.append(f"{len(serious)} finding{'s' * (len(serious) != 1)}" if serious else "nothing to mend")
    return {
        "task": "classify",
        "findings": [_finding(f) for f in findings],
        "text": text,
        "exit": 1 if serious else 0,
    }


def _train(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    run = lifecycle.train(o.data, out=o.out, resume=o.resume, **_talk(o), **_data_options(o), **_recipe_options(o))
    about = run.about["training"]
    value = {"value": about["val_accuracy"], "low": None, "high": None, "n": run.about["calibration"]["n"]}
    text = [f"run      {_shown_path(run.folder)}", f"export   eyewright export {_shown_path(run.folder)} --out BUNDLE"]
    return {
        "task": run.task_name,
        "out": {"run": run.folder.resolve()},
        "metrics": {"val_accuracy": value},
        "text": text,
    }


def _evaluate(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    report = lifecycle.evaluate(
        o.model,
        o.data,
        out=o.out,
        split=o.split,
        allow_leaks=o.allow_leaks,
        label_depth=o.label_depth,
        seed=o.seed or 0,
        quiet=_quiet(o),
    )
    from eyewright.evaluation import summarise

    out = {} if o.out is None else {"report": Path(o.out, "report.html").resolve()}
    text = [summarise(report), "", *(f"{name:20} {metric}" for name, metric in report.metrics.items())]
    text += [f"report   {_shown_path(p)}" for p in out.values()]
    return {"task": report.task, "out": out, "metrics": _metrics(report), "text": text}


def _compare(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    found = lifecycle.compare(
        o.a,
        o.b,
        o.data,
        split=o.split,
        label_depth=o.label_depth,
        allow_leaks=o.allow_leaks,
        seed=o.seed or 0,
        quiet=_quiet(o),
    )
    # A model that got worse is a finding: a script that ships B only if it is no worse can go by the exit code.
    return {"task": "classify", "comparison": found.to_json(), "text": [str(found)], "exit": int(found.better == "a")}


def _explain(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    found = lifecycle.explain(o.model, o.images, method=o.method, label=o.label, out=o.out, seed=o.seed or 0)
    text = [f"{e.source}: {e.label} {e.score:.1%} by {e.method}: {e.verdict}" for e in found]
    if o.out is None:
        text.append("pass --out DIR to write the heatmaps")
    out = {} if o.out is None else {"explanations": Path(o.out).resolve()}
    return {"task": "classify", "out": out, "explanations": [e.to_json() for e in found], "text": text}


def _export(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    bundle, parity = lifecycle.export_checked(o.run, o.out, validation=o.data, name=o.name)
    text = [
        f"bundle   {_shown_path(bundle.folder)}",
        f"parity   {parity.n} validation images, probabilities within {parity.worst:.1e}, answers equal",
    ]
    return {
        "task": bundle.task_name,
        "out": {"bundle": bundle.folder.resolve()},
        "parity": {"worst": parity.worst, "decisions_changed": parity.decisions_changed, "n": parity.n},
        "text": text,
    }


def _verify(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    bundle = lifecycle.verify(o.bundle)
    m = bundle.manifest
    text = [f"{_shown_path(bundle.folder)}: {len(m.files)} files unchanged, golden pairs agree"]
    text.append(f"{m.task}, {len(m.labels)} classes, {m.preparation.size_hw[1]}x{m.preparation.size_hw[0]} pixels")
    return {"task": m.task, "out": {"bundle": bundle.folder.resolve()}, "findings": [], "text": text}


def _predict(o: argparse.Namespace) -> Result:
    from dataclasses import replace

    from eyewright import lifecycle
    from eyewright.core.errors import UnreadableImageError
    from eyewright.imaging.sources import list_sources, read_named

    bundle = lifecycle.verify(o.bundle)
    items = list_sources(o.source)
    rows: list[dict[str, Any]] = []
    findings: list[dict[str, Any]] = []
    for index, item in enumerate(items):
        name = "-" if item == "-" else str(Path(item).resolve())
        try:
            image = read_named(item)
        except UnreadableImageError as error:
            if len(items) == 1:
                raise
            findings.append({"code": error.code, "path": name, "message": error.message, "fix": error.fix})
            _warn(f"left out: {error}")
            continue
        prediction = replace(bundle.predict_images([image])[0], source=name, index=index, image=image)
        rows.append(prediction.to_json(top=o.top))
        shown = "  ".join(f"{n} {s:.1%}" for n, s in zip(rows[-1]["labels"][:3], rows[-1]["scores"], strict=False))
        line = f"{item}: {shown}"
        if o.out is not None:
            prediction.save(Path(o.out) / f"{index:05d}-{_plain_stem(item)}.png")
        if o.json or o.quiet:
            continue
        # A long folder is shown as it goes; nothing is held back to the end.
        print(_printable(line), flush=True)
    if not rows:
        raise UnreadableImageError(f"none of {len(items)} images can be read", fix="see the lines above")
    out: dict[str, Path] = {}
    if o.out is not None:
        from eyewright.core.files import write_json

        out["predictions"] = Path(o.out).resolve() / "predictions.json"
        write_json(out["predictions"], rows)
    return {
        "task": bundle.task_name,
        "out": out,
        "predictions": rows,
        "findings": findings,
        "exit": 1 if findings else 0,
    }


def _models(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    found = lifecycle.models()
    return {"models": found, "text": [f"{name:12} {about}" for name, about in found.items()]}


def _formats(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    found = lifecycle.formats()
    text = [f"{name:16} {about}" for kind in found.values() for name, about in kind.items()]
    return {"formats": found, "text": text}


def _info(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    found = lifecycle.info()
    text = [f"{name:16} {value}" for part in ("versions", "hardware") for name, value in found[part].items()]
    return {"info": found, "text": text}


_VERBS: Mapping[str, tuple[Callable[[argparse.Namespace], Result], str, str]] = {
    "quickstart": (_quickstart, "the whole life cycle on real images that ship inside dependencies", "quickstart"),
    "run": (_run, "audit, split, train, evaluate, explain, export, verify on your images", "run photos/ --budget 10m"),
    "doctor": (_doctor, "audit a dataset: unreadable, duplicate, leaking, misnamed", "doctor photos/ --json"),
    "train": (_train, "train; writes a run folder", "train photos/ --model conv_net --epochs 10"),
    "evaluate": (_evaluate, "a report with intervals", "evaluate photos.bundle test-photos/ --out report"),
    "compare": (_compare, "is B better than A, beyond chance?", "compare old.bundle runs/classify/new"),
    "explain": (_explain, "heatmaps with a faithfulness verdict", "explain photos.bundle cat.jpg --out heatmaps"),
    "export": (_export, "a bundle, after the parity gate", "export runs/classify/photos --out photos.bundle"),
    "verify": (_verify, "check a bundle: digests, tensors, golden pairs", "verify photos.bundle"),
    "predict": (_predict, "predict images, folders, globs, standard input", "predict photos.bundle --source cat.jpg"),
    "models": (_models, "the networks there are", "models"),
    "formats": (_formats, "the dataset and image formats that are read", "formats"),
    "info": (_info, "versions and hardware", "info --json"),
}


# -- options ----------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    top = _Parser(
        prog="eyewright",
        description="From a folder of images to a vision model that you can trust, run anywhere and keep watching.",
        epilog="exit codes: 0 done, 1 done with findings, 2 usage, 3 unreadable input, 4 model or bundle refused, "
        "5 out of budget, 70 a fault of ours, 130 interrupted, 143 terminated",
    )
    from eyewright import __version__

    top.add_argument("--version", action="version", version=f"eyewright {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)

    def verb(name: str) -> argparse.ArgumentParser:
        call, about, example = _VERBS[name]
        p = verbs.add_parser(name, help=about, description=about + ".", epilog=f"example: eyewright {example}")
        p.set_defaults(call=call)
        p.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
        p.add_argument("--quiet", action="store_true", help="no progress, no lines between")
        p.add_argument("--seed", type=int, help="seed of every random choice (default 0)")
        return p

    p = verb("quickstart")
    p.add_argument("--out", metavar="DIR", help="where to write (default eyewright-quickstart)")
    _add_recipe(p)

    p = verb("run")
    _add_data(p)
    p.add_argument("--out", metavar="DIR", help="run folder (default runs/classify/NAME)")
    _add_recipe(p)

    p = verb("doctor")
    p.add_argument("data", metavar="DATA")
    p.add_argument("--strict", action="store_true", help="notes count as findings too")
    p.add_argument("--label-depth", type=int, metavar="N", help="folder levels that make a class name")

    p = verb("train")
    _add_data(p)
    p.add_argument("--out", metavar="DIR", help="run folder (default runs/classify/NAME)")
    p.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    _add_recipe(p)

    p = verb("evaluate")
    p.add_argument("model", metavar="RUN|BUNDLE")
    p.add_argument("--out", metavar="DIR", help="write report.html, report.json and report.md there")
    _add_measured(p)

    p = verb("compare")
    p.add_argument("a", metavar="A", help="run or bundle")
    p.add_argument("b", metavar="B", help="run or bundle; exit 1 if it is worse by more than chance")
    _add_measured(p)

    p = verb("explain")
    p.add_argument("model", metavar="RUN|BUNDLE")
    p.add_argument("images", metavar="IMAGE", nargs="+")
    p.add_argument(
        "--method",
        metavar="NAME",
        help="gradcam, integrated-gradients, rollout (runs), occlusion or rise (runs and bundles)",
    )
    p.add_argument("--label", metavar="NAME", help="explain this class, not the answer")
    p.add_argument("--out", metavar="DIR", help="write overlays and arrays there")

    p = verb("export")
    p.add_argument("run", metavar="RUN")
    p.add_argument("--out", metavar="BUNDLE", required=True)
    p.add_argument("--data", metavar="DATA", help="validation images, if the run's own have moved")
    p.add_argument("--name", metavar="NAME", help="the model's name in its card")

    p = verb("verify")
    p.add_argument("bundle", metavar="BUNDLE")

    p = verb("predict")
    p.add_argument("bundle", metavar="BUNDLE")
    p.add_argument("--source", metavar="S", required=True, help="file, folder, glob with ** or - for standard input")
    p.add_argument("--out", metavar="DIR", help="write predictions.json and drawn images there")
    p.add_argument("--top", type=int, default=5, metavar="K", help="labels an image in JSON (default 5)")

    verb("models")
    verb("formats")
    verb("info")
    return top


def _add_data(p: argparse.ArgumentParser) -> None:
    p.add_argument("data", metavar="DATA", help="folder, .zip, .csv or idx files")
    p.add_argument("--group-by", metavar="RULE", help="'folder' or a pattern: what it matches alike stays in one part")
    p.add_argument("--label-depth", type=int, metavar="N", help="folder levels that make a class name")
    p.add_argument("--allow-leaks", action="store_true", help="train although images are on both sides of the split")
    p.add_argument("--workers", type=int, metavar="N", help="threads that decode (default: all cores)")


def _add_measured(p: argparse.ArgumentParser) -> None:
    p.add_argument("data", metavar="DATA", nargs="?", help="default: the run's own test part")
    p.add_argument("--split", metavar="PART", help="train, val or test (default: test if there is one)")
    p.add_argument("--allow-leaks", action="store_true", help="measure on images that were trained on all the same")
    p.add_argument("--label-depth", type=int, metavar="N", help="folder levels that make a class name")


def _add_recipe(p: argparse.ArgumentParser) -> None:
    p.add_argument("--task", default="classify", metavar="T", help="classify")
    p.add_argument("--recipe", metavar="FILE", help="options from a TOML file; those given here come first")
    p.add_argument("--model", metavar="NAME", help="see eyewright models, or package.module:builder")
    p.add_argument("--budget", metavar="TIME", help="such as 90s, 10m or 1h")
    for name, kind in _NUMBERS.items():
        p.add_argument("--" + name.replace("_", "-"), type=kind, metavar="N")
    for name in _WORDS:
        p.add_argument("--" + name.replace("_", "-"), metavar="NAME")


_NUMBERS: Mapping[str, Callable[[str], Any]] = {
    "epochs": int,
    "batch": int,
    "accumulate": int,
    "imgsz": int,
    "lr": float,
    "weight_decay": float,
    "l1": float,
    "dropout": float,
    "label_smoothing": float,
    "ema": float,
    "clip_norm": float,
    "patience": int,
    "warmup": float,
    "mixup": float,
    "cutmix": float,
    "freeze": float,
    "layer_decay": float,
}
_WORDS = ("optimizer", "loss", "schedule", "augment", "flip", "activation", "device", "amp")


def _recipe_options(o: argparse.Namespace) -> dict[str, Any]:
    from eyewright.training.recipe import read_recipe

    found = {name: getattr(o, name) for name in (*_NUMBERS, *_WORDS, "seed") if getattr(o, name) is not None}
    return {
        **found,
        "task": o.task,
        "model": o.model,
        "budget": o.budget,
        "recipe": None if o.recipe is None else read_recipe(Path(o.recipe)),
    }


def _data_options(o: argparse.Namespace) -> dict[str, Any]:
    return {
        "group_by": o.group_by,
        "label_depth": o.label_depth,
        "allow_leaks": o.allow_leaks,
        "workers": o.workers,
    }


def _talk(o: argparse.Namespace) -> dict[str, Any]:
    quiet = _quiet(o)
    return {"quiet": quiet, "say": (lambda text: None) if quiet else lambda text: print(_printable(text), flush=True)}


def _quiet(o: argparse.Namespace) -> bool:
    return bool(o.json or o.quiet)


# -- output -----------------------------------------------------------------------------------------------------------


def _finish(verb: str, result: Result, started: float, o: argparse.Namespace) -> int:
    code: int = result.pop("exit", 0)
    text: list[str] = result.pop("text", [])
    if o.json:
        _print_json({"verb": verb, "ok": True, "seconds": round(time.monotonic() - started, 3), **result})
    elif not o.quiet or verb in ("doctor", "models", "formats", "info"):
        for line in text:
            print(_printable(line))
    sys.stdout.flush()
    return code


def _fail(verb: str, error: EyewrightError, started: float, as_json: bool) -> int:
    if as_json:
        content = {"code": error.code, "message": error.message, "fix": error.fix}
        _print_json({"verb": verb, "ok": False, "seconds": round(time.monotonic() - started, 3), "error": content})
    _warn(str(error))
    return error.exit_code


def _print_json(value: Mapping[str, Any]) -> None:
    from eyewright.core.jsonable import dumps_json

    kept = {k: v for k, v in value.items() if v not in ({}, None) or k in ("ok",)}
    sys.stdout.write(dumps_json(kept) + "\n")
    sys.stdout.flush()


def _warn(text: str) -> None:
    print(_printable(f"eyewright: {text}"), file=sys.stderr, flush=True)


def _printable(text: str) -> str:
    """Show a name that is not UTF-8, or holds a control character, without breaking the line or the terminal."""
    plain = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode("ascii") for c in plain)


def _plain_stem(item: Any) -> str:
    stem = "stdin" if item == "-" else Path(item).stem
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in stem)[:80]


def _shown_path(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _shown_program(name: str) -> str:
    """Give a command as it can be typed here: an environment that is not activated is named with its path."""
    import shutil

    beside = Path(sys.executable).with_name(name)
    if shutil.which(name) == str(beside) or not beside.exists():
        return name
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)


def _metrics(report: Any) -> dict[str, Any]:
    return {k: {"value": m.value, "low": m.low, "high": m.high, "n": m.n} for k, m in report.metrics.items()}


def _finding(finding: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(finding)


def _drop_stdout() -> None:
    """The reader has gone: let the interpreter's last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
