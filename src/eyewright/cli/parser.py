"""The options of every verb."""

__all__ = ["build_parser"]

import argparse
import difflib
import re
from collections.abc import Iterator
from typing import Any, NoReturn, cast

from eyewright import __version__
from eyewright.cli.adding import add_generated_options
from eyewright.cli.anonymizing import add_anonymizing
from eyewright.cli.anywhere import add_anywhere
from eyewright.cli.attacking import add_attacking
from eyewright.cli.attending import add_attend
from eyewright.cli.auditing import add_auditing
from eyewright.cli.browsing import add_browse
from eyewright.cli.clusters import add_job_target, add_work
from eyewright.cli.completion import add_completion
from eyewright.cli.evaluating import add_trust
from eyewright.cli.federating import add_federating
from eyewright.cli.field import add_field
from eyewright.cli.following import add_track
from eyewright.cli.forgetting import add_forgetting
from eyewright.cli.generating import add_generating
from eyewright.cli.given import add_images
from eyewright.cli.groups import GROUPS
from eyewright.cli.numbers import SEED, Checked, Number
from eyewright.cli.pictures import add_pictures
from eyewright.cli.predicting import add_predict
from eyewright.cli.reading import add_reading
from eyewright.cli.recipe_help import RECIPE_HELP
from eyewright.cli.restoring import add_restoring
from eyewright.cli.scaling import add_cost
from eyewright.cli.scenes import CONTRACT_OPTIONS
from eyewright.cli.searching import add_search
from eyewright.cli.signing import add_sign
from eyewright.cli.training import add_train_on
from eyewright.cli.verbs import NUMBERS, VERBS, WORDS
from eyewright.core.durations import parse_duration_s
from eyewright.core.errors import UsageError
from eyewright.core.installed import installed
from eyewright.tasks import TASKS

# How argparse says it; newer versions of Python leave the quotes out.
_CHOICE = re.compile(r"argument (?P<name>.+?): invalid choice: '?(?P<given>.*?)'? \(choose from (?P<known>.*)\)$", re.S)


class _Parser(argparse.ArgumentParser):
    """An argparse whose complaint is one line, with the exit code of usage, and which takes -3,4 for a value."""

    def __init__(self, *args: Any, **options: Any) -> None:
        # A part of an option is not the option: what it means would change with the next one that begins so.
        super().__init__(*args, **{"allow_abbrev": False, **options})
        # Points of a zone or a box may lie outside of the picture; argparse knows single negative numbers only.
        self._negative_number_matcher = re.compile(r"-[.\d][\d.,eE+ -]*")
        self.forms: dict[str, _Parser] = {}

    def add_form(self, word: str, about: str) -> "_Parser":
        """Return the options of their own that this command has where `word` comes first: `federate serve`."""
        form = _Parser(prog=f"{self.prog} {word}", description=about[0].upper() + about[1:] + ".")
        _add_common(form)
        self.forms[word] = form
        also = ", ".join(f"{p.prog} --help" for p in self.forms.values())
        self.epilog = f"{(self.epilog or '').partition('; see also ')[0]}; see also {also}"
        return form

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._given = [str(a) for a in args or ()]
        if self._given and self._given[0] in self.forms:
            return self.forms[self._given[0]].parse_known_args(args[1:], namespace)
        return super().parse_known_args(args, namespace)

    def _missing(self, message: str) -> str:
        """Return argparse's message about what is required, with the choices of what has some in place of its name."""
        for action in self._actions:
            choices = [str(c) for c in action.choices or ()]
            named = {action.dest, str(action.metavar)} & set(message.replace(",", " ").split())
            if named and not action.option_strings and 1 < len(choices) < 15:
                return f"expected {', '.join(choices[:-1])} or {choices[-1]}, found none"
        return message

    def error(self, message: str) -> NoReturn:
        if message.startswith("the following arguments are required"):
            # An option that is written wrongly is the reason, more often than one that was forgotten.
            own = {o for action in self._actions for o in action.option_strings}
            named = (text.partition("=")[0] for text in self._given)
            wrong = next((o for o in named if re.fullmatch(r"--[A-Za-z][\w-]*", o) and o not in own), None)
            message = f"unrecognized arguments: {wrong}" if wrong else self._missing(message)
        fix = f"see {self.prog} --help"
        verb = re.match(r"argument COMMAND: invalid choice: '(.*?)' \(", message)
        option = re.match(r"unrecognized arguments: (--[\w-]+)", message)
        message = _shortened(message)
        if verb is not None:
            message = f"unknown command {verb[1]!r}"
            near = difflib.get_close_matches(verb[1], list(VERBS), n=1)
            if verb[1] in TASKS:
                fix = f"train one with eyewright run DATA --task {verb[1]}, use it with eyewright predict BUNDLE"
            elif near:
                fix = f"did you mean {near[0]!r}? {fix}"
        elif option is not None:
            # Of a verb with verbs of its own (monitor) it may be an option of another one.
            asked = self._asked()
            known = {o[2:] for p in _options(asked) for o in p.option_strings if o.startswith("--")}
            typed = option[1][2:].lower()
            begun = sorted(o for o in known if o.startswith(typed))
            near = begun if len(begun) == 1 else difflib.get_close_matches(typed, sorted(known), n=1)
            fix = (f"did you mean '--{near[0]}'? " if near else "") + self._advice()
        elif message.startswith("unrecognized"):
            fix = self._advice()
        elif (choice := _CHOICE.match(message)) is not None:
            known = set(re.findall(r"[^',\s]+", choice["known"]))
            near = difflib.get_close_matches(choice["given"], sorted(known), n=1)
            shown = re.sub(r"[']", "", choice["known"])
            place = choice["name"].partition("/")[0]
            what = f"{place} as one of" if place.startswith("-") else "one of"
            message = f"expected {what} {shown}, found {choice['given']!r}"
            fix = (f"did you mean {near[0]!r}? " if near else "") + fix
        raise UsageError(message, fix=fix)

    def _advice(self) -> str:
        return f"see {self._asked().prog} --help"

    def _asked(self) -> argparse.ArgumentParser:
        """Return the parser of the verb that was asked for, and of its own verb where it has some."""
        asked: argparse.ArgumentParser = self
        for action in (a for a in self._actions if isinstance(a, argparse._SubParsersAction)):
            named = next((w for w in self._given if w in action.choices), None)
            inner = action.choices[named] if named else next(iter(action.choices.values()), None)
            if inner is not None and (named or len(action.choices) == 1):
                asked = inner._asked() if isinstance(inner, _Parser) else inner
        return asked


class _Top(_Parser):
    """The parser of all verbs, whose help lists them by what they are for."""

    def format_help(self) -> str:
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        verbs = [a for a in self._actions if isinstance(a, argparse._SubParsersAction)]
        by_name = {a.dest: a for action in verbs for a in action._get_subactions()}
        known = {name for names in GROUPS.values() for name in names}
        rest = tuple(name for name in by_name if name not in known)
        for title, names in {**GROUPS, **({"Other commands": rest} if rest else {})}.items():
            formatter.start_section(title)
            formatter.add_arguments([by_name[name] for name in names if name in by_name])
            formatter.end_section()
        formatter.start_section("Options")
        formatter.add_arguments([a for a in self._actions if a.option_strings])
        formatter.end_section()
        formatter.add_text("eyewright COMMAND --help shows the options of a command.")
        formatter.add_text(self.epilog)
        return formatter.format_help()


def _add_common(p: argparse.ArgumentParser) -> None:
    """Add what every command takes."""
    p.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else")
    p.add_argument(
        "--quiet", action="store_true", help="no progress output and no summary; errors and findings are still printed"
    )
    p.add_argument("--seed", type=SEED, help="seed of every random choice (default 0)")


def _shortened(message: str) -> str:
    """Return a message about arguments with the first three of them: a glob may stand for thousands.

    >>> _shortened("unrecognized arguments: a b c d e")
    'unrecognized arguments: a b c and 2 more'
    """
    begin, found, rest = message.partition("unrecognized arguments: ")
    words = rest.split()
    if not found or len(words) <= _NAMED:
        return message
    return f"{begin}{found}{' '.join(words[:_NAMED])} and {len(words) - _NAMED} more"


def _options(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the options of a parser and of its verbs."""
    yield from parser._actions
    for inner in _verbs(parser):
        yield from _options(inner)


def _verbs(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield the parsers of a parser's verbs: the one that was asked for, unless nothing was."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()
    if isinstance(parser, _Parser):
        yield from parser.forms.values()


_NAMED = 3

# Names only, without opening a task or what is installed: `--help` must come at once.
_TASK_HELP = f"{', '.join(list(TASKS)[:-1])} or {list(TASKS)[-1]} (default: follows from the data)"


def _added_to(p: "argparse.ArgumentParser | _Skipped", option: str) -> str:
    """Return what installed packages add to the choices of an option, for its help; looked up where it may be shown."""
    if option != "step" or isinstance(p, _Skipped):
        return ""
    added = ", ".join(installed("eyewright.training_steps"))
    return f": {added}" if added else ""


class _Skipped:
    """Takes whatever is added to the parser of a verb that nobody asked for."""

    def __getattr__(self, _: str) -> "_Skipped":
        return self

    def __call__(self, *_: object, **__: object) -> "_Skipped":
        return self


def build_parser(wanted: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command line; with `wanted`, a verb, its options alone.

    All of them take 15 ms, which a program that predicts one image would notice.
    """
    only = wanted if wanted in VERBS else None
    top = _Top(
        prog="eyewright",
        description="From a folder of images to a vision model that you can trust, run anywhere and keep monitoring.",
        epilog="exit codes: 0 done, 1 done with findings, 2 usage, 3 unreadable input, 4 model or bundle refused, "
        "5 out of budget, 70 a bug in Eyewright, 130 interrupted, 143 terminated",
    )
    top.add_argument("--version", action="version", version=f"eyewright {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="COMMAND", required=True, parser_class=_Parser)

    def verb(name: str) -> argparse.ArgumentParser:
        if only is not None and name != only:
            return cast(argparse.ArgumentParser, _Skipped())
        call, about, example = VERBS[name]
        sentence = about if about.endswith("?") else about + "."
        # A description and an epilog are shown as they are; only options' help is formatted.
        p = verbs.add_parser(name, help=about, description=sentence, epilog=f"example: eyewright {example}")
        p.set_defaults(call=call)
        _add_common(p)
        return p

    p = verb("quickstart")
    p.add_argument("--out", metavar="DIR", help="where to write (default eyewright-quickstart)")
    _add_recipe(p)

    p = verb("run")
    _add_data(p)
    p.add_argument("--out", metavar="DIR", help="run folder (default runs/TASK/NAME)")
    add_generated_options(p)
    _add_recipe(p)

    p = verb("doctor")
    p.add_argument("data", metavar="DATA", help="folder, .zip, .csv, annotation file or idx files")
    p.add_argument(
        "--labels",
        action="store_true",
        help="find labels that are probably wrong by cross-validation (trains models; needs torch)",
    )
    p.add_argument("--task", metavar="T", help=_TASK_HELP)
    p.add_argument("--strict", action="store_true", help="count notes as findings")
    p.add_argument("--out", metavar="DIR", help="write doctor.html and findings.json to this folder")
    p.add_argument(
        "--group-by",
        metavar="RULE",
        help="how images are grouped: 'folder', 'none', a regular expression, or a CSV of path,group",
    )
    _add_target(p)
    p.add_argument("--features", metavar="MODEL", help="find near-duplicates by the features of a bundle or hf:FOLDER")
    _add_edits(p)
    p.add_argument(
        "--label-depth", type=Number(1, 100), metavar="N", help="number of folder levels that form a class name"
    )
    _add_ignore(p)

    add_browse(verb, _add_target, _add_ignore, _TASK_HELP)

    p = verb("train")
    _add_train(p)
    p = verb("harden")
    _add_train(p)
    p.set_defaults(step="adversarial")

    p = verb("evaluate")
    p.add_argument("model", metavar="RUN|BUNDLE", help="a run folder, or a bundle")
    p.add_argument("--out", metavar="DIR", help="write report.html, report.json and report.md to this folder")
    _add_measured(p, tracks=True)
    add_trust(p)

    p = verb("compare")
    p.add_argument("a", metavar="A", help="run or bundle")
    p.add_argument("b", metavar="B", help="run or bundle; exit 1 if it is significantly worse")
    _add_measured(p, tracks=True)

    p = verb("explain")
    p.add_argument("model", metavar="RUN|BUNDLE", help="a run folder, or a bundle")
    add_images(p, help="files, folders or globs; for a video model videos", source="the same as IMAGE")
    p.add_argument(
        "--method",
        metavar="NAME",
        help="gradcam, integrated-gradients or rollout (for a run), occlusion or rise (for a run or a bundle); for "
        "detection and segmentation occlusion or rise (default: gradcam for a run, else occlusion; rise for boxes and "
        "masks)",
    )
    p.add_argument(
        "--label", metavar="NAME", help="explain this class instead of the predicted one; for boxes, only its objects"
    )
    p.add_argument("--out", metavar="DIR", help="write overlays and arrays to this folder")

    p = verb("export")
    p.add_argument(
        "run",
        metavar="RUN|BUNDLE|JOB",
        help="a run folder, or hf:FOLDER (exported unchanged); for another target, also a bundle or a job",
    )
    p.add_argument("--out", metavar="BUNDLE|DIR", required=True, help="the folder of the bundle or target (required)")
    p.add_argument(
        "--to",
        default="onnx",
        metavar="TARGET",
        help="onnx (a bundle of a run), openvino, web, transformers.js, torch, executorch, docker, systemd, "
        "kserve; for a planned job: slurm, kubernetes, kuberay",
    )
    p.add_argument("--runtime", metavar="DIR", help="web: folder of onnxruntime-web (default: downloaded with npm)")
    p.add_argument("--data", metavar="DATA", help="validation images, if those of the run have moved")
    p.add_argument("--name", metavar="NAME", help="name of the model in its card")
    p.add_argument(
        "--with-attention",
        action="store_true",
        help="also export the attention weights of a vision transformer, for attend without torch",
    )
    p.add_argument(
        "--policy",
        action="append",
        metavar="RULE",
        help="requirement that is checked now and when the bundle is served, such as min_recall.person=0.8",
    )

    add_job_target(p)
    add_sign(p)

    p = verb("verify")
    p.add_argument("bundle", metavar="BUNDLE", help="a bundle, a target of export, or a run folder")
    p.add_argument("--key", metavar="PUB", help="check the signature with this public key (PEM)")

    add_predict(verb)
    add_work(verb)
    add_cost(verb)
    add_track(verb)

    p = verb("convert")
    p.add_argument("data", metavar="DATA", help="folder, .zip, .csv, annotation file or idx files")
    p.add_argument(
        "--to",
        required=True,
        metavar="FORMAT",
        help="coco, yolo, voc, imagefolder, masks, labelme, label-studio, cityscapes, mot, csv, webdataset, "
        "parquet; of clips: clips, clips-csv, kinetics, ucf101, mmaction; of tracks: mot, csv, json, coco, yolo",
    )
    p.add_argument("--out", required=True, metavar="DIR", help="output folder; must be new or empty")
    p.add_argument("--task", metavar="T", help="detect, segment, instance or track (default: follows from the data)")
    _add_edits(p)
    _add_ignore(p)

    p = verb("import")
    p.add_argument("model", metavar="MODEL.onnx", help="the ONNX file")
    p.add_argument("--task", required=True, metavar="T", help="classify, detect or segment")
    p.add_argument(
        "--labels", required=True, metavar="FILE", help="class names: a file (one name per line, or JSON), or a,b,c"
    )
    p.add_argument("--out", required=True, metavar="BUNDLE", help="the bundle to write (required)")
    p.add_argument(
        "--contract", metavar="NAME|FILE", help="fastestdet, ultraface, yolov5, yolov8, detr, or a TOML file"
    )
    p.add_argument("--imgsz", metavar="N|WxH", help="input size, if the model does not fix it")
    p.add_argument("--fit", default="stretch", metavar="HOW", help="stretch or letterbox (default stretch)")
    p.add_argument("--golden", metavar="SOURCE", help="images whose predictions are stored for the self-test")
    p.add_argument("--name", metavar="NAME", help="name of the model in its card")
    p.add_argument(
        "--data",
        metavar="DATA",
        help="labelled images on which operating points are fitted, and for classification the temperature",
    )
    p.add_argument("--group-by", metavar="RULE", help="grouping of the images of --data, as for train")
    for name, about in CONTRACT_OPTIONS.items():
        p.add_argument("--" + name.replace("_", "-"), metavar="V", help=about)
    add_sign(p)

    add_attacking(verb, _add_measured)
    add_auditing(verb)
    add_anonymizing(verb)
    add_federating(verb, lambda p: cast(_Parser, p).add_form)
    add_forgetting(verb)
    add_attend(verb)
    add_search(verb)
    add_reading(verb)
    add_anywhere(verb)
    add_field(verb)
    add_pictures(verb)
    add_restoring(verb)
    add_generating(verb)
    verb("models")
    verb("formats")
    verb("info")
    add_completion(verb, build_parser)
    return top


def _add_train(p: argparse.ArgumentParser) -> None:
    _add_data(p)
    p.add_argument("--out", metavar="DIR", help="run folder (default runs/TASK/NAME)")
    add_generated_options(p)
    add_train_on(p)
    p.add_argument("--resume", action="store_true", help="continue from the last checkpoint in --out")
    p.add_argument("--weights", metavar="RUN|BUNDLE", help="start from the weights of this run or bundle")
    p.add_argument(
        "--teacher", metavar="MODEL", help="learn from this bundle, run or hf:FOLDER in addition to the labels"
    )
    p.add_argument(
        "--folds",
        type=Number(2, 1000, word="groups"),
        metavar="K|groups",
        help="cross-validation with K folds; groups: leave-one-group-out",
    )
    p.add_argument(
        "--repeats",
        type=Number(1, 1000),
        metavar="R",
        help="repeat cross-validation R times with new folds (default 1)",
    )
    p.add_argument(
        "--shards",
        type=Number(2, 1000),
        metavar="S",
        help="train one net on each of S parts of the training images, so that forget retrains only one part",
    )
    p.add_argument(
        "--tune", type=Number(1, 100_000), metavar="N", help="hyperparameter search with N trials; needs optuna"
    )
    p.add_argument("--log", metavar="NAME", help="also log every epoch to tensorboard or mlflow")
    p.add_argument("--ensemble", action="store_true", help="combine the nets of all folds into one run")
    _add_recipe(p)


def _add_data(p: argparse.ArgumentParser) -> None:
    p.add_argument("data", metavar="DATA", help="dataset: folder, .zip, .csv or idx files")
    _add_target(p)
    p.add_argument(
        "--group-by",
        metavar="RULE",
        help="how images are grouped, so that a group stays on one side of the split: 'folder', 'none', a regular "
        "expression, or a CSV of path,group",
    )
    p.add_argument(
        "--label-depth", type=Number(1, 100), metavar="N", help="number of folder levels that form a class name"
    )
    _add_ignore(p)
    add_leaks(p)
    p.add_argument(
        "--label-errors",
        metavar="RULE",
        help="labels that were not read as meant (boxes in another format, empty masks): refuse (the default) or allow",
    )
    p.add_argument(
        "--workers", type=Number(1, 1024), metavar="N", help="number of decoding threads (default: all cores)"
    )


def add_leaks(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--leaks",
        metavar="RULE",
        help="copies between the data's own parts: drop (from training, up to 1 %%; the default), refuse or allow",
    )
    p.add_argument("--allow-leaks", action="store_true", help="the same as --leaks allow")


def _add_measured(p: argparse.ArgumentParser, *, tracks: bool = False) -> None:
    truth = "; for tracks: the ground truth" if tracks else ""
    p.add_argument("data", metavar="DATA", nargs="?", help=f"default: the run's own test part{truth}")
    if tracks:
        p.add_argument(
            "--task", metavar="track", choices=("track",), help="track: evaluate files of tracks instead of a model"
        )
    p.add_argument("--split", metavar="PART", help="train, val or test (default: test if there is one)")
    p.add_argument(
        "--group-by",
        metavar="RULE",
        help="'folder' or a regular expression: images with the same match form a group, and intervals are over groups",
    )
    p.add_argument("--allow-leaks", action="store_true", help="allow test images that the model was trained on")
    p.add_argument(
        "--label-depth", type=Number(1, 100), metavar="N", help="number of folder levels that form a class name"
    )
    _add_ignore(p)


def _add_target(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--target",
        metavar="COLUMN[,COLUMN]",
        type=_columns,
        default=(),
        help="regression: columns to predict (default: those with a unit or called value, count, …)",
    )


def _columns(text: str) -> tuple[str, ...]:
    """Return the names in a list with commas between; a name with a comma is quoted, as in a CSV."""
    import csv

    return tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True), ()) if name.strip())


def _add_ignore(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--ignore",
        metavar="NAME",
        action="append",
        default=[],
        help="leave this class out of training and metrics, in addition to void, unlabelled and similar "
        "names (repeatable; none: ignore nothing by name)",
    )


def _add_edits(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--edits", metavar="FILE", help="apply the corrected labels and left-out images that eyewright browse wrote"
    )


def _add_recipe(p: argparse.ArgumentParser) -> None:
    p.add_argument("--task", metavar="T", help=_TASK_HELP)
    _add_edits(p)
    p.add_argument(
        "--recipe", metavar="FILE", help="options from a TOML file; options on the command line take precedence"
    )
    p.add_argument(
        "--model", metavar="NAME", help="model name (see eyewright models), hf:FOLDER, or package.module:builder"
    )
    p.add_argument(
        "--budget", type=Checked(parse_duration_s), metavar="TIME", help="time limit, such as 90s, 10m or 1h"
    )
    p.add_argument(
        "--private",
        nargs="+",
        metavar="K=V",
        help="train with differential privacy: epsilon=3 [delta=1e-5 clip=1 noise=N physical-batch=N "
        "validation=private|public unit=image|group noise-from=system|seed]",
    )
    for name, kind in NUMBERS.items():
        p.add_argument("--" + name.replace("_", "-"), type=kind, metavar="N", help=RECIPE_HELP[name])
    for name in WORDS:
        p.add_argument("--" + name.replace("_", "-"), metavar="NAME", help=RECIPE_HELP[name] + _added_to(p, name))
