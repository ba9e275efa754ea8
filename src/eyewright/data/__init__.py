"""Datasets: formats, `doctor`, leak-safe splits, embedded samples.

A module is imported when one of its names is used: a task needs the targets alone.
"""

from typing import TYPE_CHECKING

from eyewright.core.late import late_names

if TYPE_CHECKING:
    from eyewright.data.audit import FINDING_CODES, audit_dataset, find_leaks, label_error_rule, ordered, refuse_misread
    from eyewright.data.dataset import Dataset, Sample
    from eyewright.data.edits import Edit, apply_edits, read_edits
    from eyewright.data.embedded import write_digits
    from eyewright.data.formats import DATASET_FORMATS, open_dataset
    from eyewright.data.grouped import find_groups
    from eyewright.data.grouping import Group, Grouping, Proposal
    from eyewright.data.ignoring import ignore_classes
    from eyewright.data.leaks import leak_rule, settle_leaks
    from eyewright.data.scan import Scan, dataset_fingerprint, scan_dataset
    from eyewright.data.splits import fold_datasets, split_dataset

_HOMES = {
    "audit": ("FINDING_CODES", "audit_dataset", "find_leaks", "label_error_rule", "ordered", "refuse_misread"),
    "dataset": ("Dataset", "Sample"),
    "edits": ("Edit", "apply_edits", "read_edits"),
    "embedded": ("write_digits",),
    "formats": ("DATASET_FORMATS", "open_dataset"),
    "grouped": ("find_groups",),
    "grouping": ("Group", "Grouping", "Proposal"),
    "ignoring": ("ignore_classes",),
    "leaks": ("leak_rule", "settle_leaks"),
    "scan": ("Scan", "dataset_fingerprint", "scan_dataset"),
    "splits": ("fold_datasets", "split_dataset"),
}  # fmt: skip

__all__ = [
    "DATASET_FORMATS",
    "FINDING_CODES",
    "Dataset",
    "Edit",
    "Group",
    "Grouping",
    "Proposal",
    "Sample",
    "Scan",
    "apply_edits",
    "audit_dataset",
    "dataset_fingerprint",
    "find_groups",
    "find_leaks",
    "fold_datasets",
    "ignore_classes",
    "label_error_rule",
    "leak_rule",
    "open_dataset",
    "ordered",
    "read_edits",
    "refuse_misread",
    "scan_dataset",
    "settle_leaks",
    "split_dataset",
    "write_digits",
]


__getattr__ = late_names("eyewright.data", _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
