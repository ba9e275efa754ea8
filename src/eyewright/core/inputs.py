"""What a model takes: inputs by name, how each is prepared, and the arrays that come of examples."""

__all__ = [
    "IMAGE",
    "MASK",
    "Example",
    "Given",
    "InputPreparation",
    "Inputs",
    "blank_inputs",
    "count_rows",
    "fits_model",
    "largest_area",
    "name_inputs",
    "prepare",
    "PreparedImage",
    "say_inputs",
    "slice_rows",
    "trim",
    "whole_image",
    "widen",
]

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError

IMAGE = "image"
"""The name of the input of a model that takes one image and nothing else."""

MASK = "mask"
"""The name of the input that says where an image is to be filled."""


class PreparedImage(Protocol):
    """An image that was prepared for its input already, while it was decoded (`imaging.reduction.Prepared`)."""

    @property
    def pixels(self) -> NDArray[np.uint8]: ...

    @property
    def source_hw(self) -> tuple[int, int]: ...


Example = NDArray[np.uint8] | PreparedImage | Mapping[str, Any]
"""One example: a value for each input by name, or the image, uint8 (H, W, 3) or prepared, of a model that takes nothing
else."""

Given = NDArray[Any] | Mapping[str, NDArray[Any]]
"""Prepared arrays by input name, first axis N; or those of "image", for a model that takes nothing else."""


class InputPreparation(Protocol):
    """How one input of a model is made: a value that travels in the bundle as JSON.

    There is one implementation a kind, which training, validation and serving share. A task names the class of each of
    its inputs (`Task.inputs`), which also has `from_json`, the inverse of `to_json`.
    """

    kind: ClassVar[str]
    """What sort of input it makes: "image", …; the same in the bundle."""

    @property
    def dtype(self) -> str:
        """numpy's name of the type of the prepared array."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one prepared example."""
        ...

    @property
    def contract(self) -> Mapping[str, Any]:
        """What the tensor contract of the bundle says in addition to type and shape, such as layout and range."""
        ...

    @property
    def words(self) -> str:
        """What the array holds, in a few words, such as "RGB pixels"."""
        ...

    def batch(self, values: Sequence[Any], /) -> tuple[NDArray[Any], Sequence[Any]]:
        """Return values prepared, (N, *shape), and for each what decoding must know, such as a `Placement`."""
        ...

    def pack(self, value: Any, /) -> NDArray[Any]:
        """Return a value as an array of numbers, as the golden pairs of a bundle keep it."""
        ...

    def unlike(self, shape: tuple[int, ...], dtype: np.dtype[Any], /) -> str:
        """Return what is wrong with an array of somebody's that should be a packed value; "" where nothing is."""
        ...

    def unpack(self, array: NDArray[Any], /) -> Any:
        """Return the value that was packed."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return the value as plain JSON types, without its kind."""
        ...


Inputs = Mapping[str, InputPreparation]
"""How each input of a model is prepared, by name."""


def prepare(inputs: Inputs, examples: Sequence[Example]) -> tuple[Given, Sequence[Any]]:
    """Return the arrays of examples, and for each example what decoding must know of it.

    Of a model with one input that is what its preparation says (the `Placement` of an image), of others a mapping by
    input name.

    Raises:
        UsageError: an example does not have just the inputs of the model.
    """
    if tuple(inputs) == (IMAGE,):
        values = [_checked(inputs, e)[IMAGE] if isinstance(e, Mapping) else e for e in examples]
        return inputs[IMAGE].batch(values)
    rows = [_checked(inputs, e) for e in examples]
    done = {name: one.batch([row[name] for row in rows]) for name, one in inputs.items()}
    arrays = {name: array for name, (array, _) in done.items()}
    if len(inputs) == 1:
        ((_, known),) = done.values()
        return arrays, known
    return arrays, [{name: known[i] for name, (_, known) in done.items()} for i in range(len(rows))]


def name_inputs(inputs: Inputs, given: Given) -> Mapping[str, NDArray[Any]]:
    """Return prepared arrays by input name, each of its type and shape, all of one length.

    Raises:
        UsageError: another name, type, shape or length.
    """
    named = given if isinstance(given, Mapping) else {IMAGE: given}
    if set(named) != set(inputs):
        raise _other_names(inputs, named)
    for name, one in inputs.items():
        array = named[name]
        if array.dtype != one.dtype or not array.ndim or not _fits(array.shape, one):
            sizes = ", ".join(str(s) for s in one.shape)
            raise UsageError(f"expected {name} as {one.dtype} (N, {sizes}), found {array.dtype} {array.shape}")
    lengths = {name: len(array) for name, array in named.items()}
    if len(set(lengths.values())) > 1:
        raise UsageError(f"expected inputs of one length, found {lengths}")
    return named


def count_rows(named: Mapping[str, NDArray[Any]]) -> int:
    """Return the number of examples in arrays by input name; 1 of a model without inputs, which runs once."""
    return next((len(array) for array in named.values()), 1)


def slice_rows(named: Mapping[str, NDArray[Any]], start: int, stop: int) -> dict[str, NDArray[Any]]:
    """Return some of the examples in arrays by input name."""
    return {name: array[start:stop] for name, array in named.items()}


def trim(inputs: Inputs, named: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return arrays by input name without the end of a free axis (`free_axes`) that holds nothing in any example, such
    as the columns right of the longest line of text: it would only cost time."""
    ready: Mapping[str, Any] = inputs
    return {name: ready[name].trim(array) if _free_axes(ready[name]) else array for name, array in named.items()}


def widen(
    inputs: Inputs, answers: Mapping[str, NDArray[Any]], named: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Return answers to trimmed arrays as answers to whole ones: along their first axis after the batch, which runs
    along the free axis of the input, they are 0 where the input was cut off."""
    name = next(n for n, one in inputs.items() if _free_axes(one))
    axis = _free_axes(inputs[name])[0]
    whole, cut = inputs[name].shape[axis - 1], named[name].shape[axis]
    wide = {}
    for key, array in answers.items():
        missing = array.shape[1] * whole // cut - array.shape[1]
        wide[key] = np.pad(array, [(0, 0), (0, missing)] + [(0, 0)] * (array.ndim - 2))
    return wide


def fits_model(one: InputPreparation, shape: Sequence[int | str | None]) -> bool:
    """Return whether a model declares the shape of an input: any number of rows, and along a free axis any size."""
    free = _free_axes(one)
    rest = zip(range(1, len(shape)), shape[1:], one.shape, strict=False)
    return len(shape) == 1 + len(one.shape) and all(
        s == w or (a in free and not isinstance(s, int)) for a, s, w in rest
    )


def _fits(shape: tuple[int, ...], one: Any) -> bool:
    """Return whether a prepared array has the shape of its input; along a free axis it may be shorter."""
    free = _free_axes(one)
    rest = zip(range(1, len(shape)), shape[1:], one.shape, strict=False)
    return len(shape) == 1 + len(one.shape) and all(s == w or (a in free and 0 < s < w) for a, s, w in rest)


def _free_axes(one: Any) -> tuple[int, ...]:
    found: tuple[int, ...] = getattr(one, "free_axes", ())
    return found


def blank_inputs(inputs: Inputs, n: int = 1) -> dict[str, NDArray[Any]]:
    """Return arrays of zeros for `n` examples, by input name."""
    return {name: np.zeros((n, *one.shape), one.dtype) for name, one in inputs.items()}


def largest_area(inputs: Inputs) -> int:
    """Return the number of pixels of one example: those of its largest input, whatever its channels."""
    return max((int(np.prod(one.shape[:-1], dtype=np.int64)) for one in inputs.values()), default=1)


def say_inputs(names: Iterable[str]) -> str:
    """Return what a model takes, in words.

    >>> say_inputs(["image", "text"])
    'image and text'
    """
    return " and ".join(str(name)[:60] for name in names) or "no input"


def whole_image(example: Example) -> NDArray[np.uint8]:
    """Return the image of an example of a model that takes nothing else, uint8 (H, W, 3), to be cut or turned.

    >>> whole_image({"image": np.zeros((2, 3, 3), np.uint8)}).shape
    (2, 3, 3)

    Raises:
        UsageError: the image was prepared already.
    """
    image: Any = example[IMAGE] if isinstance(example, Mapping) else example
    if not isinstance(image, np.ndarray):
        raise UsageError("expected an image as an array, found a prepared one", fix="read it with eyewright.read_image")
    return image


def _checked(inputs: Inputs, example: Example) -> Mapping[str, Any]:
    """Return the values of an example by input name.

    Raises:
        UsageError: they are not just those of the model.
    """
    named = example if isinstance(example, Mapping) else {IMAGE: example}
    if set(named) != set(inputs):
        raise _other_names(inputs, named)
    return named


def _other_names(inputs: Inputs, named: Mapping[str, Any]) -> UsageError:
    return UsageError(
        f"the model takes {say_inputs(inputs)}, found {say_inputs(named)}", fix="pass a value for each of its inputs"
    )
