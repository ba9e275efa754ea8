"""Write the licence of each component of an SBOM (CycloneDX JSON) as CSV: .ci/licences.py SBOM.json OUT.csv [ENV]

With ENV, the environment that the SBOM describes, a component without a declared licence gets that of its wheel: the
field `License` of its metadata, or the licence whose text lies in it. The SBOM is then written again, and says so.
"""

import csv
import json
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

NOT_DECLARED = "not declared in its metadata"

# Sentences that only this licence has, in lower case with single spaces; the first that fits.
_TEXTS = {
    "Apache-2.0": ("apache license version 2.0, january 2004",),
    "BSD-3-Clause": (
        "redistributions of source code must retain the above copyright",
        "redistributions in binary form must reproduce the above copyright",
        "be used to endorse or promote products derived from this software without specific prior written permission",
    ),
    "MIT": ("permission is hereby granted, free of charge, to any person obtaining a copy of this software",),
}


def licence_of(component: dict[str, Any]) -> str:
    """Return the licences that a component declares: SPDX ids or expressions, else the names."""
    found = []
    for one in component.get("licenses", ()):
        named = one.get("license", {})
        said = one.get("expression") or named.get("id") or named.get("name", "").partition("\n")[0]
        found.append(f"({said})" if " OR " in said and len(component["licenses"]) > 1 else said)
    return " AND ".join(dict.fromkeys(filter(None, found))) or NOT_DECLARED


def licence_in(wheel: Distribution) -> tuple[dict[str, str], str] | None:
    """Return the licence of an installed wheel as CycloneDX writes it, and where it is said; None if nowhere."""
    for file in wheel.files or ():
        if ".dist-info" in str(file) and file.name.upper().startswith(("LICEN", "COPYING")):
            text = " ".join(file.read_text("utf-8").lower().split())
            for name, sentences in _TEXTS.items():
                if all(sentence in text for sentence in sentences):
                    return {"id": name}, file.name
    named = (wheel.metadata.get("License") or "").strip()
    return ({"name": named}, "License of METADATA") if named and "\n" not in named else None


def fill_in(components: list[dict[str, Any]], environment: Path) -> Iterator[str]:
    """Fill in the licences of components that declare none from their installed wheels; yield the names."""
    site = [str(path) for path in environment.glob("lib/python*/site-packages")]
    wheels = {_plain(w.metadata["Name"]): w for w in distributions(path=site)}
    for one in components:
        wheel = wheels.get(_plain(one["name"]))
        found = None if wheel is None or licence_of(one) != NOT_DECLARED else licence_in(wheel)
        if found is not None:
            one["licenses"] = [{"license": found[0]}]
            said = {"name": "eyewright:licence-from", "value": found[1]}
            one["properties"] = sorted([*one.get("properties", ()), said], key=lambda p: p["name"])
            yield one["name"]


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def main(sbom: str, out: str, environment: str | None = None) -> int:
    content = json.loads(Path(sbom).read_text("utf-8"))
    components = content["components"]
    if environment is not None:
        filled = list(fill_in(components, Path(environment)))
        if filled:
            Path(sbom).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
            print(f"licence taken from the wheel itself: {', '.join(filled)}")
    rows = sorted((c["name"], c.get("version", ""), licence_of(c)) for c in components)
    with open(out, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("name", "version", "licence"), *rows])
    missing = [name for name, _, licence in rows if licence == NOT_DECLARED]
    print(f"{len(rows)} components in {out}; without a declared licence: {', '.join(missing) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
