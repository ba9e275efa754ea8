"""Write a table of classes next to the images."""

__all__ = ["write_label_table"]

from eyewright.data.targets.label import Label
from eyewright.data.writers.tables import write_cell_table
from eyewright.data.writers.work import Work


def write_label_table(work: Work) -> None:
    """Write `labels.csv` with `path,label` next to `images/PART/`, and the columns `split` and `group` where needed."""
    names = work.dataset.labels.names
    write_cell_table(work, "labels.csv", "label", lambda sample: names[sample.marked(Label)])
