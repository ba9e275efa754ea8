"""Golden pairs: a few examples in a bundle with the arrays they must be prepared to and the answers they must give."""

__all__ = ["GOLDEN_TOLERANCE", "golden_arrays", "read_golden", "run_golden"]

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.arrays import ArrayFile
from eyewright.core.errors import BundleError, plain_reason
from eyewright.core.inputs import IMAGE, Example, Inputs, name_inputs, prepare
from eyewright.core.predictor import Predictor, decode_everything, inputs_of, predict_everything
from eyewright.core.task import task_of

GOLDEN_TOLERANCE = MappingProxyType({"float32": 1e-4, "float16": 5e-3, "int8": 2e-2})
"""Largest difference of a probability between the golden pairs and this machine, by precision; of others a fraction of
their range. Where numbers are rounded to 8 bits, a last bit that two machines compute differently can tip a step."""

_MOST_GOLDEN = 64
_AGAIN = "export the model again"


def golden_arrays(inputs: Inputs, examples: Sequence[Example]) -> dict[str, NDArray[Any]]:
    """Return what `golden.npz` holds of some examples in addition to the answers: their number, the prepared arrays of
    every input ("pixels" of an image alone, else "prepared_NAME"), and the examples as they were ("NAME_0", …)."""
    given, _ = prepare(inputs, examples)
    named = name_inputs(inputs, given)
    arrays: dict[str, NDArray[Any]] = {"n": np.array(len(examples))}
    arrays |= {_prepared(inputs, name): array for name, array in named.items()}
    for name, one in inputs.items():
        values = [e[name] if isinstance(e, Mapping) else e for e in examples]
        arrays |= {f"{name}_{k}": one.pack(value) for k, value in enumerate(values)}
    return arrays


def read_golden(pairs: ArrayFile, inputs: Inputs) -> list[Example]:
    """Read the examples of golden pairs.

    Raises:
        BundleError: they are not what the inputs take, or too many or too large.
    """
    n = 0
    if pairs.shape("n") == () and pairs.dtype("n").kind in "iu":
        n = int(pairs["n"])
    if not 1 <= n <= _MOST_GOLDEN:
        raise BundleError(f"golden.npz cannot be read: expected 1 to {_MOST_GOLDEN} examples", fix="export it again")
    rows = []
    for k in range(n):
        row = {}
        for name, one in inputs.items():
            key = f"{name}_{k}"
            wrong = one.unlike(pairs.shape(key), pairs.dtype(key))
            if wrong:
                raise BundleError(f"golden.npz cannot be read: {key!r} {wrong}", fix=_AGAIN)
            row[name] = one.unpack(pairs[key])
        rows.append(row)
    return [row[IMAGE] for row in rows] if tuple(inputs) == (IMAGE,) else list(rows)


def run_golden(bundle: Predictor, data: bytes, *, precision: str) -> None:
    """Run the stored examples through preparation and model; a bundle that disagrees with itself is not ready.

    Raises:
        BundleError: the pairs cannot be read, the model fails, or gives other outputs than when it was exported.
    """
    inputs = inputs_of(bundle)
    with ArrayFile(data, "golden.npz") as pairs:
        examples = read_golden(pairs, inputs)
        outputs = task_of(bundle.task_name).output_names
        kept = {}
        for name, one in inputs.items():
            key, wanted = _prepared(inputs, name), (len(examples), *one.shape)
            if pairs.shape(key) != wanted or pairs.dtype(key) != one.dtype:
                raise BundleError(
                    f"golden.npz cannot be read: expected {key} {one.dtype} {wanted}, found {pairs.shape(key)}",
                    fix=_AGAIN,
                )
            kept[name] = pairs[key]
        expected = {name: pairs[name] for name in outputs}
    given, placements = prepare(inputs, examples)
    named = name_inputs(inputs, given)
    if not all(np.array_equal(named[name], array) for name, array in kept.items()):
        raise BundleError(
            "the golden images have different pixels after preparation here than where the bundle was exported",
            fix="install the Pillow version that provenance in bundle.json names",
            code="bundle_self_test",
        )
    found = bundle.raw(given)
    _check_answers(bundle, found, len(examples))
    if getattr(bundle, "decoding", {}).get("iou", 0.0) >= 1:
        # Such a model gives a set: which of two answers that are nearly as sure comes first may differ.
        found = _in_order_of(expected, found)
    tolerance = GOLDEN_TOLERANCE[precision]
    for name, answer in expected.items():
        worst = (
            float(np.abs(found[name] - np.asarray(answer, np.float32)).max())
            if found[name].shape == answer.shape
            else float("inf")
        )
        # Probabilities differ by so much at most; boxes are in pixels, and other arrays have sizes of their own.
        levels = answer.dtype == np.uint8
        unit = 1.0 if name in ("probabilities", "scores") else max(1.0, float(np.abs(answer).max()))
        # A last bit can tip a level.
        unit = max(unit, 1 / tolerance) if levels else unit
        if not worst <= tolerance * unit:
            raise BundleError(
                f"the golden pairs differ by {worst:.2g} in {name}, more than {tolerance * unit:g}",
                fix="export the model again",
                code="bundle_self_test",
            )
    _decode_answers(bundle, found, placements, examples)


def _decode_answers(
    bundle: Predictor, found: Mapping[str, NDArray[np.float32]], placements: Sequence[Any], examples: Sequence[Example]
) -> None:
    """Make predictions of the golden answers: classes, thresholds and decoding of the manifest must fit the arrays.

    Raises:
        BundleError: they do not.
    """
    try:
        if task_of(bundle.task_name).whole is None:
            decode_everything(bundle, found, placements)
        else:
            predict_everything(bundle, examples)
    except Exception as error:  # arrays of a foreign model can be wrong in any way
        raise BundleError(f"the golden outputs cannot be decoded: {plain_reason(error)}", fix=_AGAIN) from error


def _prepared(inputs: Inputs, name: str) -> str:
    """Return what the prepared array of an input is called in `golden.npz`."""
    return "pixels" if tuple(inputs) == (IMAGE,) else f"prepared_{name}"


def _check_answers(bundle: Predictor, found: Mapping[str, NDArray[np.float32]], n: int) -> None:
    """Compare the shapes of answers with the classes that the bundle names."""
    classes = len(bundle.labels)
    for output in task_of(bundle.task_name).outputs:
        name, wanted = output.name, (n, *output.expected(classes))
        shape = found[name].shape if name in found else None
        if shape is None:
            continue
        if len(shape) != len(wanted) or any(w not in (None, s) for s, w in zip(shape, wanted, strict=True)):
            said = ", ".join("any" if w is None else str(w) for w in wanted)
            raise BundleError(f"expected {name} ({said}), found {shape}", fix="export the model again")


def _in_order_of(
    expected: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    """Return the answers of each image in the order of the expected ones, each next to the nearest that is left."""
    if any(found[name].shape != wanted.shape for name, wanted in expected.items()):
        return dict(found)
    ordered = {name: array.copy() for name, array in found.items()}
    for i in range(len(expected["boxes"])):
        apart = np.abs(expected["boxes"][i][:, None] - found["boxes"][i][None]).max(2)
        apart += np.abs(expected["scores"][i][:, None] - found["scores"][i][None]).max(2)
        for k in range(len(apart)):
            nearest = int(apart[k].argmin())
            apart[:, nearest] = np.inf
            for name in ordered:
                ordered[name][i, k] = found[name][i, nearest]
    return ordered
