"""What a browser needs to count by lines and zones and to draw them: shared by reports and the server's page."""

__all__ = ["VIEWER_FILES"]

from pathlib import Path

VIEWER_FILES = tuple(Path(__file__).parent / name for name in ("lines.css", "lines.js"))
"""Files that are part of a page as they are."""
