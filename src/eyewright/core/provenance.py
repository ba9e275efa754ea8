"""What made a result: versions, machine, commit. Nothing here leaves the machine by itself."""

__all__ = ["describe_hardware", "describe_machine"]

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

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
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": None if memory is None else round(memory, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _commit() -> str | None:
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None
