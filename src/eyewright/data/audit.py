"""The dataset doctor: what is wrong with a dataset, found before an hour of training and not after it."""

__all__ = [
    "FINDING_CODES",
    "MOST_A_CODE",
    "audit_dataset",
    "find_leaks",
    "label_error_rule",
    "ordered",
    "refuse_misread",
]

import difflib
import itertools
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from eyewright.core.errors import DatasetError, UsageError
from eyewright.core.report import Finding
from eyewright.core.task import task_of
from eyewright.data.audit_generated import GENERATED_CODES, audit_generated
from eyewright.data.audit_groups import GROUP_CODES, audit_groups
from eyewright.data.audit_masks import MASK_CODES
from eyewright.data.audit_pixels import PIXEL_CODES, audit_pixels
from eyewright.data.box_formats import BOX_FORMAT_CODES
from eyewright.data.dataset import Dataset
from eyewright.data.grouped import find_groups
from eyewright.data.grouping import Grouping
from eyewright.data.marks import MARK_CODES, audit_targets
from eyewright.data.scan import Scan
from eyewright.data.targets.captions import CAPTION_CODES
from eyewright.data.targets.numbers import NUMBER_CODES
from eyewright.data.targets.tags import TAG_CODES
from eyewright.data.targets.text import TEXT_CODES
from eyewright.imaging.decode import ImageInfo
from eyewright.imaging.headers import FORMATS

FINDING_CODES = MappingProxyType(
    {
        **MARK_CODES,
        **MASK_CODES,
        **BOX_FORMAT_CODES,
        **NUMBER_CODES,
        **TAG_CODES,
        **TEXT_CODES,
        **CAPTION_CODES,
        **GROUP_CODES,
        **PIXEL_CODES,
        **GENERATED_CODES,
        "unreadable": "a file that cannot be decoded: damaged, cut off, empty, not an image, over a limit",
        "mislabelled": "a label that models which were not trained on the image contradict (--labels)",
        "one_class": "fewer than two classes",
        "empty_class": "a class folder without images",
        "label_empty": "a row of a table without a label, which is left out",
        "class_missing_in_split": "a class that a split lacks",
        "tiny_class": "a class with fewer than 10 images",
        "imbalance": "the largest class is more than 10 times the smallest",
        "label_typo": "two class names that are almost the same",
        "wrong_extension": "a file whose content is of another format than its name says",
        "unusual_size": "an image far larger or smaller than the others",
        "unusual_mode": "an image stored in another pixel type than the others",
        "exif_rotated": "images that their EXIF tag rotates",
        "animated": "an animated or multi-page file, of which the first frame is used",
        "breaks_off": "a clip that holds fewer frames than its file states",
        "one_frame": "a clip of one frame",
        "skipped": "images without a label, and files whose names are not those of images",
        "note": "what was noticed while reading the list of files",
    }
)
"""Every code a finding can have, with its meaning."""

_TINY = 10
_IMAGES = frozenset(e for extensions in FORMATS.values() for e in extensions)
MOST_A_CODE = 200
_MISREAD = frozenset({"box_format", "empty_part", "mask_empty", "mask_full"})
"""How many findings of one code are listed, unless more are asked for."""


def audit_dataset(
    dataset: Dataset, scan: Scan, grouping: Grouping | None = None, *, most: int = MOST_A_CODE
) -> tuple[Finding, ...]:
    """Return every finding, the most serious first, then those about most images; `scan` is `scan_dataset(dataset)`.

    `grouping` says what belongs together; without it that of the dataset is used, or it is looked for. At most `most`
    findings per code are listed; the last of them then says how many more there are.
    """
    if grouping is None:
        grouping = dataset.grouping if dataset.grouping is not None else find_groups(dataset, scan)
    pixels, blank = audit_pixels(dataset, scan)
    found = [
        *_files(dataset, scan),
        *audit_targets(dataset, scan),
        *pixels,
        *audit_generated(dataset, scan),
        *audit_groups(dataset, scan, grouping, leave=blank),
        *_classes(dataset),
        *_typos(dataset),
        *_shapes(dataset, scan),
        *(Finding("note", note, "check that this is intended", severity="note") for note in dataset.notes),
    ]
    unused = [n for n in dataset.skipped if posixpath.splitext(n)[1].lower() in _IMAGES]
    if unused:
        text = f"{len(unused)} images have no label and are left out, such as {unused[0]!r}"
        fix = "put them into the folder of a class, list them in the table, or remove them"
        found.append(Finding("skipped", text, fix, unused[0]))
    # Of clips, a note names the videos without a class.
    others = [] if task_of(dataset.task).reads == "clip" else sorted(set(dataset.skipped) - set(unused))
    if others:
        kinds = Counter(posixpath.splitext(n)[1].lower() or "no extension" for n in others)
        shown = ", ".join(f"{n} x {kind}" for kind, n in kinds.most_common(5))
        are = "file is not an image" if len(others) == 1 else "files are not images"
        text = f"{len(others)} {are} by {'its' if len(others) == 1 else 'their'} name ({shown})"
        found.append(Finding("skipped", text, "convert or remove them", severity="note"))
    return ordered(found, most=most)


def ordered(found: Sequence[Finding], *, most: int = MOST_A_CODE) -> tuple[Finding, ...]:
    """Return the most serious findings first, and of one severity those about most images; at most `most` a code."""
    order = {"error": 0, "warning": 1, "note": 2}
    return tuple(_bounded(sorted(found, key=lambda f: (order[f.severity], -len(f.paths))), most))


def label_error_rule(rule: str | None) -> str:
    """Return the rule of `--label-errors` for labels that were not read as intended; "refuse" by default.

    Raises:
        UsageError: an unknown rule.
    """
    if rule not in (None, "refuse", "allow"):
        raise UsageError(f"expected refuse or allow for --label-errors, found {rule!r}", fix="use one of them")
    return rule or "refuse"


def refuse_misread(findings: Sequence[Finding], n: int) -> None:
    """Raise for the first error that concerns all labels, or those of most of the n images: they were misread.

    Errors of single files are no reason: what is wrong in them is left out and counted.

    Raises:
        DatasetError: with the code of the finding.
    """
    sizes = sum(f.code == "size_mismatch" for f in findings)
    for one in findings:
        misread = one.code in _MISREAD or (one.code == "size_mismatch" and sizes > min(n // 2, MOST_A_CODE - 1))
        if one.severity == "error" and misread:
            where = f"{one.path}: " if one.path else ""
            fix = f"{one.fix} (eyewright doctor shows all findings), or train on them as they are: --label-errors allow"
            raise DatasetError(
                f"the labels were probably not read as intended: {where}{one.message}", fix=fix, code=one.code
            )


def find_leaks(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings that make a test result meaningless."""
    return tuple(f for f in findings if f.code == "leak" and f.severity == "error")


def _files(dataset: Dataset, scan: Scan) -> list[Finding]:
    found = []
    for sample, record in zip(dataset.samples, scan.records, strict=True):
        if record.error is not None:
            fix = record.error.fix or "remove it"
            found.append(Finding("unreadable", record.error.message, fix, sample.id, severity="error"))
            continue
        info = record.info
        if info is not None and info.video is not None and info.video.breaks_off:
            found.append(Finding("breaks_off", info.video.breaks_off, "copy it again, or remove it", sample.id))
        if info is not None and info.seconds is not None and info.frames == 1:
            text = "the clip has only one frame"
            found.append(Finding("one_frame", text, "copy it again, or remove it", sample.id))
        extension = posixpath.splitext(sample.id)[1].lower()
        if info is None or info.format not in FORMATS:
            continue
        if extension and extension not in FORMATS[info.format]:
            right = FORMATS[info.format][0]
            text = f"the name ends in {extension}, the content is {info.format}"
            found.append(Finding("wrong_extension", text, f"rename it to end in {right}", sample.id))
        if info.frames > 1:
            text = f"{info.frames} frames or pages, of which the first is used"
            found.append(Finding("animated", text, "save the frame you want as PNG", sample.id, severity="note"))
    return found


def _classes(dataset: Dataset) -> list[Finding]:
    found = []
    counts = dataset.counts()
    words = task_of(dataset.task).words
    least = min(1, dataset.kind.least) if task_of(dataset.task).one_class else dataset.kind.least
    if len(counts) < least:
        shown = ", ".join(map(repr, counts)) or "none"
        text = f"expected at least {least} class{'es' * (least != 1)}, found {len(counts)}: {shown}"
        found.append(Finding("one_class", text, "add a folder of images for another class", severity="error"))
    if dataset.kind.open:
        return found
    for name in dataset.empty_classes:
        found.append(Finding("empty_class", f"class {name!r} has no images", "add images or remove the folder", name))
    for split in dataset.splits if len(dataset.splits) > 1 else ():
        present = _held_in(dataset, split)
        what = words.counted
        for i, name in enumerate(dataset.labels.names):
            if i not in present:
                severity = "error" if split == "train" else "warning"
                text = f"class {name!r} has no {what} in {split}"
                found.append(Finding("class_missing_in_split", text, f"add some to {split}", severity=severity))  # type: ignore[arg-type]
    unseen = {p.message for p in dataset.problems}
    for name, n in counts.items():
        if not n and f"class {name!r} is listed but never used" in unseen:
            continue
        if n < _TINY:
            what = words.counted
            text = f"class {name!r} has only {n} {what}{'s' * (n != 1)}"
            found.append(Finding("tiny_class", text, f"collect {_TINY} or more, or merge the class"))
    if counts and max(counts.values()) > 10 * max(1, min(counts.values())):
        most, rarest = max(counts, key=lambda k: counts[k]), min(counts, key=lambda k: counts[k])
        text = f"{most!r} has {counts[most]} {words.counted}s, {rarest!r} has {counts[rarest]}"
        fix = "collect more of the rare class; look at the metrics per class"
        found.append(Finding("imbalance", text, fix))
    return found


def _held_in(dataset: Dataset, split: str) -> set[int]:
    """Return the ids of the classes that a part holds."""
    part = dataset.part(split)  # type: ignore[arg-type]
    return {dataset.labels.id(name) for name, n in part.counts().items() if n}


# In shorter names a changed letter is another word.
_SHORTEST_SLIP = 4


def _typos(dataset: Dataset) -> list[Finding]:
    found: list[Finding] = []
    if dataset.kind.open:
        return found
    counts = dataset.counts()
    plain = {n: re.sub(r"[\W_]+", "", n).casefold() for n in sorted(counts)}
    for a, b in sorted(_similar_names(plain)):
        rare, common = sorted((a, b), key=lambda n: (counts[n], n))
        if plain[a] == plain[b]:
            text = f"classes {a!r} and {b!r} differ only in case, spaces or punctuation"
        elif counts[rare] * 5 <= counts[common] and _one_slip(plain[a], plain[b]):
            text = f"class {rare!r} ({counts[rare]} images) looks like {common!r} ({counts[common]}) misspelt"
        else:
            continue
        found.append(Finding("label_typo", text, f"merge it into {common!r} if they are the same class", rare))
    return found


def _similar_names(plain: Mapping[str, str]) -> set[tuple[str, str]]:
    """Return the pairs of names that may be one slip apart, each in order, without comparing all with all.

    Two words that differ in one letter are the same word once a letter is left out of one or both; words with two
    letters swapped have the same letters. Names with other digits are never slips, so numbered classes share nothing.
    """
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, word in plain.items():
        if word:
            digits = re.sub(r"\D", "", word)
            shorter = {word[:k] + word[k + 1 :] for k in range(len(word))} if len(word) >= _SHORTEST_SLIP else set()
            singular = {word[:-1]} if _is_plural(word, word[:-1]) else set()
            for form in {word, "".join(sorted(word)) + "*"} | shorter | singular:
                alike[digits, form].append(name)
    return {(a, b) if a < b else (b, a) for own in alike.values() for a, b in itertools.combinations(own, 2)}


def _is_plural(word: str, of: str) -> bool:
    """Return whether a word is another with an s, however short: "nuts" and "nut", not "as" and "a"."""
    return len(of) >= 3 and word == f"{of}s"


def _one_slip(a: str, b: str) -> bool:
    """Return whether one letter was missed, added, swapped or mistaken, or a plural's; numbers in names
    are never slips."""
    if _is_plural(a, b) or _is_plural(b, a):
        return True
    if min(len(a), len(b)) < _SHORTEST_SLIP or abs(len(a) - len(b)) > 1 or re.sub(r"\D", "", a) != re.sub(r"\D", "", b):
        return False
    changed = [o for o in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes() if o[0] != "equal"]
    touched = sum(max(o[2] - o[1], o[4] - o[3]) for o in changed)
    return touched == 1 or (touched == 2 and sorted(a) == sorted(b))


def _shapes(dataset: Dataset, scan: Scan) -> list[Finding]:
    infos = [(s.id, r.info) for s, r in zip(dataset.samples, scan.records, strict=True) if r.info is not None]
    if not infos:
        return []
    found = []
    sides = np.array([max(i.size_hw) for _, i in infos], dtype=np.float64)
    middle = float(np.median(sides))
    for odd, what in ((sides < middle / 4, "smaller"), (sides > middle * 4, "larger")):
        own = [infos[i] for i in np.flatnonzero(odd).tolist()]
        if own:
            height, width = own[0][1].size_hw
            text = f"{_images(len(own))} far {what} than the others, whose longer side is {middle:.0f} pixels: "
            text += f"{own[0][0]!r} has {width}x{height}" + (f", and {len(own) - 1:,} more" if len(own) > 1 else "")
            found.append(_note("unusual_size", text, f"check that {_they(own)} here", own))
    modes = Counter(i.mode for _, i in infos)
    usual = modes.most_common(1)[0][0]
    for mode, count in modes.items():
        if mode != usual and count * 20 <= len(infos):
            own = [(name, info) for name, info in infos if info.mode == mode]
            text = (
                f"{_images(count)} stored as {mode}, most others as {usual}, such as {own[0][0]!r}; all are read as RGB"
            )
            found.append(_note("unusual_mode", text, "check that the colours look right", own))
    turned = [name for name, i in infos if i.orientation != 1]
    if turned:
        text = f"{len(turned)} images are rotated by their EXIF tag, such as {turned[0]!r}; they are read upright"
        fix = "nothing; other tools may show them rotated"
        found.append(Finding("exif_rotated", text, fix, turned[0], severity="note"))
    return found


def _images(n: int) -> str:
    return "1 image is" if n == 1 else f"{n:,} images are"


def _they(own: Sequence[object]) -> str:
    return "it belongs" if len(own) == 1 else "they belong"


def _note(code: str, text: str, fix: str, own: Sequence[tuple[str, ImageInfo]]) -> Finding:
    paths = tuple(name for name, _ in own)
    return Finding(code, text, fix, paths[0], severity="note", paths=paths if len(paths) > 1 else ())


def _bounded(findings: Sequence[Finding], most: int) -> list[Finding]:
    total = Counter(f.code for f in findings)
    kept: Counter[str] = Counter()
    result = []
    for f in findings:
        kept[f.code] += 1
        if kept[f.code] < most or total[f.code] <= most:
            result.append(f)
        elif kept[f.code] == most:
            more = total[f.code] - most + 1
            result.append(Finding(f.code, f"and {more} more of this kind", f.fix, severity=f.severity))
    return result
