"""The pages agree with the program: commands parse, links lead somewhere, tables are complete."""

import re
import shlex
from pathlib import Path

import pytest

from eyewright.cli.parser import build_parser
from eyewright.core import errors
from eyewright.data import FINDING_CODES

ROOT = Path(__file__).parents[1]
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "benchmarks").glob("*.md"),
    *(ROOT / "examples").glob("*.md"),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_in_a_shell_block_is_one_that_we_have(page: Path) -> None:
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("eyewright "):
                build_parser().parse_args(shlex.split(line, comments=True)[1:])
            elif line.startswith("make "):
                assert re.search(rf"^{line.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_inside_the_project_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_every_error_is_in_the_table_of_exit_codes() -> None:
    table = (ROOT / "docs/concepts/errors.md").read_text()
    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type) and kind is not errors.EyewrightError:
            row = next(line for line in table.splitlines() if f"`{name}`" in line)
            assert row.startswith(f"| {kind.exit_code} "), name


def test_every_benchmark_is_in_the_list() -> None:
    listed = (ROOT / "benchmarks/README.md").read_text()
    assert all(f"benchmarks/{p.name}" in listed for p in (ROOT / "benchmarks").glob("*.py"))


def test_findings_have_meanings() -> None:
    assert all(FINDING_CODES.values())


def test_the_licence_the_version_and_the_citation_agree() -> None:
    import eyewright

    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert f'version = "{eyewright.__version__}"' in (ROOT / "pyproject.toml").read_text()
    assert f"version: {eyewright.__version__}" in (ROOT / "CITATION.cff").read_text()
