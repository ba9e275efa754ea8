"""Bundles behind HTTP: a page for people, protocols for programs, no torch."""

from typing import TYPE_CHECKING

from eyewright.core.late import late_names

if TYPE_CHECKING:
    from eyewright.serving.server import Server, run_server
    from eyewright.serving.settings import Settings

__all__ = ["Server", "Settings", "run_server"]

# Workers and the nursery import files of this room; they need no HTTP.
__getattr__ = late_names(__name__, {"server": ("Server", "run_server"), "settings": ("Settings",)})
