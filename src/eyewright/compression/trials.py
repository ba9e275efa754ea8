"""One way to make a model smaller, tried: structure first, then precision."""

__all__ = [
    "PRECISIONS",
    "Parent",
    "Precise",
    "Structure",
    "blank_model",
    "calibration_pixels",
    "candidate_bundle",
    "feed_of",
    "learn_structure",
    "loss_on_training",
    "make_precise",
    "slopes_of",
    "slow_activation",
    "take_as_it_is",
    "teaches_plainly",
    "without_channels",
]

import copy
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn

from eyewright.bundle.load import Bundle, load_bundle
from eyewright.bundle.session import open_session
from eyewright.compression.distilling import Teacher, distil_step, net_teacher
from eyewright.compression.measuring import paired_speedup
from eyewright.compression.pruning import prune_channels, set_zeros, sparse_step
from eyewright.compression.quantising import (
    Calibrated,
    First,
    calibrate,
    quantise_dynamic,
    quantise_static,
    quantise_weights,
    to_half,
)
from eyewright.compression.ranges import METHODS
from eyewright.compression.rounding import rounding_step
from eyewright.core.errors import RefusedError
from eyewright.core.files import write_bytes, write_json
from eyewright.core.task import task_of
from eyewright.data.dataset import Dataset
from eyewright.data.scan import Scan
from eyewright.exporting.bundle_writer import export_bundle
from eyewright.exporting.onnx_model import export_onnx
from eyewright.nets.pixels import PixelNet
from eyewright.nets.shapes import take_shapes
from eyewright.training.checkpoints import save_best, unshared
from eyewright.training.learner import learner_of
from eyewright.training.loop import FitData, tensors_of
from eyewright.training.plan import RunPlan
from eyewright.training.recipe import Recipe, write_recipe
from eyewright.training.run import Builder, Run, build_net, read_run
from eyewright.training.session import pixel_scaling, train_model
from eyewright.training.steps import Step, plain_step

PRECISIONS: Mapping[str, tuple[str, str, str]] = {
    "int8": ("onnx/model_quantized.onnx", "int8", "8-bit weights and activations"),
    "dynamic": ("onnx/model_quantized.onnx", "int8", "8-bit matrices, activations quantised at run time"),
    "weights": ("onnx/model_quantized.onnx", "int8", "8-bit weights, computed in float32"),
    "half": ("onnx/model_fp16.onnx", "float16", "half precision"),
}
"""The precisions that are tried: the model's file, what it computes in, what that means."""

_CALIBRATION = 256
_CALIBRATION_PIXELS = 32_000_000
_SHOWN_PIXELS = 64
_LEARNT_FROM, _AT_ONCE = 64, 8
# A net that has learnt needs a gentler hand than one that begins.
_GENTLER = 0.5
# Scores that move by half a point: what that costs is measured on held-out images anyway, and what it gains is much.
_UNSEEN = 3e-5
_FASTER = 1.02


@dataclass(frozen=True)
class Parent:
    """What is made smaller: a float bundle, the data it is judged on, and its run, where its weights are known.

    `calibration` are prepared training images, uint8 (n, H, W, C).
    """

    bundle: Bundle
    digest: str
    data: Dataset
    scan: Scan
    run: Run | None
    calibration: NDArray[np.uint8]
    seconds: float

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.bundle.preparation.size_hw

    @property
    def channels(self) -> int:
        return self.bundle.preparation.shape[2]

    @property
    def known_run(self) -> Run:
        """The run that made it.

        Raises:
            RefusedError: the bundle came without weights.
        """
        if self.run is None:
            raise RefusedError(
                "the bundle holds no weights to fine-tune",
                fix="pass the run that it was exported from",
                code="no_weights",
            )
        return self.run

    @property
    def net(self) -> PixelNet:
        """Its net.

        Raises:
            RefusedError: the bundle came without weights.
        """
        return self.known_run.net


@dataclass(frozen=True)
class Structure:
    """A net of another shape, before training: the fraction `share` of the channels removed, `zeros` among the weights,
    or a `student` from the catalogue; `activation` stands for its own; `rounding` simulates 8 bits in training; `start`
    is another structure it continues from. `cuts` are shares for each of some layers; with `still` nothing is learnt
    after.
    """

    name: str
    share: float = 0.0
    zeros: float = 0.0
    student: str = ""
    activation: str = ""
    rounding: bool = False
    start: str = ""
    cuts: Mapping[str, float] = field(default_factory=dict)
    still: bool = False

    def describe(self) -> str:
        """Say what is done, in one line."""
        if self.student:
            return f"{self.student} distilled from the model"
        parts = [f"{self.share:.0%} of the channels removed"] if self.share else []
        parts += [f"channels removed in {len(self.cuts)} layers"] if self.cuts else []
        parts += ["without fine-tuning"] if self.still else []
        parts += [f"{self.zeros:.0%} of the weights set to zero"] if self.zeros else []
        parts += [f"{self.activation} as its activation"] if self.activation else []
        parts += ["quantisation-aware training"] if self.rounding else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Precise:
    """A model in one precision: `method` is how ranges were chosen, `keep` the layers left in float."""

    model: bytes
    precision: str
    method: str = ""
    keep: tuple[str, ...] = ()

    def describe(self) -> str:
        """Say what was done, in one line."""
        if self.precision == "float32":
            return "float32"
        about = PRECISIONS[self.precision][2]
        about += f" ({self.method} ranges)" if self.method else ""
        return about + (f", {len(self.keep)} layers left in float" if self.keep else "")


def feed_of(bundle: Bundle) -> Any:
    """Return a function that turns prepared pixels into the model's input, where that is not ours."""
    contract = bundle._contract
    return None if contract is None else contract.feed


def candidate_bundle(base: Bundle, precise: Precise, *, threads: int | None = None) -> Bundle:
    """Return a bundle that answers by another model file, without writing one."""
    manifest = base.manifest
    if precise.precision != "float32":
        file, precision, _ = PRECISIONS[precise.precision]
        manifest = replace(manifest, model=file, precision=precision)
    return Bundle(base.folder, manifest, open_session(precise.model, threads=threads))


def make_precise(
    model: bytes,
    precision: str,
    base: Bundle,
    calibration: NDArray[np.uint8],
    *,
    feed: Any = None,
    keep: Collection[str] = (),
    calibrated: Calibrated | None = None,
) -> Precise:
    """Return a float model in another precision; for "int8" by the ranges whose answers stay nearest.

    Raises:
        RefusedError: the model has no such form.
    """
    if precision == "half":
        return Precise(to_half(model), precision)
    if precision == "weights":
        return Precise(quantise_weights(model), precision)
    ready = calibrated or calibrate(model, calibration, feed=feed)
    if precision == "dynamic":
        return Precise(quantise_dynamic(ready.model), precision)
    some = calibration[: max(4, min(len(calibration), _SHOWN_PIXELS))]
    wanted = _answers(candidate_bundle(base, Precise(model, "float32")), some)
    found: list[tuple[float, str, bytes]] = []
    for method in METHODS:
        candidate = quantise_static(ready, method=method, keep=keep)
        answers = _answers(candidate_bundle(base, Precise(candidate, "int8")), some)
        found.append((float(np.square(answers - wanted).mean()), method, candidate))
    apart, method, best = min(found, key=lambda one: one[0])
    # Whether the layer that sees the image gains by 8 bits depends on what follows it: that is measured too.
    fastest = candidate_bundle(base, Precise(best, "int8"))
    others: tuple[First, ...] = ("rounded", "pixels")
    for first in others:
        try:
            other = quantise_static(ready, method=method, keep=keep, first=first)
        except RefusedError:
            continue
        rival = candidate_bundle(base, Precise(other, "int8"))
        if float(np.square(_answers(rival, some) - wanted).mean()) > max(2 * apart, _UNSEEN):
            continue
        speed = paired_speedup(partial(fastest.raw, some[:1]), partial(rival.raw, some[:1]), rounds=60)
        if speed.value > _FASTER:
            best, fastest = other, rival
    return Precise(best, "int8", method, tuple(sorted(keep)))


def _answers(bundle: Bundle, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    raw = bundle.raw(pixels)
    return np.asarray(raw["scores" if "scores" in raw else task_of(bundle.task_name).output_names[0]], np.float64)


def reshaped(parent: Parent, structure: Structure, build_of: Callable[..., Builder]) -> PixelNet:
    """Return the net of a structure before it has learnt.

    Raises:
        RefusedError: this net cannot be taken apart so, or its weights are not known.
    """
    if structure.student:
        scaling = _scaling(parent)
        recipe = _recipe_for(parent, structure, 1.0)
        build = build_of(structure.student, parent.bundle.task_name)
        return build_net(build, recipe, parent.bundle.labels, parent.bundle.preparation, scaling).eval()
    net = parent.net
    if structure.activation:
        run = parent.known_run
        recipe = replace(run.recipe, activation=structure.activation)
        net = build_net(run.build, recipe, run.labels, run.preparation, run.about["scaling"])
        take_shapes(net, parent.net.state_dict())
        net.load_state_dict(parent.net.state_dict())
        net.eval()
    if structure.zeros:
        return set_zeros(net, structure.zeros)
    if structure.share or structure.cuts:
        return without_channels(parent, net, structure.cuts or structure.share)
    return net


def without_channels(
    parent: Parent,
    net: PixelNet,
    share: float | Mapping[str, float],
    *,
    learn: Callable[[PixelNet], None] | None = None,
) -> PixelNet:
    """Remove a fraction of a net's channels: those without which its loss on training images changes least.

    `learn` is what `slopes_of` gives for the same net, where it is asked for again and again.

    Raises:
        RefusedError: the net cannot be taken apart.
    """
    if learn is None and teaches_plainly(net):
        learn = slopes_of(parent)
    return prune_channels(net, share, size_hw=parent.size_hw, channels=parent.channels, learn=learn)


def slopes_of(parent: Parent) -> Callable[[PixelNet], None]:
    """Return a function that leaves gradients of the loss on training images in copies of one net, computed once."""
    losses = loss_on_training(parent)
    found: dict[str, torch.Tensor] = {}

    def learn(net: PixelNet) -> None:
        # Statistics stay those that were learnt: what is asked is what this net, as it is, would lose.
        net.eval().requires_grad_(True)
        if not found:
            for loss in losses(net):
                loss.backward()  # type: ignore[no-untyped-call]
            found.update({n: p.grad for n, p in net.named_parameters() if p.grad is not None})
        for name, parameter in net.named_parameters():
            parameter.grad = found[name].clone() if name in found else None

    return learn


def teaches_plainly(net: PixelNet) -> bool:
    """Return whether a net's loss can be had from its outputs alone."""
    return not getattr(net.body, "takes_targets", False)


def loss_on_training(parent: Parent) -> Callable[[PixelNet], Iterator[torch.Tensor]]:
    """Return a function that returns a net's loss on some training images, a few at a time."""
    train = parent.data.train
    several = max(8, min(_LEARNT_FROM, _CALIBRATION_PIXELS // (parent.size_hw[0] * parent.size_hw[1])))
    chosen = np.unique(np.linspace(0, len(train) - 1, min(several, len(train))).astype(int))
    part = train.with_samples([train.samples[i] for i in chosen])
    preparation = parent.bundle.preparation
    images = list(part.examples(preparation))
    pixels, _ = preparation.batch(images)
    learner = learner_of(part.task)
    sizes = [(int(i.shape[0]), int(i.shape[1])) for i in images]
    targets = learner.targets(part, sizes, preparation, f"importance {parent.digest} {len(part)}")
    recipe = parent.known_run.recipe
    # Validation data is what a net is fed without augmentation.
    seen = learner.fed(FitData(pixels, targets, pixels, targets), recipe, part, preparation)

    def losses(net: PixelNet) -> Iterator[torch.Tensor]:
        learning = learner.learn(net, seen, recipe, part, preparation)
        for start in range(0, len(seen.val_pixels), _AT_ONCE):
            rows = np.arange(start, min(start + _AT_ONCE, len(seen.val_pixels)))
            batch = torch.from_numpy(np.ascontiguousarray(seen.val_pixels[rows]))
            yield learning.objective(net(batch), tensors_of(seen.val_targets[rows]))

    return losses


def slow_activation(net: PixelNet) -> bool:
    """Return whether a net's activations cost more than a comparison, and cannot be computed in 8 bits."""
    return any(isinstance(m, nn.GELU | nn.SiLU | nn.ELU | nn.Tanh | nn.Softplus | nn.Mish) for m in net.modules())


def _scaling(parent: Parent) -> Mapping[str, Any]:
    if parent.run is not None:
        found: Mapping[str, Any] = parent.run.about["scaling"]
        return found

    outgoing = learner_of(parent.data.task).outgoing(parent.data.train)
    return {**pixel_scaling(parent.calibration), **outgoing}


def _recipe_for(parent: Parent, structure: Structure, seconds: float) -> Recipe:
    if structure.student:
        own = parent.run.recipe if parent.run is not None else Recipe()
        return Recipe(
            task=parent.data.task,
            model=structure.student,
            imgsz=max(parent.size_hw),
            budget_s=seconds,
            augment=own.augment,
            flip=own.flip,
            device=own.device,
            seed=own.seed,
        )
    run = parent.known_run
    recipe = run.recipe
    lr = None if recipe.lr is None else recipe.lr * _GENTLER
    recipe = replace(recipe, activation=structure.activation or recipe.activation)
    return replace(recipe, epochs=None, budget_s=seconds, lr=lr, warmup=0.1, preview=0.0, freeze=0.0, patience=None)


def learn_structure(
    parent: Parent,
    structure: Structure,
    folder: Path,
    *,
    seconds: float,
    deadline: float,
    build_of: Callable[..., Builder],
    teacher: Teacher | None = None,
    start: PixelNet | None = None,
    resume: bool = False,
    quiet: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Run, Bundle]:
    """Train a structure with the parent as its teacher, and export it in float32 through the parity check.

    `seconds` are what its training may take; `start` is the net it begins as; `deadline`, a `time.monotonic` value, is
    when it ends at the latest.

    Raises:
        RefusedError: the structure cannot be made, or its loss is no longer a number.
        ParityError: the exported model disagrees with the trained one.
    """
    run_folder, bundle_folder = folder / "run", folder / "float32"
    builders = build_of
    if not structure.student:
        same = _Same(parent.known_run)
        builders = lambda *_: same  # noqa: E731
    recipe = _recipe_for(parent, structure, seconds)
    if not (run_folder / "run.json").exists():
        begins = folder / "start.safetensors"
        going_on = resume and (run_folder / "checkpoints").exists()
        if not going_on and not structure.student:
            net = start if start is not None else reshaped(parent, structure, build_of)
            write_bytes(begins, save(unshared(net.state_dict()), metadata={"format": "pt"}))
        run = train_model(
            parent.data,
            parent.scan,
            recipe,
            folder=run_folder,
            build_of=builders,
            plan=RunPlan(
                deadline=deadline,
                resume=going_on,
                weights=None if structure.student else begins,
                preparation=parent.bundle.preparation,
                step=_step_for(parent, structure, teacher),
                notes={
                    "data_path": str(parent.data.root.resolve()),
                    "ignore": list(parent.data.ignore),
                    "audit": [],
                    "warnings": [],
                    **({"members": parent.known_run.about["members"]} if _is_ensemble(parent, structure) else {}),
                },
                quiet=quiet,
            ),
        )
    else:
        run = read_run(run_folder, build_of)
    if (bundle_folder / "bundle.json").exists():
        return run, load_bundle(bundle_folder)
    return run, export_bundle(run, bundle_folder, validation=parent.data.val)[0]


def take_as_it_is(
    parent: Parent, structure: Structure, folder: Path, *, build_of: Callable[..., Builder]
) -> tuple[Run, Bundle]:
    """Export a structure that learns nothing further in float32, through the parity check, with a run of its weights.

    Raises:
        RefusedError: the structure cannot be made.
        ParityError: the exported model disagrees with the net.
    """
    run_folder, bundle_folder = folder / "run", folder / "float32"
    own = parent.known_run
    if not (run_folder / "run.json").exists():
        net = reshaped(parent, structure, build_of)
        (run_folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        save_best(run_folder / "checkpoints", net.state_dict(), {"epoch": 0, "score": 0.0})
        write_recipe(run_folder / "recipe.toml", own.recipe)
        if (own.folder / "hub").is_dir():
            shutil.copytree(own.folder / "hub", run_folder / "hub", dirs_exist_ok=True)
        # Last: it says that the run is whole.
        write_json(run_folder / "run.json", dict(own.about))
    run = Run(run_folder, own.recipe, own.labels, own.preparation, own.about, own.build)
    if (bundle_folder / "bundle.json").exists():
        return run, load_bundle(bundle_folder)
    return run, export_bundle(run, bundle_folder, validation=parent.data.val)[0]


class _Same:
    """The builder of a net that is trained further: with the scaling of its pixels that it has learnt with."""

    def __init__(self, run: Run) -> None:
        self._inner = run.build
        self.scaling = run.about["scaling"]

    def __call__(self, *given: Any, **options: Any) -> nn.Module:
        return self._inner(*given, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _is_ensemble(parent: Parent, structure: Structure) -> bool:
    return not structure.student and "members" in parent.known_run.about


def _step_for(parent: Parent, structure: Structure, teacher: Teacher | None) -> Step:
    step: Step = plain_step
    soft = learner_of(parent.bundle.task_name).soft
    if teacher is not None:
        step = distil_step(teacher)
    elif parent.run is not None and teaches_plainly(parent.run.net):
        own = net_teacher(copy.deepcopy(parent.run.net), parent.bundle.task_name, as_the_batch=soft.as_the_batch)
        step = distil_step(own)
    if structure.zeros:
        step = sparse_step(step)
    return rounding_step(step) if structure.rounding else step


def blank_model(parent: Parent, structure: Structure, build_of: Callable[..., Builder], folder: Path) -> bytes:
    """Return the ONNX model of a structure that has not learnt: as fast and as large as it will be.

    Raises:
        RefusedError: the structure cannot be made or exported.
    """
    net = reshaped(parent, structure, build_of)
    path = folder / "blank.onnx"
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        export_onnx(
            net,
            path,
            temperature=1.0,
            task=parent.bundle.task_name,
            inputs=parent.bundle.inputs,
            metadata={},
        )
    try:
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)


def calibration_pixels(dataset: Dataset, bundle: Bundle) -> NDArray[np.uint8]:
    """Return prepared images of a dataset, evenly chosen, at most 256, uint8 (n, H, W, C)."""
    height, width = bundle.preparation.size_hw
    most = max(16, min(_CALIBRATION, _CALIBRATION_PIXELS // (height * width)))
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(most, len(dataset))).astype(int))
    return bundle.preparation.batch(list(dataset.examples(bundle.preparation, [int(i) for i in chosen])))[0]
