"""schemathesis over the server's own OpenAPI document: every check it has, and how many operations fail.

    python benchmarks/api.py BUNDLE… --schemathesis PATH [--examples 40] [--seed 1] [--phases fuzzing,…]

PATH is the program of an environment of its own (`pip install schemathesis`). Everything that can be asked is switched
on: a token, an administrator's token (reload, load and unload), the prediction log with feedback and kept images, and
a folder of Label Studio's. A model that was unloaded is loaded again before the next request. `benchmarks/api_hooks.py`
holds what a JSON Schema cannot say of a valid request.
"""

import argparse
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--schemathesis", default="schemathesis", metavar="PATH")
    parser.add_argument("--examples", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--phases", default="examples,coverage,fuzzing,stateful")
    parser.add_argument("--include-path-regex", default="", metavar="REGEX", help="only operations of these paths")
    o = parser.parse_args()
    tokens = {"EYEWRIGHT_TOKEN": secrets.token_hex(16), "EYEWRIGHT_ADMIN_TOKEN": secrets.token_hex(16)}
    with tempfile.TemporaryDirectory() as home:
        named = [f"m{k}={b.resolve()}" for k, b in enumerate(o.bundles)]
        command = (sys.executable, "-m", "eyewright", "serve", *named, "--port", "0", "--json", "--home", home,
                   "--keep", "images=100%", "--label-studio-files", home)  # fmt: skip
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | tokens)
        assert server.stdout is not None
        try:
            address = json.loads(server.stdout.readline())["address"]
            config = Path(home) / "schemathesis.toml"
            config.write_text(
                f'[auth.openapi.token]\nbearer = "{tokens["EYEWRIGHT_TOKEN"]}"\n'
                f'[auth.openapi.admin]\nbearer = "{tokens["EYEWRIGHT_ADMIN_TOKEN"]}"\n'
            )
            # The document itself needs the token.
            document = Path(home) / "openapi.json"
            asked = urllib.request.Request(
                f"{address}/openapi.json", headers={"Authorization": f"Bearer {tokens['EYEWRIGHT_TOKEN']}"}
            )
            with urllib.request.urlopen(asked, timeout=30) as answer:
                document.write_bytes(answer.read())
            # The environment of schemathesis must not find this one's packages.
            environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | tokens
            environment |= {"EYEWRIGHT_ADDRESS": address, "SCHEMATHESIS_HOOKS": "api_hooks"}
            environment["PYTHONPATH"] = str(Path(__file__).parent.resolve())
            only = ("--include-path-regex", o.include_path_regex) if o.include_path_regex else ()
            done = subprocess.run(
                (o.schemathesis, "--config-file", str(config), "run", str(document), "--url", address,
                 "--max-examples", str(o.examples), "--seed", str(o.seed), "--workers", "1", "--continue-on-failure",
                 "--generation-database", "none", "--no-color",
                 "--request-timeout", "60", "--suppress-health-check", "all", "--phases", o.phases,
                 *only),
                cwd=home, env=environment, text=True, capture_output=True,
            )  # fmt: skip
        finally:
            server.terminate()
            server.wait()
    failing = sorted(set(re.findall(r"^_{2,} ((?:[A-Z]+ /\S*)|Stateful tests) _{2,}$", done.stdout, re.MULTILINE)))
    print(done.stdout + done.stderr if failing or done.returncode != 0 else done.stdout[-1500:])
    print(f"failing operations: {len(failing)} {' · '.join(failing)}")
    return int(bool(failing) or done.returncode != 0)


if __name__ == "__main__":
    raise SystemExit(main())
