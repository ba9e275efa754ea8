"""A message never holds Python's own text of a file error, "[Errno 2] No such file or directory: 'a.csv'"."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import eyewright
from eyewright.core.errors import InputError
from eyewright.monitoring.exchange import _lines


def _raw_reasons(tree: ast.AST) -> Iterator[int]:
    """Yield the lines on which a handler of OSError puts the error itself into a text."""
    for handler in ast.walk(tree):
        if not isinstance(handler, ast.ExceptHandler) or handler.type is None or handler.name is None:
            continue
        if not any(isinstance(n, ast.Name) and n.id == "OSError" for n in ast.walk(handler.type)):
            continue
        for part in ast.walk(handler):
            shown = part.value if isinstance(part, ast.FormattedValue) else None
            if isinstance(shown, ast.Name) and shown.id == handler.name:
                yield part.lineno


def test_no_handler_of_file_errors_shows_them_as_python_does() -> None:
    root = Path(eyewright.__file__).parent
    found = [
        f"{path.relative_to(root)}:{line}"
        for path in sorted(root.rglob("*.py"))
        for line in _raw_reasons(ast.parse(path.read_text("utf-8")))
    ]
    assert found == [], "use core.errors.plain_reason"


def test_a_file_that_is_not_there_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        list(_lines(tmp_path / "no.csv"))
    assert "Errno" not in str(caught.value)
    assert str(caught.value).count("no.csv") == 1
