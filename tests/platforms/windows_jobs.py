"""Jobs of a decoding worker that break its bounds, and programs that are run in the simulation."""

import sys
import time

import numpy as np


def job(request, data):
    match request["do"]:
        case "sleep":
            time.sleep(600)
        case "spin":
            while True:
                pass
        case "fill":
            held = []
            while True:
                held.append(np.ones(2**19))
                time.sleep(0.05)
        case "crash":
            import os

            os._exit(9)
    return {"n": len(data)}, np.frombuffer(data, np.uint8).reshape(-1, 1)


def bounds():
    """Break every bound of a worker and print what is said of it."""
    from eyewright.core.errors import EyewrightError
    from eyewright.imaging.workers import Bounds, Worker

    worker = Worker("windows_jobs:job", Bounds(memory=200 * 2**20, cpu_s=1, wall_s=6.0))
    for do in ("echo", "spin", "fill", "crash", "echo", "sleep", "echo"):
        try:
            answer, pixels = worker.ask({"do": do}, b"abc" * 1000)
            print(do, answer["n"], pixels.shape)
        except EyewrightError as error:
            print(do, error.code)
    worker.close()


def locks():
    """Claim a place twice, once after its holder was killed, and replace a folder."""
    import os
    import subprocess
    from pathlib import Path

    from eyewright.core.errors import UsageError
    from eyewright.core.files import append_line, claimed_output, held_lock, staged_folder
    from eyewright.core.once import move_new, write_new

    code = (
        "import sys; from pathlib import Path; from eyewright.core.files import claimed_output\n"
        "with claimed_output(Path('out')) as held: print(held, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        (sys.executable, "-c", code), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        print("held", other.stdout.readline().strip())
        try:
            with claimed_output(Path("out")):
                print("claimed twice")
        except UsageError as error:
            print(error.code)
        other.kill()
    with claimed_output(Path("out")) as held, held_lock(Path("folder", "lock"), busy="busy", code="busy"):
        print("claimed", held)
    for text in ("one", "two"):
        with staged_folder(Path("result")) as stage:
            Path(stage, "a").write_text(text, "ascii")
    print(Path("result", "a").read_text("ascii"), sorted(os.listdir()))
    append_line(Path("lines"), b"one")
    append_line(Path("lines"), b"two")
    print(Path("lines").read_bytes(), write_new(Path("new"), b"a\n"), write_new(Path("new"), b"b"))
    print(move_new(Path("new"), Path("lines")), move_new(Path("new"), Path("newer")), Path("newer").read_bytes())


if __name__ == "__main__":
    globals()[sys.argv[1]]()
