"""Help and version need neither numpy nor the metadata of installed packages: they must come at once."""

import subprocess
import sys

import pytest

SAY_MODULES = """
import contextlib, io, sys
from eyewright.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(sys.argv[1:])
print(*sorted(sys.modules))
"""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["predict", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    said = subprocess.run(
        [sys.executable, "-c", SAY_MODULES, *arguments], capture_output=True, text=True, check=True
    ).stdout
    loaded = set(said.split())
    assert "eyewright.cli.parser" in loaded or "--version" in arguments
    # What the second line names costs a fifth of the start of help, and no help needs it.
    heavy = {"numpy", "torch", "onnxruntime", "PIL", "msgspec", "eyewright.core.task", "importlib.metadata"}
    heavy |= {"dataclasses", "inspect", "json", "csv", "hashlib", "getpass"}
    assert not loaded & heavy
