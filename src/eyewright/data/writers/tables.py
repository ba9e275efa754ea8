"""Write a CSV next to the images: their paths, what is learnt from each, and their part of the dataset."""

__all__ = ["TABLE", "column_titles", "write_cell_table", "write_number_table"]

import csv
import io
from collections import Counter
from collections.abc import Callable

from eyewright.core.files import write_staged
from eyewright.data.dataset import Sample
from eyewright.data.targets.numbers import Numbers
from eyewright.data.writers.work import Work, part_of

TABLE = "labels.csv"
"""The file that the table is in."""


def write_number_table(work: Work) -> None:
    """Write `labels.csv`: path, one column per quantity with its unit in the header, split and group if known."""
    samples = work.dataset.samples
    titles = column_titles(work.dataset.labels.names)
    given = (any(s.split is not None for s in samples), any(s.group is not None for s in samples))
    rows = [["path", *titles, *(t for t, there in zip(("split", "group"), given, strict=True) if there)]]
    for i, sample in work.samples():
        assert isinstance(sample.target, Numbers)
        name = work.image(i, "images")
        rows.append([f"images/{name}", *(repr(float(v)) for v in sample.target.values), *_more(sample, given)])
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    write_staged(work.root / TABLE, buffer.getvalue())


def write_cell_table(work: Work, name: str, column: str, cell: Callable[[Sample], str]) -> None:
    """Write a table of `path` and one column next to `images/PART/`, with `split` and `group` where any is known."""
    more = [c for c in ("split", "group") if any(getattr(s, c) for s in work.dataset.samples)]
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(["path", column, *more])
    for i, sample in work.samples():
        folder = f"images/{part_of(sample)}"
        path = f"{folder}/{work.image(i, folder)}"
        table.writerow([path, cell(sample), *(getattr(sample, c) or "" for c in more)])
    write_staged(work.root / name, buffer.getvalue())


def _more(sample: Sample, given: tuple[bool, bool]) -> list[str]:
    return [v or "" for v, there in zip((sample.split, sample.group), given, strict=True) if there]


def column_titles(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the titles of columns, each once, none of them that of another column."""
    taken, titles = Counter(("path", "split", "group")), []
    for name in names:
        taken[name] += 1
        titles.append(name if taken[name] == 1 else f"{name} {taken[name]}")
    return tuple(titles)
