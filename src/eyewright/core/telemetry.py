"""No telemetry, of others either: libraries that report home by default are told not to before they are imported.

ONNX Runtime from 1.29 on sends events on Linux and macOS too and keeps a device identifier below `~/.cache/Microsoft`;
`import openvino` alone sends one and keeps an identifier below `~/intel`.
"""

__all__ = ["switch_off_telemetry"]

import os
import sys
from types import MappingProxyType

_SWITCHES = MappingProxyType(
    {
        "ORT_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "FLWR_TELEMETRY_ENABLED": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
)


def switch_off_telemetry() -> None:
    """Switch off the telemetry of libraries in this process and its children, unless the user has set it on."""
    for name, value in _SWITCHES.items():
        os.environ.setdefault(name, value)
    # OpenVINO has no switch but one file for the whole machine; without this module it takes an empty one of its own.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
