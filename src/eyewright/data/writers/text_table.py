"""Write a table of texts next to the images of lines."""

__all__ = ["write_text_table"]

from eyewright.data.targets.text import Text
from eyewright.data.writers.tables import write_cell_table
from eyewright.data.writers.work import Work


def write_text_table(work: Work) -> None:
    """Write `lines.csv` with `path,text` next to `images/PART/`, and the columns `split` and `group` where needed."""
    write_cell_table(work, "lines.csv", "text", lambda sample: sample.marked(Text).written)
