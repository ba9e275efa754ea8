"""Predictions as a table: CSV with a line for each object, or for each image where there are no objects."""

__all__ = ["PredictionTable"]

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from eyewright.core.jsonable import vector_of
from eyewright.core.spreadsheets import to_cell


class PredictionTable:
    """The lines of a CSV file, from predictions in the command line's form; the first one decides the columns.

    Objects (`boxes_xyxy`, `areas`) have a line each, numbered by `object`, and an image without any has one line with
    an empty label. Other predictions have a line for each image: the label with the highest score, several labels with
    `;` between, every quantity with its interval, the text, or the vector (`embedding_0` and so on, exact as float32).

    >>> table = PredictionTable()
    >>> row = {"source": "a.png", "index": 0, "labels": ["cat", "dog"], "scores": [0.9, 0.1], "accepted": ["cat"]}
    >>> print(table.lines(row), end="")
    source,index,label,score,accepted
    a.png,0,cat,0.9,cat
    """

    def __init__(self) -> None:
        self._columns: tuple[str, ...] = ()

    def lines(self, row: Mapping[str, Any]) -> str:
        """Return the lines of one prediction, before the first one the header."""
        about = {k: row[k] for k in ("source", "index", "time_s") if k in row}
        records = [{**about, **cells} for cells in _records(row)]
        out = io.StringIO()
        first = not self._columns
        self._columns = self._columns or tuple(records[0])
        writer = csv.DictWriter(out, self._columns, restval="", extrasaction="ignore", lineterminator="\n")
        if first:
            writer.writerow({c: to_cell(c) for c in self._columns})
        writer.writerows({k: to_cell(v) for k, v in record.items()} for record in records)
        return out.getvalue()


def _records(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "boxes_xyxy" in row or "areas" in row:
        return list(_objects(row))
    if "values" in row:
        return [dict(_quantities(row["values"]))]
    if "embedding" in row:
        return [{"typicality": row.get("typicality", ""), **_vector(row["embedding"])}]
    if "text" in row:
        return [{"text": row["text"], "probability": row.get("probability", "")}]
    labels, scores = row.get("labels", ()), row.get("scores", ())
    several = {k: _joined(row[k]) for k in ("accepted", "present") if k in row}
    return [{"label": labels[0] if labels else "", "score": scores[0] if scores else "", **several}]


def _objects(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    corners = ("x0", "y0", "x1", "y1") if "boxes_xyxy" in row else ()
    more = tuple(k for k in ("areas", "track_ids") if k in row)
    names = {"areas": "area", "track_ids": "track_id"}
    for k, (label, score) in enumerate(zip(row["labels"], row["scores"], strict=True)):
        places = zip(corners, row["boxes_xyxy"][k], strict=True) if corners else ()
        yield {"object": k, "label": label, "score": score, **dict(places), **{names[m]: row[m][k] for m in more}}
    if not row["labels"]:
        columns = ("object", "label", "score", *corners, *(names[m] for m in more))
        yield dict.fromkeys(columns, "")


def _quantities(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if not isinstance(value, Mapping):
            yield name, value
            continue
        low, high = value.get("interval") or ("", "")
        yield from ((name, value["value"]), (f"{name} low", low), (f"{name} high", high))


def _vector(encoded: str) -> dict[str, float]:
    """Return the numbers of a vector, base64 of float32, each in the fewest digits that give it again."""
    return {f"embedding_{k}": float(f"{v:.9g}") for k, v in enumerate(vector_of(encoded).tolist())}


def _joined(names: Iterable[str]) -> str:
    return ";".join(names)
