"""The target of regression: one or several numbers of an image, each with a name and a unit."""

__all__ = ["NUMBERS", "NUMBER_CODES", "Numbers", "Quantity", "quantity_of"]

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError
from eyewright.core.report import Finding
from eyewright.data.targets.label import LABEL, Label
from eyewright.data.targets.target import Side, TargetKind
from eyewright.data.targets.whole import WholeImage

if TYPE_CHECKING:
    from eyewright.data.dataset import Dataset
    from eyewright.data.scan import Scan

NUMBER_CODES = MappingProxyType(
    {
        "number_constant": "a number that is the same for every image",
        "number_outlier": "a number far from all others, as a slip of the point or another unit makes it",
        "number_missing": "a row of a table without a number, which is left out",
        "number_unreadable": "a cell of a table that holds something else than a number; its row is left out",
        "number_classes": "numbers of which there are few different ones, as of classes",
    }
)
"""Every code that a finding about numbers can have, with its meaning."""

_BINS = 10
_A_BIN = 10
_FAR = 20.0
_FEW = 20
_DIGITS = 9
# What follows the last underscore of a column's name where that is a unit.
_AS_WRITTEN = "g kg mg t nm mm cm m km ml l s ms min h days weeks months years px rad bar psi ha mph rpm ppm"
_UNITS = MappingProxyType(
    {
        **{unit: unit for unit in _AS_WRITTEN.split()},
        "um": "µm", "deg": "°", "degc": "°C", "celsius": "°C", "degf": "°F", "kelvin": "K", "hz": "Hz", "khz": "kHz",
        "pct": "%", "percent": "%", "pa": "Pa", "kpa": "kPa", "mm2": "mm²", "cm2": "cm²", "m2": "m²", "mm3": "mm³",
        "cm3": "cm³", "m3": "m³", "kmh": "km/h", "usd": "USD", "eur": "EUR", "gbp": "GBP", "lux": "lx", "db": "dB",
        "mv": "mV", "ma": "mA",
    }
)  # fmt: skip
_IN_BRACKETS = re.compile(r"^(?P<name>.*?)\s*[\[(](?P<unit>[^\[\]()]+)[\])]$")
_A_NUMBER = re.compile(r"^(?P<value>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(?P<unit>[^\d\s.,+\-][^\d]*)?$")


@dataclass(frozen=True)
class Quantity:
    """What a number is of: a name, and a unit; no unit for a count or a score.

    >>> str(Quantity("weight", "g")), str(Quantity("count"))
    ('weight [g]', 'count')
    """

    name: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.name} [{self.unit}]" if self.unit else self.name


def quantity_of(column: str) -> Quantity:
    """Return what a column of a table holds: its unit stands in brackets, or after the last underscore.

    >>> [str(quantity_of(c)) for c in ("weight [g]", "Height (cm)", "temp_degc", "plan_b")]
    ['weight [g]', 'Height [cm]', 'temp [°C]', 'plan_b']
    """
    plain = column.strip()
    if (bracketed := _IN_BRACKETS.match(plain)) and bracketed["name"]:
        return Quantity(bracketed["name"], bracketed["unit"].strip())
    name, _, last = plain.rpartition("_")
    unit = _UNITS.get(last.lower()) if name else None
    return Quantity(plain) if unit is None else Quantity(name, unit)


@dataclass(frozen=True)
class Numbers(WholeImage):
    """What was measured or counted: as many `values` as `quantities`, all finite.

    >>> numbers = Numbers((12.5, 3.0), (Quantity("weight", "g"), Quantity("count")))
    >>> numbers.cell(()), numbers.array.tolist()
    ('weight [g]=12.5; count=3', [12.5, 3.0])
    """

    values: tuple[float, ...]
    quantities: tuple[Quantity, ...]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def array(self) -> NDArray[np.float32]:
        """The values, float32 (k,)."""
        return np.array(self.values, np.float32)

    @property
    def held(self) -> tuple[int, ...]:
        """A number of each quantity is there."""
        return tuple(range(len(self)))

    def strata(self, background: frozenset[int]) -> tuple[int, ...]:
        """One target alone is in no range of values; see `NUMBERS.strata`."""
        return ()

    def empty(self, background: frozenset[int]) -> bool:
        """Zero is a number too."""
        return False

    def renamed(self, ids: NDArray[np.int64]) -> Self:
        """Return the numbers with quantity k at `ids[k]`."""
        order = np.argsort(ids)
        values = tuple(self.values[int(k)] for k in order)
        return replace(self, values=values, quantities=tuple(self.quantities[int(k)] for k in order))

    def without(self, ids: NDArray[np.int64]) -> Self:
        """Numbers are of no class."""
        return self

    def cell(self, names: Sequence[str]) -> str:
        """Return what split.csv says of it: names, units and values."""
        pairs = zip(self.quantities, self.values, strict=True)
        return "; ".join(f"{q}={v:.{_DIGITS}g}" for q, v in pairs)


def _from_labels(targets: Sequence[Label], names: Sequence[str]) -> tuple[list[Numbers], tuple[str, ...]]:
    """Read the names of classes as numbers, such as those of folders: "12.5", "12.5 g"."""
    read = {name: _A_NUMBER.match(name.strip()) for name in names}
    odd = next((name for name, match in read.items() if match is None), None)
    if odd is not None:
        fix = "name every folder by its number, such as 12.5 or '12.5 g', or list the images in a CSV of path,value"
        raise DatasetError(f"expected numbers as the names of folders or labels, found {odd!r}", fix=fix)
    units = {(match["unit"] or "").strip() for match in read.values() if match is not None}
    if len(units) > 1:
        shown = ", ".join(repr(u) if u else "none" for u in sorted(units))
        raise DatasetError(f"expected one unit in the names of folders, found {shown}", fix="name them in one unit")
    quantities = (Quantity("value", next(iter(units), "")),)
    values = [Numbers((float(match["value"]),), quantities) for match in read.values() if match is not None]
    return [values[t] for t in targets], tuple(map(str, quantities))


def _columns(targets: Sequence[Numbers]) -> list[tuple[Quantity, NDArray[np.float64]]]:
    table = np.array([t.values for t in targets], np.float64)
    return [(q, table[:, k]) for k, q in enumerate(targets[0].quantities)] if targets else []


def _audit(dataset: "Dataset", scan: "Scan") -> list[Finding]:
    found = [*dataset.problems]
    for quantity, values in _columns([s.marked(Numbers) for s in dataset.samples]):
        different = np.unique(values)
        if len(different) == 1 and len(values) > 1:
            text = f"{quantity} is {different[0]:g} for every image: there is nothing to learn"
            found.append(Finding("number_constant", text, "check the column", severity="error"))
            continue
        if len(different) <= 3 and len(values) >= _FEW:
            shown = ", ".join(f"{v:g}" for v in different)
            text = f"{quantity} is one of {shown}, as classes are"
            found.append(Finding("number_classes", text, "learn classes, if these are no amounts", severity="note"))
            continue
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        spread = high - low
        if spread <= 0:
            continue
        for i in np.flatnonzero(np.abs(values - middle) > _FAR * spread):
            text = f"{quantity} is {values[i]:g}, where {low:g} to {high:g} is usual"
            found.append(Finding("number_outlier", text, "check the unit and the point", dataset.samples[i].id))
    return found


def _sides(targets: Sequence[Numbers], names: Sequence[str]) -> list[Side]:
    return [(t.values[0], t.cell(names)) for t in targets]


def _edges(targets: Sequence[Numbers]) -> NDArray[np.float64]:
    """Return where the first number is cut into ranges that hold about as many images each."""
    first = np.array([t.values[0] for t in targets], np.float64)
    n = max(1, min(_BINS, len(first) // _A_BIN))
    return np.unique(np.quantile(first, np.arange(1, n) / n)) if n > 1 else np.zeros(0)


def _strata(targets: Sequence[Numbers], background: frozenset[int]) -> list[tuple[int, ...]]:
    edges = _edges(targets)
    return [(int(np.searchsorted(edges, t.values[0], side="right")),) for t in targets]


def _stratum(targets: Sequence[Numbers], stratum: int, names: Sequence[str]) -> str:
    edges = [-np.inf, *_edges(targets), np.inf]
    low, high = edges[stratum], edges[stratum + 1]
    quantity = targets[0].quantities[0]
    if np.isinf(low):
        return f"{quantity} in all" if np.isinf(high) else f"{quantity} below {high:g}"
    return f"{quantity} from {low:g}" if np.isinf(high) else f"{quantity} from {low:g} to {high:g}"


def _describe(targets: Sequence[Numbers], names: Sequence[str]) -> str:
    said = [f"{q} from {values.min():g} to {values.max():g}" for q, values in _columns(targets)]
    return ", ".join(said) or "no numbers"


def _of_cell(cell: str, names: Sequence[str]) -> Numbers | None:
    pairs = [part.rpartition("=") for part in cell.split("; ")]
    try:
        values = tuple(float(value) for _, _, value in pairs)
    except ValueError:
        return None
    return Numbers(values, tuple(quantity_of(name) for name, _, _ in pairs))


NUMBERS = TargetKind(
    "numbers",
    least=0,
    bare="numbers",
    side=("value", "values"),
    shares="range of values",
    made_from=MappingProxyType({LABEL: _from_labels}),
    audit=_audit,
    sides=_sides,
    strata=_strata,
    stratum=_stratum,
    describe=_describe,
    of_cell=_of_cell,
)
"""One or several numbers an image."""
