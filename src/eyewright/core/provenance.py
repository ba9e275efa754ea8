"""What made a result: versions, machine, commit. Nothing here leaves the machine by itself."""

__all__ = ["describe_hardware", "describe_machine"]

import os
import platform
import subprocess
from typing import Any

from eyewright.core.machine.limits import memory_bytes, processor_name

_PACKAGES = ("eyewright", "numpy", "pillow", "onnxruntime", "torch", "onnx", "scikit-learn")


def describe_machine() -> dict[str, Any]:
    """Return versions, processor, cores, memory in GiB, and the git commit of the working folder if there is one."""
    # Imported here: it takes long, and a prediction asks for the hardware alone.
    from importlib import metadata

    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "hardware": describe_hardware(), "commit": _commit()}


def describe_hardware() -> dict[str, Any]:
    """Return processor, cores, memory in GiB and the kind of system."""
    memory = memory_bytes()
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "memory_gib": None if memory is None else round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _commit() -> str | None:
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None
