"""Jobs for worker tests: they sleep, grow, spin and crash."""

import ctypes
import os
import time

import numpy as np


def sleep(request, payload):
    time.sleep(request["seconds"])
    return {"slept": request["seconds"]}, None


def grow(request, payload):
    np.ones(request["bytes"], np.uint8)
    return {"grown": request["bytes"]}, None


def spin(request, payload):
    while True:
        pass


def crash(request, payload):
    ctypes.string_at(0)


def reduce_or_crash(request, payload):
    from eyewright.imaging.isolation import reduce_files

    if b"CRASH" in payload:
        ctypes.string_at(0)
    return reduce_files(request, payload)


def linger(request, payload):
    import threading

    # A thread that Python waits for at its end.
    threading.Thread(target=time.sleep, args=(30,)).start()
    return {}, None


def where(request, payload):
    return {"parent": os.getppid(), "folder": os.getcwd(), "temporary": os.environ.get("TMPDIR")}, None
