"""How many planted faults the nearby tests find: a seeded sample of cosmic-ray's mutations of three rooms.

    python benchmarks/mutation.py --cosmic-ray PROGRAM [--rooms metrics tasks evaluation] [--sample 60]
        [--seconds 300] [--seed 0]

cosmic-ray lives in an environment of its own (`make mutation`, or `pip install cosmic-ray`) and makes the mutations.
A copy of the tree is mutated, never this one. A mutation counts as killed if the tests of its module fail (its
doctests are among them), or else those of its room. Each is tested in a fork of a process that has imported the
packages that the tests use, but nothing of Eyewright, so that most take a second or two.

Left out are places where a change is no fault that a test could see, or none that one should look for:

- annotations and the arguments of decorators: whatever changes them fails at import, or nothing ever sees it;
- caches (`@cache`, `@lru_cache`), which change the time and not the result;
- the `*` before arguments that are given by name, `if TYPE_CHECKING`, and the wording of errors (f-strings in `raise`);
- `strict=True` of `zip`: like an assertion, it states what is always so;
- the lines of `WORK_SIZES`: how much is computed at once, which changes memory and time and not the result.
"""

import argparse
import ast
import json
import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_PATH = os.pathsep.join([os.environ.get("PATH", ""), str(ROOT / ".mutation" / "bin")])
KEPT = ("src", "tests", "docs", "benchmarks", "pyproject.toml", "conftest.py", "README.md")
# Of the processor, so that other work on the machine does not count as a kill.
TIMEOUT_S = 150
_WALL_S = 900.0
MEMORY = 8 << 30
WARM = ("numpy", "PIL.Image", "pytest", "scipy.stats", "scipy.ndimage", "sklearn.metrics", "cv2", "skimage")

WORK_SIZES: dict[str, tuple[str, ...]] = {
    "evaluation/novelty.py": (
        "rounds = int(np.clip(_CURVE_ROWS // (_POINTS * max(1, self.followed.cost)), 60, _REPLICATES // 2))",
    ),
    "evaluation/parity.py": ("chunk = max(1, min(_CHUNK, _PIXELS // largest_area(inputs_of(trained))))",),
    "evaluation/results.py": ("_AT_ONCE = 64",),
    "metrics/bootstrap.py": ("_CHUNK_CELLS = 4_000_000",),
    "metrics/generation.py": ("_BLOCK = 8_000_000", "size = max(1, _BLOCK // len(b))"),
    "metrics/groups.py": ("rows = max(1, 4_000_000 // len(values))",),
    "metrics/novelty.py": ("_BLOCK = 4_000_000",),
    "metrics/points.py": ("size = max(1, _CELLS // (8 * len(scores)))",),
    "metrics/projection.py": ("_AT_ONCE = 4096",),
    "metrics/retrieval.py": ("_CELLS = 4_000_000",),
    "tasks/box_report.py": ("at_once=8,",),
    "tasks/boxes.py": ("_BLOCK = 128",),
    "tasks/class_report.py": ("at_once=64,",),
    "tasks/embed_report.py": ("at_once=64,",),
    "tasks/generate_report.py": ("at_once=250,",),
    "tasks/mask_report.py": ("at_once=8,",),
    "tasks/read_report.py": ("at_once=64,",),
    "tasks/regress_report.py": ("at_once=64,",),
    "tasks/restore_report.py": ("at_once=8,",),
    "tasks/tag_report.py": ("at_once=64,",),
    "tasks/tiling.py": ("_AT_ONCE = 8",),
    "tasks/video_report.py": ("at_once=16,",),
}
"""By module, the lines that say how much is computed at once."""

# Read by the Python of cosmic-ray's environment: [[module, operator, occurrence], ...] to the mutated sources.
_MUTATE = """
import json, pathlib, sys
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
rows = json.load(sys.stdin)
print(json.dumps([mutate_code(pathlib.Path(m).read_text(), get_operator(o)(), k) for m, o, k in rows]))
"""


@dataclass(frozen=True)
class Mutation:
    """One changed place: the module, its source with the change, the line and the operator."""

    module: str
    source: str | None
    line: int
    operator: str

    def shown(self, original: str) -> str:
        """Return the place, the operator, and the first line that differs."""
        new = (self.source or "").splitlines()
        changed = next((b for a, b in zip(original.splitlines(), new, strict=False) if a != b), "")
        return f"{self.module}:{self.line} {self.operator.removeprefix('core/')}: {changed.strip()}"


def left_out(source: str, work_sizes: Sequence[str]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the parts of a module that are not mutated, each from (line, column) to (line, column)."""
    lines = source.splitlines()
    parts: list[tuple[tuple[int, int], tuple[int, int]]] = []
    for text in work_sizes:
        at = [k for k, line in enumerate(lines, 1) if line.strip() == text]
        if not at:
            raise SystemExit(f"expected the line {text!r} of WORK_SIZES, found none; mend benchmarks/mutation.py")
        parts += [((k, 0), (k, len(lines[k - 1]))) for k in at]
    for k, line in enumerate(lines, 1):
        parts += [((k, star.start()), (k, star.end())) for star in re.finditer(r"\*(?=\s*,)", line)]
    for node in ast.walk(ast.parse(source)):
        parts += [
            ((part.lineno, part.col_offset - starts), (part.end_lineno or part.lineno, part.end_col_offset or 0))
            for part, starts in _unseen(node)
        ]
    return parts


def _unseen(node: ast.AST) -> Iterator[tuple[ast.expr, int]]:
    for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
        if part is not None:
            yield part, 0
    for part in getattr(node, "decorator_list", ()):
        # cosmic-ray removes a decorator at its @, one column before.
        yield part, int("cache" in ast.unparse(part))
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        yield node.test, 0
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "zip":
        yield from ((word.value, 0) for word in node.keywords if word.arg == "strict")
    if isinstance(node, ast.Raise):
        yield from ((part, 0) for part in ast.walk(node) if isinstance(part, ast.JoinedStr))


def draw(cosmic_ray: str, tree: Path, shares: Mapping[Path, int], rng: random.Random) -> list[tuple[Path, Mutation]]:
    """Return a sample of the mutations of some modules, of each as many as its share; cosmic-ray starts once."""
    session, config = tree / "session.sqlite", tree / "session.toml"
    session.unlink(missing_ok=True)
    names = {module: str(module.relative_to(tree)) for module in shares}
    config.write_text(
        f"[cosmic-ray]\nmodule-path = {json.dumps(list(names.values()))}\ntimeout = 1.0\nexcluded-modules = []\n"
        'test-command = "true"\n[cosmic-ray.distributor]\nname = "local"\n'
    )
    subprocess.run([cosmic_ray, "init", config, session], cwd=tree, check=True, capture_output=True)
    every: dict[str, list[tuple[int, int, str, int]]] = {name: [] for name in names.values()}
    with sqlite3.connect(session) as db:
        for name, *row in db.execute(
            "SELECT module_path, start_pos_row, start_pos_col, operator_name, occurrence FROM mutation_specs"
            " ORDER BY start_pos_row, start_pos_col, operator_name, occurrence"
        ):
            every[Path(name).as_posix()].append(tuple(row))
    kept: list[tuple[Path, int, str, int]] = []
    for module, share in shares.items():
        spared = left_out(module.read_text(), WORK_SIZES.get("/".join(module.parts[-2:]), ()))
        usable = [r for r in every[names[module]] if not any(first <= (r[0], r[1]) < last for first, last in spared)]
        some = sorted(rng.sample(usable, min(share, len(usable))))
        kept += [(module, line, operator, occurrence) for line, _, operator, occurrence in some]
    python = Path(cosmic_ray).with_name("python")
    asked = json.dumps([(names[module], operator, occurrence) for module, _, operator, occurrence in kept])
    said = subprocess.run(
        [python, "-c", _MUTATE], input=asked, cwd=tree, check=True, capture_output=True, text=True
    ).stdout
    return [
        (module, Mutation(names[module], source, line, operator))
        for (module, line, operator, _), source in zip(kept, json.loads(said), strict=True)
        if source is not None
    ]


def survives(tree: Path, module: str, room: str, *, doctests: Sequence[str] = ()) -> bool:
    """Tell whether all tests of the module and of its room pass in a process of their own, and the `doctests` of other
    modules."""
    child = os.fork()
    if not child:
        _test(tree, module, room, doctests)
    until = time.monotonic() + _WALL_S
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _test(tree: Path, module: str, room: str, doctests: Sequence[str]) -> None:
    code, spent = 1, int(time.process_time())
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (spent + TIMEOUT_S, spent + TIMEOUT_S))
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        os.chdir(tree)
        sys.path[:0] = [str(tree / "src"), str(tree)]
        sys.dont_write_bytecode = True
        import pytest

        # By its own name first: pytest would import what its package has imported a second time.
        import_module(".".join(Path(module).with_suffix("").parts[1:]))
        # Its own tests first, and those that need a trained run last: most mutations never come to them.
        files = sorted(Path(f"tests/{room}").rglob("test_*.py"), key=lambda p: "finished" in p.read_text("utf-8"))
        near = [str(p) for p in files if p.stem.startswith(f"test_{Path(module).stem}")]
        # A browser reserves more memory than there may be, and no mutation shows in it alone.
        options = ["-n", "0", "-x", "-q", "--no-header", "-p", "no:cacheprovider", "-k", "not in_a_real_browser"]
        code = int(pytest.main([*options, module, *near]))
        # 5: there was no test.
        code = 0 if code == 5 else code
        if code == 0:
            code = int(pytest.main([*options, *doctests, *(str(p) for p in files if str(p) not in near)]))
    finally:
        os._exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cosmic-ray", metavar="PROGRAM", default=shutil.which("cosmic-ray", path=_PATH))
    parser.add_argument("--rooms", nargs="+", default=["metrics", "tasks", "evaluation"])
    parser.add_argument("--modules", nargs="+", help="only these modules, by their names without .py")
    parser.add_argument("--sample", type=int, default=60, help="mutations of each room")
    parser.add_argument("--seconds", type=float, default=300.0, help="for each room, then it stops; 0: no limit")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.cosmic_ray is None:
        print("skipped: cosmic-ray is not installed; pip install cosmic-ray in an environment of its own")
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in WARM:
        import_module(name)
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        tree = Path(folder)
        for name in KEPT:
            place = ROOT / name
            (shutil.copytree if place.is_dir() else shutil.copy)(place, tree / name)
        for room in options.rooms:
            modules = sorted(p for p in (tree / "src/eyewright" / room).glob("*.py") if p.stem != "__init__")
            modules = [p for p in modules if not options.modules or p.stem in options.modules]
            lines = {p: len(p.read_text().splitlines()) for p in modules}
            first, *others = (str(p.relative_to(tree)) for p in modules)
            if not survives(tree, first, room, doctests=others):
                raise SystemExit(f"the tests of {room} fail without a mutation; run pytest tests/{room}")
            # Long modules get more of the sample.
            shares = {p: max(1, round(options.sample * n / sum(lines.values()))) for p, n in lines.items()}
            drawn = draw(options.cosmic_ray, tree, shares, rng)
            # What is left when the time is over is as good a sample as what was tested.
            rng.shuffle(drawn)
            began, killed, total = time.monotonic(), 0, 0
            for module, one in drawn:
                if options.seconds and time.monotonic() - began > options.seconds:
                    break
                original = module.read_text()
                module.write_text(one.source or "")
                total += 1
                if survives(tree, one.module, room):
                    print(f"  survived {one.shown(original)}", flush=True)
                else:
                    killed += 1
                module.write_text(original)
            print(f"{room}: {killed} of {total} killed ({killed / max(1, total):.0%}), {len(drawn)} drawn", flush=True)


if __name__ == "__main__":
    main()
