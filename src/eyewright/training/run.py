"""A run: what training leaves behind, as a folder and as a value."""

__all__ = [
    "SPLIT_COLUMNS",
    "BundledRun",
    "Run",
    "begin_with",
    "build_net",
    "labels_at",
    "open_run_folder",
    "outgoing_of",
    "read_run",
]

import contextlib
import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from eyewright.bundle.judge import FOLDER, judge_in, open_judge
from eyewright.bundle.session import open_session
from eyewright.core.checkpoints import published_fix
from eyewright.core.errors import CheckpointError, EyewrightError, UsageError, plain_reason
from eyewright.core.files import held_lock
from eyewright.core.installed import what_was_raised
from eyewright.core.labels import LabelSpace
from eyewright.core.notebook import html_card, joined
from eyewright.core.quoting import quoted
from eyewright.core.task import metric_named, task_of
from eyewright.imaging.preparation import Preparation
from eyewright.nets.ensemble import ensemble_builder
from eyewright.nets.pixels import PixelNet
from eyewright.nets.private import without_batch_norm
from eyewright.nets.shapes import take_shapes
from eyewright.training.checkpoints import read_tensors
from eyewright.training.distributed import rank_of
from eyewright.training.federated_options import parse_federated
from eyewright.training.learner import learner_of
from eyewright.training.predictor import TorchPredictor
from eyewright.training.recipe import Recipe, read_recipe

Builder = Callable[..., nn.Module]

SPLIT_COLUMNS = ("id", "split", "label", "sha256", "group", "novelty", "novelty_ratio")
"""The columns of `split.csv`. Of images that are not trained on, `novelty` is the distance to the nearest training
image and `novelty_ratio` that distance divided by the one to the tenth nearest."""

_SPLIT_NEEDED = ("id", "split")


@dataclass(frozen=True)
class Run:
    """A finished training run. `about` is `run.json`; `build` makes its net's body by the recipe's model name."""

    folder: Path
    recipe: Recipe
    labels: LabelSpace
    preparation: Preparation
    about: Mapping[str, Any]
    build: Builder

    def __repr__(self) -> str:
        metric, value = self._best
        return (
            f"<Run {quoted(self.folder)}: {self.recipe.task}, {self.recipe.model_name}, "
            f"validation {metric} {metric_named(metric).show(value)}>"
        )

    def _repr_html_(self) -> str:
        """Return what was trained and how it validates, for notebooks."""
        metric, value = self._best
        training, words = self.about["training"], task_of(self.recipe.task).words
        rows = [
            ("model", self.recipe.model_name),
            *([(words.label[1], joined(self.labels.names, 8))] if words.names_labels else []),
            (f"validation {metric}", metric_named(metric).show(value)),
            ("best epoch", f"{training.get('best_epoch')} of {training.get('epochs')}"),
            ("data", self.about["dataset"]["name"]),
            ("folder", str(self.folder)),
        ]
        return html_card(f"Run: {self.recipe.task}", rows)

    @property
    def _best(self) -> tuple[str, float]:
        training = self.about.get("training", {})
        metric = training.get("metric", "score")
        return metric, float(training.get(f"val_{metric}") or "nan")

    @property
    def task_name(self) -> str:
        return self.recipe.task

    @property
    def temperature(self) -> float:
        return float(self.about["calibration"].get("temperature", 1.0))

    @property
    def thresholds(self) -> NDArray[np.float64] | None:
        """Each class's operating point in the order of the labels, if there are any."""
        points = self.about.get("thresholds", {}).get("classes")
        return np.array([float(points[n]["threshold"]) for n in self.labels.names]) if points else None

    @cached_property
    def net(self) -> PixelNet:
        """The best weights, in a net.

        Raises:
            CheckpointError: they are missing, damaged or of another net.
        """
        weights, _ = read_tensors(self.folder / "checkpoints" / "best" / "model.safetensors")
        net = build_net(self.build, self.recipe, self.labels, self.preparation, self.about["scaling"])
        try:
            take_shapes(net, weights)
            net.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(
                f"the weights in {quoted(self.folder)} do not fit the net", fix="train again"
            ) from error
        return net.eval()

    @cached_property
    def predictor(self) -> TorchPredictor:
        """The run as a Predictor, on the CPU."""
        return TorchPredictor(
            self.net,
            labels=self.labels,
            preparation=learner_of(self.recipe.task).inputs(self.net, self.preparation),
            task_name=self.recipe.task,
            temperature=self.temperature,
            thresholds=self.thresholds,
            judge=open_judge(self.folder / FOLDER, open_session) if judge_in(self.folder / FOLDER) else None,
        )

    def split_rows(self) -> tuple[Mapping[str, str], ...]:
        """Return the rows of `split.csv`, one per image that the run knew; earlier runs have fewer columns.

        Raises:
            CheckpointError: it is damaged: without it nobody knows which images were trained on.
        """
        path = self.folder / "split.csv"
        try:
            with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
                reader = csv.DictReader(file)
                rows, columns = tuple(reader), set(reader.fieldnames or ())
        except csv.Error as error:
            raise CheckpointError(f"{quoted(path)} is damaged: {error}", fix="copy the run again") from None
        if not columns.issuperset(_SPLIT_NEEDED) or any(
            None in row or row[name] is None for row in rows for name in _SPLIT_NEEDED
        ):
            raise CheckpointError(
                f"{quoted(path)} is damaged: expected the columns {', '.join(_SPLIT_NEEDED)}, found others",
                fix="copy the run again",
            )
        return rows

    def history(self) -> tuple[Mapping[str, str], ...]:
        """Return the rows of `metrics.csv`.

        Raises:
            CheckpointError: it is damaged.
        """
        path = self.folder / "metrics.csv"
        try:
            with open(path, encoding="utf-8", newline="") as file:
                return tuple(csv.DictReader(file))
        except (csv.Error, UnicodeDecodeError) as error:
            raise CheckpointError(f"{quoted(path)} is damaged: {error}", fix="copy the run again") from None


class BundledRun(Run):
    """The run behind a bundle, as far as the bundle holds it: its weights are those that were exported."""

    @cached_property
    def net(self) -> PixelNet:
        """The exported weights, in a net."""
        net = build_net(self.build, self.recipe, self.labels, self.preparation, self.about["scaling"])
        begin_with(net, self.folder / "model.safetensors")
        return net.eval()


def build_net(
    build: Builder, recipe: Recipe, labels: LabelSpace, preparation: Preparation, scaling: Mapping[str, Any]
) -> PixelNet:
    """Build the net that a recipe names, with its input scaling."""
    if hasattr(build, "for_labels"):
        build = build.for_labels(labels)
    options: dict[str, Any] = {"activation": recipe.activation} if recipe.activation else {}
    if recipe.dropout:
        options["dropout"] = recipe.dropout
    if preparation.clip is not None:
        options["frames"] = preparation.clip.frames
    if preparation.tile is not None:
        options["scale"] = preparation.tile.scale
    try:
        body = build(len(labels), channels=preparation.channels, size_hw=preparation.size_hw, **options)
    except EyewrightError:
        raise
    except Exception as error:
        # A builder of the user's own, or of a package, may raise anything; one of ours that does is a fault and is
        # reported as such.
        ours = ":" not in recipe.model and getattr(build, "__module__", "").partition(".")[0] == "eyewright"
        if not isinstance(error, TypeError) and ours:
            raise
        said = f"the model {recipe.model!r} cannot be built: {what_was_raised(error)}"
        raise UsageError(said, fix="see eyewright models") from error
    if not isinstance(body, nn.Module):
        raise UsageError(
            f"expected the model {recipe.model!r} to be a torch.nn.Module, found {type(body).__name__}",
            fix="see docs/how-to/add-a-net-or-target.md",
        )
    if recipe.private or (recipe.federated and parse_federated(recipe.federated).norm == "group"):
        without_batch_norm(body)
    outgoing = {k: scaling[k] for k in ("centre", "spread") if k in scaling}
    return PixelNet(body, mean=scaling["mean"], std=scaling["std"], **outgoing)


def begin_with(net: PixelNet, path: Path) -> None:
    """Load into a net the weights of another of its kind, and mark it as one that has learnt already.

    Raises:
        CheckpointError: they are missing, damaged, or of another net.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        weights = load(path.read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"the weights in {quoted(path)} cannot be read: {plain_reason(error)}", fix="check the file"
        ) from error
    try:
        take_shapes(net, weights)
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights in {quoted(path)} belong to another net", fix="train with the same model, classes and imgsz"
        ) from error
    net.has_learnt = True


def labels_at(place: Path) -> tuple[str, ...] | None:
    """Return the labels of the run or bundle whose weights lie there; None where a file of weights stands alone."""
    for folder in (place, place.parent, *list(place.parents)[1:3]):
        for name in ("run.json", "bundle.json"):
            try:
                found = json.loads((folder / name).read_text("utf-8"))["labels"]
            except (OSError, ValueError, KeyError, TypeError):
                continue
            return tuple(str(n) for n in found)
        if folder == place.parent.parent.parent:
            break
    return None


def outgoing_of(path: Path) -> dict[str, list[float]]:
    """Return "centre" and "spread" of the answers of a net whose weights lie there; nothing where they have no unit."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {k: file.get_tensor(k).tolist() for k in ("centre", "spread") if k in set(file.keys())}
    except (OSError, SafetensorError):
        return {}


def read_run(folder: Path, build_of: Callable[..., Builder]) -> Run:
    """Read a run folder; `build_of` gives the builder for a model name.

    Raises:
        CheckpointError: no run there, or not a finished one.
    """
    try:
        about = json.loads((folder / "run.json").read_text("utf-8"))
        recipe = read_recipe(folder / "recipe.toml")
        # A published net is built again from what the run kept of it, wherever the checkpoint has gone.
        model = f"hf:{folder / 'hub'}" if (folder / "hub").is_dir() else recipe.model
        build = build_of(model, recipe.task)
        if "members" in about:
            build = ensemble_builder(build, about["members"], learner_of(recipe.task).mean)
        return Run(
            folder=folder,
            recipe=recipe,
            labels=LabelSpace(tuple(about["labels"])),
            preparation=Preparation.from_json(about["preparation"]),
            about=about,
            build=build,
        )
    except (OSError, ValueError, KeyError) as error:
        if not (folder / "run.json").exists() and (folder / "bundle.json").exists():
            raise CheckpointError(
                f"expected a finished run in {quoted(folder)}, found a bundle", fix="pass the run that it was made of"
            ) from None
        instead = "none" if isinstance(error, FileNotFoundError) else f"a damaged one: {plain_reason(error)}"
        raise CheckpointError(
            f"expected a finished run in {quoted(folder)}, found {instead}",
            fix=published_fix(folder, "train first, or continue with --resume"),
        ) from error


@contextlib.contextmanager
def open_run_folder(folder: Path, *, resume: bool) -> Iterator[Path]:
    """Hold a run folder for one training; a second one in the same folder is refused.

    Raises:
        UsageError: another run is writing there, or one is there and `resume` is not asked for.
        OutputError: it cannot be written.
    """
    if rank_of() > 0:
        # The first of several processes holds the folder for all of them.
        yield folder
        return
    with held_lock(folder / ".lock", busy=f"another run is writing to {quoted(folder)}", code="run_in_use"):
        # A run that was ended before its first checkpoint has nothing to go on from, and nothing to lose.
        begun = any((folder / "checkpoints" / name / "state.safetensors").exists() for name in ("last", "previous"))
        if not resume and (begun or (folder / "run.json").exists()):
            raise UsageError(
                f"a run is already in {quoted(folder)}", fix="choose another --out, or continue with --resume"
            )
        # What a killed process was in the middle of writing; the lock says that nobody is any more.
        for litter in (*folder.glob(".*.tmp"), *folder.glob("checkpoints/*/.*.tmp")):
            litter.unlink(missing_ok=True)
        yield folder
