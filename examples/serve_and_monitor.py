# %% [markdown]
# # Serve a model and monitor it
# A server of its own process, predictions over HTTP, feedback, and a test for drift.

# %%
import json
import subprocess
import sys
import urllib.request

from drawing import SMALL, fresh_folder, write_shapes

import eyewright as ew
from eyewright import lifecycle

out = fresh_folder("serve_and_monitor")
folder = write_shapes(out / "data", 90 if SMALL else 120)
run = ew.train(folder, epochs=1 if SMALL else 12, batch=16, out=out / "run")
bundle = ew.export(run, out / "shapes.bundle")

# %% [markdown]
# `eyewright serve shapes.bundle` is all that it takes in a terminal; port 0 takes a free one. It logs what it predicts.

# %%
command = [sys.executable, "-m", "eyewright", "serve", f"shapes={bundle.folder}", "--port", "0", "--json"]
command += ["--workers", "1", "--home", str(out / "home"), "--keep", "images=100%"]
server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
try:
    assert server.stdout is not None
    address = json.loads(server.stdout.readline())["address"]
    print("page     ", address)

    def post(path: str, body: bytes, kind: str) -> dict:
        request = urllib.request.Request(address + path, body, {"Content-Type": kind})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    images = sorted(folder.glob("*/*.png"))[:: 20 if SMALL else 1]
    for path in images:
        found = post("/v1/models/shapes/predict", path.read_bytes(), "image/png")
        if found["labels"][0] != path.parent.name:
            said = {"prediction_id": found["prediction_id"], "label": path.parent.name}
            post("/v1/feedback", json.dumps(said).encode(), "application/json")
finally:
    server.terminate()
    server.wait(30)
    if server.stdout is not None:
        server.stdout.close()

# %% [markdown]
# The log says what was predicted and what people said of it. Feedback is what `eyewright monitor retrain` learns from.

# %%
status = lifecycle.monitor_status(out / "home")
for name, facts in status["models"].items():
    print(name, json.dumps(facts, default=str)[:200])

# %% [markdown]
# Other images than those of training, here inverted, are noticed.

# %%
for path in sorted(folder.glob("*/*.png"))[:48]:
    ew.write_image(out / "inverted" / f"{path.parent.name}-{path.name}", 255 - ew.read_image(path))
print("as before", lifecycle.drift(bundle.folder, source=folder, home=out / "home"))
print("inverted ", lifecycle.drift(bundle.folder, source=out / "inverted", home=out / "home"))
