"""What a machine does with a bundle: latency, throughput, memory, start-up, energy; and how it is best run there."""

__all__ = ["Bench", "Timed", "bench_bundle", "store_advice", "whole_process", "write_bench"]

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle import trial
from eyewright.bundle.load import Bundle, load_bundle
from eyewright.bundle.manifest import Manifest, read_manifest, write_manifest
from eyewright.bundle.session import open_session
from eyewright.bundle.verify import bundle_digest, read_verified
from eyewright.core.errors import BundleError, UsageError
from eyewright.core.files import write_json, write_text
from eyewright.core.inputs import name_inputs, prepare, slice_rows
from eyewright.core.machine import children
from eyewright.core.machine.limits import energy_counters
from eyewright.core.provenance import describe_hardware
from eyewright.core.sizes import say_memory
from eyewright.delivery.target import GoldenImages
from eyewright.evaluation.charts import Series, line_chart
from eyewright.evaluation.pages import style_sheet
from eyewright.metrics.bootstrap import percentile_interval

_ROUNDS = 10
_LEAST_RUNS = 50
# A slow model is run for so many times as long as was asked for, if that is needed for so many runs, and no longer.
_LONGEST, _FEWEST_RUNS = 10, 5
_STARTS = 3
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_CHILD = """
import sys
from eyewright.core.machine.lifeline import hold_lifeline
hold_lifeline()
import eyewright
bundle = eyewright.load_bundle(sys.argv[1], self_test=False)
from eyewright.core.inputs import blank_inputs
blank = blank_inputs(bundle.inputs)
bundle.raw(blank)
print("answered", flush=True)
from time import monotonic
began = monotonic()
for _ in range(20):
    bundle.raw(blank)
    if monotonic() - began > 5:
        break
from eyewright.core.machine.limits import peak_bytes
print(peak_bytes() or 0, flush=True)
"""


@dataclass(frozen=True)
class Timed:
    """One way to run a model: `batch` images at once, `threads` of `provider`; times of a run in milliseconds with the
    interval of the median, images per second, joules per image where the machine tells."""

    provider: str
    threads: int
    batch: int
    runs: int
    p50_ms: float
    p50_low_ms: float
    p50_high_ms: float
    p99_ms: float
    images_per_s: float
    joules_per_image: float | None = None


@dataclass(frozen=True)
class Bench:
    """All ways, the quickest for one image, the one with most images a second; start and memory of a whole process
    from the command to the first answer; `speedup` over another bundle, both measured in turns."""

    rows: tuple[Timed, ...]
    quickest: Timed
    densest: Timed
    start_s: float
    memory_bytes: int | None
    model_bytes: int
    hardware: Mapping[str, Any]
    speedup: Mapping[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON types."""
        rounded = {k: v for k, v in asdict(self).items() if k not in ("rows", "quickest", "densest")}
        rows = [_rounded(r) for r in self.rows]
        return {**rounded, "rows": rows, "quickest": _rounded(self.quickest), "densest": _rounded(self.densest)}

    @property
    def advice(self) -> dict[str, Any]:
        """What is stored in a bundle: how this machine runs it best."""
        return {
            "hardware": dict(self.hardware),
            "provider": self.quickest.provider,
            "threads": self.quickest.threads,
            "batch": self.densest.batch,
            "p50_ms": round(self.quickest.p50_ms, 3),
            "images_per_s": round(self.densest.images_per_s, 1),
        }


def bench_bundle(
    folder: Path,
    *,
    batches: Sequence[int] = (1, 8),
    threads: Sequence[int] | None = None,
    against: Path | None = None,
    seconds: float = 1.0,
    now: Callable[[], float] = time.perf_counter,
) -> Bench:
    """Measure the bundle in `folder` on this machine, on the images of its golden pairs.

    Every combination of `batches` and `threads` (1, 2, 4 … up to all cores) and of the providers that are there runs
    for about `seconds`, in ten rounds in turn, so that what disturbs one disturbs all: at least 50 times, but a slow
    model for ten times `seconds` and ten times at most. `against` is another bundle,
    such as the one that this was compressed from.

    Raises:
        BundleError: damaged or changed.
        UsageError: a batch or number of threads below 1.
    """
    counts = tuple(threads) if threads else _thread_counts()
    if min(*counts, *batches, 1) < 1:
        raise UsageError("expected batches and threads of 1 or more, found a smaller number", fix="change them")
    # What does not end, or is not what was exported, is refused before anything is timed.
    for place in (folder, *(() if against is None else (against,))):
        load_bundle(place)
    manifest, content = read_verified(folder)
    model = content[manifest.model]
    named = _golden_inputs(manifest, content)
    given = {b: {name: np.resize(a, (b, *a.shape[1:])) for name, a in named.items()} for b in batches}
    ways = [
        (provider, n, b, Bundle(folder, manifest, open_session(model, threads=n, provider=_PROVIDERS[provider])))
        for provider in _available()
        for n in (counts if provider == "cpu" else counts[-1:])
        for b in batches
    ]
    times: list[list[float]] = [[] for _ in ways]
    joules = [0.0] * len(ways)
    meter = _Meter()
    for way in ways:
        way[3].raw(given[way[2]])
    for _ in range(_ROUNDS):
        for k, (_, _, b, bundle) in enumerate(ways):
            began, before = now(), meter.read()
            while (spent := now() - began) < seconds / _ROUNDS or (
                len(times[k]) % -(-_LEAST_RUNS // _ROUNDS) and spent < _LONGEST * seconds / _ROUNDS
            ):
                started = now()
                bundle.raw(given[b])
                times[k].append(now() - started)
            joules[k] += meter.read() - before
    rows = tuple(
        _timed(provider, n, b, np.array(t), joules[k] if meter.works else None)
        for k, ((provider, n, b, _), t) in enumerate(zip(ways, times, strict=True))
    )
    single = [r for r in rows if r.batch == min(batches)]
    start_s, memory = whole_process(folder)
    return Bench(
        rows,
        min(single, key=lambda r: r.p50_ms),
        max(rows, key=lambda r: r.images_per_s),
        start_s,
        memory,
        len(model),
        describe_hardware(),
        None if against is None else _speedup(folder, against, seconds, now),
    )


def store_advice(folder: Path, bench: Bench) -> None:
    """Write into a bundle how this machine runs it best; its digest changes, its model does not."""
    write_manifest(folder, replace(read_manifest(folder), advice=bench.advice))


def _thread_counts() -> tuple[int, ...]:
    cores = os.cpu_count() or 1
    return tuple(sorted({1, cores, *(2**k for k in range(cores.bit_length()) if 2**k < cores)}))


def _available() -> list[str]:
    import onnxruntime

    there = onnxruntime.get_available_providers()
    return [name for name, full in _PROVIDERS.items() if full in there]


def _timed(provider: str, threads: int, batch: int, times: NDArray[np.float64], joules: float | None) -> Timed:
    rng = np.random.default_rng(0)
    medians = np.median(times[rng.integers(len(times), size=(300, len(times)))], 1) * 1e3
    low, high = percentile_interval(medians)
    return Timed(
        provider,
        threads,
        batch,
        len(times),
        float(np.median(times)) * 1e3,
        low,
        high,
        float(np.quantile(times, 0.99)) * 1e3,
        batch * len(times) / float(times.sum()),
        None if joules is None else joules / (batch * len(times)),
    )


def whole_process(folder: Path) -> tuple[float, int | None]:
    """Return the median seconds from the start of a process to its first prediction, and its peak memory
    in bytes, None where the system does not tell.

    Raises:
        BundleError: the bundle cannot be run in a separate process.
    """
    starts, memory = [], 0
    load_bundle(folder)
    environment = trial.inherited(bundle_digest(folder))
    for _ in range(_STARTS):
        began = time.perf_counter()
        command = [sys.executable, "-c", _CHILD, str(folder)]
        with children.start_child(command, environment=environment, stdin=None, stderr=None, lead=False) as child:
            assert child.stdout is not None
            if child.stdout.readline().strip() != b"answered":
                raise BundleError("the bundle cannot be run in a separate process", fix="see eyewright verify")
            starts.append(time.perf_counter() - began)
            memory = max(memory, int(child.stdout.readline()))
    return float(np.median(starts)), memory or None


def _golden_inputs(manifest: Manifest, content: Mapping[str, bytes]) -> Mapping[str, NDArray[Any]]:
    """Return the prepared arrays of the golden pairs by input name."""
    images = GoldenImages.of(content["golden.npz"], manifest.inputs).images
    return name_inputs(manifest.inputs, prepare(manifest.inputs, images)[0])


def _speedup(folder: Path, against: Path, seconds: float, now: Callable[[], float]) -> dict[str, float]:
    """Return how many times faster this bundle answers one image than another, both with all cores."""
    runs = []
    for place in (against, folder):
        manifest, content = read_verified(place)
        bundle = Bundle(place, manifest, open_session(content[manifest.model]))
        one = slice_rows(_golden_inputs(manifest, content), 0, 1)
        bundle.raw(one)
        runs.append((bundle, one))
    times: list[tuple[float, float]] = []
    began = now()
    while (
        (spent := now() - began) < 2 * seconds
        or len(times) < _FEWEST_RUNS
        or (len(times) < _LEAST_RUNS and spent < 2 * _LONGEST * seconds)
    ):
        pair = []
        for bundle, one in runs:
            started = now()
            bundle.raw(one)
            pair.append(now() - started)
        times.append((pair[0], pair[1]))
    both = np.array(times)
    rng = np.random.default_rng(0)
    medians = np.median(both[rng.integers(len(both), size=(300, len(both)))], 1)
    low, high = percentile_interval(medians[:, 0] / medians[:, 1])
    first, second = np.median(both, 0)
    return {
        "value": round(float(first / second), 3),
        "low": round(low, 3),
        "high": round(high, 3),
        "before_ms": round(float(first) * 1e3, 3),
        "after_ms": round(float(second) * 1e3, 3),
    }


def _rounded(row: Timed) -> dict[str, Any]:
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(row).items()}


class _Meter:
    """The processor's own energy counters, in joules, where the machine has them and lets us read (Linux RAPL)."""

    def __init__(self) -> None:
        # Packages only: their parts are counted in them.
        self._files = energy_counters()
        self.works = bool(self._files)
        try:
            self.read()
        except OSError:
            self.works = False

    def read(self) -> float:
        return sum(int(f.read_text("ascii")) for f in self._files) / 1e6 if self.works else 0.0


def write_bench(bench: Bench, folder: Path, *, title: str) -> dict[str, Path]:
    """Write `bench.json` and `bench.html`, a page with table and plot."""
    from html import escape

    write_json(folder / "bench.json", bench.to_json())
    batches = sorted({r.batch for r in bench.rows})
    series = [
        Series(
            [(r.threads, r.p50_ms / b) for r in bench.rows if r.batch == b and r.provider == "cpu"],
            f"{b} at once",
            f"s{k % 5}",
            True,
        )
        for k, b in enumerate(batches)
    ]
    top = 1.1 * max(y for s in series for _, y in s.points)
    chart = line_chart(
        series, title="latency by threads", x_label="threads", y_label="ms per image (median)", y_range=(0.0, top)
    )
    keys = " ".join(f'<span class="key {s.style}">{escape(s.name)}</span>' for s in series)
    rows = "".join(
        f'<tr><td>{r.provider}</td><td class="n">{r.threads}</td><td class="n">{r.batch}</td>'
        f'<td class="n">{r.p50_ms:.2f} <span class="soft small">[{r.p50_low_ms:.2f}, {r.p50_high_ms:.2f}]</span></td>'
        f'<td class="n">{r.p99_ms:.2f}</td><td class="n">{r.images_per_s:,.0f}</td>'
        f'<td class="n">{"–" if r.joules_per_image is None else f"{1e3 * r.joules_per_image:.1f}"}</td></tr>'
        for r in bench.rows
    )
    hardware = ", ".join(f"{k} {v}" for k, v in bench.hardware.items())
    lead = (
        f"{bench.model_bytes:,} bytes of model; {bench.start_s:.2f} s from process start to the first prediction, "
        f"{say_memory(bench.memory_bytes)} at most."
    )
    if bench.speedup:
        s = bench.speedup
        lead += f" {s['value']:.2f} times as fast [{s['low']:.2f}, {s['high']:.2f}] as the other bundle, one image."
    head = (
        "<tr><th>provider</th><th class='n'>threads</th><th class='n'>images at once</th><th class='n'>median ms</th>"
    )
    head += "<th class='n'>p99 ms</th><th class='n'>images/s</th><th class='n'>mJ an image</th></tr>"
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    write_text(
        folder / "bench.html",
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{escape(title)}</title>'
        f"<style>{style_sheet()}</style></head><body><main><header><div class='eyebrow'>Eyewright bench</div>"
        f"<h1>{escape(title)}</h1><p class='lead'>{escape(lead)}</p><p class='soft'>{escape(hardware)}</p></header>"
        f"<div class='card' style='max-width:640px'>{chart}<p>{keys}</p></div>"
        f"<div class='card scroll' tabindex='0' style='margin-top:14px'><table>{head}{rows}</table></div>"
        "</main></body></html>\n",
    )
    return {"bench": folder / "bench.html", "bench_json": folder / "bench.json"}
