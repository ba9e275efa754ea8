"""Nobody but a task's own files may ask for its name, and no file may import itself by way of others."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import eyewright as ew
from eyewright.core.task import task_names

SOURCE = Path(ew.__file__).parent
MODULES = {".".join(p.relative_to(SOURCE.parent).with_suffix("").parts): p for p in SOURCE.rglob("*.py")}
TASKS = frozenset(task_names())
_OWN = ("tasks", "learners", "catalog.py")

PLACES_WITH_NAMES = 0
"""How many places still ask for a task's name. It may only fall; the aim is 0."""

PAGES_WITH_NAMES = 0
"""How many lines of the pages (templates, JavaScript) ask for a task's name. It may only fall."""

CIRCLES: set[frozenset[str]] = set()
"""The import circles that are left: none."""


def _places(path: Path) -> Iterator[str]:
    """Yield where a file compares with a task's name, or has a table or group of them (in `cli/` and `__init__.py`: of
    verbs)."""
    inside = path.relative_to(SOURCE)
    if inside.parts[0] in _OWN:
        return

    def named(node: ast.AST | None) -> bool:
        return isinstance(node, ast.Constant) and node.value in TASKS

    verbs = inside.parts[0] in ("cli", "__init__.py")
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Compare():
                sides = [c for side in (node.left, *node.comparators) for c in ast.walk(side)]
                found = any(named(c) for c in sides)
            case ast.Dict():
                found = not verbs and any(named(k) for k in node.keys)
            case ast.Set() | ast.Tuple() | ast.List():
                found = not verbs and sum(named(e) for e in node.elts) >= 2
            case ast.MatchValue():
                found = named(node.value)
            case ast.Assign() | ast.AnnAssign():
                found = named(node.value)
            case _:
                found = False
        if found:
            yield f"{inside}:{node.lineno}"  # type: ignore[attr-defined]


def _imports(path: Path, module: str) -> set[str]:
    """Return the modules that a file imports, also inside functions, but not only for types."""
    tree = ast.parse(path.read_text())
    only_types = {
        n for a in tree.body if isinstance(a, ast.If) and "TYPE_CHECKING" in ast.dump(a.test) for n in ast.walk(a)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node not in only_types:
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                found.add(inner if inner in MODULES else node.module)
    return {m for m in found if m in MODULES and m != module}


def _circles(graph: dict[str, set[str]]) -> list[frozenset[str]]:
    """Return the groups of files that import each other (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[frozenset[str]] = []

    def visit(v: str) -> None:
        index[v] = low[v] = len(index)
        stack.append(v)
        for w in graph[v]:
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in stack:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            at = stack.index(v)
            group = frozenset(stack[at:])
            del stack[at:]
            if len(group) > 1:
                found.append(group)

    for v in graph:
        if v not in index:
            visit(v)
    return found


def test_no_more_places_than_before_ask_for_a_tasks_name() -> None:
    places = [p for path in sorted(SOURCE.rglob("*.py")) for p in _places(path)]
    assert len(places) <= PLACES_WITH_NAMES, places
    assert len(places) == PLACES_WITH_NAMES, f"there are {len(places)} now: write that down"


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {m: _imports(p, m) for m, p in MODULES.items() if p.name != "__init__.py"}
    assert set(_circles({m: {d for d in deps if d in graph} for m, deps in graph.items()})) <= CIRCLES


def test_the_fence_sees_what_it_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_fence.SOURCE", tmp_path)
    (tmp_path / "data").mkdir()
    trial = tmp_path / "data" / "trial.py"
    name, other = sorted(TASKS)[:2]
    trial.write_text(
        f"def f(task):\n    if task == {name!r}: pass\n    if task in ({name!r}, {other!r}): pass\n"
        f"    match task:\n        case {name!r}: pass\nt = {{{name!r}: 1}}\nu = {name!r}\nv = 'no task'\n"
    )
    assert sorted(int(p.rpartition(":")[2]) for p in _places(trial)) == [2, 3, 3, 5, 6, 7]
    assert _circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [frozenset("abc")]


def test_no_page_asks_for_a_tasks_name() -> None:
    # A built-in element of HTML is called "video"; a page only makes one.
    asked = re.compile("|".join(rf"""[!=]==?\s*["']{name}["']|["']{name}["']\s*[,)]\s*(?=["'])""" for name in TASKS))
    pages = [p for end in ("j2", "js", "html") for p in SOURCE.rglob(f"*.{end}")]
    found = [f"{p.relative_to(SOURCE)}: {m.group()}" for p in pages for m in asked.finditer(p.read_text())]
    assert len(pages) > 10
    assert len(found) <= PAGES_WITH_NAMES, found
