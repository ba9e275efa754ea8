"""The part of a report on generated images that people see: its page, its findings, its summary."""

__all__ = ["explain_errors", "find_faults", "grid_of", "lay_out", "summarise", "take_pictures"]

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.drawing import CLASS, NOISE
from eyewright.core.inputs import prepare
from eyewright.core.predictor import Predictor, inputs_of
from eyewright.core.report import Finding, Report
from eyewright.data.dataset import Dataset
from eyewright.evaluation.blocks import Block, Cell, Gallery, Page, Shot, Span, Table
from eyewright.evaluation.reporting import Explain, Pictures
from eyewright.evaluation.units import show_number
from eyewright.imaging.encode import data_uri

_GRID, _PER_CLASS, _CLASSES = 64, 8, 12
_COPIES, _COLLAPSED = 0.02, 0.5
_SHOWN = 16
_WEAK = 0.8


def find_faults(report: Report) -> list[Finding]:
    """Return an error where copies of training images or a collapse was found, or too little training for either.

    Images as new as held-out ones are below the limit in 1 % of the cases: copies are found where the lower end of the
    interval is above 2 %. Coverage has collapsed where it is less than half of what real images reach.
    """
    found = []
    copies = report.metrics["copies"]
    if copies.value is not None and copies.low is not None and copies.low > _COPIES:
        text = (
            f"{copies.value:.1%} [{copies.low:.1%}, {copies.high or 1:.1%}] of the generated images are nearer to a "
            "training image than 99% of held-out images are: copies"
        )
        found.append(
            Finding("copies", text, "look at the nearest pairs; train on more images, or shorter", severity="error")
        )
    floor = report.metrics.get("coverage_floor")
    # A net that has hardly learnt draws noise: it has not collapsed.
    short = report.tables.get("undertrained")
    if floor is not None and floor.value:
        whole = report.metrics["coverage"]
        if whole.high is not None and whole.high < _COLLAPSED * floor.value:
            text = f"coverage {whole.value or 0:.1%} is less than half that of real images, {floor.value:.1%}"
            if short:
                text = f"{text}: the generator is undertrained, {short['said']}"
                found.append(Finding("undertrained", text, short["fix"], severity="error"))
            else:
                fix = "train longer, on more images, or with the other --model"
                found.append(Finding("collapse", f"{text}: mode collapse", fix, severity="error"))
        else:
            few = [
                r["label"]
                for r in report.per_class
                if r["coverage"]["high"] is not None and r["coverage"]["high"] < _COLLAPSED * floor.value
            ]
            if few:
                shown = ", ".join(few[:4])
                text = f"coverage of {shown} is less than half of that of real images"
                if short:
                    text = f"{text}: the generator is undertrained, {short['said']}"
                    found.append(Finding("undertrained", text, short["fix"], severity="error"))
                else:
                    text, fix = f"{text}: these classes have collapsed", "add images of them, or train longer"
                    found.append(Finding("collapse", text, fix, severity="error"))
    accuracy = report.tables["judge"]["accuracy"]
    if accuracy["value"] < _WEAK:
        text = f"the judge has an accuracy of {accuracy['value']:.1%} only: its features and classes say little"
        found.append(Finding("weak_judge", text, "give a larger --budget, or clean the labels", severity="warning"))
    if report.tables["training_images"] < 500:
        text = f"{report.tables['training_images']} training images are few: generators copy them or collapse"
        found.append(Finding("few_images", text, "add images", severity="warning"))
    return found


def summarise(report: Report) -> str:
    """Say how much is covered, how good it looks, how much is copied, and by whom that is measured."""
    m, judge = report.metrics, report.tables["judge"]

    def share(name: str) -> str:
        metric = m.get(name)
        return "not known" if metric is None or metric.value is None else f"{metric.value:.1%}"

    floor = m.get("fid_floor")
    fid = show_number("fid", m["fid"].value, low=m["fid"].low, high=m["fid"].high)
    beside = "" if floor is None or floor.value is None else f" (real images: {show_number('fid_floor', floor.value)})"
    accuracy = judge["accuracy"]
    return (
        f"{share('coverage')} of the real images have a generated one near (real images reach "
        f"{share('coverage_floor')}); "
        f"FID {fid}{beside} in {judge['features']} features, {report.tables['dropped_features']} "
        f"of them constant; {share('label_agreement')} are seen as their class; {share('copies')} are nearer to a "
        f"training image than 99% of held-out images. Measured by a classifier with accuracy {accuracy['value']:.1%} "
        f"(digest {judge['digest'][:12]}) that had no part in training the generator."
    )


def lay_out(report: Report, pictures: Pictures) -> Page:
    """Return the blocks of the page: a grid, both by class, and what is nearest to training images."""
    blocks: list[Block] = []
    if pictures.get("grid"):
        shot = Shot([(pictures["grid"], "64 generated images")], [[Span("seeds 0 to 63, classes in turn")]])
        blocks.append(Gallery("Generated images", "A random sample, not selected.", [shot], "large"))
    shots = [
        Shot([(p["real"], f"real {p['label']}"), (p["generated"], f"generated {p['label']}")], [[Span(p["label"])]])
        for p in pictures.get("classes", ())
    ]
    blocks.append(
        Gallery("Real and generated", "By class: real left, generated right.", shots, "large", "No pictures.")
    )
    rows = []
    for item in report.items[:_SHOWN]:
        told = Cell("possible" if item["copy"] else "no")
        numbers = (Cell(f"{item['seed']}", "n"), Cell(f"{item['distance']:.3g}", "n"))
        rows.append([numbers[0], Cell(item["label"]), Cell(item["seen"]), numbers[1], told])
    header = [Cell("seed", "n"), Cell("asked for"), Cell("seen as"), Cell("distance", "n"), Cell("copy")]
    limit = report.tables["copy_limit"]
    lead = f"Distances in features; 1% of held-out images are nearer than {limit:.3g}."
    blocks.append(Table("Nearest to a training image", header, rows, lead=lead))
    return Page(blocks)


def take_pictures(report: Report, dataset: Dataset, predictor_of: Callable[[str], Predictor]) -> dict[str, Any]:
    """Return a grid of 64 images, and rows of real and generated ones by class, as data addresses."""
    predictor = predictor_of(dataset.samples[0].id)
    n = len(predictor.labels)
    grid = _drawn(predictor, [(seed, seed % n) for seed in range(_GRID)])
    found: dict[str, Any] = {"grid": data_uri(grid_of(grid, 8), format="PNG"), "classes": []}
    judge: Any = getattr(predictor, "judge", None)
    for label, name in list(enumerate(predictor.labels.names))[:_CLASSES]:
        rows = np.flatnonzero(dataset.relabelled(predictor.labels).targets == label)[:_PER_CLASS].tolist()
        if not rows or judge is None:
            continue
        real = judge.prepared([dataset.image(i) for i in rows])
        drawn = _drawn(predictor, [(1000 + k, label) for k in range(len(rows))])
        pair = {
            k: data_uri(grid_of(v, _PER_CLASS // 2), format="PNG") for k, v in (("real", real), ("generated", drawn))
        }
        found["classes"].append({"label": name, **pair})
    return found


def _drawn(predictor: Predictor, asked: Sequence[tuple[int, int]]) -> NDArray[np.uint8]:
    examples = [{NOISE: seed, CLASS: label} for seed, label in asked]
    raw = np.asarray(predictor.raw(prepare(inputs_of(predictor), examples)[0])["image"])
    return np.clip(np.rint(raw), 0, 255).astype(np.uint8)


def grid_of(images: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Return images, uint8 (N, H, W, C), side by side with a pixel between them, uint8 (h, w, 3), on grey.

    >>> grid_of(np.zeros((3, 4, 4, 1), np.uint8), 2).shape
    (11, 11, 3)
    """
    n, height, width, _ = images.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    sheet = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, 3), 128, np.uint8)
    for k, image in enumerate(images):
        top, left = (k // columns) * (height + 1) + 1, (k % columns) * (width + 1) + 1
        sheet[top : top + height, left : left + width] = image
    return sheet


def explain_errors(report: Report, dataset: Dataset, pictures: Pictures, explain: Explain) -> Pictures:
    """Return the pictures as they are: what is drawn has no cause in an image."""
    return pictures
