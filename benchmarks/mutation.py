"""How many planted faults the nearby tests find: a seeded sample of cosmic-ray's mutations of three rooms.

    python benchmarks/mutation.py --cosmic-ray PROGRAM [--rooms metrics tasks evaluation] [--sample 60] [--seed 0]

cosmic-ray lives in an environment of its own (`pip install cosmic-ray`). A copy of the tree is mutated, never this
one. A mutation counts as killed if the tests of its module fail, or else those of its room. Annotations are left out:
whatever changes them fails at import, or nothing ever sees it.
"""

import argparse
import ast
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEPT = ("src", "tests", "docs", "benchmarks", "pyproject.toml", "conftest.py", "README.md")
TIMEOUT_S = 120.0


def annotated_lines(path: Path) -> set[tuple[int, int, int]]:
    """Return the places of annotations and decorators: line, first and last column."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        own = [getattr(node, "annotation", None), getattr(node, "returns", None), *getattr(node, "decorator_list", ())]
        for part in own:
            if part is not None:
                for line in range(part.lineno, part.end_lineno + 1):
                    first = part.col_offset if line == part.lineno else 0
                    last = part.end_col_offset if line == part.end_lineno else 10_000
                    found.add((line, first, last))
    return found


def tests_of(module: Path, room: str) -> str:
    """Return the shell command that fails if a test of the module, or of its room, does."""
    python = f"{sys.executable} -m pytest -n 0 -x -q --no-header -p no:cacheprovider"
    own = f"tests/{room}/test_{module.stem}.py"
    first = f"{python} {own} && " if (ROOT / own).exists() else ""
    return f'sh -c "{first}{python} tests/{room}"'


def choose(session: Path, tree: Path, share: int, rng: random.Random) -> list[str]:
    """Leave `share` mutations in the session, and return what they are, by job."""
    with sqlite3.connect(session) as db:
        rows = db.execute("SELECT job_id, module_path, start_pos_row, start_pos_col FROM mutation_specs").fetchall()
        spared = {m: annotated_lines(tree / m) for m in {r[1] for r in rows}}
        usable = [
            job
            for job, module, line, column in rows
            if not any(line == at and first <= column < last for at, first, last in spared[module])
        ]
        kept = set(rng.sample(sorted(usable), min(share, len(usable))))
        for job, *_ in rows:
            if job not in kept:
                db.execute("DELETE FROM mutation_specs WHERE job_id = ?", (job,))
                db.execute("DELETE FROM work_items WHERE job_id = ?", (job,))
    return sorted(kept)


def outcomes(session: Path) -> tuple[int, int, list[str]]:
    """Return how many were killed, of how many, and where those are that survived."""
    with sqlite3.connect(session) as db:
        rows = db.execute(
            "SELECT s.module_path, s.start_pos_row, s.operator_name, r.test_outcome"
            " FROM mutation_specs s JOIN work_results r ON s.job_id = r.job_id"
        ).fetchall()
    alive = [f"{module}:{line} {operator}" for module, line, operator, said in rows if "SURVIVED" in str(said).upper()]
    return len(rows) - len(alive), len(rows), alive


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cosmic-ray", metavar="PROGRAM", default=shutil.which("cosmic-ray"))
    parser.add_argument("--rooms", nargs="+", default=["metrics", "tasks", "evaluation"])
    parser.add_argument("--sample", type=int, default=60, help="mutations of each room")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.cosmic_ray is None:
        print("skipped: cosmic-ray is not installed; pip install cosmic-ray in an environment of its own")
        return
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        tree = Path(folder)
        for name in KEPT:
            place = ROOT / name
            (shutil.copytree if place.is_dir() else shutil.copy)(place, tree / name)
        environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
        for room in options.rooms:
            modules = sorted(p for p in (tree / "src/eyewright" / room).glob("*.py") if p.stem != "__init__")
            lines = {p: len(p.read_text().splitlines()) for p in modules}
            killed = total = 0
            alive: list[str] = []
            for module in modules:
                # Long modules get more of the sample.
                share = max(1, round(options.sample * lines[module] / sum(lines.values())))
                session, config = tree / f"{module.stem}.sqlite", tree / f"{module.stem}.toml"
                config.write_text(
                    "[cosmic-ray]\n"
                    f"module-path = {json.dumps(str(module.relative_to(tree)))}\n"
                    f"timeout = {TIMEOUT_S}\n"
                    "excluded-modules = []\n"
                    f"test-command = {json.dumps(tests_of(module, room))}\n"
                    '[cosmic-ray.distributor]\nname = "local"\n'
                )
                run = lambda *words: subprocess.run(  # noqa: E731
                    [options.cosmic_ray, *map(str, words)], cwd=tree, env=environment, check=True, capture_output=True
                )
                run("init", config, session)
                choose(session, tree, share, rng)
                run("exec", config, session)
                found, of, left = outcomes(session)
                killed, total, alive = killed + found, total + of, alive + left
                print(f"  {room}/{module.name}: {found} of {of}", flush=True)
            print(f"{room}: {killed} of {total} killed ({killed / max(1, total):.0%})", flush=True)
            for one in alive:
                print(f"  survived {one}")


if __name__ == "__main__":
    main()
