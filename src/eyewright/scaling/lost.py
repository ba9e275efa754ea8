"""What the outputs of a job do not hold of their files, such as transparency or further pages, counted."""

__all__ = ["count_lost"]

from collections import Counter
from pathlib import Path

from eyewright.scaling.ledger import open_job
from eyewright.scaling.rows import read_results

_SAID = "left out: "


def count_lost(folder: str | Path) -> dict[str, int]:
    """Return how many files of a job of `process` or `encode` lost what, the most frequent first.

    Raises:
        InputError: there is no job.
        RefusedError: its plan or a record was changed.
    """
    ledger = open_job(folder)
    found: Counter[str] = Counter()
    for _, record in ledger.records():
        if record is None:
            continue
        with ledger.part(record) as place:
            for _, result in read_results(place, ledger.format):
                notes = (n.removeprefix(_SAID) for n in result.get("notes") or () if n.startswith(_SAID))
                found.update((*(result.get("lost") or ()), *(part for n in notes for part in n.split("; "))))
    return dict(found.most_common())
