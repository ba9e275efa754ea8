import json
import os
import sys
import time
from pathlib import Path


def main():
    given = dict(a[2:].split("=", 1) for a in sys.argv[2:] if "=" in a)
    if os.environ.get("FAKE_RAY_FAILS"):
        print("ConnectionError: Could not read 'node_id' from GCS within 30 seconds")
        sys.exit(1)
    folder = Path(os.environ["FAKE_RAY"], given["port"])
    folder.mkdir()
    (folder / "nodes").write_text(json.dumps([int(given["num-cpus"])]))
    (folder / "token").write_text(os.environ["RAY_AUTH_TOKEN"])
    (folder / "arguments").write_text("\n".join(sys.argv[1:]))
    (folder / "settings").write_text(json.dumps({k: v for k, v in os.environ.items() if k.startswith("RAY_")}))
    print("Ray runtime started.", flush=True)
    time.sleep(3600)
