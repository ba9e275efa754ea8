"""Paths and values in messages: as they are typed, and never more than a line."""

import json
from pathlib import PureWindowsPath

import pytest

from eyewright.core.quoting import quoted


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("photos/a b.png", "'photos/a b.png'"),
        (PureWindowsPath(r"C:\photos\new\a.png"), r"'C:\photos\new\a.png'"),
        (r"\\server\share\a.png", r"'\\server\share\a.png'"),
        ("two\nlines\x1b[31m", r"'two\nlines\x1b[31m'"),
        ("Plätze/図.png", "'Plätze/図.png'"),
        ("not utf-8 \udcff", r"'not utf-8 \udcff'"),
        ("it's", '"it\'s"'),
        (3, "'3'"),
    ],
)
def test_what_is_quoted_can_be_copied_and_is_one_line(given: object, shown: str) -> None:
    assert quoted(given) == shown
    assert len(quoted(given).splitlines()) == 1


def test_a_windows_path_is_not_doubled_in_an_error() -> None:
    from eyewright.core.errors import InputError

    path = PureWindowsPath(r"D:\x\y.png")
    error = InputError(f"expected an image, found nothing at {quoted(path)}", fix="check it")
    assert str(error) == r"expected an image, found nothing at 'D:\x\y.png'; check it"
    # JSON has its own escapes, which a reader of JSON removes.
    assert json.loads(json.dumps({"error": error.message}))["error"] == error.message
