"""The site of the documentation: built where Sphinx is installed; its parts agree with the pages everywhere."""

import importlib.util
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

import eyewright as ew

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OWN = ROOT / ".docs" / "bin" / "python"
PAGES = sorted(DOCS.rglob("*.md"))


def _builder() -> str | None:
    """Return the Python that has Sphinx, furo and MyST: that of `make docs`, or this one."""
    if OWN.exists():
        return str(OWN)
    return sys.executable if all(importlib.util.find_spec(n) for n in ("sphinx", "furo", "myst_parser")) else None


@pytest.mark.skipif(_builder() is None, reason="Sphinx is not installed (make docs)")
def test_the_site_is_built_without_a_warning_and_works_from_a_disk(tmp_path: Path) -> None:
    command = [_builder() or "", "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=280)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "searchindex.js").is_file()
    page = (tmp_path / "api.html").read_text()
    assert "load_dataset" in page
    assert "optimizer" in page, "the reference lists the options of training"
    assert " at 0x" not in page
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=.https?://", page)


def test_every_page_has_one_title_and_is_in_the_table_of_contents() -> None:
    index = (DOCS / "index.md").read_text()
    listed = re.findall(
        r"^(?!:)([\w/*-]+)$", "\n".join(re.findall(r"```{toctree}\n(.*?)```", index, re.DOTALL)), re.MULTILINE
    )
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        titles = re.findall(r"^# .+$", text, re.MULTILINE)
        assert len(titles) == 1, page
        assert text.lstrip().startswith("# "), page
        levels = [len(h) for h in re.findall(r"^(#+) ", text, re.MULTILINE)]
        assert all(b - a <= 1 for a, b in itertools.pairwise(levels)), page
        name = page.relative_to(DOCS).with_suffix("").as_posix()
        assert name == "index" or any(re.fullmatch(one.replace("*", "[^/]+"), name) for one in listed), name


def test_every_link_to_a_heading_leads_to_one() -> None:
    def anchors(page: Path) -> set[str]:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        plain = (re.sub(r"[`*]|\[|\]\([^)]*\)", "", h) for h in re.findall(r"^#+ (.+)$", text, re.MULTILINE))
        return {re.sub(r"[^\w\- ]", "", h.strip().lower()).replace(" ", "-") for h in plain}

    for page in PAGES:
        for target, heading in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", page.read_text()):
            place = page.parent / target if target else page
            if place.suffix == ".md" and place.exists():
                assert heading in anchors(place), (page, target, heading)


def test_the_reference_lists_every_public_name() -> None:
    text = (DOCS / "api.md").read_text()
    listed = set(re.findall(r"^\.\. auto\w+:: eyewright\.(\w+)$", text, re.MULTILINE))
    assert listed == set(ew.__all__) - {"__version__", "FORMATS"}
