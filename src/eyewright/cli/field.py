"""The verbs of the field: serve and monitor."""

__all__ = ["add_field", "monitor", "read_token", "serve"]

import argparse
import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from eyewright.cli.live import add_sources, sources_of
from eyewright.cli.numbers import SEED, Checked, Fraction, Number
from eyewright.cli.replicas import add_serve_on, serve_elsewhere
from eyewright.cli.terminal import Result, finding, print_json, printable, shown_path, talk, warn
from eyewright.core.durations import parse_duration_s
from eyewright.core.errors import UsageError, plain_reason
from eyewright.core.quoting import quoted

_LARGEST_TOKEN = 2**16
_HOME = "eyewright-monitor"
_TAGS_SHOWN = 12
_COMMON = {
    "--json": "print one JSON object on stdout and nothing else",
    "--quiet": "no progress output and no summary; errors and findings are still printed",
}


def add_field(verb: Callable[[str], argparse.ArgumentParser]) -> None:
    """Add the options of serve and monitor."""
    p = verb("serve")
    p.add_argument(
        "bundles",
        metavar="[NAME=]BUNDLE",
        nargs="*",
        help="bundles to serve, by names of your choice (default: the champion of --home)",
    )
    p.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine only)")
    p.add_argument("--port", type=Number(0, 65_535), default=8000, help="port; 0 chooses a free one (default 8000)")
    p.add_argument(
        "--token-file", metavar="FILE", help="file with a token that every request must send (or EYEWRIGHT_TOKEN)"
    )
    p.add_argument(
        "--admin-token-file",
        metavar="FILE",
        help="file with the token for load, unload and reload (or EYEWRIGHT_ADMIN_TOKEN)",
    )
    p.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="host name that clients may use (repeatable)"
    )
    p.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="origin of a web page that may call the server (repeatable)",
    )
    p.add_argument(
        "--workers", type=Number(1, 1024), metavar="N", help="processes that run models (default: one per core)"
    )
    p.add_argument("--threads", type=Number(1, 1024), default=1, metavar="N", help="threads per process (default 1)")
    p.add_argument(
        "--max-batch", type=Number(1, 4096), default=4, metavar="N", help="maximum requests per batch (default 4)"
    )
    p.add_argument(
        "--max-wait-ms",
        type=Number(0, 1000, whole=False),
        default=0.0,
        metavar="MS",
        help="time to wait for more requests to batch (default 0)",
    )
    p.add_argument(
        "--queue", type=Number(1, 1_000_000), default=256, metavar="N", help="maximum waiting requests (default 256)"
    )
    p.add_argument(
        "--deadline",
        type=Number(0, 86_400, whole=False, open_low=True),
        default=30.0,
        metavar="S",
        help="time limit of a request in seconds (default 30)",
    )
    p.add_argument(
        "--max-body",
        type=Checked(_bytes),
        default="32m",
        metavar="BYTES",
        help="maximum size of a request body (default 32m)",
    )
    p.add_argument(
        "--max-pixels",
        type=Number(1, 10**10, whole=False),
        default=40e6,
        metavar="N",
        help="maximum pixels of an image (default 40e6)",
    )
    p.add_argument(
        "--scaled-decode",
        action="store_true",
        help="decode large JPEG files at reduced scale for older bundles: faster, but not bit-identical",
    )
    p.add_argument(
        "--policy",
        action="append",
        metavar="RULE",
        help="refuse bundles that do not meet this requirement, such as min_accuracy=0.9 (repeatable)",
    )
    _add_signature(p)
    p.add_argument("--no-log", action="store_true", help="do not log predictions")
    p.add_argument(
        "--keep",
        type=Checked(_share),
        metavar="images=P%",
        help="keep a fraction of the images, without metadata, such as images=5%% (default: none)",
    )
    p.add_argument(
        "--keep-days",
        type=Number(0, 36_500, whole=False, open_low=True),
        default=90.0,
        metavar="N",
        help="days to keep predictions (default 90)",
    )
    p.add_argument(
        "--keep-rows",
        type=Number(1, 10**12),
        default=1_000_000,
        metavar="N",
        help="maximum number of predictions to keep (default 1,000,000)",
    )
    p.add_argument(
        "--window",
        type=Number(1, 1_000_000),
        default=200,
        metavar="N",
        help="number of predictions per drift test (default 200)",
    )
    p.add_argument(
        "--refuse",
        choices=("unfamiliar", "ambiguous", "both"),
        help="do not accept labels of images unlike the training data (unfamiliar), or where several labels are "
        "possible (ambiguous)",
    )
    p.add_argument(
        "--coverage",
        type=Fraction(0.01, 0.999, whole=False),
        metavar="FRACTION",
        help="with --refuse ambiguous: coverage of the set of possible labels (default 0.9)",
    )
    p.add_argument("--label-studio-files", metavar="DIR", help="folder of the images of Label Studio tasks")
    p.add_argument("--alert-webhook", metavar="URL", help="address that alerts are posted to as JSON")
    p.add_argument("--alert-email", metavar="ADDRESS", help="address that alerts are mailed to")
    p.add_argument("--smtp", default="localhost:25", metavar="HOST:PORT", help="the mail server (default localhost:25)")
    p.add_argument(
        "--index",
        action="append",
        default=[],
        metavar="[NAME=]DIR",
        help="index of a served bundle, to search by words or by image (repeatable)",
    )
    add_sources(p)
    add_serve_on(p)
    _add_home(p)

    p = verb("monitor")
    below = p.add_subparsers(dest="what", metavar="WHAT", required=True, parser_class=type(p))
    for name, (_, about) in _MONITOR.items():
        one = below.add_parser(name, help=about, description=about + ".")
        for flag in ("--json", "--quiet"):
            one.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=_COMMON[flag])
        one.add_argument("--seed", type=SEED, default=argparse.SUPPRESS, help="seed of every random choice (default 0)")
        _add_home(one)
        if name in _OPTIONS:
            _OPTIONS[name](one)


def _add_signature(p: argparse.ArgumentParser) -> None:
    p.add_argument("--require-signature", metavar="PUB", help="refuse bundles not signed by this public key (PEM)")


def _add_home(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--home", default=_HOME, metavar="DIR", help=f"folder of the prediction log and the history (default {_HOME})"
    )
    p.add_argument(
        "--log", metavar="DB", help="prediction log: a SQLite file, or postgresql://… (default: monitor.db in --home)"
    )


def serve(o: argparse.Namespace) -> Result:
    """Serve until told to end."""
    from eyewright import lifecycle
    from eyewright.bundle.policy import parse_policy
    from eyewright.imaging.headers import Limits
    from eyewright.monitoring import RecorderSettings
    from eyewright.serving import Settings

    if o.coverage is not None and o.refuse not in ("ambiguous", "both"):
        raise UsageError(
            "expected --refuse ambiguous with --coverage, found none", fix="add it, or leave --coverage out"
        )
    body = _bytes(o.max_body)
    settings = Settings(
        host=o.host,
        port=o.port,
        token=read_token(o.token_file, "EYEWRIGHT_TOKEN"),
        admin_token=read_token(o.admin_token_file, "EYEWRIGHT_ADMIN_TOKEN"),
        hosts=tuple(o.allow_host),
        origins=tuple(o.allow_origin),
        workers=o.workers or 0,
        threads=o.threads,
        max_batch=o.max_batch,
        max_wait_ms=o.max_wait_ms,
        queue=o.queue,
        deadline_s=o.deadline,
        body_bytes=body,
        scaled_decode=o.scaled_decode,
        refuse=("unfamiliar", "ambiguous") if o.refuse == "both" else (o.refuse,) if o.refuse else (),
        coverage=0.9 if o.coverage is None else o.coverage,
        limits=Limits(pixels=int(o.max_pixels), side=16_384, bytes=body),
    )
    logging.basicConfig(stream=sys.stderr, format="eyewright: %(message)s", level=logging.WARNING)
    if o.on is not None or o.replicas is not None:
        return serve_elsewhere(o, settings)

    def ready(server: Any) -> None:
        if o.json:
            # One object when it answers; programs wait for this line.
            print_json(
                {"verb": "serve", "ok": True, "address": server.address, "models": sorted(server.service.models)}
            )
        elif not o.quiet:
            print(printable(f"serving  {', '.join(sorted(server.service.models))} at {server.address}"), flush=True)
            if not o.no_log:
                print(printable(f"log      {o.log or shown_path(Path(o.home) / 'monitor.db')}"), flush=True)
                if not _share(o.keep):
                    print("images   not kept; to train on what is corrected, pass --keep images=100%", flush=True)

    lifecycle.serve(
        o.bundles,
        settings=settings,
        home=None if o.no_log and o.bundles else o.home,
        log=o.log,
        recording=RecorderSettings(keep_images=_share(o.keep), days=o.keep_days, rows=o.keep_rows, window=o.window),
        policy=parse_policy(o.policy or []),
        label_studio_files=o.label_studio_files,
        alert_webhook=o.alert_webhook,
        alert_email=o.alert_email,
        smtp=o.smtp,
        require_signature=o.require_signature,
        sources=sources_of(o),
        indexes=o.index,
        ready=ready,
    )
    return {"silent": True, "text": []}


def monitor(o: argparse.Namespace) -> Result:
    """Do one thing of the monitor's."""
    call, _ = _MONITOR[o.what]
    result: Result = call(o)
    return result


def _status(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    found = lifecycle.monitor_status(o.home, log=o.log)
    text = []
    for name, m in found["models"].items():
        said = m["feedback"]
        right = (
            ""
            if said["right"] is None
            else f", right by feedback {said['right']:.1%} [{said['low']:.1%}, {said['high']:.1%}] n={said['n']}"
        )
        text.append(f"{name}: {m['predictions']} predictions{right}")
        text += _judged(said)
        if m["latency_ms"]:
            text.append(f"  latency   p50 {m['latency_ms']['p50']} ms, p99 {m['latency_ms']['p99']} ms")
        if m["labels"]:
            text.append("  labels    " + ", ".join(f"{k} {n}" for k, n in list(m["labels"].items())[:6]))
        for quantity, v in m["values"].items():
            text.append(f"  values    {quantity}: median {v['median']:.4g}")
        if m["windows"]:
            last = m["windows"][-1]
            word = "ALARM" if last["alarm"] else "no alarm"
            text.append(
                f"  drift     {word}, p = {last['p']:.3g}{' in ' + ', '.join(last['moved']) if last['moved'] else ''}"
            )
    for name, lines in found["sources"].items():
        text.append(f"{name}: a live source, the last 24 hours" if lines else f"{name}: a live source, nothing counted")
        for line, one in lines.items():
            text.append(f"  {line:9} " + ", ".join(f"{sum(n):,} {way}" for way, n in sorted(one["hours"].items())))
    text += [f"{alias:10} {v['folder']}" for alias, v in found["aliases"].items()]
    return {"monitor": found, "text": text or ["the log is empty"]}


def _judged(said: Mapping[str, Any]) -> list[str]:
    """Return lines on feedback about boxes, numbers and tags."""
    text = []
    if said.get("boxes"):
        text.append("  boxes     " + ", ".join(f"{n} {k.replace('_', ' ')}" for k, n in said["boxes"].items()))
    for name, of in (said.get("values") or {}).items():
        mae = of["mae"]
        unit = f" {mae['unit']}" if mae["unit"] else ""
        interval = f"{mae['value']:.4g}{unit} [{mae['low']:.4g}, {mae['high']:.4g}]"
        text.append(
            f"  error     {name}: MAE of corrected values {interval} n={mae['n']}, mean error {of['bias']:+.4g}"
        )
    if said.get("tags"):
        exact = said["tags"]["exact_match"]
        interval = f"[{exact['low']:.1%}, {exact['high']:.1%}] n={exact['n']}"
        text.append(f"  tags      exact match {exact['value']:.1%} {interval}")
        for tag, c in list(said["tags"]["each"].items())[:_TAGS_SHOWN]:
            text.append(f"    {tag}: {c['right']} of {c['n']} right, {c['missed']} missed, {c['false']} false")
    return text


def _drift(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    found = lifecycle.drift(
        o.bundle, source=o.source, home=o.home, log=o.log, model=o.model, window=o.window, seed=o.seed or 0
    )
    alarm = found.p <= o.alpha
    text = [f"{'DRIFT' if alarm else 'no drift'}: p = {found.p:.3g} (n = {found.n} against {found.n_reference})"]
    text += [f"  {t['name']:12} {t['test']:10} p {t['p']:.3g}, adjusted {t['adjusted_p']:.3g}" for t in found.tests]
    return {"drift": found.to_json(), "text": text, "exit": int(alarm)}


def _feedback(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    if o.way == "list":
        return _feedback_list(o)
    if o.file is None:
        raise UsageError(f"expected a file to {o.way}, found none", fix="name it: .csv or .jsonl")
    if o.way == "import":
        n, findings = lifecycle.feedback_import(
            o.file, home=o.home, log=o.log, new_classes=o.new_class, bundle=o.bundle
        )
        for one in findings:
            warn(str(one))
        return {
            "stored": n,
            "findings": [finding(f) for f in findings],
            "text": [f"stored   {n} of feedback"],
            "exit": int(any(f.severity != "note" for f in findings)),
        }
    n = lifecycle.feedback_export(o.file, home=o.home, log=o.log, model=o.model)
    return {"out": {"feedback": Path(o.file).resolve()}, "n": n, "text": [f"wrote    {n} to {o.file}"]}


def _feedback_list(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    if o.file is not None:
        raise UsageError(f"expected no file to list, found {quoted(o.file)}", fix="leave it out, or use export")
    found = lifecycle.feedback_list(home=o.home, log=o.log, model=o.model)
    said = found["quality"]
    right = "" if said["right"] is None else f", right {said['right']:.1%} [{said['low']:.1%}, {said['high']:.1%}]"
    text = [f"feedback on {found['n']} predictions{right}; the image of {found['images_kept']} is kept"]
    text += _judged(said)
    if found["labels"]:
        text.append("  labels    " + ", ".join(f"{k} {n}" for k, n in list(found["labels"].items())[:12]))
    for name, of in found["new_classes"].items():
        text.append(f"  new class {name}: {of['n']} predictions, such as {of['examples'][0]}")
    if found["replaced"]:
        text.append(f"  replaced  {found['replaced']} by later feedback on the same prediction")
    if found["orphaned"]:
        text.append(f"  orphaned  {found['orphaned']} ids are not in the log")
    return {"feedback": found, "text": text}


def _select(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    rows = lifecycle.select(o.n, home=o.home, log=o.log, model=o.model, out=o.out)
    found = [{"prediction_id": r.prediction_id, "label": r.label, "score": r.score, "image": r.image} for r in rows]
    text = [f"{r.prediction_id}  {r.label}" + ("" if r.score is None else f"  {r.score:.1%}") for r in rows]
    out = {} if o.out is None else {"images": Path(o.out).resolve()}
    return {"selected": found, "out": out, "text": text}


def _retrain(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    options = {k: v for k, v in (("budget", o.budget), ("epochs", o.epochs), ("seed", o.seed)) if v is not None}
    found = lifecycle.retrain(
        o.data, out=o.out, home=o.home, log=o.log, bundle=o.bundle, promote=not o.no_promote,
        leaks=o.leaks, allow_leaks=o.allow_leaks, **talk(o), **options
    )  # fmt: skip
    text = [f"bundle   {shown_path(found.bundle)}", f"used     {found.new_images} images with feedback"]
    text += [f"not used {u.count}: {u.reason}" for u in found.unused]
    text.append(f"compared {found.comparison}")
    text.append("promoted it is the new champion" if found.promoted else "kept     the previous champion")
    return {
        "task": found.comparison.task,
        "out": {"bundle": found.bundle.resolve(), "run": found.run.resolve()},
        "comparison": found.comparison.to_json(),
        "new_images": found.new_images,
        "unused": [{"reason": u.reason, "count": u.count, "examples": list(u.examples)} for u in found.unused],
        "notes": list(found.notes),
        "promoted": found.promoted is not None,
        "text": text,
        "exit": int(found.comparison.better == "a"),
    }


def _promote(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    return _event(
        lifecycle.promote(o.bundle, home=o.home, data=o.data, force=o.force, require_signature=o.require_signature)
    )


def _challenge(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    if (o.bundle is None) != o.clear:
        raise UsageError("expected a bundle or --clear, found neither or both", fix="pass one of them")
    return _event(lifecycle.challenge(o.bundle, home=o.home, require_signature=o.require_signature))


def _rollback(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    return _event(lifecycle.rollback(home=o.home, require_signature=o.require_signature))


def _history(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle
    from eyewright.core.jsonable import to_jsonable
    from eyewright.lifecycle.field import shown_time

    events = lifecycle.history(home=o.home)
    text = [f"{shown_time(e.time)}  {e.action:9} {e.alias:10} {e.digest[:12]} {e.folder}" for e in events]
    return {"history": [to_jsonable(e) for e in events], "text": text or ["nothing yet"]}


def _dashboard(o: argparse.Namespace) -> Result:
    from eyewright.core.files import write_json
    from eyewright.monitoring.dashboard import dashboard

    write_json(Path(o.out), dashboard())
    return {"out": {"dashboard": Path(o.out).resolve()}, "text": [f"dashboard {o.out}"]}


def _event(event: Any) -> Result:
    from eyewright.core.jsonable import to_jsonable

    return {
        "event": to_jsonable(event),
        "text": [f"{event.action}: {event.alias} is {event.folder}", "a running server switches to it on SIGHUP"],
    }


def _options_drift(p: argparse.ArgumentParser) -> None:
    p.add_argument("bundle", metavar="BUNDLE", help="the bundle")
    p.add_argument("--source", metavar="S", help="test these images instead of logged predictions")
    p.add_argument("--model", metavar="NAME", help="name under which it was served (default: any)")
    p.add_argument(
        "--window",
        type=Number(1, 1_000_000),
        default=200,
        metavar="N",
        help="test the last N predictions (default 200)",
    )
    p.add_argument(
        "--alpha",
        type=Number(0, 1, whole=False, open_low=True),
        default=0.05,
        metavar="P",
        help="exit 1 if p is at most this (default 0.05)",
    )


def _options_feedback(p: argparse.ArgumentParser) -> None:
    p.add_argument("way", choices=("list", "import", "export"), help="list, import or export feedback")
    p.add_argument("file", metavar="FILE", nargs="?", help=".csv or .jsonl, for import and export")
    p.add_argument("--model", metavar="NAME", help="list, export: only feedback on this model")
    p.add_argument(
        "--new-class", action="append", default=[], metavar="NAME", help="import: a class that the model does not know"
    )
    p.add_argument("--bundle", metavar="BUNDLE", help="import: the model, if an old log does not contain its classes")


def _options_select(p: argparse.ArgumentParser) -> None:
    p.add_argument("-n", type=Number(1, 1_000_000), default=50, metavar="N", help="number of images (default 50)")
    p.add_argument("--model", metavar="NAME", help="name under which it is served (default: the only one)")
    p.add_argument("--out", metavar="DIR", help="copy them to this folder, with tasks.json for Label Studio")


def _options_retrain(p: argparse.ArgumentParser) -> None:
    p.add_argument("data", metavar="DATA", help="training data of the model; its test part compares the models")
    p.add_argument("--out", required=True, metavar="DIR", help="where to write (required)")
    p.add_argument("--bundle", metavar="BUNDLE", help="continue from this model (default: the champion)")
    p.add_argument(
        "--budget",
        type=Checked(parse_duration_s),
        metavar="TIME",
        help="time for preparation and training, such as 10m",
    )
    p.add_argument(
        "--epochs", type=Number(1, 1_000_000), metavar="N", help="passes over the images (default: by --budget)"
    )
    p.add_argument("--leaks", metavar="RULE", help="as for train: drop (default), refuse or allow")
    p.add_argument("--allow-leaks", action="store_true", help="the same as --leaks allow")
    p.add_argument("--no-promote", action="store_true", help="train and compare only, do not promote")


def _options_promote(p: argparse.ArgumentParser) -> None:
    p.add_argument("bundle", metavar="BUNDLE", help="the bundle")
    p.add_argument("--data", metavar="DATA", help="compare with the champion on these images")
    p.add_argument("--force", action="store_true", help="promote without a comparison; the history records it")
    _add_signature(p)


def _options_challenge(p: argparse.ArgumentParser) -> None:
    p.add_argument("bundle", metavar="BUNDLE", nargs="?", help="the bundle")
    p.add_argument("--clear", action="store_true", help="remove the challenger")
    _add_signature(p)


def _options_dashboard(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--out",
        default="eyewright-dashboard.json",
        metavar="FILE",
        help="output file (default eyewright-dashboard.json)",
    )


_OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "drift": _options_drift,
    "feedback": _options_feedback,
    "select": _options_select,
    "retrain": _options_retrain,
    "promote": _options_promote,
    "challenge": _options_challenge,
    "rollback": _add_signature,
    "dashboard": _options_dashboard,
}

_MONITOR: dict[str, tuple[Callable[[argparse.Namespace], Result], str]] = {
    "status": (_status, "show traffic, accuracy by feedback and drift of every model"),
    "drift": (_drift, "test for drift from the validation images of the bundle"),
    "feedback": (_feedback, "list, import or export feedback on predictions"),
    "select": (_select, "choose which kept images to label next"),
    "retrain": (_retrain, "retrain on feedback, compare, and promote if not worse"),
    "promote": (_promote, "make a bundle the champion"),
    "challenge": (_challenge, "let a bundle predict in parallel with the champion, with results only in the log"),
    "rollback": (_rollback, "restore the previous champion"),
    "history": (_history, "list every change of champion and challenger"),
    "dashboard": (_dashboard, "write a Grafana dashboard for the server's metrics"),
}


def read_token(file: str | None, variable: str) -> str | None:
    """Read a token; a command line is seen by everybody on the machine, so it is never given there."""
    if file is None:
        return os.environ.get(variable) or None
    try:
        # Not a regular file only: a password manager hands a secret on in a pipe.
        with open(file, "rb") as opened:
            text = opened.read(_LARGEST_TOKEN).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the token in {quoted(file)}: {plain_reason(error)}", fix="check the file"
        ) from None
    if not text:
        raise UsageError(f"{quoted(file)} holds no token", fix="write one into it")
    return text


def _bytes(text: str) -> int:
    units = {"k": 2**10, "m": 2**20, "g": 2**30}
    number, unit = (text[:-1], units[text[-1].lower()]) if text[-1:].lower() in units else (text, 1)
    try:
        size = int(float(number) * unit)
        if not 1 <= size <= 2**40:
            raise ValueError(text)
        return size
    except (ValueError, OverflowError):
        raise UsageError(f"expected a size such as 32m, found {text!r}", fix="change it") from None


def _share(text: str | None) -> float:
    """Read `images=1%`."""
    if text is None:
        return 0.0
    kind, _, value = text.partition("=")
    try:
        found = float(value.rstrip("%")) / (100 if value.endswith("%") else 1)
    except ValueError:
        found = -1.0
    if kind != "images" or not 0 <= found <= 1:
        raise UsageError(f"expected --keep images=1%, found {text!r}", fix="change it")
    return found
