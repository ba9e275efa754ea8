"""The loop closed: learn on from what people said of the served model's answers, and promote only what is no worse."""

__all__ = ["Retrained", "retrain"]

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.core.errors import DatasetError, InputError, UsageError
from eyewright.core.files import write_bytes, write_text
from eyewright.core.jsonable import dumps_json
from eyewright.lifecycle.datasets import Say, load_dataset, silent
from eyewright.lifecycle.field import DEFAULT_HOME

if TYPE_CHECKING:
    from eyewright.data import Dataset
    from eyewright.evaluation import Comparison
    from eyewright.lifecycle.opening import PathLike
    from eyewright.monitoring import Event, Row


@dataclass(frozen=True)
class Retrained:
    """What came of it: where the new bundle is, how many images were new, how it compares with the champion on the old
    test part, and the promotion if there was one."""

    bundle: Path
    run: Path
    new_images: int
    comparison: "Comparison"
    promoted: "Event | None"


def retrain(
    data: "PathLike",
    *,
    out: "PathLike",
    home: "PathLike" = DEFAULT_HOME,
    log: str | None = None,
    bundle: "PathLike | None" = None,
    promote: bool = True,
    quiet: bool = True,
    say: Say = silent,
    **options: Any,
) -> Retrained:
    """Train on from a bundle's weights on `data` and the kept images that have feedback; compare; promote if no worse.

    The test part of `data` is never added to, so both models are measured on images neither has seen. New images go
    into the training part; what feedback calls right keeps its label, what it calls wrong without saying what is right
    is left out. `bundle` is the champion by default. `options` are those of `train` (budget, epochs, …).

    Raises:
        InputError: no kept image has feedback.
        UsageError: no champion, or a task that feedback says too little of.
    """
    from eyewright.bundle import load_bundle
    from eyewright.lifecycle.field import promote as promote_bundle
    from eyewright.lifecycle.stages import compare, evaluate, export, train
    from eyewright.monitoring import History, open_store
    from eyewright.training.recipe import read_recipe

    place, folder = Path(home), Path(out)
    if bundle is None:
        event = History(place).current("champion")
        if event is None:
            raise UsageError("expected a champion to go on from, found none", fix="promote a bundle, or pass --bundle")
        bundle = event.folder
    parent = load_bundle(bundle)
    if parent.task_name not in ("classify", "detect"):
        raise UsageError(
            f"expected a model for classify or detect, found {parent.task_name!r}",
            fix="export the images with monitor select, outline them, and train on them",
        )
    store = open_store(log or str(place / "monitor.db"))
    try:
        said = [(row, content) for row, content, _ in store.feedback() if row.image]
    finally:
        store.close()
    old = load_dataset(data, task=parent.task_name, quiet=quiet, say=say)
    if tuple(old.labels.names) != parent.labels.names:
        raise DatasetError("the data does not have the classes of the model", fix="pass the data it was trained on")
    new = _write_merged(old, parent, said, place, folder / "data")
    if not new:
        raise InputError("no kept image has feedback that says what is right", fix="serve with --keep images=5%")
    say(f"{new} images with feedback beside {len(old)} of before")
    recipe = read_recipe(parent.folder / "recipe.toml")
    if {"budget", "epochs"} & set(options):
        recipe = replace(recipe, epochs=None, budget_s=None)
    run = train(
        folder / "data",
        out=folder / "run",
        recipe=recipe,
        weights=parent.folder / "model.safetensors",
        quiet=quiet,
        say=say,
        **{"task": parent.task_name, **options},
    )
    report = evaluate(run, out=folder / "run", quiet=quiet)
    made = export(run, folder / "bundle", report=report)
    test = load_dataset(folder / "data", task=parent.task_name, quiet=quiet).test
    found = compare(parent, made, test, quiet=quiet)
    event = None
    if promote and found.better != "a":
        reason = {"retrained_from": str(parent.folder), "new_images": new, "comparison": found.to_json()}
        event = promote_bundle(made.folder, home=home, force=True, reason=reason)
    return Retrained(made.folder, run.folder, new, found, event)


def _write_merged(old: "Dataset", parent: Any, said: "list[tuple[Row, dict[str, Any]]]", home: Path, out: Path) -> int:
    """Write the old data with its parts, and the new images into train; give how many are new."""
    from eyewright.data.writers import write_dataset

    write_dataset(old, "imagefolder" if parent.task_name == "classify" else "coco", out)
    if parent.task_name == "classify":
        return _add_labelled(said, parent.labels.names, home, out)
    return _add_boxes(said, parent.labels.names, home, out)


def _picture(row: "Row", home: Path) -> bytes | None:
    from eyewright.monitoring import image_path

    path = image_path(home, row.image)
    return path.read_bytes() if path.exists() else None


def _add_labelled(said: "list[tuple[Row, dict[str, Any]]]", names: tuple[str, ...], home: Path, out: Path) -> int:
    new = 0
    for row, content in said:
        label = content.get("label", row.label if content.get("correct") is True else None)
        data = _picture(row, home)
        if label not in names or data is None:
            continue
        write_bytes(out / "train" / label / f"feedback-{row.id}.jpg", data)
        new += 1
    return new


def _add_boxes(said: "list[tuple[Row, dict[str, Any]]]", names: tuple[str, ...], home: Path, out: Path) -> int:
    path = out / "instances_train.json"
    part = json.loads(path.read_text("utf-8"))
    new = 0
    for row, content in said:
        objects = content.get("objects")
        data = _picture(row, home)
        if not isinstance(objects, list) or data is None or any(o.get("label") not in names for o in objects):
            continue
        size = _size_of(data)
        # Kept images are smaller than the ones that were answered; so are their boxes.
        scale = size[1] / row.size_hw[1]
        name = f"images/train/feedback-{row.id}.jpg"
        write_bytes(out / name, data)
        number = len(part["images"]) + 1
        part["images"].append({"id": number, "file_name": name, "width": size[1], "height": size[0]})
        for one in objects:
            part["annotations"].append(_annotation(one, names, number, len(part["annotations"]) + 1, scale))
        new += 1
    write_text(path, dumps_json(part) + "\n")
    return new


def _annotation(
    one: Mapping[str, Any], names: tuple[str, ...], image: int, number: int, scale: float
) -> dict[str, Any]:
    x0, y0, x1, y1 = (float(v) * scale for v in one["box_xyxy"])
    return {
        "id": number,
        "image_id": image,
        "category_id": names.index(one["label"]) + 1,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        "iscrowd": 0,
    }


def _size_of(data: bytes) -> tuple[int, int]:
    from eyewright.imaging import probe_image

    return probe_image(data).size_hw
