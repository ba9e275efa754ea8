"""Write a table of tags next to the images."""

__all__ = ["write_tag_table"]

import json

from eyewright.data.dataset import Sample
from eyewright.data.targets.tags import Tags, cell_parts
from eyewright.data.writers.tables import write_cell_table
from eyewright.data.writers.work import Work

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
    names = work.dataset.labels.names
    listed = any(_PARTING & set(n) or n.strip().lower() in _ANSWERS or n != n.strip() for n in names)

    def cell(sample: Sample) -> str:
        work.objects += len(sample.marked(Tags).present)
        text = sample.target.cell(names)
        return json.dumps(cell_parts(text), ensure_ascii=False) if listed else text

    write_cell_table(work, "tags.csv", "tags", cell)
