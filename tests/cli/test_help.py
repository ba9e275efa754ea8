"""The help of the command line: every verb once, by what it is for; every option described; 80 columns at most."""

import argparse
import re

import pytest

from eyewright.cli.groups import GROUPS
from eyewright.cli.parser import build_parser
from eyewright.cli.verbs import VERBS


def test_help_lists_every_verb_once_under_a_title(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = build_parser().format_help()
    listed = re.findall(r"^  ([a-z][a-z-]*)(?:  |$)", text, re.MULTILINE)
    assert sorted(listed) == sorted(VERBS)
    assert all(f"\n{title}:\n" in text for title in GROUPS)
    assert max(map(len, text.splitlines())) <= 80


def test_a_verb_of_no_group_is_listed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GROUPS, "Setup", ("info",))  # type: ignore[arg-type]
    _, _, rest = build_parser().format_help().partition("Other commands:")
    assert rest.split()[0] == "completion"


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    inner = [p for a in parser._actions if isinstance(a, argparse._SubParsersAction) for p in a.choices.values()]
    return [a for a in parser._actions if not isinstance(a, argparse._SubParsersAction)] + [
        action for p in inner for action in options(p)
    ]


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_option_says_what_it_does_in_plain_words(verb: str) -> None:
    # "a line a box", "images a shard": one thing for each of another is written with "per".
    doubled = re.compile(r"\b(an? \w+|images|labels|cores|memory|texts|threads|one) an? \w+\b")
    for action in options(build_parser(verb)):
        assert action.help, (verb, action.option_strings or action.dest)
        assert not doubled.search(action.help), (verb, action.option_strings or action.dest, action.help)
