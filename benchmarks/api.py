"""schemathesis over the server's own OpenAPI document: every check it has, and how many operations fail.

    python benchmarks/api.py BUNDLE… --schemathesis PATH [--examples 40] [--seed 1]

PATH is the program of an environment of its own (`pip install schemathesis`). The server runs without an admin's
token, so that no model is unloaded meanwhile. `benchmarks/api_hooks.py` holds what a JSON Schema cannot say of a
valid request.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--schemathesis", default="schemathesis", metavar="PATH")
    parser.add_argument("--examples", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    o = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        named = [f"m{k}={b.resolve()}" for k, b in enumerate(o.bundles)]
        command = (sys.executable, "-m", "eyewright", "serve", *named, "--port", "0", "--json", "--home", home)
        server = subprocess.Popen((*command, "--keep", "images=100%"), stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            address = json.loads(server.stdout.readline())["address"]
            # The environment of schemathesis must not find this one's packages.
            environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
            environment |= {"EYEWRIGHT_ADDRESS": address, "SCHEMATHESIS_HOOKS": "api_hooks"}
            environment["PYTHONPATH"] = str(Path(__file__).parent.resolve())
            done = subprocess.run(
                (o.schemathesis, "run", f"{address}/openapi.json", "--max-examples", str(o.examples), "--seed",
                 str(o.seed), "--workers", "1", "--continue-on-failure", "--generation-database", "none", "--no-color",
                 "--suppress-health-check", "all"),
                cwd=home, env=environment, text=True, capture_output=True,
            )  # fmt: skip
        finally:
            server.terminate()
            server.wait()
    failing = sorted(set(re.findall(r"^_{2,} ((?:[A-Z]+ /\S*)|Stateful tests) _{2,}$", done.stdout, re.MULTILINE)))
    print(done.stdout + done.stderr if failing or done.returncode not in (0, 1) else done.stdout[-1500:])
    print(f"failing operations: {len(failing)} {' · '.join(failing)}")
    return int(bool(failing) or done.returncode != 0)


if __name__ == "__main__":
    raise SystemExit(main())
