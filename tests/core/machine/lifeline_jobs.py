"""Parents that start a child, name it and wait to be killed; children that stay in native code for good."""

import ctypes
import sys
import threading
import time


def prepare(request):
    pass


def stay(request, payload):
    # PyDLL keeps the interpreter lock: no thread of Python's runs meanwhile.
    ctypes.PyDLL(None).sleep(600)
    return {}, []


def trial():
    from eyewright.bundle.trial import Trial

    child = Trial(500.0, memory=2**30)
    print(child._process.pid, flush=True)
    child.ask("lifeline_jobs:stay", {})


def decoder():
    from eyewright.imaging.workers import Bounds, Worker

    worker = Worker("lifeline_jobs:stay", Bounds(wall_s=500.0))
    # The thread that starts a worker may end before it is asked.
    thread = threading.Thread(target=worker.start_process)
    thread.start()
    thread.join()
    print(worker.pid, flush=True)
    worker.ask({})


def nursery():
    from eyewright.serving.crew import Crew
    from eyewright.serving.settings import Settings

    crew = Crew(Settings(workers=1))
    crew._nursery.open()
    print(crew._nursery.pid, flush=True)
    time.sleep(600)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
