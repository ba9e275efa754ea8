"""The few calls of Ray that jobs make, with actors as processes of this machine: for tests without Ray.

A cluster is a folder: its name is the port. FAKE_RAY says where those are; `token` in it is what is asked for.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from ray import exceptions
from ray._raylet import check_token

_state = {}


def init(address, **_options):
    _state["nodes"] = json.loads(check_token(address))
    _state["free"] = list(_state["nodes"])
    _state["lock"] = threading.Condition()


def shutdown():
    pass


def nodes():
    return [{"Alive": True, "Resources": {"CPU": float(n)}} for n in _state["nodes"]]


def remote(**options):
    return lambda made: _Class(made, options)


class _Class:
    def __init__(self, made, options):
        self.made, self.options = made, options

    def remote(self):
        return _Actor(self.made, self.options["num_cpus"])


class _Ref:
    def __init__(self):
        self.done, self.value, self.error = threading.Event(), None, None


class _Actor:
    """A process of one actor. It waits until a node has its cores free, as in Ray."""

    def __init__(self, made, cpus):
        self.cpus, self.node, self.process = cpus, None, None
        self.made = f"{made.__module__}:{made.__qualname__}"
        self.calls, self.lock = {}, threading.Lock()
        self.placed = threading.Event()
        threading.Thread(target=self._live, daemon=True).start()

    def _live(self):
        free, lock = _state["free"], _state["lock"]
        with lock:
            while not any(n >= self.cpus for n in free):
                lock.wait()
            self.node = next(k for k, n in enumerate(free) if n >= self.cpus)
            free[self.node] -= self.cpus
        # `eyewright.scaling.worker` in its arguments, so that `poison` of the tests takes effect.
        command = [sys.executable, str(Path(__file__).with_name("actor.py")), self.made, "eyewright.scaling.worker"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if pids := os.environ.get("FAKE_RAY_PIDS"):
            Path(pids, str(self.process.pid)).touch()
        self.placed.set()
        for line in self.process.stdout:
            number, value, error = json.loads(line)
            ref = self.calls.pop(number)
            ref.value = value
            ref.error = None if error is None else exceptions.RayTaskError(error)
            ref.done.set()
        with lock:
            free[self.node] += self.cpus
            lock.notify_all()
        self.process.wait()
        with self.lock:
            calls, self.calls = dict(self.calls), None
        for ref in calls.values():
            ref.error = exceptions.RayActorError("The actor died unexpectedly before finishing this task.\nmore")
            ref.done.set()

    def __getattr__(self, name):
        return _Method(self, name)


class _Method:
    def __init__(self, actor, name):
        self.actor, self.name = actor, name

    def options(self, **_options):
        return self

    def remote(self, *arguments):
        assert all(isinstance(a, str) for a in arguments), "only text is sent to nodes"
        ref = _Ref()
        threading.Thread(target=self._send, args=(ref, arguments), daemon=True).start()
        return ref

    def _send(self, ref, arguments):
        self.actor.placed.wait()
        with self.actor.lock:
            if self.actor.calls is None:
                ref.error = exceptions.RayActorError("The actor is dead.")
                ref.done.set()
                return
            self.actor.calls[id(ref)] = ref
            try:
                line = json.dumps([id(ref), self.name, arguments]) + "\n"
                self.actor.process.stdin.write(line.encode())
                self.actor.process.stdin.flush()
            except OSError:
                pass


def get(ref):
    ref.done.wait()
    if ref.error is not None:
        raise ref.error
    return ref.value


def wait(refs, num_returns=1, timeout=None):
    until = time.monotonic() + (1e9 if timeout is None else timeout)
    while True:
        ready = [r for r in refs if r.done.is_set()]
        if len(ready) >= num_returns or time.monotonic() >= until:
            return ready[:num_returns], [r for r in refs if r not in ready[:num_returns]]
        time.sleep(0.005)


def kill(actor, no_restart=True):
    actor.placed.wait()
    actor.process.kill()
