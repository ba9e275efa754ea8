"""The judge of generated images: a classifier of the real ones, made before the generator and unknown to it."""

__all__ = ["JUDGE_FILES", "Judge", "judge_in", "open_judge", "try_judge", "write_judge"]

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.arrays import ArrayFile
from eyewright.core.errors import BundleError, plain_reason
from eyewright.core.files import write_bytes
from eyewright.core.labels import LabelSpace
from eyewright.core.quoting import quoted
from eyewright.imaging.preparation import Preparation

FOLDER = "judge"
MODEL, ABOUT, ARRAYS = "model.onnx", "judge.json", "arrays.npz"
JUDGE_FILES = (MODEL, ABOUT, ARRAYS)
_BATCH = 500
_AGAIN = "train again"


@dataclass(frozen=True, eq=False)
class Judge:
    """A classifier whose features generated and real images are compared in.

    `accuracy` is value, lower and upper end of its interval and n, on images that neither it nor the generator was
    trained on. `centre` (F,) and `axes` (F, D) turn the classifier's features into its principal components; `train`
    (M, D) are those of training images, `held_out` of validation images. `digest` is the SHA-256 of the model:
    numbers under another digest are not comparable.
    """

    preparation: Preparation
    labels: LabelSpace
    digest: str
    accuracy: Mapping[str, float]
    output: str
    centre: NDArray[np.float64]
    axes: NDArray[np.float64]
    train: NDArray[np.float32]
    held_out: NDArray[np.float32]
    session: Any

    def prepared(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return real images, uint8 (H, W, 3), as the generator learnt them, uint8 (N, h, w, C)."""
        return self.preparation.batch(list(images))[0]

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return features (N, D) and class ids (N,) of prepared or generated pixels, uint8 (N, H, W, C)."""
        raw, ids = run_judge(self.session, self.output, pixels)
        found: NDArray[np.float32] = ((raw - self.centre) @ self.axes).astype(np.float32)
        return found, ids


def run_judge(session: Any, output: str, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the classifier's own features (N, F) and class ids (N,)."""
    features, ids = [np.zeros((0, 1))], [np.zeros(0, np.int64)]
    for start in range(0, len(pixels), _BATCH):
        part = np.ascontiguousarray(pixels[start : start + _BATCH])
        probabilities, found = session.run(["probabilities", output], {"image": part})
        features.append(np.asarray(found, np.float64).reshape(len(part), -1))
        ids.append(np.asarray(probabilities).argmax(1))
    return np.concatenate(features[1:] or features), np.concatenate(ids)


def try_judge(judge: Judge) -> None:
    """Ask a judge about one black image, and compare what it stores with its own answer.

    Raises:
        BundleError: the model cannot be run, or its features are not those of the stored arrays.
    """
    height, width, channels = judge.preparation.shape
    try:
        found, ids = judge(np.zeros((1, height, width, channels), np.uint8))
        fits = {judge.train.shape[1:], judge.held_out.shape[1:], found.shape[1:]} == {(judge.axes.shape[1],)}
        finite = all(np.isfinite(a).all() for a in (found, judge.centre, judge.axes, judge.train, judge.held_out))
    except Exception as error:  # arrays and a model of a stranger can be wrong in any way
        said = plain_reason(error).splitlines()[0][:200]
        raise BundleError(f"the judge of generated images cannot be asked: {said}", fix=_AGAIN) from error
    if not fits or not finite or not 0 <= int(ids[0]) < len(judge.labels):
        raise BundleError("the judge of generated images does not fit what it stores", fix=_AGAIN)


def write_judge(
    folder: Path,
    *,
    model: bytes,
    output: str,
    preparation: Preparation,
    labels: LabelSpace,
    accuracy: Mapping[str, float],
    arrays: Mapping[str, NDArray[Any]],
) -> None:
    """Write a judge's files; `arrays` are "centre", "axes", "train" and "held_out"."""
    about = {
        "output": output,
        "preparation": preparation.to_json(),
        "labels": list(labels.names),
        "accuracy": dict(accuracy),
        "sha256": hashlib.sha256(model).hexdigest(),
    }
    buffer = BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_bytes(folder / MODEL, model)
    write_bytes(folder / ARRAYS, buffer.getvalue())
    write_bytes(folder / ABOUT, (json.dumps(about, indent=1, sort_keys=True) + "\n").encode())


def judge_in(folder: Path) -> bool:
    """Return whether a finished judge lies in a folder."""
    return all((folder / name).is_file() for name in JUDGE_FILES)


def open_judge(
    folder: Path,
    open_session: Callable[[bytes], Any],
    check: Callable[[str, bytes], None] = lambda name, data: None,
) -> Judge:
    """Open a judge, its model by `open_session`; `check(name, content)` may refuse a file.

    Raises:
        BundleError: a file is missing, damaged, or not of the others.
    """
    try:
        content = {name: (folder / name).read_bytes() for name in JUDGE_FILES}
    except OSError as error:
        raise BundleError(f"the judge in {quoted(folder)} cannot be read: {error.strerror}", fix=_AGAIN) from None
    for name, data in content.items():
        check(name, data)
    try:
        about = json.loads(content[ABOUT])
        if hashlib.sha256(content[MODEL]).hexdigest() != about["sha256"]:
            raise ValueError("the model has another digest")
        accuracy = {k: float(about["accuracy"][k]) for k in ("value", "low", "high", "n")}
        with ArrayFile(content[ARRAYS], ARRAYS) as arrays:
            kept = {k: np.asarray(arrays[k]) for k in ("centre", "axes", "train", "held_out")}
        return Judge(
            Preparation.from_json(about["preparation"]),
            LabelSpace(tuple(about["labels"])),
            about["sha256"],
            accuracy,
            str(about["output"]),
            kept["centre"].astype(np.float64),
            kept["axes"].astype(np.float64),
            kept["train"].astype(np.float32),
            kept["held_out"].astype(np.float32),
            open_session(content[MODEL]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"the judge in {quoted(folder)} is damaged: {plain_reason(error)}", fix=_AGAIN) from None
