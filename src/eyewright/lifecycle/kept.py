"""From what people said of predictions to samples that can be learnt from, and what cannot be used and why."""

__all__ = ["NEW_CLASSES", "Learnable", "Unused", "Unusable", "learnable_feedback", "tally"]

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import EyewrightError

if TYPE_CHECKING:
    from PIL import Image

    from eyewright.bundle import Bundle
    from eyewright.data import Dataset, Sample
    from eyewright.monitoring import Row, Store

IGNORE = 255
_EXAMPLES = 5

_FORMATS = MappingProxyType({"classify": "imagefolder", "detect": "coco", "instance": "coco", "segment": "masks"})


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

_NEW_CLASS = f"it declares a new class: merge OUT/{NEW_CLASSES} into the data and train anew (eyewright train)"


@dataclass(frozen=True)
class Learnable:
    """Kept images with what is right in them, as a dataset whose every sample is in train; `format` is what it is
    written in. `declared` are the images that show a class which the model does not know, in a dataset that has it.
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
    from eyewright.core.labels import LabelSpace
    from eyewright.data.dataset import Dataset, Sample
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
                raise _NotUsableError("it is of a model of another task or other classes")
            if not row.image:
                raise _NotUsableError("the image was not kept (serve with --keep images=P%)")
            path = image_path(home, row.image)
            if not path.exists():
                raise _NotUsableError("the kept image is gone")
            if last[row.image] != row.id:
                raise _NotUsableError("later feedback on the same image replaces it")
            sample = reader.sample(row, content, path)
            if any(n not in own for n in _labels_of(content)):
                strange.append(sample)
                raise _NotUsableError(_NEW_CLASS)
        except _NotUsableError as reason:
            out.append(Unusable(row.id, str(reason)))
            continue
        samples.append(sample)
        ids.append(row.id)
    kind = _FORMATS[bundle.task_name]
    dataset = Dataset(tree, tuple(samples), LabelSpace(own), kind, task=bundle.task_name)
    declared = None
    if strange:
        declared = Dataset(tree, tuple(strange), LabelSpace((*own, *named)), kind, task=bundle.task_name)
    return Learnable(dataset, tuple(ids), kind, declared), out


def _labels_of(content: Mapping[str, Any]) -> list[str]:
    """Return the labels that feedback says are there."""
    found = [content.get("label"), *(o.get("label") for o in content.get("objects") or ())]
    return [name for name in found if name is not None]


def _declared_of(content: Mapping[str, Any]) -> list[str]:
    used = _labels_of(content)
    return [n for n in content.get("new_classes") or () if n in used]


class _NotUsableError(Exception):
    """Why feedback cannot be used; caught where it is counted."""


class _Kept:
    """A tree over kept images under the names that they are written by, and over masks that were made from feedback."""

    def __init__(self, home: Path) -> None:
        self.root = home
        self.paths: dict[str, Path] = {}
        self.masks: dict[str, bytes] = {}

    def names(self) -> tuple[str, ...]:
        return tuple(sorted([*self.paths, *self.masks]))

    def content(self, name: str) -> bytes:
        from eyewright.core.errors import UnreadableImageError

        if name in self.masks:
            return self.masks[name]
        try:
            return self.paths[name].read_bytes()
        except OSError as error:
            raise UnreadableImageError(f"cannot read {name!r}: {error.strerror}", fix="check the file") from error

    def picture(self, name: str) -> "Image.Image":
        from eyewright.imaging.decode import read_picture

        return read_picture(self.content(name))

    def folders(self) -> tuple[str, ...]:
        return ()


class _Reader:
    """Makes samples of feedback in the classes `names`: those of the bundle that is trained further, and after them
    those that were declared."""

    def __init__(self, bundle: "Bundle", others: Mapping[str, Path], tree: _Kept, names: tuple[str, ...]) -> None:
        from eyewright.bundle import bundle_digest

        self.bundle, self.tree, self.names = bundle, tree, names
        self.others = dict(others)
        self._loaded: dict[str, Bundle | None] = {bundle_digest(bundle.folder): bundle}

    def sample(self, row: "Row", content: Mapping[str, Any], path: Path) -> "Sample":
        from eyewright.data.dataset import Sample
        from eyewright.imaging.decode import probe_image

        names = self.names
        self._check_names(content)
        try:
            size_hw = probe_image(path).size_hw
        except EyewrightError:
            raise _NotUsableError("the kept image cannot be read") from None
        file = f"feedback-{row.id}{path.suffix}"
        if self.bundle.task_name == "classify":
            label = content.get("label", row.label if content.get("correct") is True else None)
            if label is None:
                raise _NotUsableError("it says that the prediction is wrong, and not what is right")
            if label not in names:
                raise _NotUsableError("its label is none of the model's classes")
            name = f"train/{label}/{file}"
            target: Any = names.index(label)
        elif self.bundle.task_name == "segment":
            name = f"train/images/{file}"
            target = self._mask(row, content, path, size_hw, f"train/masks/feedback-{row.id}.png")
        else:
            name = f"images/train/{file}"
            target = self._objects(row, content, path, size_hw)
        self.tree.paths[name] = path
        return Sample(name, target, split="train")

    def _check_names(self, content: Mapping[str, Any]) -> None:
        known = {*self.bundle.labels.names, *(content.get("new_classes") or ())}
        if any(name not in known for name in _labels_of(content)):
            raise _NotUsableError("its label is none of the model's classes")

    def _objects(self, row: "Row", content: Mapping[str, Any], path: Path, size_hw: tuple[int, int]) -> Any:
        from eyewright.data.targets.objects import Objects, Outline, no_objects
        from eyewright.tasks.feedback import true_objects

        said = true_objects(content)
        if said is None:
            found = self._again(row, content, path)
            outlines = [] if found.masks is None else [_outline(m) for m in found.masks]
            ids = self._own_ids(found)
            return Objects(found.boxes_xyxy.astype(np.float64), ids, np.zeros(len(ids), bool), outlines)
        if not said:
            return no_objects()
        scale = np.array([size_hw[1] / row.size_hw[1], size_hw[0] / row.size_hw[0]] * 2)
        ids = np.array([self.names.index(o["label"]) for o in said], np.int64)
        masks = [_mask_of(o, row.size_hw, size_hw) for o in said]
        boxes = [
            np.array(o["box_xyxy"], np.float64) * scale if m is None else _outline(m).box()
            for o, m in zip(said, masks, strict=True)
        ]
        crowd = np.zeros(len(said), bool)
        if self.bundle.task_name == "detect":
            return Objects(np.stack(boxes), ids, crowd)
        # A box without an outline is no mask to learn, and no background either.
        crowd = np.array([m is None for m in masks])
        if crowd.all():
            raise _NotUsableError("its objects have no outlines, which instances are learnt from")
        outlines = [Outline() if m is None else _outline(m) for m in masks]
        return Objects(np.stack(boxes), ids, crowd, outlines)

    def _mask(self, row: "Row", content: Mapping[str, Any], path: Path, size_hw: tuple[int, int], name: str) -> Any:
        from eyewright.data.targets.mask import MaskFile
        from eyewright.data.writers.masks import encode_classes
        from eyewright.tasks.feedback import true_objects

        names = self.names
        said = true_objects(content)
        if said is not None:
            mask = self._painted(said, row.size_hw, size_hw)
        else:
            found = self._again(row, content, path)
            order = self._own_order(found.label_space.names)
            mask = order[found.mask].astype(np.uint8)
            judged = content.get("classes")
            if content.get("correct") is not True and isinstance(judged, dict) and not all(judged.values()):
                right = [names.index(n) for n, ok in judged.items() if ok and n in names]
                if not right or not np.isin(mask, right).any():
                    raise _NotUsableError("it says which classes are wrong, and not what is right")
                # Where a class was wrong nobody knows what the pixels are; the background may hide what was missed.
                mask = np.where(np.isin(mask, right), mask, IGNORE).astype(np.uint8)
        if bool((mask == IGNORE).all()):
            raise _NotUsableError("its mask holds no pixel of a class")
        self.tree.masks[name] = encode_classes(mask)
        return MaskFile(self.tree, name, MappingProxyType({k: k for k in range(len(names))}))

    def _painted(
        self, said: Sequence[Mapping[str, Any]], source_hw: tuple[int, int], size_hw: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Paint what is there; what nothing covers is background, unless that is marked itself."""
        from eyewright.data.dataset import BACKGROUND

        names = self.names
        background = next((k for k, n in enumerate(names) if n.lower() in BACKGROUND), None)
        if not said and background is None:
            raise _NotUsableError("its mask holds no pixel of a class")
        marked = any(names.index(o["label"]) == background for o in said)
        mask = np.full(size_hw, IGNORE if background is None or marked else background, np.uint8)
        for one in sorted(said, key=lambda o: names.index(o["label"]) != background):
            pixels = _mask_of(one, source_hw, size_hw)
            if pixels is not None:
                mask[pixels] = names.index(one["label"])
        return mask

    def _again(self, row: "Row", content: Mapping[str, Any], path: Path) -> Any:
        """Predict a kept image again with the model whose prediction was judged."""
        from eyewright.imaging.decode import read_image

        judged = content.get("classes") if self.bundle.task_name == "segment" else None
        if content.get("correct") is not True and not judged:
            raise _NotUsableError("it says that the prediction is wrong, and not what is right")
        model = self._model(row.digest)
        if model is None:
            raise _NotUsableError("it is of a model that is not there any more, and does not hold what was right")
        try:
            (found,) = model.predict_images([np.asarray(read_image(path))])
        except EyewrightError:
            raise _NotUsableError("the kept image cannot be read") from None
        return found

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

    def _own_order(self, names: Sequence[str]) -> NDArray[np.int64]:
        return np.array([self.bundle.labels.id(n) for n in names], np.int64)

    def _own_ids(self, found: Any) -> NDArray[np.int64]:
        ids: NDArray[np.int64] = self._own_order(found.label_space.names)[found.label_ids]
        return ids


def _outline(mask: NDArray[np.bool_]) -> Any:
    from eyewright.data.targets.objects import Outline
    from eyewright.imaging.rasters import encode_counts

    return Outline(rle={"size": list(mask.shape), "counts": encode_counts(mask)})


def _mask_of(one: Mapping[str, Any], source_hw: tuple[int, int], size_hw: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Return the pixels of one object in the kept image; None where it has none."""
    from eyewright.imaging.rasters import decode_counts, parse_counts

    given = one.get("segmentation")
    if given is None:
        return None
    whole = decode_counts(parse_counts(given["counts"]), (given["size"][0], given["size"][1]))
    if whole.shape != tuple(size_hw):
        # The kept image is smaller than the one that was predicted: the pixel at each centre.
        rows = ((np.arange(size_hw[0]) + 0.5) * whole.shape[0] / size_hw[0]).astype(np.int64)
        columns = ((np.arange(size_hw[1]) + 0.5) * whole.shape[1] / size_hw[1]).astype(np.int64)
        whole = whole[np.ix_(rows, columns)]
    return whole if bool(whole.any()) else None
