"""Bundles taken to where they must run: OpenVINO, browsers, containers, services.

A module is imported when one of its names is used.
"""

from typing import TYPE_CHECKING

from eyewright.core.late import late_names

if TYPE_CHECKING:
    from eyewright.delivery.target import TARGET_FILE, open_target, read_target, target_in

_HOMES = {
    "target": ("TARGET_FILE", "open_target", "read_target", "target_in"),
}

__all__ = ["TARGET_FILE", "open_target", "read_target", "target_in"]


__getattr__ = late_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
