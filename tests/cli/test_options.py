"""Every option that a verb's code reads is one that the verb's parser has: a Namespace without it is a crash."""

import argparse
import ast
import importlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eyewright.cli import main
from eyewright.cli.parser import build_parser
from eyewright.cli.verbs import VERBS


def _reads(function: Callable[..., Any], parameter: str, seen: set[tuple[str, str]]) -> Iterator[str]:
    """Yield the attributes of the Namespace `parameter` that a function of the command line reads, and those that the
    functions read which it gives the Namespace to."""
    key = (f"{function.__module__}.{function.__qualname__}", parameter)
    if key in seen or not function.__module__.startswith("eyewright.cli"):
        return
    seen.add(key)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    known: dict[str, Any] = dict(function.__globals__)
    asked = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("eyewright.cli"):
            module = importlib.import_module(node.module)
            known |= {a.asname or a.name: getattr(module, a.name) for a in node.names}
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Constant):
            # `"resume" in o` asks first.
            asked.add(node.left.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == parameter:
            if node.attr not in asked:
                yield node.attr
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and inspect.isfunction(known.get(node.func.id))
        ):
            called = known[node.func.id]
            names = list(inspect.signature(called).parameters)
            for name, given in [*zip(names, node.args, strict=False), *((k.arg, k.value) for k in node.keywords)]:
                if isinstance(given, ast.Name) and given.id == parameter and name:
                    yield from _reads(called, name, seen)


def _has(parser: argparse.ArgumentParser) -> set[str]:
    found = {a.dest for a in parser._actions} | set(parser._defaults)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                found |= _has(inner)
    return found


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_verb_reads_only_options_that_it_has(verb: str) -> None:
    call = VERBS[verb][0]
    (parameter,) = list(inspect.signature(call).parameters)[:1]
    lacking = set(_reads(call, parameter, set())) - _has(build_parser(verb)) - {"verb"}
    assert not lacking, f"{verb} reads {sorted(lacking)}, which its parser does not have"


def test_harden_takes_the_options_of_train() -> None:
    train, harden = (_has(build_parser(v)) for v in ("train", "harden"))
    assert harden - {"step"} == train - {"step"}


def test_harden_trains_from_the_command_line(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--epochs", "1", "--attack-steps", "1", "--model", "mlp", "--quiet", "--out", str(tmp_path / "run")]
    assert main(["harden", str(shapes), *given]) == 0, capsys.readouterr().err
    assert "val_robust_accuracy" in (tmp_path / "run" / "metrics.csv").read_text()
