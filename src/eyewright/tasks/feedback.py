"""What people say of a prediction, checked before it is stored: labels the model knows, boxes and masks in the image.

One implementation for the HTTP route, Label Studio, files and Python, so that no way in is laxer than the others.
"""

__all__ = ["LABELS_SHOWN", "VERDICTS", "check_feedback", "check_label"]

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, get_args

from eyewright.core.errors import DatasetError, UsageError, spelling_hint
from eyewright.core.task import Feedback, task_of
from eyewright.data.targets.text import line_text
from eyewright.imaging.rasters import parse_counts

Verdict = Literal["right", "wrong_label", "wrong_box", "false_alarm", "missing"]

VERDICTS: tuple[str, ...] = get_args(Verdict)
"""What can be said of one box: it is right, it has another label, it lies elsewhere or has another outline, nothing is
there, it was not found."""

LABELS_SHOWN = 40
"""How many labels an error lists."""

_MOST_OBJECTS = 2000
# No image has so many pixels a side; a whole number of any length compares with it.
_FAR = 1e9
_MOST_TEXT = 2000
_MOST_NAME = 200
_MOST_RUNS = 4_000_000
_SAYS = ("label", "correct", "objects", "classes", "values", "tags", "text")
# Keys that must hold something. An empty `classes` is accepted: it may stand beside other keys.
_NAMED = ("values", "tags")
_KINDS: Mapping[str, tuple[type, str]] = {
    "label": (str, "text"),
    "correct": (bool, "true or false"),
    "comment": (str, "text"),
    "objects": (list, "a list of objects"),
    "classes": (dict, "an object of class names and true or false"),
    "values": (dict, "an object of names and numbers"),
    "tags": (dict, "an object of tags and true or false"),
    "text": (str, "text"),
    "new_classes": (list, "a list of class names"),
}


def check_feedback(
    content: Mapping[str, Any],
    *,
    task: str,
    labels: Sequence[str] | None,
    predicted: str | None = None,
    size_hw: tuple[int, int] | None = None,
    new_classes: Collection[str] = (),
) -> dict[str, Any]:
    """Return what is stored of `content`, which somebody said of a prediction of a model of `task` with `labels`.

    Args:
        content: at least one of `label` (classification), `correct`, `objects` (everything that is in the image:
            `label`, `box_xyxy` and, for masks, COCO's `segmentation`; `verdict` is one of `VERDICTS`)
            `classes` (segmentation: class name to whether its pixels are right), `tags` (tag to whether the image has
            it; of others nothing is said) and `text` (what a line says, or a caption); `comment` is kept, `new_classes`
            declares classes that the model does not know; all other keys are left out.
        labels: the classes of the model; None where they are not known, and labels are not checked.
        predicted: the label that the model gave; what contradicts itself is refused.
        size_hw: height and width of the image that was predicted, in pixels.
        new_classes: further declared classes.

    Raises:
        UsageError: a label that is neither known nor declared, or a value of another type or outside the image.
    """
    kept: dict[str, Any] = {}
    for key, (kind, wanted) in _KINDS.items():
        value = content.get(key)
        if value is None:
            continue
        if not isinstance(value, kind):
            raise UsageError(f"expected {key} as {wanted}, found {type(value).__name__}", fix="change it")
        kept[key] = value[:_MOST_TEXT] if isinstance(value, str) else value
    declared = _declared([*kept.pop("new_classes", []), *new_classes], labels or ())
    known = None if labels is None else [*labels, *declared]
    if not set(_SAYS) & set(kept):
        raise UsageError(
            "expected label, correct, objects, classes, values, tags or text, found none", fix="say what is right"
        )
    allowed = task_of(task).feedback if task else None
    _check_keys(kept, allowed, task)
    for key in _NAMED:
        if key in kept and not kept[key]:
            raise UsageError(f"expected {key} that say something, found none", fix="name one, or leave the key out")
    if "label" in kept:
        kept["label"] = check_label(kept["label"], known)
        _check_agreement(kept, predicted)
    if "classes" in kept:
        for name, right in kept["classes"].items():
            if not isinstance(right, bool):
                raise UsageError(f"expected true or false for class {name!r}, found {right!r}", fix="change it")
        kept["classes"] = {check_label(name, labels): right for name, right in kept["classes"].items()}
    if "values" in kept:
        for name, value in kept["values"].items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _FAR:
                raise UsageError(f"expected a number for {name!r}, found {value!r}", fix="change it")
        kept["values"] = _values(kept["values"], task, labels)
    if "tags" in kept:
        for name, has in kept["tags"].items():
            if not isinstance(has, bool):
                raise UsageError(f"expected true or false for the tag {name!r}, found {has!r}", fix="change it")
        kept["tags"] = {check_label(name, known): has for name, has in kept["tags"].items()}
    if "text" in kept:
        kept["text"] = _text(kept["text"], labels if allowed and allowed.letters else None)
        if predicted is not None and kept.get("correct", kept["text"] == predicted) is not (kept["text"] == predicted):
            raise UsageError(
                "the feedback contradicts itself: it gives another text than the one that it calls right, or the same "
                "as the one that it calls wrong",
                fix="send only one of text and correct",
            )
    if "objects" in kept:
        kept["objects"] = _objects(kept["objects"], allowed.places if allowed else ("box_xyxy",), known, size_hw)
    if kept.get("correct") is True:
        _check_right(kept)
    named = {kept.get("label"), *(o["label"] for o in kept.get("objects", ())), *kept.get("tags", ())}
    used = [name for name in declared if name in named]
    return {**kept, "new_classes": used} if used else kept


def _values(said: Mapping[str, float], task: str, labels: Sequence[str] | None) -> dict[str, float]:
    """Return numbers by the names of the model, whichever way they were named."""
    about = task_of(task) if task else None
    what = about.words.label[0] if about else "quantity"
    found: dict[str, float] = {}
    for given, value in said.items():
        name = about.spelled(given, labels) if about and labels is not None else given
        if labels is not None and name not in labels:
            listed = ", ".join(labels[:LABELS_SHOWN])
            shown = given[:_MOST_NAME]
            raise UsageError(
                f"unknown {what} {shown!r}, expected one of: {listed}",
                fix=spelling_hint(shown, labels),
                code="unknown_label",
            )
        if name in found:
            raise UsageError(f"expected one number for {name!r}, found two", fix="name it once")
        found[name] = float(value)
    missing = [n for n in labels or () if n not in found]
    if about and about.feedback.whole and missing:
        raise UsageError(
            f"expected a number for every {what}, found none for {', '.join(map(repr, missing[:LABELS_SHOWN]))}",
            fix="send all of them; for those that were right, the predicted number",
        )
    return found


def check_label(name: object, labels: Sequence[str] | None) -> str:
    """Return a label in the spelling of `labels`; another one is refused, with the list and the nearest spelling.

    Letters that Unicode can compose in several ways (NFC, NFD) are equal; upper and lower case are not.

    >>> check_label("dsic", ["cross", "disc"])
    Traceback (most recent call last):
    eyewright.core.errors.UsageError: unknown label 'dsic', expected one of: cross, disc; did you mean 'disc'? A class that is new has to be declared (new_classes, --new-class)

    Raises:
        UsageError: it is not.
    """  # noqa: E501
    if isinstance(name, str) and name and (labels is None or name in labels):
        return name
    if isinstance(name, str) and labels is not None and not name.isascii():
        same = [n for n in labels if unicodedata.normalize("NFC", n) == unicodedata.normalize("NFC", name)]
        if same:
            return same[0]
    if labels is None:
        raise UsageError("expected a label as text, found none", fix="change it")
    shown = name[:_MOST_NAME] if isinstance(name, str) else type(name).__name__
    rest = f" and {len(labels) - LABELS_SHOWN} more" if len(labels) > LABELS_SHOWN else ""
    listed = ", ".join(labels[:LABELS_SHOWN]) + rest
    hint = spelling_hint(shown, labels)
    near = f"{hint} A" if hint.startswith("did you mean") else "choose one of them. A"
    raise UsageError(
        f"unknown label {shown!r}, expected one of: {listed}",
        fix=f"{near} class that is new has to be declared (new_classes, --new-class)",
        code="unknown_label",
    )


def _text(text: str, labels: Sequence[str] | None) -> str:
    """Return what a line says, in the characters that the model knows."""
    try:
        written = line_text(text)
    except DatasetError as error:
        raise UsageError(f"expected the text of a line: {error.message}", fix=error.fix) from None
    unknown = [] if labels is None else sorted(set(written) - set(labels))
    if unknown:
        shown = ", ".join(map(repr, unknown[:10]))
        raise UsageError(
            f"unknown label {shown}: the model does not know the character{'s' * (len(unknown) != 1)}",
            fix="train a model whose texts hold it",
            code="unknown_label",
        )
    return written


def _declared(names: Sequence[object], labels: Sequence[str]) -> list[str]:
    found: list[str] = []
    folded = {_folded(n): n for n in labels}
    for name in names:
        if not isinstance(name, str) or not name.strip() or len(name) > _MOST_NAME or not name.isprintable():
            raise UsageError(
                f"expected the name of a new class as text of 1 to {_MOST_NAME} characters, found {str(name)[:40]!r}",
                fix="change it",
            )
        same = folded.get(_folded(name))
        if same is not None and same != name:
            raise UsageError(
                f"the new class {name!r} differs from {same!r} only in case or spaces", fix=f"use {same!r}"
            )
        if same is None:
            if "\\" in name or any(part.strip() in ("", ".", "..") for part in name.split("/")):
                raise UsageError(
                    f"expected the name of a new class that a folder can have, found {name!r}",
                    fix="leave out backslashes, and parts that are empty, '.' or '..'",
                )
            found.append(name)
            folded[_folded(name)] = name
    return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()


def _check_right(kept: Mapping[str, Any]) -> None:
    """Refuse feedback that calls a prediction right, and a part of it wrong."""
    wrong = [n for n, right in kept.get("classes", {}).items() if not right]
    wrong += [o["label"] for o in kept.get("objects", ()) if o.get("verdict", "right") != "right"]
    if wrong:
        raise UsageError(
            f"the feedback contradicts itself: correct is true, and {wrong[0]!r} is called wrong",
            fix="send correct as false, or leave it out",
        )


def _check_keys(kept: Mapping[str, Any], allowed: Feedback | None, task: str) -> None:
    for key in _SAYS:
        if allowed is not None and key in kept and key not in ("correct", *allowed.says):
            raise UsageError(
                f"expected {' or '.join((*allowed.says, 'correct'))} for a prediction of {task!r}, found {key}",
                fix="see /openapi.json",
            )


def _check_agreement(kept: Mapping[str, Any], predicted: str | None) -> None:
    if predicted is None or "correct" not in kept or kept["correct"] is (kept["label"] == predicted):
        return
    said = "right" if kept["correct"] else "wrong"
    raise UsageError(
        f"the feedback contradicts itself: it calls the prediction {predicted!r} {said} and gives the label "
        f"{kept['label']!r}",
        fix="send only one of label and correct",
    )


def _objects(
    rows: Sequence[Any], places: Sequence[str], known: Sequence[str] | None, size_hw: tuple[int, int] | None
) -> list[dict[str, Any]]:
    if len(rows) > _MOST_OBJECTS:
        raise UsageError(f"expected at most {_MOST_OBJECTS} objects, found {len(rows)}", fix="send fewer")
    found = []
    seen = set()
    runs = 0
    for row in rows:
        if not isinstance(row, dict):
            raise UsageError("expected objects as {label, box_xyxy: [x0, y0, x1, y1]}", fix="change it")
        one: dict[str, Any] = {"label": check_label(row.get("label"), known)}
        outlined = "segmentation" in places and row.get("segmentation") is not None
        if row.get("box_xyxy") is not None or not outlined:
            if "box_xyxy" not in places:
                raise UsageError("expected objects as {label, segmentation} for masks", fix="change it")
            one["box_xyxy"] = _box(row.get("box_xyxy"), size_hw)
        if outlined:
            one["segmentation"] = _segmentation(row["segmentation"], size_hw)
            runs += len(one["segmentation"]["counts"])
            if runs > _MOST_RUNS:
                raise UsageError(f"expected masks of at most {_MOST_RUNS} characters in all", fix="simplify them")
        verdict = row.get("verdict")
        if verdict is not None:
            if verdict not in VERDICTS:
                raise UsageError(
                    f"unknown verdict {str(verdict)[:40]!r}", fix=spelling_hint(str(verdict)[:40], VERDICTS)
                )
            one["verdict"] = verdict
        if row.get("predicted") is not None:
            one["predicted"] = check_label(row["predicted"], known)
        same = one.get("predicted", one["label"]) == one["label"]
        if (verdict == "right" and not same) or (verdict == "wrong_label" and same and "predicted" in one):
            raise UsageError(
                f"the feedback contradicts itself: an object predicted as {one['predicted']!r} is {verdict} and has "
                f"the label {one['label']!r}",
                fix="change verdict or label",
            )
        # The same object twice says no more than once.
        key = (one["label"], verdict, repr(one.get("box_xyxy")), one.get("segmentation", {}).get("counts"))
        if key not in seen:
            seen.add(key)
            found.append(one)
    return found


def _box(box: object, size_hw: tuple[int, int] | None) -> list[float]:
    """Return a box cut to its image; one that lies mostly outside is in pixels of another image."""
    if (
        not isinstance(box, list | tuple)
        or len(box) != 4
        or not all(isinstance(v, int | float) and not isinstance(v, bool) and -_FAR < v < _FAR for v in box)
    ):
        raise UsageError("expected objects as {label, box_xyxy: [x0, y0, x1, y1]}", fix="change it")
    x0, y0, x1, y1 = (float(v) for v in box)
    whole = (x1 - x0) * (y1 - y0)
    if size_hw is not None:
        height, width = size_hw
        x0, x1 = max(0.0, x0), min(float(width), x1)
        y0, y1 = max(0.0, y0), min(float(height), y1)
    if not (x1 > x0 and y1 > y0 and (x1 - x0) * (y1 - y0) >= whole / 2):
        where = "" if size_hw is None else f" in the image of {size_hw[1]}x{size_hw[0]} pixels"
        raise UsageError(
            f"expected a box with x0 < x1 and y0 < y1{where}, found {list(box)}",
            fix="give corners in pixels of the image that was sent",
        )
    return [x0, y0, x1, y1]


def _segmentation(given: object, size_hw: tuple[int, int] | None) -> dict[str, Any]:
    form = 'a mask as {"size": [height, width], "counts": "…"}, COCO\'s compressed run-length encoding'
    if not isinstance(given, dict) or not isinstance(given.get("counts"), str):
        raise UsageError(f"expected {form}, found another form", fix="send segmentations as predictions hold them")
    size, counts = given.get("size"), given["counts"]
    if (
        not isinstance(size, list | tuple)
        or len(size) != 2
        or not all(isinstance(v, int) and not isinstance(v, bool) and 0 < v < 2**20 for v in size)
    ):
        raise UsageError(f"expected {form}, found another size", fix="send segmentations as predictions hold them")
    height, width = int(size[0]), int(size[1])
    if size_hw is not None and (height, width) != tuple(size_hw):
        raise UsageError(
            f"expected a mask of the image's size, {size_hw[1]}x{size_hw[0]}, found {width}x{height}",
            fix="send the mask in pixels of the image that was sent",
        )
    if len(counts) > _MOST_RUNS:
        raise UsageError(f"expected a mask of at most {_MOST_RUNS} characters", fix="simplify it")
    try:
        covered = int(parse_counts(counts).sum())
    except DatasetError as error:
        raise UsageError(error.message, fix="send segmentations as predictions hold them") from None
    if covered != height * width:
        raise UsageError(f"expected counts of {height * width} pixels, found {covered}", fix="send the whole mask")
    return {"size": [height, width], "counts": counts}
