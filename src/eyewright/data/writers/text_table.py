"""Write a table of texts next to the images of lines."""

__all__ = ["write_text_table"]

import csv
import io

from eyewright.core.files import write_staged
from eyewright.data.targets.text import Text
from eyewright.data.writers.work import Work, part_of


def write_text_table(work: Work) -> None:
    """Write `lines.csv` with `path,text` next to `images/PART/`, and the columns `split` and `group` where needed."""
    data = work.dataset
    more = [c for c in ("split", "group") if any(getattr(s, c) for s in data.samples)]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "text", *more])
    for i, sample in work.samples():
        folder = f"images/{part_of(sample)}"
        written = sample.marked(Text).written
        table.writerow([f"{folder}/{work.image(i, folder)}", written, *(getattr(sample, c) or "" for c in more)])
    write_staged(work.root / "lines.csv", text.getvalue())
