"""The target of regression: one or several numbers of an image, each with a name and a unit."""

__all__ = ["NUMBERS", "NUMBER_CODES", "Numbers", "Quantity", "quantity_named", "quantity_of", "short_names"]

import re
import unicodedata
from collections.abc import Callable, Sequence
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
        "number_outlier": "a number far from all others, such as a misplaced decimal point or another unit",
        "number_implausible": "a number a million robust standard deviations from all others; its row is left out",
        "number_missing": "a row of a table without a number, which is left out",
        "number_unreadable": "a cell of a table that is not a number; its row is left out",
        "number_classes": "numbers with few distinct values, like class ids",
    }
)
"""Every code that a finding about numbers can have, with its meaning."""

_BINS = 10
_A_BIN = 10
_FAR = 20.0
_FEW = 20
# Values that differ by less of their spread are read as one.
_SAME = 0.01
_DIGITS = 9
# What follows the last underscore of a column's name where that is a unit.
_AS_WRITTEN = "g kg mg t nm mm cm m km ml l s ms min h days weeks months years px rad bar psi ha mph rpm ppm"
_UNITS = MappingProxyType(
    {
        **{unit: unit for unit in _AS_WRITTEN.split()},
        "um": "µm", "µm": "µm", "μm": "µm", "°": "°", "°c": "°C", "°f": "°F", "%": "%", "µl": "µl", "ul": "µl",
        "ug": "µg", "µg": "µg", "mpa": "MPa", "kn": "kN", "kw": "kW", "kwh": "kWh", "ft": "ft", "yd": "yd",
        "lb": "lb", "lbs": "lb", "oz": "oz", "inch": "in", "inches": "in", "grams": "g", "litres": "l", "dm": "dm",
        "um2": "µm²", "µm2": "µm²", "mm²": "mm²", "cm²": "cm²", "m²": "m²", "mm³": "mm³", "cm³": "cm³", "m³": "m³",
        "deg": "°", "degc": "°C", "celsius": "°C", "degf": "°F", "kelvin": "K", "hz": "Hz", "khz": "kHz",
        "pct": "%", "percent": "%", "pa": "Pa", "kpa": "kPa", "mm2": "mm²", "cm2": "cm²", "m2": "m²", "mm3": "mm³",
        "cm3": "cm³", "m3": "m³", "kmh": "km/h", "usd": "USD", "eur": "EUR", "gbp": "GBP", "lux": "lx", "db": "dB",
        "mv": "mV", "ma": "mA",
    }
)  # fmt: skip
# "Length / mm", as ISO 80000 writes it, and "length, mm": only units that are known, since names have these too.
_AFTER_A_SIGN = re.compile(r"^(?P<name>.*\S)\s*[/,]\s*(?P<unit>[^\s/,]+)$")
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
    """Return what a column of a table holds: its unit is in brackets, after the last underscore, or after a slash.

    >>> [str(quantity_of(c)) for c in ("weight [g]", "Height (cm)", "temp_degc", "gap_µm", "l / mm", "plan_b")]
    ['weight [g]', 'Height [cm]', 'temp [°C]', 'gap [µm]', 'l [mm]', 'plan_b']
    """
    plain = unicodedata.normalize("NFC", column.strip())
    if (bracketed := _IN_BRACKETS.match(plain)) and bracketed["name"]:
        unit = bracketed["unit"].strip()
        return Quantity(bracketed["name"], _UNITS.get(unit, unit))
    if (signed := _AFTER_A_SIGN.match(plain)) and signed["unit"].lower() in _UNITS:
        return Quantity(signed["name"], _UNITS[signed["unit"].lower()])
    name, _, last = plain.rpartition("_")
    unit = _UNITS.get(last.lower()) if name else None
    return Quantity(plain) if unit is None else Quantity(name, unit)


def short_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of quantities without their units; with them where two differ only in the unit.

    >>> short_names(("weight [g]", "size [mm]", "size [px]"))
    ('weight', 'size [mm]', 'size [px]')
    """
    plain = [quantity_of(name).name for name in names]
    return tuple(p if plain.count(p) == 1 else name for p, name in zip(plain, names, strict=True))


def quantity_named(name: str, names: Sequence[str]) -> str:
    """Return which of `names` is meant, with or without its unit; `name` itself if it is none of them.

    >>> [quantity_named(n, ("weight [g]", "count")) for n in ("weight", "weight_g", "count", "height")]
    ['weight [g]', 'weight [g]', 'count', 'height']
    """
    written = str(quantity_of(name))
    if name in names or written in names:
        return name if name in names else written
    short = short_names(names)
    return names[short.index(name)] if name in short else name


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
            text = f"{quantity} has few distinct values ({shown}), like class ids"
            found.append(Finding("number_classes", text, "use --task classify if these are classes", severity="note"))
            continue
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        spread = high - low
        if spread <= 0:
            continue
        for i in np.flatnonzero(np.abs(values - middle) > _FAR * spread):
            text = f"{quantity} is {values[i]:g}, the usual range is {low:g} to {high:g}"
            found.append(Finding("number_outlier", text, "check the unit and the decimal point", dataset.samples[i].id))
    return found


def _sides(targets: Sequence[Numbers], names: Sequence[str]) -> list[Side]:
    return [(t.values[0], t.cell(names)) for t in targets]


def _apart(targets: Sequence[Numbers]) -> Callable[[Numbers, Numbers], bool]:
    """Return whether two targets differ by more than a small fraction of the spread of any of their numbers."""
    columns = _columns(targets)
    table = np.stack([values for _, values in columns]) if columns else np.zeros((0, 1))
    spread = np.subtract(*np.quantile(table, (0.95, 0.05), axis=1))
    least = _SAME * np.where(spread > 0, spread, np.ptp(table, axis=1))
    return lambda a, b: bool((np.abs(np.subtract(a.values, b.values)) > least).any())


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
    by_degree=True,
    apart=_apart,
    strata=_strata,
    stratum=_stratum,
    describe=_describe,
    of_cell=_of_cell,
)
"""One or several numbers per image."""
