"""The process of an actor: calls of a method in, its result out; each call of `count` in a thread of its own."""

import importlib
import json
import os
import sys
import threading

sys.path.pop(0)
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
lock = threading.Lock()
module, _, name = sys.argv[1].partition(":")
made = getattr(importlib.import_module(module), name)()


def call(number, method, arguments):
    try:
        answer = [number, getattr(made, method)(*arguments), None]
    except Exception as error:  # noqa: BLE001
        answer = [number, None, f"{type(error).__name__}: {error}"]
    with lock:
        out.write(json.dumps(answer) + "\n")
        out.flush()


for line in sys.stdin:
    number, method, arguments = json.loads(line)
    if method == "count":
        call(number, method, arguments)
    else:
        threading.Thread(target=call, args=(number, method, arguments), daemon=True).start()
