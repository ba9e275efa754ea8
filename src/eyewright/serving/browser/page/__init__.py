"""The page of the data browser: files that are served unchanged, without a build step."""

__all__ = ["read_browser_page"]

from pathlib import Path

from eyewright.serving.page import Asset, read_assets

_SHARED = ("app.css", "eye.svg", "net.js")


def read_browser_page() -> dict[tuple[str, ...], Asset]:
    """Return the files of the page by the path they are served at; its style begins with that of `serve`'s page,
    and both talk to the server through one script."""
    here = Path(__file__).parent
    server = here.parents[1] / "page"
    found: dict[tuple[str, ...], Asset] = {
        ("page", path.name): asset
        for path, asset in read_assets([*sorted(here.iterdir()), *(server / name for name in _SHARED)])
    }
    found[("",)] = found["page", "browse.html"]
    found["favicon.ico",] = found["page", "eye.svg"]
    return found
