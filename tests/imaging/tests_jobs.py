"""Jobs for worker tests: they sleep, grow, spin and crash."""

import ctypes
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
