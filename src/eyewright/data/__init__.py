"""Datasets: formats, `doctor`, leak-safe splits, embedded samples.

A module is imported when one of its names is used: a task needs the targets alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eyewright.data.audit import FINDING_CODES, audit_dataset, find_leaks, ordered
    from eyewright.data.dataset import Dataset, Sample
    from eyewright.data.embedded import write_digits
    from eyewright.data.formats import DATASET_FORMATS, open_dataset
    from eyewright.data.grouped import find_groups
    from eyewright.data.grouping import Group, Grouping, Proposal
    from eyewright.data.ignoring import ignore_classes
    from eyewright.data.leaks import leak_rule, settle_leaks
    from eyewright.data.scan import Scan, dataset_fingerprint, scan_dataset
    from eyewright.data.splits import fold_datasets, split_dataset

_HOMES = {
    "DATASET_FORMATS": "formats",
    "Dataset": "dataset",
    "FINDING_CODES": "audit",
    "Group": "grouping",
    "Grouping": "grouping",
    "Proposal": "grouping",
    "Sample": "dataset",
    "Scan": "scan",
    "audit_dataset": "audit",
    "dataset_fingerprint": "scan",
    "find_groups": "grouped",
    "find_leaks": "audit",
    "fold_datasets": "splits",
    "ignore_classes": "ignoring",
    "leak_rule": "leaks",
    "open_dataset": "formats",
    "ordered": "audit",
    "scan_dataset": "scan",
    "settle_leaks": "leaks",
    "split_dataset": "splits",
    "write_digits": "embedded",
}

__all__ = [
    "DATASET_FORMATS",
    "FINDING_CODES",
    "Dataset",
    "Group",
    "Grouping",
    "Proposal",
    "Sample",
    "Scan",
    "audit_dataset",
    "dataset_fingerprint",
    "find_groups",
    "find_leaks",
    "fold_datasets",
    "ignore_classes",
    "leak_rule",
    "open_dataset",
    "ordered",
    "scan_dataset",
    "settle_leaks",
    "split_dataset",
    "write_digits",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'eyewright.data' has no attribute {name!r}")
    value = getattr(import_module(f"eyewright.data.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
