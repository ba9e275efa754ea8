"""The data browser: a dataset's images on a local page, to filter, to look at, and to correct."""

from typing import TYPE_CHECKING

from eyewright.core.late import late_names

if TYPE_CHECKING:
    from eyewright.serving.browser.editor import Editor
    from eyewright.serving.browser.server import Browser
    from eyewright.serving.browser.table import Scores, Table

__all__ = ["Browser", "Editor", "Scores", "Table"]

__getattr__ = late_names(__name__, {"editor": ("Editor",), "server": ("Browser",), "table": ("Scores", "Table")})
