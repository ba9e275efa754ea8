"""To and from other people's tools: datasets in another format, and models that somebody else exported."""

__all__ = ["convert", "import_onnx"]

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.core.errors import DatasetError, OutputError, UnreadableImageError, UsageError
from eyewright.lifecycle.datasets import PathLike, Say, silent

if TYPE_CHECKING:
    from eyewright.bundle import Bundle
    from eyewright.data import Dataset
    from eyewright.data.writers import Written


def convert(
    data: "Dataset | PathLike",
    *,
    to: str,
    out: PathLike,
    task: str | None = None,
    ignore: Sequence[str] = (),
    quiet: bool = True,
    say: Say = silent,
) -> "Written":
    """Write a dataset in another format ("coco", "yolo", "voc", "masks", "imagefolder"), and say what is lost.

    Marks that cannot be read or used are left out; `eyewright doctor` names them. Without `task` a dataset that has
    outlines is read with them where the format can hold them.

    Raises:
        UsageError: an unknown format, or one that cannot hold such a dataset.
        OutputError: `out` holds something already.
        DatasetError: the data cannot be read.
    """
    from eyewright.data.writers import write_dataset

    if (
        isinstance(data, str | Path)
        and Path(data).is_dir()
        and Path(out).resolve().is_relative_to(Path(data).resolve())
    ):
        raise OutputError(
            f"{str(out)!r} lies inside the dataset {str(data)!r}, which would hold its images twice",
            fix="choose another --out",
        )
    dataset = _open(data, to, task, ignore) if isinstance(data, str | Path) else data
    say(f"found {dataset.describe()}")
    for note in dataset.notes:
        say(note)
    for problem in dataset.problems[:5]:
        say(str(problem))
    _check_outlines(dataset, to)
    try:
        written = write_dataset(dataset, to, Path(out), quiet=quiet)
    except UnreadableImageError:
        # Looked for only now: most datasets have none, and to look costs as much as to write.
        dataset = _without_unreadable(dataset)
        written = write_dataset(dataset, to, Path(out), quiet=quiet)
    ignored = tuple(f"class {name!r}, which is ignored (--ignore none keeps it)" for name in dataset.ignored)
    account = dataset.account if written.unusable is None else dataset.account.with_dropped(written.unusable)
    lost = (*account.lost(), *written.lost, *ignored)
    return replace(written, lost=lost, complete=account.complete and written.complete, account=account)


def _without_unreadable(dataset: "Dataset") -> "Dataset":
    """Return the dataset without the images that cannot be read; its account says so."""
    from eyewright.data.account import Reason
    from eyewright.imaging.decode import probe_image, read_image

    kept, left_out = [], []
    for i, sample in enumerate(dataset.samples):
        try:
            data = dataset.content(i)
            if probe_image(data).orientation != 1:
                # Those are written upright, so their pixels are needed.
                read_image(data)
        except UnreadableImageError:
            left_out.append(sample.id)
        else:
            kept.append(sample)
    if not kept:
        raise DatasetError("none of the images can be read", fix="see eyewright doctor")
    account = dataset.account.with_left_out(Reason("images cannot be read", len(left_out), left_out[0]))
    return replace(dataset.with_samples(kept), account=account)


def _check_outlines(dataset: "Dataset", to: str) -> None:
    """Refuse boxes for a format of outlines: no --task finds outlines that are not there."""
    from eyewright.data.objects import Objects
    from eyewright.data.writers import WRITERS

    if to not in WRITERS or set(WRITERS[to][0]) & {"detect", "classify"} or dataset.task not in ("detect", "instance"):
        return
    targets = [s.target for s in dataset.samples if isinstance(s.target, Objects)]
    if targets and not any(t.outlines for t in targets):
        boxes = ", ".join(name for name, (tasks, _) in WRITERS.items() if "detect" in tasks)
        raise UsageError(
            f"expected outlines to write {to!r}, found boxes only",
            fix=f"choose a format of boxes ({boxes}), or export polygons",
        )


def _open(data: PathLike, to: str, task: str | None, ignore: Sequence[str]) -> "Dataset":
    from eyewright.data import open_dataset
    from eyewright.data.account import Reason
    from eyewright.data.formats import OUTLINES_TOO

    if task is not None:
        return open_dataset(data, task=task, ignore=ignore)
    dataset = open_dataset(data, ignore=ignore)
    wanted = {"masks": "segment", "coco": "instance", "yolo": "instance"}.get(to)
    if dataset.task in ("detect", "instance") and wanted is not None and wanted != dataset.task:
        try:
            return open_dataset(data, task=wanted, ignore=ignore)
        except DatasetError:
            # Where there are boxes and no outlines, that is well.
            if OUTLINES_TOO not in dataset.notes:
                return dataset
            reason = Reason("outlines that cannot be used", dataset.account.read)
            return replace(dataset, account=replace(dataset.account, reduced=(*dataset.account.reduced, reason)))
    return dataset


def import_onnx(
    model: PathLike,
    *,
    out: PathLike,
    task: str,
    labels: "str | list[str] | tuple[str, ...]",
    contract: str | None = None,
    imgsz: int | tuple[int, int] | None = None,
    fit: str = "stretch",
    golden: Any = None,
    name: str | None = None,
    **options: Any,
) -> "Bundle":
    """Wrap a stranger's ONNX model as a bundle, which predicts, evaluates and explains as our own do.

    `labels` are class names, or a file of them. `contract` says what the model's tensors mean: the name of a family in
    `eyewright.bundle.CONTRACTS` or a TOML file; `options` are fields of `eyewright.bundle.Contract` over it. `imgsz` is
    needed where the model leaves its input's size open. `golden` names images whose answers are kept for the
    self-test.

    Raises:
        InputError: the model cannot be read.
        UsageError: a contract that cannot be meant, or a wrong number of labels.
        BundleError: the model does not do what the contract says.
    """
    from eyewright.bundle.importing import import_model, read_contract, read_label_file

    if isinstance(labels, str):
        path = Path(labels)
        names = read_label_file(path.read_text("utf-8-sig") if path.is_file() else labels)
    else:
        names = tuple(labels)
    if not names:
        raise UsageError("expected class names, found none", fix="name a file with one a line, or a,b,c")
    images = []
    if golden is not None:
        from itertools import islice

        from eyewright.imaging.sources import iter_images

        images = [f.image for f in islice(iter_images(golden), 4)]
    size = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    return import_model(
        Path(model),
        Path(out),
        task=task,
        labels=names,
        contract=read_contract(contract, options),
        size_hw=size,
        fit=fit,
        images=images,
        name=name,
    )
