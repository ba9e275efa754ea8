"""The last step of every page: contents, pictures that open large, and a policy that names the page's own scripts."""

__all__ = ["finish_page", "read_script", "script_digests"]

import base64
import hashlib
import re
from functools import lru_cache
from pathlib import Path

from eyewright.evaluation.contents import with_contents

_PICTURE = re.compile(r'<img\b[^>]*\bsrc="data:')
_LATER_PICTURE = '<script type="application/json"'
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_POLICY = re.compile(r'(<meta http-equiv="Content-Security-Policy" content=")([^"]*)(">)')
_DIALOG = (
    '<dialog id="large" aria-labelledby="large-title"><header><h2 id="large-title">Image</h2>'
    '<button type="button" data-step="-1" aria-label="Previous image">‹</button>'
    '<button type="button" data-step="1" aria-label="Next image">›</button>'
    '<form method="dialog"><button aria-label="Close">×</button></form></header><div class="place"></div></dialog>'
)


def finish_page(html: str) -> str:
    """Return a page with a table of contents, with pictures that open large and class names that open their pictures.

    The policy in its head then allows exactly the scripts that are in it, by their SHA-256, so that no file name or
    class name can run one. A page without pictures gets no script.

    >>> head = '<meta http-equiv="Content-Security-Policy" content="default-src \\'none\\'">'
    >>> page = finish_page(f'{head}<body><main><img src="data:image/png;base64,AA" alt=""></main></body>')
    >>> "script-src 'sha256-" in page and '<dialog id="large"' in page
    True
    >>> "<script>" in finish_page(f"{head}<body><main></main></body>")
    False
    """
    page = with_contents(html)
    if _PICTURE.search(page) or _LATER_PICTURE in page:
        body, end, after = page.rpartition("</body>")
        page = f"{body}{_DIALOG}\n<script>\n{read_script('enlarge.js')}</script>\n{end}{after}" if end else page
    return _with_policy(page)


def _with_policy(page: str) -> str:
    named = " ".join(map(_digest, _SCRIPT.findall(page)))

    def allow(found: re.Match[str]) -> str:
        parts = [p.strip() for p in found[2].split(";") if not p.strip().startswith("script-src")]
        return found[1] + "; ".join([*(p for p in parts if p), *([f"script-src {named}"] if named else [])]) + found[3]

    return _POLICY.sub(allow, page, count=1)


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@lru_cache(maxsize=4)
def read_script(name: str) -> str:
    """Return a script of this room, as a page contains it."""
    return (Path(__file__).parent / name).read_text("utf-8")


@lru_cache(maxsize=1)
def script_digests() -> tuple[str, ...]:
    """Return how a policy names the scripts of a report of this version.

    >>> script_digests()[0].startswith("'sha256-")
    True
    """
    return tuple(_digest(f"\n{read_script(name)}") for name in ("cells.js", "enlarge.js"))
