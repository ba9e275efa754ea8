"""Bundles taken to where they must run: OpenVINO, browsers, containers, services."""

from eyewright.delivery.target import TARGET_FILE, open_target, read_target, target_in

__all__ = ["TARGET_FILE", "open_target", "read_target", "target_in"]
