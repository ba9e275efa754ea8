"""The words of the project: README, docs, help, messages and docstrings use the terms of docs/glossary.md.

Each rule is a pattern and what to write, like the substitution rules of Vale. Help texts have no violation. A package
of the sources, or a page, has no more than `CEILINGS` says, and that number may only fall.
"""

import argparse
import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import eyewright
from eyewright.cli.parser import build_parser

ROOT = Path(__file__).parents[1]
SOURCE = Path(eyewright.__file__).parent

RULES: dict[str, str] = {
    r"(?-i:^Gives? )": '"Return …", in a docstring',
    r"(?-i:^Tells? whether )": '"Return whether …", in a docstring',
    r"\bsurest\b": "highest confidence; sorted by confidence",
    r"\bhow sure\b": "confidence",
    r"\bsureness\b": "confidence",
    r"\bin vain\b": "not found; without result",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\b(tell|tells|told|telling) (\w+ )?apart\b": "distinguish",
    r"\btold of\b": "reported",
    r"\bmay go\b": "can be removed",
    r"\b(to|can|cannot|that|what) bears?\b|\bbears\b": "support; tolerate",
    r"\bwhat (it ends|hurts)\b": "Problem; What Eyewright does",
    r"\bfrom which (score |overlap )?on\b": "threshold above which",
    r"\blet(s)? the score live\b": "keep the score high",
    r"\b1 (classes|images|objects|boxes|files|findings|epochs|groups|masks)\b": "the singular",
    r"\bhas [\d,]+ times\b": "has N objects",
    r"\banew\b": "again",
    r"\bbeside(s)?\b": "next to; compared with; in addition to",
    r"\b(here|there|where)(of|in|on|by|upon|from|unto|with)\b": "of it; in which",
    r"\bstrangers?\b": "imported; foreign; unfamiliar",
    r"\b(and|its|their) kin\b": "and related models",
    r"\bparity gate\b|\b(the|one|same|a) gate\b": "parity check",
    r"\b(one|a|an) (row|line|file|value|folder|entry|object|box|mask|map|polygon|scale|sentence|number|test) an? "
    r"(class|image|line|row|fold|file|task|group|object|box|kind|tile|word|layer|channel|code|sample)\b": "per",
    r"\bas (it|they) (lies|lie|comes|come|stands|stand)\b": "unchanged",
    r"\b(fault|bug|error)s? of ours\b": "a bug in Eyewright",
    r"\bfrom cheap to dear\b|\b(too|so|very|more) dear\b|\bdearer\b|\bdearest\b": "expensive",
    r"\bthe doctor\b": "`doctor`",
    r"\b(the plan of )?the house\b": "architecture; Eyewright",
    r"\banswers? (differ|changed|equal|alike|move)\b|\bthe (model|net)'s answers?\b": "prediction",
    r"\b(a|the|its|what|which) shares? of\b": "fraction of",
    r"\b(by|the) looks?\b(?! (at|for|like|up))": "appearance; image statistics",
    r"\b(would|could|might|may|must) else\b|\belse be\b": "otherwise",
    r"\bwhat came\b|, came [\w{'\"]": "what was found; found",
    r"\bso (it is|they are)\b[.;]?$": "say what is wrong",
    r"\bto the bit\b": "bit-identical",
    r"\bdraws? (nothing )?at random\b": "random",
    r"\b(by )?more than chance\b": "significantly",
    r"\b(that|which) (is|are) (?-i:none)\b": "say what it is not",
    r"\bdoubtful\b|\bdoubts\b": "label error; probably wrong",
    r"\btaught\b(?!:)": "trained; distilled",
    r"\bnothing learnt after\b|\blearn(ing)? anything after\b": "without fine-tuning",
    r"\b(go|goes|going|went) on\b": "continue",
    r"\bfor ever\b": "forever",
    r"\bsooner\b": "faster; earlier",
    r"\b(its|their|the|those) makers?\b": "authors",
    r"\bnamesakes?\b": "function of the same name",
    r"\bawkward\b": "unusual",
    r"\bmay be believed\b": "is faithful; is reliable",
    r"\bput right\b": "fixed; corrected",
    r"\brun lengths\b": "run-length encoding",
    r"(?<!look-)\balike\b": "similar; identical; near duplicates",
    r"\bnot for that\b": "not supported with",
    r"\bof before\b": "previous; earlier",
    r"\b(is|are|was|were) done to\b": "applied to",
    r"\bnothing but\b": "only",
    r"\bbut for\b": "except for",
    r"\bstands? (in|at|on|there|here)\b": "is in; is at",
    r"\b(a|the) truth\b": "ground truth",
    r"\bbegun\b": "started",
    r"\bmeet by name\b|\bmet by name\b": "matched by name",
    r"\bhottest\b": "most important",
    r"\bvouch(es)? for\b": "untrusted",
    r"\bunasked\b|\bwithout being asked( for)?\b": "by default",
    r"\blook(s)? at each image's mirror\b|\bmirror too\b": "horizontal-flip test-time augmentation",
    r"\bnot a whit\b|\bnought\b|\bwherefore\b|\bhence\b|\bthus\b|\bwhilst\b|\bamongst\b|\bowing to\b": "plain words",
    r"\bis (what|as) it (was|is)\b": "unchanged",
    r"\bin one'?s hand\b|\bfiles in hand\b|\bat hand\b": "current; given",
}
"""Pattern (case is ignored) and what to write."""

CEILINGS: dict[str, int] = {
    "tasks": 1,
    "CHANGELOG.md": 14,
}
"""How many violations each package of the sources, and each page, may have. A number may only fall; what is not listed
has none. Lower it when you fix some."""

_PATTERNS = {re.compile(p, re.IGNORECASE | re.MULTILINE): w for p, w in RULES.items()}


def violations(text: str) -> list[str]:
    """Return each violation in `text` with what to write."""
    return [f"{m.group().strip()!r}: write {w}" for p, w in _PATTERNS.items() for m in p.finditer(text)]


def prose_of(markdown: str) -> str:
    """Return Markdown without its code blocks, code spans and link targets, each paragraph in one line."""
    text = re.sub(r"```.*?```|^ {4}\S.*?$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`]*`", "``", re.sub(r"\]\([^)]*\)", "]", text))
    return re.sub(r"(?<=\S)\n(?=[^\n|#\-])", " ", text)


def pages() -> Iterator[Path]:
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md"))
    yield from sorted((ROOT / "docs").rglob("*.md"))


def newest_section(changelog: str) -> str:
    return changelog.split("\n## ")[1]


def help_texts(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Yield where each help text stands, and the text."""
    for text in (parser.description, parser.epilog):
        if text:
            yield parser.prog, text
    for action in parser._actions:
        if action.help and action.help != argparse.SUPPRESS:
            yield f"{parser.prog} {'/'.join(action.option_strings) or action.dest}", action.help
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                yield f"{parser.prog} {choice.dest}", choice.help or ""
            for below in action.choices.values():
                yield from help_texts(below)


def literals(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and text of each string of three words or more: docstrings, messages, f-strings with {} inside."""
    inside = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.JoinedStr():
                inside |= {id(v) for v in node.values}
                text = "".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values)
            case ast.Constant(value=str(text)) if id(node) not in inside:
                pass
            case _:
                continue
        if len(text.split()) >= 3:
            lines = (ln.strip() for ln in text.splitlines() if not ln.lstrip().startswith((">>>", "... ")))
            yield node.lineno, re.sub(r"(?<=\S)\n(?=\S)", " ", "\n".join(lines))


def package_of(path: Path) -> str:
    inside = path.relative_to(SOURCE)
    return inside.parts[0] if len(inside.parts) > 1 else "."


def source_violations() -> list[tuple[str, str]]:
    """Return the package of each violation in the sources' strings and templates, and where and what it is."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for line, text in literals(path.read_text()):
            found += [(package_of(path), f"{path.relative_to(SOURCE)}:{line}: {v}") for v in violations(text)]
    for path in sorted(p for end in ("j2", "html") for p in SOURCE.rglob(f"*.{end}")):
        text = re.sub(r"<(script|style).*?</\1>|<[^>]*>|\{[{%#].*?[}%#]\}", " ", path.read_text(), flags=re.DOTALL)
        found += [(package_of(path), f"{path.relative_to(SOURCE)}: {v}") for v in violations(text)]
    return found


def page_violations() -> list[tuple[str, str]]:
    """Return the page of each violation in the documentation and in the newest section of the CHANGELOG."""
    texts = {str(p.relative_to(ROOT)): p.read_text() for p in pages()}
    texts["CHANGELOG.md"] = newest_section((ROOT / "CHANGELOG.md").read_text())
    return [(name, f"{name}: {v}") for name, text in texts.items() for v in violations(prose_of(text))]


@pytest.mark.parametrize("find", [page_violations, source_violations], ids=["pages", "sources"])
def test_no_more_words_than_before_that_we_do_not_use(find: Callable[[], list[tuple[str, str]]]) -> None:
    found = find()
    for place, n in Counter(p for p, _ in found).items():
        assert n <= CEILINGS.get(place, 0), [text for p, text in found if p == place]


def test_every_ceiling_is_of_a_place_that_exists() -> None:
    assert all((ROOT / place).exists() or (SOURCE / place).is_dir() for place in CEILINGS)


def test_help_texts_use_the_terms() -> None:
    found = [f"{where}: {v}" for where, text in help_texts(build_parser()) for v in violations(text)]
    assert not found, found


def test_every_term_is_in_order_and_links_to_its_page() -> None:
    rows = re.findall(r"^\| ([^|]+) \| (.+) \|$", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)[1:]
    terms = [term for term, _ in rows]
    assert len(terms) > 30
    assert terms == sorted(terms, key=str.lower)
    assert all("](" in meaning for _, meaning in rows)


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("Give the mask of each object.", 1),
        ("Tell whether it is empty.", 1),
        ("The report gives the mask; give a larger --budget", 0),
        ("from which overlap on two boxes are one object, the surest first", 2),
        ("found 1 classes in one file a class; mend it", 3),
        ("11 classes; a message beside the point", 1),
        ("IoU above which two boxes count as duplicates, sorted by confidence", 0),
        ("options that are None are left out; look-alikes stay", 0),
    ],
)
def test_the_rules_find_what_they_are_for(text: str, n: int) -> None:
    assert len(violations(text)) == n, violations(text)


def test_code_is_not_prose_and_strings_of_code_are_found() -> None:
    page = "Said `beside` and\nagain.\n\n```sh\nbeside\n```\n\n    beside\n\n[a](beside.md) runs a\nline a class\n"
    assert "beside" not in prose_of(page)
    assert "runs a line a class" in prose_of(page)
    source = 'def f(n):\n    """Give it\n    anew."""\n    raise E(f"{n} strangers found", fix="mend the line")\n'
    assert [text for _, text in literals(source)] == ["Give it anew.", "{} strangers found", "mend the line"]
    parser = argparse.ArgumentParser(prog="p", description="one")
    below = parser.add_subparsers().add_parser("verb", help="two")
    below.add_argument("--name", help="three")
    assert {text for _, text in help_texts(parser)} >= {"one", "two", "three"}
