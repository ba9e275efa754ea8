"""The page for people: files that are served as they are, read once; no build step, no third-party host."""

__all__ = ["Asset", "read_assets", "read_page"]

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from eyewright.imaging.drawing import DRAWING_SCRIPT
from eyewright.serving.exchange import Request, Response
from eyewright.tracking.viewer import VIEWER_FILES

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True)
class Asset:
    """One file of the page."""

    data: bytes
    media_type: str
    tag: bytes

    def response(self, request: Request) -> Response:
        """Return the file, or 304 to a browser that has it."""
        headers = [(b"etag", self.tag), (b"cache-control", b"no-cache")]
        if request.headers.get("if-none-match", "").encode("latin-1") == self.tag:
            return Response(b"", 304, self.media_type, headers)
        return Response(self.data, 200, self.media_type, headers)


def read_assets(paths: Iterable[Path]) -> Iterator[tuple[Path, Asset]]:
    """Yield the files that a browser reads, each with its path; others, such as Python, are left out."""
    for path in paths:
        if path.suffix in _KINDS:
            data = path.read_bytes()
            tag = b'"' + hashlib.sha256(data).hexdigest()[:20].encode() + b'"'
            yield path, Asset(data, _KINDS[path.suffix], tag)


def read_page() -> dict[tuple[str, ...], Asset]:
    """Return the files by the path they are served at."""
    own = read_assets(sorted([*Path(__file__).parent.iterdir(), *VIEWER_FILES, DRAWING_SCRIPT]))
    found: dict[tuple[str, ...], Asset] = {("page", path.name): asset for path, asset in own}
    found[("",)] = found["page", "index.html"]
    found["favicon.ico",] = found["page", "eye.svg"]
    return found
