"""Bundles behind HTTP: a page for people, protocols for programs, no torch."""

from typing import Any

__all__ = ["Server", "Settings", "run_server"]


def __getattr__(name: str) -> Any:
    # Workers and the nursery import files of this room; they need no HTTP.
    if name == "Settings":
        from eyewright.serving.settings import Settings

        return Settings
    if name in ("Server", "run_server"):
        from eyewright.serving import server

        return getattr(server, name)
    raise AttributeError(f"module 'eyewright.serving' has no attribute {name!r}")
