"""Write a table of captions next to the images."""

__all__ = ["write_caption_table"]

import csv
import io
import json

from eyewright.core.files import write_staged
from eyewright.data.targets.captions import Captions
from eyewright.data.writers.work import Work, part_of


def write_caption_table(work: Work) -> None:
    """Write `captions.csv` with `path,captions`, a list in JSON a cell, `split` and `group` where needed.

    Images without a caption are written and not listed.
    """
    samples = work.dataset.samples
    more = [c for c in ("split", "group") if any(getattr(s, c) for s in samples)]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "captions", *more])
    for i, sample in work.samples():
        folder = f"images/{part_of(sample)}"
        name, texts = work.image(i, folder), sample.marked(Captions).texts
        if texts:
            cell = json.dumps(list(texts), ensure_ascii=False)
            table.writerow([f"{folder}/{name}", cell, *(getattr(sample, c) or "" for c in more)])
        work.objects += len(texts)
    if any(s.marked(Captions).texts for s in samples):
        write_staged(work.root / "captions.csv", text.getvalue())
