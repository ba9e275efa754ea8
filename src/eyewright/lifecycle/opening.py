"""What there is, and how a path or a value becomes something that predicts."""

__all__ = [
    "asked_of",
    "check_model",
    "formats",
    "free_folder",
    "info",
    "load_model",
    "load_run",
    "models",
    "once_if_private",
    "recipe_of",
    "refuse_private",
    "run_in",
    "training_steps",
]

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.catalog import MODELS, build_of
from eyewright.core.checkpoints import published_fix
from eyewright.core.durations import parse_duration_s
from eyewright.core.errors import CheckpointError, EyewrightError, RefusedError, UsageError
from eyewright.core.extras import installed_extras
from eyewright.core.files import recover_folder
from eyewright.core.installed import installed, package_of
from eyewright.core.provenance import describe_machine
from eyewright.core.quoting import quoted
from eyewright.core.regular import require_path
from eyewright.data import DATASET_FORMATS
from eyewright.data.readers.annotated import installed_readers
from eyewright.imaging import FORMATS
from eyewright.lifecycle.loading import PathLike, need_torch
from eyewright.training import Recipe
from eyewright.training.recipe import STEP_HELP, TRAINING_STEPS, read_recipe

if TYPE_CHECKING:
    from eyewright.bundle import Bundle
    from eyewright.core.predictor import Predictor
    from eyewright.training import Recipe
    from eyewright.training.run import Run


def training_steps() -> dict[str, str]:
    """Return the training steps that there are, what `--step` takes: name → what it is."""
    added = {name: f"of the package {package_of(TRAINING_STEPS, name)}" for name in installed(TRAINING_STEPS)}
    return {**STEP_HELP, **added}


def models() -> dict[str, str]:
    """Return the networks there are: name → what it is."""
    published = {
        "hf:FOLDER|ID": "Hugging Face: classifiers, detectors (D-FINE, RT-DETR), segmenters (SegFormer), "
        "classifiers of clips (VideoMAE, ViViT, TimeSformer), images with captions (CLIP, SigLIP)"
    }
    others = {
        name: f"of the package {entry.dist.name if entry.dist else entry.module}"
        for name, entry in installed("eyewright.nets").items()
    }
    return others | {name: about for name, (_, _, about) in MODELS.items()} | published


def formats() -> dict[str, dict[str, str]]:
    """Return what can be read: dataset formats and image formats."""
    return {
        "datasets": {**DATASET_FORMATS, **{n: r.about for n, r in installed_readers().items()}},
        "images": {k: " ".join(v) for k, v in FORMATS.items()},
    }


def info() -> dict[str, Any]:
    """Return versions, hardware, and which extras are installed."""
    return {**describe_machine(), "extras": installed_extras()}


def load_run(folder: PathLike) -> "Run":
    """Read a run folder.

    Raises:
        InputError: nothing is there.
        CheckpointError: no finished run is there.
    """
    need_torch()
    from eyewright.training.run import read_run

    require_path(Path(folder), "a run")
    return read_run(Path(folder), build_of)


def load_model(model: "Predictor | Run | PathLike") -> "tuple[Any, Run | None]":
    """Return the Predictor behind a bundle, a run or the path of either, and the run if it is one.

    Raises:
        CheckpointError, BundleError: nothing that can be used is there.
    """
    if isinstance(model, str | Path):
        folder = Path(model)
        recover_folder(folder)
        if (folder / "bundle.json").exists():
            from eyewright.bundle import load_bundle

            return load_bundle(folder), None
        require_path(folder, "a run or a bundle")
        if not (folder / "run.json").exists():
            raise CheckpointError(
                f"expected a run or a bundle, found neither at {quoted(folder)}",
                fix=published_fix(folder, "check the path"),
            )
        model = load_run(folder)
    run: Any = model
    if hasattr(run, "predictor"):
        return run.predictor, run
    return model, None


def recipe_of(
    recipe: "Recipe | None" = None,
    *,
    model: str | None = None,
    epochs: int | None = None,
    budget: str | float | None = None,
    **options: Any,
) -> "Recipe":
    named = {k: v for k, v in {**options, "model": model, "epochs": epochs}.items() if v is not None}
    if budget is not None:
        named["budget_s"] = parse_duration_s(budget)
    given = recipe.to_json() if recipe is not None else {}
    if "epochs" in named and "budget_s" not in named:
        given.pop("budget_s", None)
    if "budget_s" in named and "epochs" not in named:
        given.pop("epochs", None)
    return Recipe.from_mapping({**given, **named})


def once_if_private(recipe: "Recipe", option: str) -> None:
    """Refuse to train privately several times on the same images: every net would cost epsilon again.

    Raises:
        UsageError: the recipe asks for privacy.
    """
    if recipe.private:
        raise UsageError(
            f"expected no {option} with --private, whose epsilon covers training one net on these images",
            fix="choose settings on public images, and train once",
        )


def refuse_private(provenance: Mapping[str, Any], verb: str) -> None:
    """Refuse to let a verb look at images for a private model once more: its epsilon would no longer hold.

    Raises:
        RefusedError: the model was trained with `--private`.
    """
    if provenance.get("privacy"):
        raise RefusedError(
            f"{verb} would learn from images again, which the model's epsilon does not count",
            fix="use the model as it is, or train another one with --private",
        )


def asked_of(recipe: "Recipe") -> dict[str, Any]:
    """Return what a recipe says of how the data is to be read."""
    return {"task": recipe.task, "seed": recipe.seed, "edits": recipe.edits or None}


def check_model(name: str, task: str) -> None:
    """Refuse a wrong model name before an hour of anything."""
    if name != "auto":
        build_of(name, task)


def free_folder(parent: Path, name: str) -> Path:
    """Return `parent/name`, or `name-2` and so on where that is taken."""

    def candidates() -> Iterator[Path]:
        yield parent / name
        k = 2
        while True:
            yield parent / f"{name}-{k}"
            k += 1

    return next(p for p in candidates() if not p.exists())


def run_in(bundle: "Bundle") -> "Run | None":
    """Return a bundle as the run it was exported from, as far as it holds it: weights, recipe, scaling."""
    from eyewright.training.run import BundledRun, outgoing_of

    files = bundle.manifest.files
    if not {"model.safetensors", "recipe.toml", "preprocessor_config.json"} <= set(files):
        return None
    recipe = read_recipe(bundle.folder / "recipe.toml")
    if recipe.model not in MODELS:
        return None
    about = json.loads((bundle.folder / "preprocessor_config.json").read_text("utf-8"))
    manifest = bundle.manifest
    try:
        return BundledRun(
            folder=bundle.folder,
            recipe=recipe,
            labels=bundle.labels,
            preparation=bundle.preparation,
            about={
                **manifest.provenance,
                "scaling": {
                    "mean": about["image_mean"],
                    "std": about["image_std"],
                    **outgoing_of(bundle.folder / "model.safetensors"),
                },
                "calibration": manifest.calibration,
                "thresholds": manifest.thresholds,
            },
            build=build_of(recipe.model, recipe.task),
        )
    except EyewrightError:
        return None
