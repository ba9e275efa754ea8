"""Write a table of classes next to the images."""

__all__ = ["write_label_table"]

import csv
import io

from eyewright.core.files import write_staged
from eyewright.data.targets.label import Label
from eyewright.data.writers.work import Work, part_of


def write_label_table(work: Work) -> None:
    """Write `labels.csv` with `path,label` next to `images/PART/`, and the columns `split` and `group` where needed."""
    data = work.dataset
    more = [c for c in ("split", "group") if any(getattr(s, c) for s in data.samples)]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "label", *more])
    for i, sample in work.samples():
        folder = f"images/{part_of(sample)}"
        label = data.labels.names[sample.marked(Label)]
        table.writerow([f"{folder}/{work.image(i, folder)}", label, *(getattr(sample, c) or "" for c in more)])
    write_staged(work.root / "labels.csv", text.getvalue())
