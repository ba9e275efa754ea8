"""Read texts that lie in files of their own: NAME.gt.txt next to an image of a line, or boxes with texts of a page."""

__all__ = ["TEXT_FORMATS", "holds_line_files", "read_text_files"]

import posixpath
import re
from collections.abc import Sequence
from types import MappingProxyType

from eyewright.core.errors import DatasetError, UnreadableImageError
from eyewright.core.labels import LabelSpace
from eyewright.core.report import Finding
from eyewright.data.account import Account
from eyewright.data.crop_tree import Crop, CropTree
from eyewright.data.dataset import Dataset, Sample, SplitName
from eyewright.data.readers.listing import Notes
from eyewright.data.readers.naming import EXTENSIONS, SPLITS, Images, split_of
from eyewright.data.tables import left_out_images
from eyewright.data.targets.text import alphabet_of, line_text, texts_of
from eyewright.data.texts import decode_text
from eyewright.data.tree import Tree

TEXT_FORMATS = MappingProxyType(
    {
        "line-files": "NAME.png with NAME.gt.txt, as Tesseract, OCRopus and kraken have it: one line of text each",
        "icdar-text": "ICDAR and SROIE: one text file per page with x0,y0,…,x3,y3,text; each box is cut out as a line",
    }
)
"""Formats in which texts lie in files of their own, with what each looks like."""

_ENDING = ".gt.txt"
_ROW = re.compile(r"^\s*(-?\d+(?:\.\d+)?(?:\s*,\s*-?\d+(?:\.\d+)?){7})\s*,(.*)$")
_IGNORED = frozenset({"###", "*"})
_LOOKED_AT = 8
_LEAST_SIDE = 3


def holds_line_files(names: Sequence[str]) -> bool:
    """Return whether texts lie next to the images of lines."""
    return any(n.lower().endswith(_ENDING) for n in names)


def read_text_files(tree: Tree, names: Sequence[str], task: str) -> Dataset | None:
    """Read texts from files next to the images; None where there are none.

    Lines without a text, with several lines or control characters, and texts without an image are left out, counted,
    and each is a finding. Boxes whose text is `###` are ignored, as ICDAR has it. Lines of a page are a group,
    and so are those of a folder where there are several.

    Raises:
        DatasetError: nothing that can be used.
    """
    if holds_line_files(names):
        return _line_files(tree, names, task)
    images = Images(names)
    files = [n for n in names if n.lower().endswith((".csv", ".txt")) and _page_of(n, images) is not None]
    if not files or not all(_is_boxes(tree, n) for n in files[:_LOOKED_AT]):
        return None
    return _pages(tree, names, [n for n in files if _is_boxes(tree, n)], images, task)


def _line_files(tree: Tree, names: Sequence[str], task: str) -> Dataset:
    by_stem: dict[str, list[str]] = {}
    for name in names:
        folder, base = posixpath.split(name)
        stem, extension = posixpath.splitext(base)
        if extension.lower() in EXTENSIONS:
            # OCRopus writes NAME.bin.png and NAME.nrm.png next to NAME.png; the plain one is meant.
            for key in {stem, stem.partition(".")[0]}:
                by_stem.setdefault(posixpath.join(folder, key), []).append(name)
    notes = Notes()
    found: list[tuple[str, str]] = []
    for name in (n for n in names if n.lower().endswith(_ENDING)):
        several = by_stem.get(name[: -len(_ENDING)], [])
        if not several:
            notes.miss(posixpath.basename(name)[: -len(_ENDING)], 1, "add the image, or remove the text", name)
            continue
        image = min(several, key=lambda n: (len(n), n))
        try:
            found.append((image, line_text(_text(tree, name))))
        except DatasetError as error:
            notes.drop(error.message, error.fix, name, code=error.code)
    folders = {posixpath.dirname(image) for image, _ in found}
    rows = [
        (image, text, split_of(image), posixpath.dirname(image) if len(folders - set(SPLITS)) > 1 else None)
        for image, text in found
    ]
    return _dataset(tree, names, rows, notes, "line-files", task)


def _pages(tree: Tree, names: Sequence[str], files: Sequence[str], images: Images, task: str) -> Dataset:
    notes = Notes()
    crops: dict[str, Crop] = {}
    rows: list[tuple[str, str, SplitName | None, str | None]] = []
    for file in files:
        page = _page_of(file, images)
        assert page is not None
        for line, row in enumerate(_text(tree, file).splitlines(), 1):
            if not row.strip():
                continue
            match = _ROW.match(row)
            if match is None:
                fix = "write x0,y0,x1,y1,x2,y2,x3,y3,text"
                notes.drop("expected eight numbers and a text", fix, file, line, code="annotation")
                continue
            quad = tuple(float(v) for v in match[1].split(","))
            if match[2].strip() in _IGNORED:
                notes.drop("its text is marked as not to be read (###)", "", file, line, severity="note")
                continue
            if min(max(quad[0::2]) - min(quad[0::2]), max(quad[1::2]) - min(quad[1::2])) < _LEAST_SIDE:
                notes.drop("the box has no area", "draw it around the text", file, line, code="annotation")
                continue
            try:
                text = line_text(match[2])
            except DatasetError as error:
                notes.drop(error.message, error.fix, file, line, code=error.code)
                continue
            name = f"{page}#{line}"
            crops[name] = Crop(page, quad)
            rows.append((name, text, split_of(page) or split_of(file), posixpath.splitext(posixpath.basename(page))[0]))
    return _dataset(
        CropTree(tree, crops), names, rows, notes, "icdar-text", task, used={c.file for c in crops.values()}
    )


def _dataset(
    tree: Tree,
    names: Sequence[str],
    rows: Sequence[tuple[str, str, SplitName | None, str | None]],
    notes: Notes,
    format: str,
    task: str,
    used: set[str] = frozenset(),  # type: ignore[assignment]
) -> Dataset:
    problems = notes.all()
    if not rows:
        first = problems[0] if problems else Finding("text_empty", "no text was found", "check the files")
        raise DatasetError(f"expected lines with texts, found none; {first.path}: {first.message}", fix=first.fix)
    alphabet = alphabet_of([text for _, text, _, _ in rows])
    targets = texts_of([text for _, text, _, _ in rows], alphabet)
    splits = {split for _, _, split, _ in rows}
    whole = None in splits and len(splits) > 1
    samples = [
        Sample(name, target, None if whole else split, group)
        for (name, _, split, group), target in zip(rows, targets, strict=True)
    ]
    taken = {s.id for s in samples} | set(used)
    skipped = tuple(n for n in names if n not in taken and posixpath.splitext(n)[1].lower() in EXTENSIONS)
    notes.read = len(samples)
    account = notes.account()
    account = Account(
        account.read, account.dropped, account.repaired, account.reduced,
        (*account.left_out, *left_out_images(skipped, "it has no text")),
    )  # fmt: skip
    return Dataset(
        tree,
        tuple(samples),
        LabelSpace(alphabet),
        format,
        task,
        skipped=skipped,
        problems=tuple(problems),
        account=account,
    )


def _page_of(file: str, images: Images) -> str | None:
    """Return the image of a page whose boxes a file holds: it has the file's name, with or without `gt_`."""
    stem = posixpath.splitext(posixpath.basename(file))[0]
    for called in (stem, stem.removeprefix("gt_"), stem.removeprefix("gt_img_")):
        found = images.find(called, near=posixpath.dirname(file))
        if found is not None:
            return found
    return None


def _is_boxes(tree: Tree, name: str) -> bool:
    try:
        lines = [line for line in _text(tree, name).splitlines() if line.strip()]
    except DatasetError:
        return False
    return bool(lines) and sum(_ROW.match(line) is not None for line in lines) * 2 > len(lines)


def _text(tree: Tree, name: str) -> str:
    try:
        return decode_text(tree.content(name))
    except (DatasetError, UnreadableImageError) as error:
        raise DatasetError(f"cannot read {name!r}: {error.message}", fix=error.fix, code="text_unreadable") from None
