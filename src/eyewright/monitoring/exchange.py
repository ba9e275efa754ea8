"""Feedback in and out of files, and what is worth labelling next."""

__all__ = ["choose_next", "export_feedback", "import_feedback"]

import csv
import io
import json
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import InputError, UsageError, plain_reason
from eyewright.core.files import write_text
from eyewright.core.jsonable import dumps_json
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.core.spreadsheets import from_cell, to_cell
from eyewright.monitoring.store import Row, Said, Store, feedback_id
from eyewright.tasks.feedback import check_feedback

_MOST_BYTES = 256 * 2**20
# OWASP's list, with the quote itself, so that what is read back is what was written.


def import_feedback(
    store: Store,
    path: Path,
    *,
    new_classes: Collection[str] = (),
    known: Callable[[Said], Said] = lambda said: said,
) -> tuple[int, list[Finding]]:
    """Read feedback from CSV (prediction_id, label, correct, comment, objects, classes, new_classes) or JSON lines;
    return how many were stored, and what was not, with its line.

    A label must be one of the prediction's model, or of `new_classes`. Of several lines on one prediction the last
    counts: a line that says the same again is a note, one that contradicts an earlier line a finding. `known` completes
    what the log holds of a prediction, where it lacks the classes of the model.

    Raises:
        InputError: the file cannot be read, or has no prediction_id.
    """
    stored: dict[str, tuple[str, str, float, dict[str, Any]]] = {}
    findings = []
    lines: dict[str, int] = {}
    for line, content in _lines(path):
        prediction_id = content.pop("prediction_id", None)
        if not isinstance(prediction_id, str) or not prediction_id:
            findings.append(_finding(path, line, "expected prediction_id and label or correct"))
            continue
        said = store.prediction(prediction_id)
        if said is None:
            findings.append(_finding(path, line, f"no prediction {prediction_id[:80]!r} is in the log"))
            continue
        said = known(said)
        try:
            kept = check_feedback(
                _plain({k: v for k, v in content.items() if v not in ("", None)}),
                task=said.task,
                labels=said.labels,
                predicted=said.label or None,
                size_hw=said.size_hw,
                new_classes=new_classes,
            )
        except UsageError as error:
            findings.append(_finding(path, line, error.message, error.fix))
            continue
        before = stored.get(prediction_id)
        if before is not None and before[3] == kept:
            findings.append(_finding(path, line, f"it repeats line {lines[prediction_id]}", severity="note"))
        elif before is not None:
            text = f"it contradicts line {lines[prediction_id]} on the same prediction; the last line counts"
            findings.append(_finding(path, line, text, "remove one of the two"))
        stored[prediction_id] = (feedback_id(prediction_id, kept), prediction_id, time.time(), kept)
        lines[prediction_id] = line
    store.add([], list(stored.values()))
    return len(stored), findings


def _plain(content: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a CSV's row as JSON has them.

    Raises:
        UsageError: a value that cannot be read as one.
    """
    if isinstance(content.get("correct"), str):
        word = content["correct"].strip().lower()
        if word not in ("true", "false", "1", "0", "yes", "no"):
            raise UsageError(f"expected correct as true or false, found {word[:40]!r}", fix="change it")
        content["correct"] = word in ("true", "1", "yes")
    for key in ("objects", "classes", "values", "tags", "new_classes"):
        if isinstance(content.get(key), str):
            try:
                content[key] = json.loads(content[key])
            except (ValueError, RecursionError):
                raise UsageError(f"expected {key} as JSON, found other text", fix="change it") from None
    return content


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{quoted(path)} is larger than {_MOST_BYTES} bytes", fix="split it")
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {quoted(path)}: {plain_reason(error)}", fix="check the file") from None
    if path.suffix.lower() == ".csv":
        reader = csv.DictReader(io.StringIO(text))
        if "prediction_id" not in (reader.fieldnames or ()):
            raise InputError(f"expected a column prediction_id in {quoted(path)}, found none", fix="name the columns")
        for row in reader:
            yield reader.line_num, {str(k): from_cell(v) for k, v in row.items()}
        return
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            content = None
        yield number, dict(content) if isinstance(content, dict) else {}


def _finding(
    path: Path, line: int, message: str, fix: str = "", severity: Literal["warning", "note"] = "warning"
) -> Finding:
    fix = fix or ("nothing" if severity == "note" else "correct the line and import it again")
    return Finding("feedback", message, fix, str(path), line, severity)


def export_feedback(store: Store, path: Path, *, model: str | None = None) -> int:
    """Write all feedback, the latest on each prediction, as CSV or JSON lines; return how many."""
    rows = [
        {"prediction_id": row.id, "time": at, "model": row.model, "digest": row.digest, "answered": row.label,
         "score": row.score, "image": row.image, **content}
        for row, content, at in store.feedback(model=model)
    ]  # fmt: skip
    if path.suffix.lower() == ".csv":
        names = [
            "prediction_id",
            "time",
            "model",
            "digest",
            "answered",
            "score",
            "image",
            "label",
            "correct",
            "comment",
        ]
        out = io.StringIO()
        names += ["objects", "classes", "values", "tags", "text", "new_classes"]
        writer = csv.DictWriter(out, names, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: to_cell(dumps_json(v) if isinstance(v, list | dict) else v) for k, v in r.items()} for r in rows
        )
        write_text(path, out.getvalue())
    elif path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        write_text(path, "".join(dumps_json(r) + "\n" for r in rows))
    else:
        raise UsageError(f"expected a name that ends in .csv or .jsonl, found {quoted(path.name)}", fix="change it")
    return len(rows)


def choose_next(rows: list[Row], n: int, *, numeric: Callable[[Row], bool] = lambda row: False) -> list[Row]:
    """Choose what to label next: predictions with the lowest confidence, each unlike those chosen before it.

    Starts from the 10 n predictions of lowest confidence: for probabilities the margin between the two highest classes,
    else the score nearest a half; unfamiliar images count as uncertain. It takes from them by greedy k-centre in the
    images' numbers (Sener & Savarese 2018), so that n images are not n times the same one. Predictions that are
    `numeric` have no confidence: their score is a value in the user's unit, so only unfamiliarity and distance count.
    """
    if not rows:
        return []
    unsure = np.array([_unsureness(r, numeric=numeric(r)) for r in rows])
    first = np.argsort(-unsure, kind="stable")[: 10 * n]
    looks = np.array([rows[i].look for i in first], np.float64)
    spread = looks.std(0)
    looks = (looks - looks.mean(0)) / np.where(spread > 0, spread, 1)
    chosen = [0]
    nearest: NDArray[np.float64] = np.linalg.norm(looks - looks[0], axis=1)
    while len(chosen) < min(n, len(first)):
        gain = nearest * (0.5 + unsure[first])
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(looks - looks[chosen[-1]], axis=1))
    return [rows[first[k]] for k in chosen]


def _unsureness(row: Row, *, numeric: bool) -> float:
    answer = row.answer
    if numeric:
        found = 0.5
    elif len(answer) > 1 and abs(float(answer.sum()) - 1) < 1e-3 and float(answer.max()) <= 1:
        top = np.sort(answer)[-2:]
        found = 1 - float(top[1] - top[0])
    else:
        found = 1 - abs(2 * row.score - 1)
    return max(found, 0.9) if row.unfamiliar is not None and row.unfamiliar <= 0.01 else found
