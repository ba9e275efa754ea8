"""The public face and the habits of the house, checked on the source itself."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import eyewright as ew

SOURCE = Path(ew.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))


def test_every_public_name_can_be_had_and_is_documented() -> None:
    for name in ew.__all__:
        value = getattr(ew, name)
        assert name in ("__version__", "FORMATS") or value.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ew.nothing  # type: ignore[attr-defined]


def test_verbs_stay_functions_whatever_is_imported() -> None:
    import eyewright.evaluation
    import eyewright.training.fit  # noqa: F401

    assert callable(ew.train)
    assert callable(ew.evaluate)


def test_importing_changes_nothing_and_loads_nothing_heavy() -> None:
    code = """
import os, random, sys, warnings
before = (dict(os.environ), random.getstate(), list(warnings.filters))
import eyewright
assert before == (dict(os.environ), random.getstate(), list(warnings.filters))
heavy = {"numpy", "PIL", "onnxruntime", "torch", "rich", "jinja2", "argparse"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_every_module_says_what_it_is_and_what_it_offers(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if path.name == "__main__.py":
        return
    assert ast.get_docstring(tree), "a module begins with what it is"
    names = {t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
    assert "__all__" in names
    most = 400 if path.relative_to(SOURCE).parts[0] in ("tasks", "learners", "evaluation") else 600
    assert len(path.read_text().splitlines()) <= most, f"past {most} lines, split by idea"
    assert path.stem not in ("utils", "util", "common", "helpers", "misc", "base")


def test_no_pickle_no_eval_and_no_network() -> None:
    forbidden = ("import pickle", "allow_pickle=True", "yaml.load(", "weights_only=False", "urllib.request",
                 "import requests", "from requests", "import httpx", "import aiohttp")  # fmt: skip
    for path in MODULES:
        text = path.read_text()
        for word in forbidden:
            assert word not in text, (path.name, word)
        called = {
            n.func.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
        }
        assert not {"eval", "exec", "compile"} & called, path.name


# Names that hold paths and addresses; `quoted` shows them as they are typed, where `!r` would double every backslash.
_PATHS = re.compile(r"\{(?:str\(.*?\)|(?:\w+\.)*(?:path|file|folder|place|address|_shown)|path\.name|root\.name)!r\}")


def test_messages_show_paths_by_quoted() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{number}: {line.strip()}"
        for path in MODULES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if _PATHS.search(line)
    ]
    assert not wrong, "use quoted(path) of eyewright.core.quoting:\n" + "\n".join(wrong)
