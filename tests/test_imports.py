"""Imports are at the top of a module, unless that would load another library, close a circle or slow the start."""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import eyewright

SOURCE = Path(eyewright.__file__).parent
LATE_ROOMS = ("cli", "lifecycle", "tasks")
"""Every command loads these, and each needs a small part of what they import."""
LATE_MODULES = {
    "eyewright.__main__",
    "eyewright.bundle.load",
    "eyewright.bundle.texts",
    "eyewright.data.readers.annotated",
    "eyewright.delivery.target",
    "eyewright.imaging.clips",
    "eyewright.imaging.isolation",
    "eyewright.imaging.preparation",
    "eyewright.imaging.sources.opening",
    "eyewright.imaging.tiles",
    "eyewright.imaging.video_facts",
}
"""Every command or prediction loads them, and they do something before, or seldom, what they import late."""


class Imports:
    """What each module of the package imports: at its top, and inside its functions."""

    def __init__(self) -> None:
        self.paths = {_name_of(p): p for p in SOURCE.rglob("*.py")}
        self.own: dict[str, set[str]] = defaultdict(set)
        self.named: dict[str, set[str]] = defaultdict(set)
        self.foreign: dict[str, set[str]] = defaultdict(set)
        self.late: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for name, path in self.paths.items():
            self.own[name] |= set(self._parents(name)[:-1])
            for target, line, inside in _imports(ast.parse(path.read_text("utf-8")), set(self.paths)):
                if inside and target.startswith("eyewright"):
                    self.late[name].append((target, line))
                elif target.startswith("eyewright"):
                    self.own[name] |= set(self._parents(target))
                    self.named[name].add(target)
                elif not inside and (top := target.partition(".")[0]) not in sys.stdlib_module_names:
                    self.foreign[name].add(top)
        self.loaded = lru_cache(None)(self._loaded)

    def _parents(self, name: str) -> list[str]:
        parts = name.split(".")
        return [n for k in range(len(parts)) if (n := ".".join(parts[: k + 1])) in self.paths]

    def _loaded(self, name: str, by_name: bool = False) -> frozenset[str]:
        """Return what is loaded with a module; `by_name` leaves out packages that are loaded only to reach theirs."""
        seen: set[str] = set()
        left = [name] if by_name else self._parents(name)
        while left:
            if (one := left.pop()) not in seen:
                seen.add(one)
                left += self.named[one] if by_name else self.own[one]
        return frozenset(seen)

    def libraries(self, name: str) -> set[str]:
        """Return the libraries that are loaded with a module."""
        return set().union(*(self.foreign[m] for m in self.loaded(name)))


def _name_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


def _imports(tree: ast.AST, known: set[str], inside: bool = False) -> Iterator[tuple[str, int, bool]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((a.name, node.lineno, inside) for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for a in node.names:
                full = f"{node.module}.{a.name}"
                yield full if full in known else node.module, node.lineno, inside
        else:
            yield from _imports(node, known, inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_an_import_inside_a_function_has_a_reason() -> None:
    imports = Imports()
    needless = []
    for name, late in imports.late.items():
        if name.split(".")[1:2] in ([r] for r in LATE_ROOMS) or name in LATE_MODULES:
            continue
        for target, line in late:
            circular = name in imports.loaded(target, by_name=True)
            if not circular and imports.libraries(target) <= imports.libraries(name):
                needless.append(f"{imports.paths[name]}:{line}: import {target} at the top")
    assert not needless


def test_what_chooses_late_still_does() -> None:
    # An exception that is no longer needed would hide the next needless import.
    late = Imports().late
    assert all(late[name] for name in LATE_MODULES)
