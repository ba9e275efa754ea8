"""Programs that run as on Windows: see `windows/as_on_windows.py` for what is simulated."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

WINDOWS = Path(__file__).parent / "windows"
# Collecting doctests imports files, which would start the simulation in the tests themselves.
collect_ignore = ["windows"]


class Windows:
    """Starts programs in the simulation, in a folder of their own, with a console of cp1252."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "processes.txt"

    def environment(self, **more: str) -> dict[str, str]:
        path = os.pathsep.join([str(WINDOWS), str(WINDOWS.parent), *(p for p in sys.path if p)])
        cache = str(self.folder / "cache")
        return {
            **{k: v for k, v in os.environ.items() if k != "EYEWRIGHT_DEBUG"},
            "PYTHONPATH": path,
            "PYTHONIOENCODING": "cp1252",
            "PYTHONUTF8": "0",
            "EYEWRIGHT_SIMULATED": str(self.log),
            "EYEWRIGHT_CACHE": cache,
            "XDG_CACHE_HOME": cache,
            "OMP_NUM_THREADS": "1",
            **more,
        }

    def start(self, *command: str, **more: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            (sys.executable, *command),
            cwd=self.folder,
            env=self.environment(**more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *command: str, code: int = 0, **more: str) -> str:
        """Run Python with these arguments; return what it printed."""
        with self.start(*command, **more) as process:
            out, said = process.communicate(timeout=240)
        assert process.returncode == code, (out.decode("cp1252"), said.decode("cp1252"))
        return out.decode("cp1252") + said.decode("cp1252")

    def eyewright(self, *words: str | Path, code: int = 0, **more: str) -> str:
        """Run the command line; a traceback is a failure also where the exit code is right."""
        said = self.run("-m", "eyewright", *map(str, words), code=code, **more)
        assert "Traceback" not in said, said
        return said

    def processes(self) -> list[str]:
        """The command lines of all processes that ran in the simulation."""
        return self.log.read_text("utf-8").splitlines() if self.log.exists() else []


@pytest.fixture
def windows(tmp_path: Path) -> Windows:
    """Programs that run as on Windows."""
    return Windows(tmp_path)
