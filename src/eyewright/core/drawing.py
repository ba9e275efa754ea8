"""Inputs of a model that draws images: noise, and the class of what is to be drawn."""

__all__ = ["CLASS", "NOISE", "ClassInput", "NoiseInput", "noise_of"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError, UsageError
from eyewright.core.rng import generator

NOISE, CLASS = "noise", "class"
_MOST = 1 << 20


def noise_of(seed: int, shape: Sequence[int]) -> NDArray[np.float32]:
    """Return the normal noise of a seed, float32 of this shape: the same on every machine.

    >>> noise_of(7, (2,)).round(3).tolist() == noise_of(7, (2,)).round(3).tolist()
    True
    """
    return generator(seed, "noise").standard_normal(tuple(shape), dtype=np.float32)


@dataclass(frozen=True)
class NoiseInput:
    """Normal noise, float32 of a shape, from a seed or as it is.

    >>> NoiseInput((3,)).batch([1, np.zeros(3)])[0].shape
    (2, 3)
    """

    kind: ClassVar[str] = "noise"
    sizes: tuple[int, ...]

    @property
    def dtype(self) -> str:
        return "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.sizes

    @property
    def contract(self) -> Mapping[str, Any]:
        return {"distribution": "standard normal"}

    @property
    def words(self) -> str:
        return "normal noise"

    def batch(self, values: Sequence[Any]) -> tuple[NDArray[np.float32], Sequence[Any]]:
        """Return noise (N, *shape) of seeds, whole numbers of 0 or more, or of arrays that hold it."""
        rows = [noise_of(int(v), self.sizes) if np.ndim(v) == 0 else np.asarray(v, np.float32) for v in values]
        if any(row.shape != self.sizes for row in rows):
            raise UsageError(f"expected noise of the shape {self.sizes}", fix="pass a seed or such an array")
        return np.array(rows, np.float32).reshape(len(rows), *self.sizes), [None] * len(rows)

    def pack(self, value: Any) -> NDArray[np.float32]:
        packed: NDArray[np.float32] = self.batch([value])[0][0]
        return packed

    def unlike(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
        return "" if shape == self.sizes and dtype == np.float32 else f"is not noise of the shape {self.sizes}"

    def unpack(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def to_json(self) -> dict[str, Any]:
        return {"shape": list(self.sizes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "NoiseInput":
        """Read `to_json`'s form.

        Raises:
            BundleError: it is no shape.
        """
        sizes: Any = data.get("shape")
        fits = isinstance(sizes, list) and 1 <= len(sizes) <= 4 and all(type(s) is int and s > 0 for s in sizes)
        if not fits or set(data) != {"shape"} or int(np.prod(sizes, dtype=np.int64)) > _MOST:
            raise BundleError("expected the shape of the noise as whole numbers", fix="export the model again")
        return cls(tuple(sizes))


@dataclass(frozen=True)
class ClassInput:
    """The id of a class, int64.

    >>> ClassInput(3).batch([2, 0])[0].tolist()
    [2, 0]
    """

    kind: ClassVar[str] = "class"
    n: int

    @property
    def dtype(self) -> str:
        return "int64"

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    @property
    def contract(self) -> Mapping[str, Any]:
        return {"range": [0, self.n - 1]}

    @property
    def words(self) -> str:
        return "the id of a class"

    def batch(self, values: Sequence[Any]) -> tuple[NDArray[np.int64], Sequence[Any]]:
        """Return ids (N,), and the same as what decoding must know.

        Raises:
            UsageError: an id of no class.
        """
        ids = np.array([int(v) for v in values], np.int64)
        if len(ids) and not (ids.min() >= 0 and ids.max() < self.n):
            raise UsageError(f"expected class ids from 0 to {self.n - 1}, found others", fix="change the class")
        return ids, ids.tolist()

    def pack(self, value: Any) -> NDArray[np.int64]:
        return np.array(int(value), np.int64)

    def unlike(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
        return "" if shape == () and dtype == np.int64 else "is not a class id"

    def unpack(self, array: NDArray[Any]) -> int:
        return int(array)

    def to_json(self) -> dict[str, Any]:
        return {"classes": self.n}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ClassInput":
        """Read `to_json`'s form.

        Raises:
            BundleError: it is no number of classes.
        """
        n = data.get("classes")
        if type(n) is not int or n < 1 or set(data) != {"classes"}:
            raise BundleError("expected the number of classes", fix="export the model again")
        return cls(n)
