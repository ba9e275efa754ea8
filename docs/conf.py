"""The site of the documentation: `make docs` builds it into build/docs; see decision 14 for why Sphinx."""

import re
import sys
from pathlib import Path
from typing import Any

from sphinx.ext.autodoc.mock import _MockObject

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

project = "Eyewright"
author = "The Eyewright authors"
copyright = "The Eyewright authors, Apache-2.0"
release = next(
    line.split('"')[1] for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("version = ")
)
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
nitpicky = False
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
# The reference is made without the workshop: signatures and docstrings need no torch.
autodoc_mock_imports = [
    "torch", "torchvision", "onnx", "onnxscript", "safetensors", "captum", "sklearn", "transformers", "optuna",
    "cv2", "scipy", "skimage", "pywt", "imagecodecs", "uvicorn",
]  # fmt: skip
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"Eyewright {release}"
html_logo = html_favicon = "../src/eyewright/serving/page/eye.svg"
# Nothing is fetched: the site works from a disk, without a network.
html_copy_source = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["site.css"]

# What stands for a module that is not installed is part of types, such as `Tensor | None`.
_MockObject.__or__ = _MockObject.__ror__ = lambda self, other: self  # type: ignore[attr-defined]

_FUNCTION = re.compile(r"<function (\w+) at 0x[0-9a-f]+>")
_LINK = re.compile(r"\[([^\]\[]+)\]\(((?:\.\./)+[^)#\s]+)[^)]*\)")


def _without_files_outside(app: object, name: str, source: list[str]) -> None:
    """Keep the words of a link to a file of the repository that is no page of the site."""
    page = Path(__file__).parent / f"{name}.md"

    def words(found: re.Match[str]) -> str:
        target = (page.parent / found[2]).resolve()
        return found[0] if target.is_relative_to(page.parents[name.count("/")]) or not target.exists() else found[1]

    source[0] = _LINK.sub(words, source[0])


def _as_markup(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Show code spans as code: docstrings are plain text with backticks, in which stars and underscores are letters."""
    example = False
    for k, line in enumerate(lines):
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if not example and not line.lstrip().startswith(":"):
            parts = re.split(r"(`+[^`]+`+)", line)
            parts[::2] = [re.sub(r"([*_|])", r"\\\1", part) for part in parts[::2]]
            parts[1::2] = [f"``{part.strip('`')}``" for part in parts[1::2]]
            lines[k] = "".join(parts)


def _with_names(
    app: object, what: str, name: str, obj: object, options: object, arguments: str | None, result: str | None
) -> tuple[str | None, str | None]:
    """Name a function that is a default, without its place in memory."""
    return arguments and _FUNCTION.sub(r"\1", arguments), result


_REACHABLE = (
    ('<p class="caption" role="heading">', '<p class="caption" role="heading" aria-level="2">'),
    ('<aside class="sidebar-drawer">', '<aside class="sidebar-drawer" aria-label="Pages">'),
    ("<pre>", '<pre tabindex="0">'),
)


def _make_reachable(app: Any, error: Exception | None) -> None:
    """Fix what axe-core finds in the theme's pages: headings without a level, code that no keyboard can scroll."""
    for page in sorted(Path(app.outdir).rglob("*.html")) if error is None else ():
        text = page.read_text("utf-8")
        for before, after in _REACHABLE:
            text = text.replace(before, after)
        page.write_text(text, "utf-8")


def setup(app: Any) -> None:
    """Connect to Sphinx."""
    app.connect("source-read", _without_files_outside)
    # Before napoleon's, so that its own markup stays.
    app.connect("build-finished", _make_reachable)
    app.connect("autodoc-process-signature", _with_names)
    app.connect("autodoc-process-docstring", _as_markup, priority=100)
