"""Write a table of tags next to the images."""

__all__ = ["write_tag_table"]

import csv
import io
import json

from eyewright.core.files import write_staged
from eyewright.data.targets.tags import Tags, cell_parts
from eyewright.data.writers.work import Work, part_of

_PARTING = frozenset("|;,[]\\'\"?")
# Tags that a reader would take for the cells of a column of yes and no.
_ANSWERS = frozenset(
    {"1", "1.0", "true", "yes", "y", "x", "0", "0.0", "false", "no", "n", "-1", "-1.0", "nan", "na", "n/a", "null"}
    | {"none", "u", "unknown"}
)


def write_tag_table(work: Work) -> None:
    """Write `tags.csv` with `path,tags` next to `images/PART/`, and the columns `split` and `group` where needed.

    A cell holds `cat|dog|?grass`, where nobody has judged `grass`; a list in JSON where the name of a tag would make
    that ambiguous.
    """
    data = work.dataset
    names = data.labels.names
    listed = any(_PARTING & set(n) or n.strip().lower() in _ANSWERS or n != n.strip() for n in names)
    more = [c for c in ("split", "group") if any(getattr(s, c) for s in data.samples)]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "tags", *more])
    for i, sample in work.samples():
        folder = f"images/{part_of(sample)}"
        cell = sample.target.cell(names)
        if listed:
            cell = json.dumps(cell_parts(cell), ensure_ascii=False)
        table.writerow([f"{folder}/{work.image(i, folder)}", cell, *(getattr(sample, c) or "" for c in more)])
        work.objects += len(sample.marked(Tags).present)
    write_staged(work.root / "tags.csv", text.getvalue())
