"""From what people said of predictions to samples that can be learnt from, and what cannot be used and why."""

__all__ = ["NEW_CLASSES", "Learnable", "Unused", "Unusable", "learnable_feedback", "tally"]

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import EyewrightError, UnreadableImageError
from eyewright.core.labels import LabelSpace
from eyewright.core.task import task_of
from eyewright.data.clip_tree import Clip, ClipTree
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.targets.mask import MaskFile
from eyewright.data.tree import Encoded, Tree, encoded_file
from eyewright.imaging.decode import probe_image, read_image, read_picture
from eyewright.tasks.corrections import Correction, NotUsableError, labels_in

if TYPE_CHECKING:
    from PIL import Image

    from eyewright.bundle import Bundle
    from eyewright.data import Dataset, Sample
    from eyewright.data.targets.mask import MaskFile
    from eyewright.monitoring import Row, Store

_EXAMPLES = 5


@dataclass(frozen=True)
class Unused:
    """Feedback that retraining cannot use: why, how much of it, and the ids of the first few predictions."""

    reason: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Unusable:
    """One prediction whose feedback cannot be used."""

    prediction_id: str
    reason: str


NEW_CLASSES = "new_classes"
"""The folder that images with declared classes are written to."""

_NEW_CLASS = f"it declares a new class: merge OUT/{NEW_CLASSES} into the data and train again (eyewright train)"


@dataclass(frozen=True)
class Learnable:
    """Kept images with what is right in them, as a dataset whose samples are all in train.

    `format` is the one it is written in. `declared` are the images that show a class that the model does not know, in
    a dataset that has it.
    """

    dataset: "Dataset"
    prediction_ids: tuple[str, ...]
    format: str
    declared: "Dataset | None" = None


def tally(left_out: Iterable[Unusable]) -> tuple[Unused, ...]:
    """Return the reasons, the most frequent first."""
    by_reason: dict[str, list[str]] = {}
    for one in left_out:
        by_reason.setdefault(one.reason, []).append(one.prediction_id)
    ordered = sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(Unused(reason, len(ids), tuple(ids[:_EXAMPLES])) for reason, ids in ordered)


def learnable_feedback(
    store: "Store", bundle: "Bundle", home: Path, others: Mapping[str, Path]
) -> tuple[Learnable, list[Unusable]]:
    """Return the kept images whose feedback says what is right, for the task and classes of `bundle`, and the rest.

    Where a prediction of boxes or masks is called right without saying what it was, the model that made it predicts
    the kept image again: `bundle`, or the one of the folder that `others` names for its digest. Words on a prediction
    that later ones replace, and feedback on what is no prediction in the log, are among what cannot be used.

    Raises:
        InputError: the database cannot be used.
    """
    from eyewright.monitoring import image_path

    said = store.feedback()
    classes = store.models()
    tree = _Kept(home)
    own = bundle.labels.names
    named = dict.fromkeys(n for _, content, _ in said for n in _declared_of(content) if n not in own)
    reader = _Reader(bundle, others, tree, (*own, *named))
    out = [
        Unusable(name, "later feedback on the same prediction replaces it")
        for name, times in store.replaced_feedback().items()
        for _ in range(times)
    ]
    out += [Unusable(name, "no prediction of its id is in the log") for name in store.orphaned_feedback()]
    samples: list[Sample] = []
    ids: list[str] = []
    strange: list[Sample] = []
    # The last word on an image counts, however often it was sent.
    last = {row.image: row.id for row, _, _ in said if row.image}
    for row, content, _ in said:
        task, labels = classes.get(row.digest, (bundle.task_name, own))
        try:
            if task != bundle.task_name or set(labels) != set(own):
                raise NotUsableError("its model has another task or other classes")
            if not row.image:
                raise NotUsableError("the image was not kept (serve with --keep images=P%)")
            path = image_path(home, row.image)
            if not path.exists():
                raise NotUsableError("the kept image is gone")
            if last[row.image] != row.id:
                raise NotUsableError("later feedback on the same image replaces it")
            sample = reader.sample(row, content, path)
            if any(n not in own for n in labels_in(content)):
                strange.append(sample)
                raise NotUsableError(_NEW_CLASS)
        except NotUsableError as reason:
            out.append(Unusable(row.id, str(reason)))
            continue
        samples.append(sample)
        ids.append(row.id)
    kind = task_of(bundle.task_name).feedback.layout
    found: Tree = tree
    if bundle.preparation.clip is not None:
        found = ClipTree(tree, reader.clips, bundle.preparation.clip)
    dataset = Dataset(found, tuple(samples), LabelSpace(own), kind, task=bundle.task_name)
    declared = None
    if strange:
        declared = Dataset(found, tuple(strange), LabelSpace((*own, *named)), kind, task=bundle.task_name)
    return Learnable(dataset, tuple(ids), kind, declared), out


def _declared_of(content: Mapping[str, Any]) -> list[str]:
    used = labels_in(content)
    return [n for n in content.get("new_classes") or () if n in used]


class _Kept:
    """A tree over kept images under the names that they are written by, and over masks that were made from feedback."""

    def __init__(self, home: Path) -> None:
        self.root = home
        self.paths: dict[str, Path] = {}
        self.masks: dict[str, bytes] = {}

    def names(self) -> tuple[str, ...]:
        return tuple(sorted([*self.paths, *self.masks]))

    def content(self, name: str) -> bytes:
        if name in self.masks:
            return self.masks[name]
        try:
            return self.paths[name].read_bytes()
        except OSError as error:
            raise UnreadableImageError(f"cannot read {name!r}: {error.strerror}", fix="check the file") from error

    def picture(self, name: str) -> "Image.Image":
        return read_picture(self.content(name))

    def encoded(self, name: str) -> Encoded | None:
        return encoded_file(self.paths[name])

    def folders(self) -> tuple[str, ...]:
        return ()


class _Reader:
    """Makes samples of feedback in the classes `names`: those of the bundle that is trained further, and after them
    those that were declared."""

    def __init__(self, bundle: "Bundle", others: Mapping[str, Path], tree: _Kept, names: tuple[str, ...]) -> None:
        from eyewright.bundle import bundle_digest

        self.bundle, self.tree, self.names = bundle, tree, names
        self.others = dict(others)
        self.clips: dict[str, Clip] = {}
        self._loaded: dict[str, Bundle | None] = {bundle_digest(bundle.folder): bundle}

    def sample(self, row: "Row", content: Mapping[str, Any], path: Path) -> "Sample":
        self._check_names(content)
        try:
            size_hw = probe_image(path).size_hw
        except EyewrightError:
            raise NotUsableError("the kept image cannot be read") from None
        said = Correction(
            content,
            row.label or "",
            row.size_hw,
            size_hw,
            self.names,
            again=lambda: self._again(row, path),
            keep=lambda mask: self._keep(mask, f"train/masks/feedback-{row.id}.png"),
        )
        target = task_of(self.bundle.task_name).feedback.corrected(said)
        name = f"train/feedback-{row.id}{path.suffix}"
        self.tree.paths[name] = path
        if self.bundle.preparation.clip is not None:
            self.clips[name] = Clip(name, strip=self._frames_of(row, size_hw))
        return Sample(name, target, split="train")

    def _keep(self, mask: NDArray[np.uint8], name: str) -> "MaskFile":
        from eyewright.data.writers.masks import encode_classes

        self.tree.masks[name] = encode_classes(mask)
        return MaskFile(self.tree, name, MappingProxyType({k: k for k in range(len(self.names))}))

    def _check_names(self, content: Mapping[str, Any]) -> None:
        known = {*self.bundle.labels.names, *(content.get("new_classes") or ())}
        if any(name not in known for name in labels_in(content)):
            raise NotUsableError("its label is not one of the model's classes")

    def _again(self, row: "Row", path: Path) -> "tuple[Any, NDArray[np.int64]]":
        """Predict a kept image again with the model whose prediction was judged; return the ids of its classes too."""
        model = self._model(row.digest)
        if model is None:
            raise NotUsableError("its model no longer exists, and the feedback does not say what is right")
        try:
            (found,) = model.predict_images([np.asarray(read_image(path))])
        except EyewrightError:
            raise NotUsableError("the kept image cannot be read") from None
        return found, np.array([self.bundle.labels.id(n) for n in found.label_space.names], np.int64)

    def _frames_of(self, row: "Row", size_hw: tuple[int, int]) -> int:
        """Return how many frames the kept picture of a clip holds: as many as the model that was judged takes."""
        model = self._model(row.digest)
        clip = None if model is None else model.preparation.clip
        if clip is None or size_hw[0] % clip.frames:
            raise NotUsableError("its clip was kept for a model that no longer exists")
        return clip.frames

    def _model(self, digest: str) -> "Bundle | None":
        from eyewright.bundle import bundle_digest, load_bundle

        if digest not in self._loaded:
            found = None
            folder = self.others.get(digest)
            if folder is not None and folder.is_dir():
                try:
                    found = load_bundle(folder) if bundle_digest(folder) == digest else None
                except EyewrightError:
                    found = None
            self._loaded[digest] = found
        return self._loaded[digest]
