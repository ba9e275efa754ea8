"""Write the licence of each component of an SBOM (CycloneDX JSON) as CSV: python .ci/licences.py SBOM.json OUT.csv"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

NOT_DECLARED = "not declared in its metadata"


def licence_of(component: dict[str, Any]) -> str:
    """Return the licences that a component declares: SPDX ids or expressions, else the names."""
    found = []
    for one in component.get("licenses", ()):
        named = one.get("license", {})
        said = one.get("expression") or named.get("id") or named.get("name", "").partition("\n")[0]
        found.append(f"({said})" if " OR " in said and len(component["licenses"]) > 1 else said)
    return " AND ".join(dict.fromkeys(filter(None, found))) or NOT_DECLARED


def main(sbom: str, out: str) -> int:
    components = json.loads(Path(sbom).read_text("utf-8"))["components"]
    rows = sorted((c["name"], c.get("version", ""), licence_of(c)) for c in components)
    with open(out, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("name", "version", "licence"), *rows])
    missing = [name for name, _, licence in rows if licence == NOT_DECLARED]
    print(f"{len(rows)} components in {out}; without a declared licence: {', '.join(missing) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
