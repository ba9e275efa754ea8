"""To and from other people's tools: datasets in another format, and models that somebody else exported."""

__all__ = ["convert", "import_onnx"]

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.core.errors import DatasetError, OutputError, UnreadableImageError, UsageError
from eyewright.core.quoting import quoted
from eyewright.core.regular import read_regular
from eyewright.core.task import task_of
from eyewright.data import open_dataset
from eyewright.data.account import Account, Reason
from eyewright.data.edits import apply_edits
from eyewright.data.targets import MASK, OBJECTS
from eyewright.data.targets.target import tasks_of
from eyewright.data.texts import decode_text
from eyewright.imaging.decode import read_image
from eyewright.imaging.sources import iter_images
from eyewright.lifecycle.datasets import PathLike, Say, silent
from eyewright.lifecycle.fitting import check_fits, fit_bundle

if TYPE_CHECKING:
    from eyewright.bundle import Bundle
    from eyewright.data import Dataset
    from eyewright.data.writers import Written

_LARGEST_LABELS = 2**24


def convert(
    data: "Dataset | PathLike",
    *,
    to: str,
    out: PathLike,
    task: str | None = None,
    ignore: Sequence[str] = (),
    edits: PathLike | None = None,
    quiet: bool = True,
    say: Say = silent,
) -> "Written":
    """Write a dataset in another format ("coco", "yolo", "voc", "masks", "imagefolder", "clips"), and say what is lost.

    Marks that cannot be read or used are left out; `eyewright doctor` names them. Without `task` a dataset that has
    outlines is read with them where the format can hold them. `edits` is a file of corrected labels and of images to
    leave out, which are then in what is written.

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
            f"{quoted(out)} lies inside the dataset {quoted(data)}, whose images would then be read twice",
            fix="choose another --out",
        )
    if isinstance(data, str | Path):
        dataset = _open(data, to, task, ignore, edits)
    else:
        dataset = data if edits is None else apply_edits(data, edits)
    say(f"found {dataset.describe()}")
    for note in dataset.notes:
        say(note)
    for problem in dataset.problems[:5]:
        say(str(problem))
    _check_outlines(dataset, to)
    try:
        written = write_dataset(dataset, to, Path(out), quiet=quiet)
    except (UnreadableImageError, DatasetError) as error:
        # Looked for only now: most datasets have none, and to look costs as much as to write.
        dataset = _without_unusable(dataset, error)
        written = write_dataset(dataset, to, Path(out), quiet=quiet)
    ignored = tuple(f"class {name!r}, which is ignored (--ignore none keeps it)" for name in dataset.ignored)
    return replace(written, lost=(*written.account.lost(), *written.lost, *ignored))


def _without_unusable(dataset: "Dataset", error: Exception) -> "Dataset":
    """Return the dataset without the images and masks that cannot be used; its account says so.

    Raises:
        the `error` that was met, if every image and mask can be used; DatasetError: none can.
    """
    from eyewright.data.writers.work import whole_image

    kept = []
    left_out: dict[str, list[str]] = {}
    for i, sample in enumerate(dataset.samples):
        if dataset.reads == "clip":
            try:
                dataset.picture(i)
                kept.append(sample)
            except UnreadableImageError:
                left_out.setdefault("cannot be read", []).append(sample.id)
            continue
        try:
            data = dataset.content(i)
            info = whole_image(data)
            if info.orientation != 1:
                # Those are written upright, so their pixels are needed.
                read_image(data)
        except UnreadableImageError:
            left_out.setdefault("images cannot be read", []).append(sample.id)
            continue
        if sample.target.usable(info.size_hw):
            kept.append(sample)
        else:
            left_out.setdefault("masks cannot be used", []).append(sample.id)
    if not left_out:
        raise error
    if not kept:
        reason, names = next(iter(left_out.items()))
        raise DatasetError(
            f"none of the images and masks can be used: {reason} ({len(names):,}), such as {names[0]!r}",
            fix="see eyewright doctor",
        )
    account = dataset.account
    for reason, names in left_out.items():
        account = account.with_left_out(Reason(reason, len(names), names[0]))
    return replace(dataset.with_samples(kept), account=account)


def _check_outlines(dataset: "Dataset", to: str) -> None:
    """Refuse boxes for a format of outlines: no --task finds outlines that are not there."""
    from eyewright.data.writers import WRITERS

    if MASK not in WRITERS.get(to, {}) or OBJECTS in WRITERS[to] or dataset.kind not in MASK.made_from:
        return
    if len(dataset) and "outlines" not in dataset.kind.holds([s.target for s in dataset.samples]):
        boxes = ", ".join(name for name, kinds in WRITERS.items() if OBJECTS in kinds)
        raise UsageError(
            f"expected outlines to write {to!r}, found boxes only",
            fix=f"choose a format of boxes ({boxes}), or export polygons",
        )


def _text_of(labels: str) -> str:
    """Return the text of a file of class names; `labels` itself where no file is called so."""
    try:
        if not Path(labels).is_file():
            return labels
    except (OSError, ValueError):
        # A list of many names is longer than any file's name.
        return labels
    return decode_text(read_regular(Path(labels), most=_LARGEST_LABELS, follow=True), labels)


def _open(data: PathLike, to: str, task: str | None, ignore: Sequence[str], edits: PathLike | None = None) -> "Dataset":
    if task is not None:
        return open_dataset(data, task=task, ignore=ignore, edits=edits)
    dataset = open_dataset(data, ignore=ignore, edits=edits)
    for wanted in _richer(dataset, to):
        try:
            return open_dataset(data, task=wanted, ignore=ignore, edits=edits)
        except DatasetError as error:
            # There are boxes and no outlines, which is well unless there were some that cannot be used.
            told = error.details.get("account")
            account = Account.from_json(told) if told else dataset.account
            dataset = replace(dataset, account=account) if account.reduced else dataset
    return dataset


def _richer(dataset: "Dataset", to: str) -> list[str]:
    """Return the tasks whose targets may hold more of what the format `to` has room for than the dataset does."""
    from eyewright.data.writers import OUTLINED, WRITERS

    kinds = WRITERS.get(to, {})
    if dataset.kind not in kinds:
        return [t for kind in kinds if dataset.kind in kind.made_from for t in tasks_of(kind)]
    held = task_of(dataset.task).needs
    return [t for t in tasks_of(dataset.kind) if task_of(t).needs > held] if to in OUTLINED else []


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
    data: "Dataset | PathLike | None" = None,
    group_by: str | None = None,
    seed: int = 0,
    **options: Any,
) -> "Bundle":
    """Wrap an imported ONNX model as a bundle, which predicts, evaluates and explains as exported models do.

    `labels` are class names, or a file of them. `contract` says what the model's tensors mean: the name of a family in
    `eyewright.bundle.CONTRACTS` or a TOML file; `options` are fields of `eyewright.bundle.Contract` over it. `imgsz` is
    needed where the model has no fixed input size. `golden` names images whose outputs are kept for the
    self-test.

    With `data`, labelled images, operating points are fitted on its validation part, else on all of it but its test
    part, and for classes the temperature of the probabilities. `group_by` says which images belong together, `seed`
    seeds the resampling of groups. The bundle and its card hold how many images and groups they rest on.

    Raises:
        InputError: the model cannot be read.
        DatasetError: the data holds a class that the model does not know.
        UsageError: an invalid contract, or a wrong number of labels.
        BundleError: the model does not do what the contract says.
    """
    from eyewright.bundle.importing import import_model, read_contract, read_label_file

    names = read_label_file(_text_of(labels)) if isinstance(labels, str) else tuple(labels)
    if not names:
        raise UsageError(
            "expected class names, found none", fix="pass a file with one name per line, or a list such as a,b,c"
        )
    images = []
    if golden is not None:
        images = [f.image for f in islice(iter_images(golden), 4)]
    size = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    declared = read_contract(contract, options)
    wrap = partial(
        import_model, Path(model), task=task, labels=names, size_hw=size, fit=fit, images=images,
        name=name or Path(model).stem,
    )  # fmt: skip
    if data is None:
        return wrap(Path(out), contract=declared)
    check_fits(task)
    with tempfile.TemporaryDirectory(prefix="eyewright-import-") as folder:
        # It predicts as declared first; what is fitted on that is then part of the bundle.
        found = fit_bundle(wrap(Path(folder) / "bundle", contract=declared), data, group_by=group_by, seed=seed)
    temperature = found.calibration.get("temperature", declared.temperature)
    return wrap(
        Path(out),
        contract=replace(declared, temperature=temperature),
        about={"fitted": found.about},
        calibration=found.calibration,
        thresholds=found.thresholds,
        evidence=found.evidence,
        fitted=found.said,
    )
