"""Anonymous copies of a folder, with its labels, what was hidden, how much was found, and what a model loses by it."""

__all__ = ["Anonymized", "Utility", "anonymize"]

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.core.errors import DatasetError, OutputError, UsageError, spelling_hint
from eyewright.core.files import staged_folder
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding, Metric
from eyewright.core.task import task_of
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.formats import open_dataset
from eyewright.data.targets import OBJECTS
from eyewright.data.tree import FolderTree
from eyewright.data.writers import WRITERS, write_dataset
from eyewright.imaging.sources.files import is_video
from eyewright.lifecycle.datasets import PathLike, Say, silent
from eyewright.lifecycle.loading import open_any
from eyewright.processing.anonymous import HiddenFile, Hiding, Recall, measure_recall
from eyewright.processing.anonymous_folder import AnonymousFiles, Names, anonymize_files
from eyewright.processing.anonymous_pages import write_anonymous
from eyewright.processing.box_lists import BoxList, read_box_list
from eyewright.processing.finders import KINDS, Finder, built_in_finders, kinds_named, predictor_finder
from eyewright.processing.hiding import HOW, How
from eyewright.processing.remembering import Memory

if TYPE_CHECKING:
    from collections.abc import Mapping

_LABELLED = ("coco", "yolo", "voc")
_ANNOTATIONS = (".json", ".xml", ".txt", ".csv", ".yaml", ".yml", ".tsv", ".jsonl")
_PIXELS, _WRITTEN = ".pixels", ".written"
_TO = {"jpeg": "JPEG", "jpg": "JPEG", "png": "PNG", "webp": "WEBP"}


@dataclass(frozen=True)
class Utility:
    """The main metric of a model on the images before and after."""

    name: str
    before: Metric
    after: Metric


@dataclass(frozen=True, eq=False)
class Anonymized:
    """What `anonymize` made: the folder, what was searched for and by what, its files, findings, other files that were
    not copied, the format in which labels moved along, recall where `check` was given, and utility."""

    folder: Path
    kinds: tuple[str, ...]
    finders: tuple[str, ...]
    how: str
    files: tuple[HiddenFile, ...]
    findings: tuple[Finding, ...]
    others: tuple[str, ...]
    labels: str | None
    recall: Recall | None
    utility: Utility | None
    pages: "Mapping[str, Path]"

    @property
    def share(self) -> float:
        """The fraction of all pixels that is hidden."""
        weights = [f.size_hw[0] * f.size_hw[1] * (f.frames or 1) for f in self.files]
        return sum(f.share * w for f, w in zip(self.files, weights, strict=True)) / max(1, sum(weights))

    @property
    def found(self) -> dict[str, int]:
        """The number of boxes of each kind."""
        kinds = dict.fromkeys(k for f in self.files for k in f.found)
        return {k: sum(f.found.get(k, 0) for f in self.files) for k in kinds}

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The findings that are errors: files that were not written, or boxes that could not be used."""
        return tuple(f for f in self.findings if f.severity == "error")

    def headline(self) -> str:
        """Say in one sentence what was done and how much of what had to be hidden is."""
        n, boxes = len(self.files), sum(self.found.values())
        text = f"{n:,} file{'s' * (n != 1)} written, {boxes:,} box{'es' * (boxes != 1)} hidden "
        text += f"({self.share:.1%} of the pixels); "
        if self.recall is None:
            return text + "recall unknown: check some images yourself, or pass --check"
        if not self.recall.n:
            return text + "recall unknown: no box of --check counts"
        m = self.recall.metric()
        return text + (
            f"recall {self.recall.hidden} of {self.recall.n} ({100 * (m.value or 0):.1f} %, 95 % interval "
            f"{100 * (m.low or 0):.1f} to {100 * (m.high or 0):.1f})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the result without names of files, as plain JSON types."""
        recall = self.recall
        return {
            "headline": self.headline(),
            "find": list(self.kinds),
            "finders": list(self.finders),
            "how": self.how,
            "files": len(self.files),
            "found": self.found,
            "hidden_share": round(self.share, 6),
            "residue": sum(f.code == "residue" for f in self.findings),
            "labels": self.labels,
            "recall": None
            if recall is None
            else {
                "all": vars(recall.metric()),
                "large": vars(recall.metric(large=True)),
                "by_label": {k: {"hidden": a, "n": b} for k, (a, b) in recall.by_label.items()},
                "unnamed": recall.unnamed,
                "not_counted": dict(recall.left_out),
            },
            "utility": None
            if self.utility is None
            else {"metric": self.utility.name, "before": vars(self.utility.before), "after": vars(self.utility.after)},
        }


def anonymize(
    source: PathLike,
    out: PathLike,
    *,
    find: str | None = None,
    detector: Sequence[PathLike] = (),
    boxes: PathLike | None = None,
    how: How = "fill",
    conf: float = 0.3,
    tile: int | None = None,
    flip: bool = True,
    margin: float | None = None,
    hold: int = 5,
    gap_s: float = 2.0,
    to: str | None = None,
    quality: float = 92,
    keep_metadata: Sequence[str] = (),
    names: Names = "keep",
    labels: str = "auto",
    check: PathLike | None = None,
    model: PathLike | None = None,
    report: PathLike | None = None,
    overwrite: bool = False,
    quiet: bool = True,
    say: Say = silent,
) -> Anonymized:
    """Write anonymous copies of images and videos to the folder `out`, and return what was hidden.

    Args:
        source: an image, a video, a folder or a glob.
        find: "faces", "heads", "plates", "text", several with commas, or "all"; by default "faces", with `boxes`
            nothing.
        detector: bundles that find boxes, used for the kinds that their classes name; other kinds are found by built-in
            detectors.
        boxes: a file of boxes that are hidden (see `processing.box_lists.read_box_list`).
        how: "fill", "blur" or "pixelate".
        conf: the score from which a detection of `detector` counts, in [0, 1].
        tile: side of the tiles that a detector looks at in addition to the whole; 0 for none.
        flip: whether it looks at mirror images too.
        margin: part of its sides by which a box is enlarged; None: 0.2 for faces, else 0.1.
        hold: frames before and after in which a box of a video is hidden too.
        gap_s: longest gap of a track in which the boxes between are hidden, in seconds.
        to: "jpeg", "png" or "webp" for all images.
        keep_metadata: "copyright", "artist", "gps"; everything else is gone.
        names: "hash" calls a file by its new content.
        labels: "auto" moves labels of COCO, YOLO and VOC along in their format; another format of objects, or "none".
        check: boxes that had to be hidden, for recall.
        model: a bundle or run whose main metric is measured before and after.
        report: a folder for `anonymize.html` and `anonymize.json`.

    Raises:
        UsageError: an unknown option value, or a detector that finds nothing of what is searched for.
        OutputError: `out` holds something.
        InputError: there is nothing to read.
    """
    kinds = kinds_named(find) if find is not None else (() if boxes is not None else ("faces",))
    _check_options(how, to, conf, margin, hold, gap_s)
    place = Path(out)
    _check_place(Path(source), place, overwrite)
    video = Path(source).is_file() and is_video(Path(source))
    drawn = None if boxes is None else read_box_list(boxes, video=video)
    truth = None if check is None else read_box_list(check, video=video)
    finders = _finders(kinds, detector, conf, tile, flip)
    for kind in kinds:
        say(f"{kind} by {', '.join(f.name for f in finders if f.kind == kind)}")
    hiding = Hiding(
        tuple(finders),
        drawn,
        how,
        margin,
        tuple(keep_metadata),
        None if to is None else _TO[to.lower()],
        quality,
        Memory(hold, gap_s),
    )
    dataset = _labelled(Path(source), labels)
    with staged_folder(place) as stage:
        if dataset is None:
            done = anonymize_files(source, stage, hiding, names=names, quiet=quiet)
        else:
            done = _with_labels(dataset, Path(source), stage, hiding, names, labels, quiet)
        if not done.files:
            first = next(f for f in done.findings if f.severity == "error")
            raise OutputError(
                f"no file could be made anonymous; the first, {Path(first.path).name!r}: {first.message}",
                fix=first.fix,
                code=first.code,
            )
    findings = [*done.findings, *_about_others(done.others, dataset)]
    recall = None if truth is None else measure_recall(done.files, truth, kinds)
    if recall is not None and truth is not None:
        findings += _about_check(recall, truth, done, str(check))
    if recall is not None and recall.left_out:
        shown = ", ".join(f"{k} ({n:,})" for k, n in list(recall.left_out.items())[:8])
        more = f" and {len(recall.left_out) - 8} more classes" if len(recall.left_out) > 8 else ""
        text = f"boxes in --check of classes that were not searched for do not count: {shown}{more}"
        findings.append(
            Finding("not_searched_for", text, "add the kind to --find if they had to be hidden", str(check))
        )
    weak = [f for f in finders if f.weak]
    if weak:
        names_of, kinds_of = (_listed_words([getattr(f, k) for f in weak]) for k in ("name", "kind"))
        text = f"many {kinds_of} are missed by {names_of}"
        fix = "pass --detector BUNDLE, and look at the copies"
        findings.append(Finding("weak_detector", text, fix, severity="warning"))
    result = Anonymized(
        place, kinds, tuple(f"{f.kind}: {f.name}" for f in finders), how, done.files, tuple(findings), done.others,
        None if dataset is None else _format_of(dataset, labels),
        recall,
        None if model is None else _utility(model, source, place, quiet),
        {},
    )  # fmt: skip
    if report is None:
        return result
    pages = write_anonymous(
        Path(report), result.to_json(), headline=result.headline(), shown=done.shown, findings=result.findings,
        named=names == "keep",
    )  # fmt: skip
    return replace(result, pages=pages)


def _listed_words(words: Sequence[str]) -> str:
    """Return words as a sentence lists them.

    >>> _listed_words(["faces"]), _listed_words(["faces", "heads", "plates"])
    ('faces', 'faces, heads and plates')
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _about_check(recall: Recall, truth: BoxList, done: AnonymousFiles, path: str) -> list[Finding]:
    """Return findings about what of --check does not count. Names are not quoted: reports show findings."""
    found = []
    if not truth.video:
        known = {truth.key_of(f.source) for f in done.files}
        known |= {truth.key_of(Path(f.path).name) for f in done.findings if f.severity == "error" and f.path}
        unknown = [boxes.place for name, boxes in truth.named.items() if name not in known]
        if unknown:
            text = (
                f"images in --check that are not in the source do not count: {len(unknown):,}; the first: {unknown[0]}"
            )
            fix = "check the names of images in --check"
            # Without an image in common nothing was checked, although it was asked for.
            none = len(unknown) == len(truth.named)
            found.append(Finding("unknown_images", text, fix, path, severity="error" if none else "warning"))
        flat = sum(len(b.unusable) for b in truth.named.values())
        if flat:
            text = f"boxes without an area in --check do not count: {flat:,}"
            found.append(Finding("flat_boxes", text, "correct them", path))
    if recall.unnamed:
        text = f"images that are not in --check do not count: {recall.unnamed:,}"
        found.append(Finding("not_in_check", text, "nothing, if this is meant", path, severity="note"))
    return found


def _check_options(how: str, to: str | None, conf: float, margin: float | None, hold: int, gap_s: float) -> None:
    if how not in HOW:
        raise UsageError(f"unknown way to hide {how!r}", fix=spelling_hint(how, HOW))
    if to is not None and to.lower() not in _TO:
        raise UsageError(f"anonymize cannot write the format {to!r}", fix=spelling_hint(to, _TO))
    if not (0 <= conf <= 1 and 0 <= (margin or 0) <= 10 and 0 <= hold <= 10_000 and 0 <= gap_s <= 3600):
        raise UsageError(
            f"expected conf in [0, 1], margin in [0, 10], hold in [0, 10000] and gap_s in [0, 3600], found {conf}, "
            f"{margin}, {hold} and {gap_s}"
        )


def _check_place(source: Path, out: Path, overwrite: bool) -> None:
    if source.is_dir():
        inside, own = out.resolve(), source.resolve()
        if inside == own or own in inside.parents or inside in own.parents:
            raise UsageError(
                f"the output {quoted(out)} and the input {quoted(source)} overlap: one is inside the other",
                fix="choose another --out",
                code="overlap",
            )
    if out.exists() and not out.is_dir():
        raise OutputError(f"{quoted(out)} is a file", fix="choose another --out")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise OutputError(f"{quoted(out)} is not empty", fix="pass --overwrite, or another --out", code="exists")


def _finders(
    kinds: Sequence[str], detector: Sequence[PathLike], conf: float, tile: int | None, flip: bool
) -> list[Finder]:
    """Return what finds each kind: the detectors that know it, else what is built in."""
    predictors = [(Path(d).name, open_any(d)) for d in detector]
    if detector and not kinds:
        raise UsageError("expected --find with --detector, found none", fix=f"add --find {','.join(KINDS[:2])}")
    found: list[Finder] = []
    for name, predictor in predictors:
        own = [predictor_finder(predictor, kind, name=name, least=conf, tile=tile, flip=flip) for kind in kinds]
        if not any(own):
            raise UsageError(
                f"expected a detector of {', '.join(kinds)}, found {name!r}, which finds "
                f"{', '.join(predictor.labels.names[:8])}",
                fix="use another --detector, or change --find",
            )
        found += [f for f in own if f is not None]
    left = [kind for kind in kinds if kind not in {f.kind for f in found}]
    return [*found, *built_in_finders(left)]


def _labelled(source: Path, labels: str) -> Dataset | None:
    """Return the dataset of boxes in a folder, if its labels are to move along."""
    if labels != "auto" and labels != "none" and OBJECTS not in WRITERS.get(labels, {}):
        able = [name for name, kinds in WRITERS.items() if OBJECTS in kinds]
        raise UsageError(f"unknown format of labels {labels!r}", fix=spelling_hint(labels, ("auto", "none", *able)))
    if labels == "none" or not source.is_dir():
        return None
    try:
        dataset = open_dataset(source, task="detect")
    except DatasetError:
        if labels == "auto":
            return None
        raise
    try:
        # With outlines where there are some.
        outlined = open_dataset(source, task="instance")
        dataset = outlined if len(outlined) == len(dataset) else dataset
    except DatasetError:
        pass
    return dataset if labels != "auto" or dataset.format in _LABELLED else None


def _format_of(dataset: Dataset, labels: str) -> str:
    return dataset.format if labels == "auto" else labels


def _with_labels(
    dataset: Dataset, source: Path, stage: Path, hiding: Hiding, names: Names, labels: str, quiet: bool
) -> AnonymousFiles:
    """Write a dataset with anonymous images in its own format."""
    pixels, written = stage / _PIXELS, stage / _WRITTEN
    pixels.mkdir()
    done = anonymize_files(source, pixels, hiding, names=names, quiet=quiet)
    now = {f.source: f.name for f in done.files if f.frames is None}
    samples: list[Sample] = [replace(s, id=now[s.id]) for s in dataset.samples if s.id in now]
    if not samples:
        return done
    moved = replace(dataset, tree=FolderTree(pixels), samples=tuple(samples))
    report = write_dataset(moved, _format_of(dataset, labels), written, quiet=quiet)
    left = [Finding("labels_lost", text, "see eyewright convert", str(source)) for text in report.lost]
    labelled = {s.id for s in dataset.samples}
    unlabelled = [f.source for f in done.files if f.source not in labelled]
    if unlabelled:
        text = f"files without labels are not in the dataset and not copied: {len(unlabelled)}"
        fix = "pass --labels none to copy all files without labels"
        left.append(Finding("not_labelled", text, fix, unlabelled[0]))
    lost = [s.id for s in dataset.samples if s.id not in now]
    if lost:
        text = f"images of the dataset were not written, nor their labels: {len(lost)}"
        left.append(Finding("images_lost", text, "see the other findings", lost[0], severity="error"))
    shutil.rmtree(pixels)
    for path in written.iterdir():
        os.rename(path, stage / path.name)
    written.rmdir()
    files = tuple(f for f in done.files if f.source in labelled)
    return replace(done, files=files, findings=(*done.findings, *left), others=())


def _about_others(others: Sequence[str], dataset: Dataset | None) -> list[Finding]:
    """Return findings about files that were not copied: what may be labels should not disappear unnoticed."""
    if not others or dataset is not None:
        return []
    # Without a name: the report shows it, and is passed on.
    text = f"other files are not copied: {len(others)}"
    if any(n.lower().endswith(_ANNOTATIONS) for n in others):
        text += "; labels in them do not move along"
        return [Finding("other_files", text, "pass --labels coco, yolo or voc if it is a dataset of boxes", others[0])]
    return [Finding("other_files", text, "copy them yourself if nobody is named in them", others[0], severity="note")]


def _utility(model: PathLike, source: PathLike, out: Path, quiet: bool) -> Utility:
    from eyewright.lifecycle.stages import evaluate

    before, after = (evaluate(model, place, allow_leaks=True, quiet=quiet) for place in (source, out))
    name = task_of(before.task).metrics[0].name
    return Utility(name, before.metrics[name], after.metrics[name])
