"""Use a bundle: load it verified, run it on ONNX Runtime, without torch."""

__all__ = [
    "Bundle",
    "load_bundle",
    "read_and_test",
    "read_reference",
]

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Unpack

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle import trial
from eyewright.bundle.arrays import ArrayFile
from eyewright.bundle.cards import card_of, in_one_line
from eyewright.bundle.contract import Contract
from eyewright.bundle.files import PredictOptions, in_chunks, is_pixels, names_files, predict_files, predict_given
from eyewright.bundle.golden import run_golden
from eyewright.bundle.judge import ABOUT, FOLDER, Judge, open_judge, try_judge
from eyewright.bundle.manifest import Manifest, bundle_folder
from eyewright.bundle.session import first_line, open_session, run_options
from eyewright.bundle.signature import PublicKey, read_public_key
from eyewright.bundle.tap import with_output
from eyewright.bundle.texts import TextTower, has_texts, open_texts
from eyewright.bundle.verify import read_sealed, read_verified
from eyewright.core.errors import BundleError, UnreadableImageError, UsageError, plain_reason
from eyewright.core.inputs import (
    IMAGE,
    Example,
    Given,
    Inputs,
    blank_inputs,
    count_rows,
    fits_model,
    largest_area,
    name_inputs,
    slice_rows,
    trim,
    whole_image,
    widen,
)
from eyewright.core.labels import LabelSpace
from eyewright.core.prediction import Prediction
from eyewright.core.predictor import decode_everything, predict_everything
from eyewright.core.provenance import describe_hardware
from eyewright.core.quoting import quoted
from eyewright.core.stopping import native_call
from eyewright.core.task import Task, task_of
from eyewright.imaging.given import given_source
from eyewright.imaging.preparation import Placement, Preparation, image_preparation
from eyewright.imaging.sources import Frame, Source, is_stream, list_sources, open_source
from eyewright.tasks.tiling import predict_views

_BATCH = 32
_MOST_HELD = 400_000
_MOST_PIXELS, _FEW_PIXELS = 1_600_000, 300_000
# Bytes of images that a list of predictions keeps.
_MOST_KEPT = 64 * 2**20
_CHECK = "eyewright.bundle.trial_jobs:check_bundle"


class Bundle:
    """A verified, self-tested model: a Predictor that needs numpy, Pillow and ONNX Runtime only.

    Made by `load_bundle`. `labels` are class names, `inputs` how each input is prepared, `manifest` the rest;
    `preparation` is what happens to the image first, for a model that takes nothing else.
    """

    takes_prepared: ClassVar[bool] = True
    """`predict_images` also takes images that were prepared while they were decoded."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        session: Any,
        *,
        reference: bytes | None = None,
        tensor: str | None = None,
    ) -> None:
        self.folder = folder
        self._tensor = tensor
        self._reference = reference
        self.manifest = manifest
        self.task_name = manifest.task
        self.labels: LabelSpace = manifest.labels
        self._session = session
        self._frees = False
        self.decoding: Mapping[str, Any] = _decoding(manifest)
        self._outputs = [o["name"] for o in manifest.tensors["outputs"]]
        self.inputs: Inputs = manifest.inputs
        # A model that takes one image may call it otherwise.
        named = [t["name"] for t in manifest.tensors["inputs"]]
        self._feeds = dict(zip(self.inputs, named, strict=True)) if len(named) == 1 else {n: n for n in named}
        self._contract = None
        if "contract" in manifest.decoding:
            try:
                self._contract = Contract.from_json(manifest.decoding["contract"])
            except (UsageError, AttributeError, TypeError) as error:
                raise BundleError(
                    f"the bundle's contract is not valid: {plain_reason(error)}", fix="import the model again"
                ) from None

    def __call__(self, source: Any, **options: Unpack[PredictOptions]) -> Any:
        """Predict; see `predict`."""
        return self.predict(source, **options)

    def __repr__(self) -> str:
        return in_one_line(self.manifest, self.labels)

    def _repr_html_(self) -> str:
        """Return what the bundle predicts and how it was measured, for notebooks."""
        return card_of(self.manifest, self.labels, self.folder)

    @property
    def preparation(self) -> Preparation:
        """How the image of a model is prepared that takes nothing else.

        Raises:
            UsageError: the model takes something else.
        """
        return self.manifest.preparation

    @cached_property
    def thresholds(self) -> NDArray[np.float64] | None:
        """Each class's operating point in the order of the labels, if the bundle has any.

        Raises:
            BundleError: they are not of these classes.
        """
        return _thresholds(self.manifest)

    @cached_property
    def spread(self) -> NDArray[np.float64] | None:
        """Standard deviations of the training values, (C,), by which errors in several units are measured; None for a
        model of anything but numbers, and for bundles of earlier versions."""
        found = self.manifest.decoding.get("spread")
        return None if found is None else np.asarray(found, np.float64)

    @cached_property
    def reference(self) -> Mapping[str, NDArray[Any]]:
        """What validation images looked like to the model when it was exported, by name; empty if it is not known.

        Raises:
            BundleError: it cannot be read.
        """
        return {} if self._reference is None else _reference(self._reference)

    @cached_property
    def split(self) -> Mapping[str, str]:
        """Return the part, "train", "val" or "test", of every image that the model was made from, by the SHA-256 of its
        file; empty for a bundle that does not say. An image in two parts counts as one that was trained on.

        Raises:
            BundleError: it cannot be read, or has been changed.
        """
        if "split.csv" not in self.manifest.files:
            return {}
        try:
            data = (self.folder / "split.csv").read_bytes()
        except OSError as error:
            raise BundleError(
                f"'split.csv' cannot be read: {plain_reason(error)}", fix="copy the bundle again"
            ) from None
        if hashlib.sha256(data).hexdigest() != self.manifest.files["split.csv"]["sha256"]:
            raise BundleError("'split.csv' has been changed since it was exported", fix="copy the bundle again")
        rows = [line.partition(",") for line in data.decode("utf-8", "replace").splitlines()[1:]]
        found = {digest: part for wanted in ("test", "val", "train") for digest, _, part in rows if part == wanted}
        return MappingProxyType(found)

    def raw(self, given: Given, *, run_options: Any = None) -> dict[str, NDArray[np.float32]]:
        """Return the task's arrays for prepared arrays by input name, each (N, …); for a model that takes one image,
        the pixels alone will do, uint8 (N, H, W, C).

        A model without inputs runs once and answers as many rows as it will. `run_options` are ONNX Runtime's, by which
        another thread can end the run.

        Raises:
            UsageError: other inputs, or arrays of another shape or type.
        """
        return self._raw(given, run_options, self._outputs)

    def raw_with_features(
        self, given: Given, *, run_options: Any = None
    ) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32] | None]:
        """Return `raw`, and what the net knows of each example before it decides, float32 (N, D): None for a bundle
        that does not compare it, or that was loaded without `features`."""
        if self._tensor is None:
            return self.raw(given, run_options=run_options), None
        found = self._raw(given, run_options, [*self._outputs, self._tensor])
        return found, found.pop(self._tensor)

    def _raw(self, given: Given, run_options: Any, outputs: list[str]) -> dict[str, NDArray[np.float32]]:
        named = name_inputs(self.inputs, given)
        n = count_rows(named)
        # No examples give no rows, whose shape one blank example tells.
        fed = named if n else blank_inputs(self.inputs)
        parts = [
            self._run(slice_rows(fed, i, i + self._at_a_time), run_options, outputs)
            for i in range(0, max(1, n), self._at_a_time)
        ]
        found = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        return {name: array[:n] for name, array in found.items()} if named else found

    @cached_property
    def _at_a_time(self) -> int:
        """How many examples one run takes: fewer where they are large."""
        if self._contract is not None and not self._contract.batched:
            return 1
        most = _FEW_PIXELS if self._frees else _MOST_PIXELS
        return max(1, min(_BATCH, most // largest_area(self.inputs)))

    def _run(
        self, named: Mapping[str, NDArray[Any]], options: Any, outputs: list[str]
    ) -> dict[str, NDArray[np.float32]]:
        contract = self._contract
        wide = {name: array.shape for name, array in named.items()}
        named = trim(self.inputs, named)
        feeds = {
            self._feeds[name]: np.ascontiguousarray(array) if contract is None else contract.feed(array)
            for name, array in named.items()
        }
        # Whoever gives options of a run ends it, and reads its errors, himself.
        given = options is not None
        found = self._session.run(outputs, feeds, options) if given else self._run_stoppable(feeds, outputs)
        if contract is not None:
            return contract.answers(found, self.preparation.size_hw)
        answers = dict(zip(outputs, found, strict=True))
        return answers if wide == {n: a.shape for n, a in named.items()} else widen(self.inputs, answers, named)

    def _run_stoppable(self, feeds: Mapping[str, NDArray[Any]], outputs: list[str]) -> Any:
        """Run so that a signal can end it.

        Raises:
            BundleError: the model fails on this input.
        """
        options = run_options(frees=self._frees)

        def end() -> None:
            options.terminate = True

        try:
            with native_call(end):
                return self._session.run(outputs, feeds, options)
        except Exception as error:  # runtimes raise many types of their own, none of them documented
            raise BundleError(
                f"the model cannot be run on this input: {first_line(error)}", fix="use another model"
            ) from error

    @cached_property
    def judge(self) -> Judge | None:
        """What measures images that a generator makes (`bundle.judge.Judge`); None for bundles without one.

        Raises:
            BundleError: it is damaged.
        """
        if f"{FOLDER}/{ABOUT}" not in self.manifest.files:
            return None

        def check(name: str, data: bytes) -> None:
            listed = self.manifest.files.get(f"{FOLDER}/{name}", {}).get("sha256")
            if hashlib.sha256(data).hexdigest() != listed:
                raise BundleError(f"'{FOLDER}/{name}' has been changed since it was exported", fix="copy it again")

        return open_judge(self.folder / FOLDER, open_session, check)

    @cached_property
    def texts(self) -> TextTower:
        """How the bundle embeds texts; its golden pairs are run when it is opened.

        Raises:
            UsageError: the bundle reads images only.
            BundleError: the files are damaged, or give other outputs than when they were exported.
        """
        if not has_texts(self.manifest.files):
            noun = task_of(self.task_name).words.noun
            raise UsageError(f"texts are not supported for {noun}", fix="use a model that was trained on captions")
        return open_texts(self.folder, self.manifest.files, open_session)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors of texts, float32 (N, D), in the space of the images' embeddings.

        Raises:
            UsageError: the bundle reads images only, or a text is empty.
        """
        return self.texts(texts)

    def predict_images(
        self,
        images: Sequence[Example],
        *,
        conf: float | None = None,
        iou: float | None = None,
        flip: bool = False,
        tile: int | None = None,
        overlap: float = 0.2,
    ) -> list[Prediction]:
        """Return one prediction per image, uint8 (H, W, 3) RGB of any size; of other inputs one per example, a mapping
        with a value for each.

        What is shown reaches the stored operating point of its class, or `conf` for all classes; boxes of one class
        whose IoU is above `iou` count as duplicates. `flip` is horizontal-flip test-time augmentation;
        `tile` cuts images into squares of so many pixels that overlap by the fraction `overlap`, for objects that are
        small in a large image.

        Raises:
            UsageError: tiles for a task that has none, or a value out of its range.
        """
        task = self._task_with(conf)
        if tile is not None or flip:
            # Views are cut from the image of a model that takes nothing else.
            image_preparation(self.inputs)
            whole = [whole_image(e) for e in images]
            found: Sequence[Prediction] = predict_views(self, whole, flip=flip, tile=tile, overlap=overlap, iou=iou)
        else:
            found = predict_everything(self, images, least=self._least(conf), iou=iou)
        return [task.settle(p, self.thresholds, conf) for p in found]

    def read(
        self,
        raw: Mapping[str, NDArray[np.float32]],
        placements: Sequence[Placement],
        *,
        conf: float | None = None,
        iou: float | None = None,
    ) -> list[Prediction]:
        """Return what `predict_images` gives, from the `raw` arrays of images that were prepared already."""
        task = self._task_with(conf)
        found = decode_everything(self, raw, placements, least=self._least(conf), iou=iou)
        return [task.settle(p, self.thresholds, conf) for p in found]

    @property
    def reads_prepared(self) -> bool:
        """Whether the model is run on prepared images alone: it takes one image, and its task has no `whole`."""
        return (
            tuple(self.inputs) == (IMAGE,) and task_of(self.task_name).whole is None and self.preparation.clip is None
        )

    def predict_files(
        self, items: Sequence[Path | str], *, conf: float | None = None, iou: float | None = None
    ) -> Iterator[tuple[Path | str, Prediction | UnreadableImageError]]:
        """Yield each file, an entry of `list_sources`, with its prediction as `predict_images` gives it, or with an
        error that names the file.

        Files are read ahead on every core and prepared where they are decoded, so that neither large photographs nor
        many small ones wait for one thread. `image`, `plot` and `save` of a prediction read the file again, which must
        not have changed.

        Raises:
            UsageError: the model takes something else than one image (`reads_prepared`), or `conf` or `iou` is not
                supported by its task or out of its range.
        """
        return predict_files(self, items, conf=conf, iou=iou)

    def _task_with(self, conf: float | None) -> Task:
        """Return the task, which supports a score to show from if one is given.

        Raises:
            UsageError: it does not, or `conf` is out of its range.
        """
        task = task_of(self.task_name)
        if conf is not None:
            task.require("conf")
            if not 0 <= conf <= 1:
                raise UsageError(f"expected conf in [0, 1], found {conf}", fix="change it")
        return task

    def _least(self, conf: float | None) -> float | None:
        """Return the lowest score that any object is shown from."""
        if conf is not None:
            return conf
        return None if self.thresholds is None else float(self.thresholds.min())

    def predict(self, source: Any, *, stream: bool = False, **options: Unpack[PredictOptions]) -> Any:
        """Predict an image, several, a folder, a glob, a video, a camera, a stream or a scanner.

        `source` is a path, a `file://` address, encoded bytes, an array uint8 (H, W, 3) RGB, a Pillow image, a list of
        these, a folder, a glob, or what else `open_source` opens. One image gives one prediction, everything else a
        list; with `stream` a generator, one image at a time in memory. `options` are those of `predict_images`.

        The predictions of a list keep their images up to 64 MB; `image`, `plot` and `save` of the others read the file
        again, which must not have changed.

        Raises:
            InputError: nothing there, or an image cannot be read.
            UsageError: a camera or stream, which has no end, without `stream`; or the model takes something else than
                one image (`predict_images`).
        """
        task_of(self.task_name).require("predict")
        image_preparation(self.inputs)
        source = given_source(source)
        if self.preparation.clip is None and is_stream(source):
            frames = self._watch(source, stream=stream, options=options)
            return frames if stream else list(frames)
        plain = set(options) <= {"conf", "iou"} and self.reads_prepared
        if plain and self.preparation.reduces and not is_pixels(source):
            found = predict_given(self, source, conf=options.get("conf"), iou=options.get("iou"))
        elif stream and plain and names_files(source):
            found = self._streamed(source, conf=options.get("conf"), iou=options.get("iou"))
        else:
            kept = {"at_once": 1, "most_kept": None} if stream else {"at_once": self.at_once, "most_kept": _MOST_KEPT}
            found = self._stream(source, **kept, options=options)
        if stream:
            return found
        several = list(found)
        single = isinstance(source, bytes | np.ndarray) or (isinstance(source, str | Path) and Path(source).is_file())
        return several[0] if single else several

    def _streamed(self, source: str | Path, **options: Any) -> Iterator[Prediction]:
        for _, found in self.predict_files(list_sources(source), **options):
            if isinstance(found, UnreadableImageError):
                raise found
            yield found

    @property
    def at_once(self) -> int:
        """How many images are decoded and held together: fewer where the model looks at large ones."""
        return max(1, min(_BATCH, _MOST_HELD // largest_area(self.inputs)))

    def _watch(self, source: Any, *, stream: bool, options: Mapping[str, Any]) -> Iterator[Prediction]:
        opened = open_source(source)
        if opened.live and not stream:
            opened.close()
            raise UsageError(
                f"{quoted(source)} is a live source without an end, which does not fit into a list",
                fix="pass stream=True",
            )
        return self._watched(opened, None if stream else _MOST_KEPT, options)

    def _watched(self, opened: Source, most_kept: int | None, options: Mapping[str, Any]) -> Iterator[Prediction]:
        with opened:
            yield from self._predicted(iter(opened), at_once=1, most_kept=most_kept, options=options)

    def _stream(
        self, source: Any, *, at_once: int, most_kept: int | None, options: Mapping[str, Any]
    ) -> Iterator[Prediction]:
        # Imported here: whole images in files are read without it.
        from eyewright.imaging.clips import iter_examples

        frames = iter_examples(source, self.preparation.clip)
        yield from self._predicted(frames, at_once=at_once, most_kept=most_kept, options=options)

    def _predicted(
        self, frames: Iterator[Frame], *, at_once: int, most_kept: int | None, options: Mapping[str, Any]
    ) -> Iterator[Prediction]:
        """Yield predictions that keep their images until those of files hold `most_kept` bytes; the others read theirs
        again when it is asked for."""
        kept = 0
        for chunk in in_chunks(frames, at_once, lambda frame: frame.image.nbytes):
            for frame, prediction in zip(chunk, self.predict_images([f.image for f in chunk], **options), strict=True):
                image: Any = frame.image
                if most_kept is not None and frame.reread is not None:
                    # The first is kept even if it is larger than all may be: of one image, nothing is gained.
                    if kept and kept + frame.image.nbytes > most_kept:
                        image = frame.reread
                    else:
                        kept += frame.image.nbytes
                yield replace(prediction, source=frame.origin, index=frame.index, time_s=frame.time_s, image=image)


def _decoding(manifest: Manifest) -> dict[str, Any]:
    """Return what decoding must know in addition to the contract: the IoU threshold of suppression."""
    found = {k: v for k, v in manifest.decoding.items() if k not in ("contract", "spread")}
    iou = found.get("iou", 1.0)
    known = "iou" in task_of(manifest.task).options
    if set(found) - {"iou"} or (found and not known) or not isinstance(iou, int | float) or not 0 < iou <= 1:
        raise BundleError(f"the bundle's decoding is not valid: {found}", fix="export the model again")
    return found


def _thresholds(manifest: Manifest) -> NDArray[np.float64] | None:
    """Return each class's operating point in the order of the labels; a bundle may have none."""
    points = manifest.thresholds.get("classes")
    if not points:
        return None
    try:
        return np.array([float(points[name]["threshold"]) for name in manifest.labels.names])
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"the bundle's thresholds are not valid: {plain_reason(error)}", fix="export again") from None


def load_bundle(
    folder: str | Path,
    *,
    self_test: bool = True,
    threads: int | None = None,
    key: PublicKey | str | Path | None = None,
    digest: str | None = None,
    features: bool = False,
    frees: bool = False,
) -> Bundle:
    """Load a bundle, or the one in a run folder: check every digest, open the model, check its tensors, run the golden
    pairs.

    Without `self_test` the golden pairs are not run; only the parity check, which tests more, does so. `threads` are
    those that one run may use; by default those that `eyewright bench` stored for a machine like this one, else as many
    as there are cores. With `key`, a public key or its file, the bundle must be signed by it; with `digest` its
    `bundle.json` must have this SHA-256. Both are checked before ONNX Runtime is given anything. With `features` the
    model also returns the features that its familiarity test compares, where it uses any. With `frees` it runs few
    examples at once, and gives its memory back after each run: for one large image in many tiles.

    Raises:
        BundleError: damaged, changed, of a newer format, not signed by `key`, not the one of `digest`, or giving other
            numbers than when it was exported.
    """
    folder = bundle_folder(Path(folder))
    sealed = read_sealed(folder, key=read_public_key(key) if isinstance(key, str | Path) else key)
    if digest is not None and sealed[2] != digest:
        raise BundleError(f"the bundle at {quoted(folder)} has been replaced since it was checked", fix="try again")
    manifest, content, digest = sealed
    known = trial.is_known(digest)
    if not known:
        size = len(content[manifest.model])
        trial.try_folder(_CHECK, folder, size=size, digest=digest, threads=threads)
    bundle = _opened(folder, sealed, threads, features=features)
    bundle._frees = frees
    # The first run was the self-test, a moment ago.
    if self_test and known:
        run_golden(bundle, content["golden.npz"], precision=manifest.precision)
    if self_test or not known:
        trial.remember(digest)
    return bundle


def read_and_test(folder: Path, *, digest: str, threads: int | None) -> None:
    """Open a bundle and run its golden pairs in this very process, as the process of a first run does.

    Raises:
        BundleError: as `load_bundle`; or its manifest has another `digest`.
    """
    sealed = read_sealed(folder)
    if sealed[2] != digest:
        raise BundleError("the bundle was changed while it was opened", fix="try again")
    bundle = _opened(folder, sealed, threads)
    run_golden(bundle, sealed[1]["golden.npz"], precision=sealed[0].precision)
    if has_texts(sealed[0].files):
        bundle.embed_texts(["a"])
    if bundle.judge is not None:
        try_judge(bundle.judge)


def _opened(
    folder: Path, sealed: tuple[Manifest, Mapping[str, bytes], str], threads: int | None, *, features: bool = False
) -> Bundle:
    manifest, content, _ = sealed
    advised = _advice(manifest) if threads is None else {}
    tensor = (manifest.familiarity.get("features") or {}).get("tensor") if features else None
    model = content[manifest.model] if tensor is None else with_output(content[manifest.model], tensor)
    session = open_session(model, **({"threads": threads} if threads is not None else advised))
    bundle = Bundle(folder, manifest, session, reference=content.get("reference.npz"), tensor=tensor)
    _check_tensors(bundle)
    return bundle


def _advice(manifest: Manifest) -> dict[str, Any]:
    """Return the threads and provider that were best on a machine like this one, if the bundle says so."""
    advice = manifest.advice
    if not advice or advice.get("hardware") != describe_hardware():
        return {}
    threads, provider = advice.get("threads"), advice.get("provider")
    if not isinstance(threads, int) or not 1 <= threads <= 1024 or provider not in ("cpu", "cuda"):
        raise BundleError(f"the bundle's advice is not valid: {dict(advice)}", fix="store it again: eyewright bench")
    return {"threads": threads, "provider": f"{provider.upper()}ExecutionProvider"}


def read_reference(folder: Path) -> Mapping[str, NDArray[Any]]:
    """Return what a bundle stores of its validation images, every digest checked, without opening the model.

    Raises:
        BundleError: damaged or changed.
    """
    _, content = read_verified(folder)
    return _reference(content["reference.npz"]) if "reference.npz" in content else {}


def _check_tensors(bundle: Bundle) -> None:
    found = bundle._session.get_inputs()
    if bundle._contract is not None:
        bundle._contract.check(found, bundle._session.get_outputs(), bundle.preparation)
        return
    promised = {bundle._feeds[name]: one for name, one in bundle.inputs.items()}
    shapes = {value.name: tuple(value.shape) for value in found}
    if set(shapes) != set(promised) or not all(fits_model(one, shapes[name]) for name, one in promised.items()):
        raise BundleError("the model's inputs are not those that bundle.json declares", fix="export the model again")
    names = {o.name for o in bundle._session.get_outputs()}
    if not set(task_of(bundle.task_name).output_names) <= names or not set(bundle._outputs) <= names:
        raise BundleError("the model's outputs are not those that bundle.json declares", fix="export the model again")


def _reference(data: bytes) -> dict[str, NDArray[Any]]:
    with ArrayFile(data, "reference.npz") as arrays:
        return arrays.read_all()
