"""The folder of predictions that a person is to look at: those of low confidence, the lowest first."""

__all__ = ["ReviewFolder", "new_folder"]

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.core.errors import OutputError
from eyewright.core.quoting import quoted

if TYPE_CHECKING:
    from eyewright.core.prediction import Prediction

_REVIEWED = ("rank", "confidence", "label", "source", "index")


def new_folder(place: Path) -> Path:
    """Return a folder that is to be filled.

    Raises:
        OutputError: something is in it.
    """
    if place.is_dir() and any(place.iterdir()):
        raise OutputError(f"{quoted(place)} is not empty", fix="choose another --out")
    return place


class ReviewFolder:
    """Predictions below a confidence, each written when it is made, and `review.csv` at the end.

    Args:
        folder: where it is, or is to be made.
        below: the confidence.
        column: what a file is called in the table: "image", "clip".
        times: the columns of times: of frames one, of times of a stream their start and end.

    Raises:
        OutputError: something is in the folder.
    """

    def __init__(
        self, folder: Path, below: float, *, column: str = "image", times: Sequence[str] = ("time_s",)
    ) -> None:
        self.folder, self.below, self._column = new_folder(folder), below, column
        self._columns = (*_REVIEWED, *times, column)
        self.rows: list[dict[str, Any]] = []
        self.empty = 0

    def take(
        self,
        prediction: "Prediction",
        stem: str,
        suffix: str,
        write: Callable[[Path], object],
        times: Mapping[str, float] | None = None,
    ) -> None:
        """Take a prediction, and have it written where its confidence is too low; count one that found nothing.

        `times` are those of the table, where there are others than the prediction's own.
        """
        confidence = prediction.confidence
        if confidence is None:
            self.empty += 1
            return
        if confidence >= self.below:
            return
        # Names begin with the confidence: a file manager sorts them by it, also after a process was killed.
        name = f"{confidence:.4f}-{stem}{suffix}"
        write(self.folder / name)
        about = {"confidence": round(confidence, 6), "label": prediction.headline()[0], "source": prediction.source}
        own = {} if prediction.time_s is None else {"time_s": prediction.time_s}
        self.rows.append({**about, "index": prediction.index, **(own if times is None else times), self._column: name})

    def close(self) -> None:
        """Write the table, the lowest confidence first."""
        from eyewright.core.files import write_text

        write_text(self.folder / "review.csv", _table(self.rows, self._columns))

    def to_json(self) -> dict[str, Any]:
        """Return how many predictions are in the folder, and how many have no confidence."""
        return {"below": self.below, "n": len(self.rows), "nothing_found": self.empty}

    def line(self) -> str:
        """Return the same in a line for a person."""
        empty = f"; {self.empty:,} without a detection are not included" if self.empty else ""
        return f"review   {len(self.rows):,} below a confidence of {self.below:g}{empty}"


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    from eyewright.core.spreadsheets import to_cell

    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for rank, row in enumerate(sorted(rows, key=lambda r: (r["confidence"], r["index"])), 1):
        writer.writerow({k: to_cell(v) for k, v in {"rank": rank, **row}.items()})
    return out.getvalue()
