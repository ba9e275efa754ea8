"""What an annotation of Label Studio says of a prediction of ours, in the form that feedback is stored in."""

__all__ = ["feedback_of"]

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from eyewright.core.errors import EyewrightError
from eyewright.core.task import task_of
from eyewright.data.readers.label_studio import decode_brush
from eyewright.imaging.rasters import encode_counts, pack_counts

_MOST_REGIONS = 2000
_MOST_PIXELS = 40_000_000


def feedback_of(
    event: Mapping[str, Any],
    task_of: Callable[[str], str | None],
    labels_of: Callable[[str], Sequence[str]] = lambda prediction_id: (),
) -> list[tuple[str, dict[str, Any]]]:
    """Return pairs of a prediction's id and what is said of it; empty where the event answers no prediction of ours.

    Regions that began as ours carry the prediction's id; those that were drawn belong to the same prediction. Where
    every region was removed or drawn again the prediction is found by the annotation's own copy of it, or by
    `prediction_id` in the task's meta or data, where `monitor select` writes it. All that is marked is what is there.

    `task_of` returns the task of the model that made a prediction: None if there is none of this id, "" if the model
    is not served any more. `labels_of` returns the classes of that model: of several choices an image has those that
    are chosen, and none of the others.
    """
    annotation = event.get("annotation")
    if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
        return []
    rows = [r for r in annotation["result"][:_MOST_REGIONS] if isinstance(r, dict) and isinstance(r.get("value"), dict)]
    known = {k: task_of(k) for k in dict.fromkeys(_origins(event, annotation, rows))}
    said = []
    for origin, kind in known.items():
        if kind is None:
            continue
        own = [r for r in rows if _origin(r) == origin or known.get(_origin(r)) is None]
        content = _content(own, kind, labels_of(origin))
        if content:
            said.append((origin, content))
    return said


def _origins(event: Mapping[str, Any], annotation: Mapping[str, Any], rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what may be ids of predictions: of the regions, else of what the annotation and the task remember."""
    of_regions = [k for k in map(_origin, rows) if k]
    yield from of_regions
    before = annotation.get("prediction")
    results = before.get("result") if isinstance(before, dict) else None
    for row in results if isinstance(results, list) else []:
        if isinstance(row, dict) and _origin(row):
            yield _origin(row)
    task = event.get("task")
    for part in ("meta", "data"):
        held = task.get(part) if isinstance(task, dict) else None
        if isinstance(held, dict) and isinstance(held.get("prediction_id"), str):
            yield held["prediction_id"][:80]


def _origin(row: Mapping[str, Any]) -> str:
    found = row.get("id")
    return found.partition(".")[0][:80] if isinstance(found, str) else ""


# Of a model that is not served any more its task is not known.
_SEVERAL = "Choices:multiple"
_ANY = ["Choices", "RectangleLabels", "BrushLabels"]


def _content(rows: list[dict[str, Any]], task: str, names: Sequence[str]) -> dict[str, Any]:
    objects = []
    tags = task_of(task).foreign.get("label-studio", "").split() if task else _ANY
    if not tags:
        # Label Studio has no form for what this task predicts.
        return {}
    for row in rows:
        value = row["value"]
        if isinstance(value.get("choices"), list) and value["choices"]:
            if _SEVERAL in tags:
                # What is not chosen is not there: people see all choices of a task.
                return {"tags": {**dict.fromkeys(names, False), **{str(c)[:200]: True for c in value["choices"]}}}
            return {"label": str(value["choices"][0])[:200]}
        one = None
        if "rectanglelabels" in value and "RectangleLabels" in tags:
            one = _box(row)
        elif "brushlabels" in value and "BrushLabels" in tags:
            one = _brush(row)
        if one is not None:
            objects.append(one)
    if _SEVERAL in tags:
        return {"tags": dict.fromkeys(names, False)} if names else {}
    return {} if tags == ["Choices"] else {"objects": objects}


def _box(row: Mapping[str, Any]) -> dict[str, Any] | None:
    value = row["value"]
    try:
        w, h = float(row["original_width"]) / 100, float(row["original_height"]) / 100
        x, y = float(value["x"]), float(value["y"])
        box = [x * w, y * h, (x + float(value["width"])) * w, (y + float(value["height"])) * h]
        return {"label": str(value["rectanglelabels"][0])[:200], "box_xyxy": box}
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        return None


def _brush(row: Mapping[str, Any]) -> dict[str, Any] | None:
    value = row["value"]
    try:
        size_hw = (int(row["original_height"]), int(row["original_width"]))
        if min(size_hw) < 1 or size_hw[0] * size_hw[1] > _MOST_PIXELS:
            return None
        mask = decode_brush(value["rle"], size_hw)
        label = str(value["brushlabels"][0])[:200]
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, MemoryError, EyewrightError):
        return None
    return {"label": label, "segmentation": {"size": list(size_hw), "counts": pack_counts(encode_counts(mask))}}
