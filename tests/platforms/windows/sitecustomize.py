"""Start the simulation in processes whose environment names the file that lists them: those of `tests/platforms`."""

import os

if os.environ.get("EYEWRIGHT_SIMULATED"):
    import as_on_windows  # noqa: F401
