"""Process any number of files with all cores, in bounded memory; every output is whole or absent."""

__all__ = ["Processed", "format_named", "process_source", "refuse_overlap", "target_of"]

import contextlib
import dataclasses
import itertools
import json
import os
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import EyewrightError, InputError, OutputError, UsageError, spelling_hint
from eyewright.core.extras import raise_if_only_missing
from eyewright.core.files import checked_output, write_bytes, write_json
from eyewright.core.progress import track_progress
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.imaging.encode import DEEP_FORMATS, WRITTEN, encode_image, extension_of
from eyewright.imaging.headers import FORMATS, Limits
from eyewright.imaging.sources import Frame, is_stream, list_sources, open_source
from eyewright.imaging.steps import Steps, parse_steps
from eyewright.imaging.steps.nets import check_nets
from eyewright.imaging.workers import Bounds, Worker
from eyewright.processing.contact import contact_sheet
from eyewright.processing.jobs import read_native
from eyewright.processing.losses import lost_finding

_JOURNAL = "process.json"
_PREVIEWED = 8
_BOUNDS = Bounds(memory=64 * 2**30, cpu_s=3600, wall_s=3600.0, answers=2**31)


@dataclass(frozen=True)
class Processed:
    """What a batch came to: the folder, how many files were written, skipped (by `resume`) and not done, and why."""

    folder: Path
    steps: Steps
    n_written: int
    n_skipped: int
    findings: tuple[Finding, ...]
    bytes_in: int
    bytes_out: int
    preview: Path | None = None


@dataclass(frozen=True)
class _Job:
    source: Path
    out: Path
    format: str


def process_source(
    source: str | Path,
    steps: str | Steps,
    out: str | Path,
    *,
    to: str | None = None,
    quality: float = 90,
    overwrite: bool = False,
    resume: bool = False,
    preview: bool = False,
    draft: bool = False,
    workers: int | None = None,
    seed: int = 0,
    limits: Limits | None = None,
    stride: int = 1,
    max_frames: int | None = None,
    pages: bool = False,
    quiet: bool = True,
) -> Processed:
    """Apply steps to every image of a source and write the results to a folder.

    A folder's structure is kept. Files go out in the format they came in, or in `to` (a format's name); a format that
    is read and not written goes to PNG. `resume` continues where a batch with the same steps was interrupted; a file
    that cannot be done is a finding, and the others continue. What of a file its output does not hold (transparency,
    frames after the first, bits) is a note. `draft` lets JPEGs be read at reduced size where the
    first step makes them smaller still. `preview` adds a sheet of the first files before and after. Videos, cameras
    and streams give numbered frames, and so do documents and animations with `pages`.

    Raises:
        UsageError: steps that are not known, an output inside the input, two inputs for one output, outputs that
            exist (without `overwrite` or `resume`), a `resume` of another batch.
        InputError: nothing is there.
        OutputError: the folder cannot be written.
    """
    chain = steps if isinstance(steps, Steps) else parse_steps(steps)
    check_nets([(s.name, s.values) for s in chain.steps])
    if not 1 <= quality <= 100 or (workers is not None and workers < 1):
        raise UsageError(f"expected a quality of 1 to 100 and a worker, found {quality:g} and {workers}")
    folder = Path(out)
    format = format_named(to)
    options = {"steps": str(chain), "to": format, "quality": quality, "seed": seed, "draft": draft}
    if is_stream(source) or pages:
        if resume or preview:
            raise UsageError("expected no resume and no preview with frames, which have no files", fix="leave them out")
        left_out: list[Finding] = []
        with open_source(source, stride=stride, max_frames=max_frames, pages=pages, note=left_out.append) as frames:
            _claim(folder, options, overwrite=overwrite, resume=False, planned=())
            done = _process_frames(frames, chain, folder, format or "PNG", quality, seed, quiet)
            return dataclasses.replace(done, findings=tuple(left_out))
    jobs = _plan(source, folder, format)
    _claim(folder, options, overwrite=overwrite, resume=resume, planned=[j.out for j in jobs])
    left = [job for job in jobs if not (resume and job.out.exists())]
    limits = limits or Limits()
    request = {
        "steps": chain.to_json(),
        "quality": quality,
        "seed": seed,
        "draft": draft,
        "limits": dataclasses.asdict(limits),
    }
    findings: list[Finding] = []
    written = bytes_in = bytes_out = 0
    n = min(workers or os.cpu_count() or 1, max(1, len(left)))
    with track_progress("processing", len(left), quiet=quiet) as advance:
        for job, answer in _run(left, request, n):
            if isinstance(answer, OutputError):
                raise answer
            if isinstance(answer, EyewrightError):
                findings.append(Finding(answer.code, answer.message, answer.fix, str(job.source), severity="error"))
            else:
                written += 1
                bytes_in += int(answer["bytes_in"])
                bytes_out += int(answer["bytes_out"])
                if answer["lost"]:
                    findings.append(_lost(job.source, answer["lost"]))
            advance(1, job.source.name[:40])
    raise_if_only_missing(findings, written)
    findings.sort(key=lambda f: f.path)
    sheet = None
    if preview:
        sheet = folder / "preview.png"
        _write_preview(sheet, jobs, chain, limits, seed)
    return Processed(folder, chain, written, len(jobs) - len(left), tuple(findings), bytes_in, bytes_out, sheet)


def _lost(source: Path, lost: Sequence[str]) -> Finding:
    has_frames = any("frame" in what for what in lost)
    return lost_finding(source, lost, "pass --pages for every frame" if has_frames else "keep the original")


def format_named(to: str | None) -> str | None:
    """Return the name of a format that is written; None, which keeps a file's own, for None.

    Raises:
        UsageError: it is not written.
    """
    if to is None:
        return None
    name = {"JPG": "JPEG", "TIF": "TIFF", "JP2": "JPEG2000"}.get(to.upper(), to.upper())
    if name not in WRITTEN:
        raise UsageError(f"the format {to!r} cannot be written", fix=spelling_hint(name, WRITTEN))
    return name


def _plan(source: str | Path, folder: Path, format: str | None) -> list[_Job]:
    """Say which file becomes which, before anything is touched."""
    items = [item for item in list_sources(source) if item != "-"]
    if not items:
        raise UsageError("expected files, found standard input", fix="pass a file, folder or glob")
    paths = [Path(item) for item in items]
    root = Path(source)
    if not root.is_dir():
        root = Path(os.path.commonpath([p.parent.resolve() for p in paths]))
    own = root.resolve()
    refuse_overlap(source, folder)
    inputs = {p.resolve() for p in paths}
    jobs, seen = [], dict[Path, Path]()
    for path in paths:
        relative = path.resolve().relative_to(own) if path.resolve().is_relative_to(own) else Path(path.name)
        name, kept = target_of(relative, format)
        target = folder / name
        if target.resolve() in inputs:
            raise UsageError(f"{quoted(target)} is an input", fix="choose another --out", code="overlap")
        if target in seen:
            raise UsageError(
                f"{quoted(seen[target])} and {quoted(path)} would both become {quoted(target)}",
                fix="rename one" if format is None else "rename one, or leave --to out",
                code="same_output",
            )
        seen[target] = path
        jobs.append(_Job(path, target, kept))
    return jobs


def refuse_overlap(source: str | Path, folder: Path) -> None:
    """Raise `UsageError` if the folder of inputs and the folder of outputs overlap: outputs would be inputs of the next
    batch. A single file may lie next to its output."""
    inside, own = folder.resolve(), Path(source).resolve()
    if Path(source).is_dir() and (inside == own or own in inside.parents or inside in own.parents):
        raise UsageError(
            f"the output {quoted(folder)} and the input {quoted(source)} overlap: one is inside the other",
            fix="choose another --out",
            code="overlap",
        )


def target_of(relative: Path, format: str | None) -> tuple[Path, str]:
    """Return the name that a processed file gets, relative to the folder of outputs, and the name of its format: with
    None the one that it has, if that is written, and otherwise PNG."""
    kept = format or _same_format(relative)
    same = relative.suffix.lower() in FORMATS[kept]
    return (relative if same else relative.with_suffix(extension_of(kept))), kept


def _same_format(path: Path) -> str:
    named = next((name for name, exts in FORMATS.items() if path.suffix.lower() in exts), "PNG")
    return named if named in WRITTEN else "PNG"


def _claim(folder: Path, options: dict[str, Any], *, overwrite: bool, resume: bool, planned: Iterable[Path]) -> None:
    """Take the output folder: note what is done there; refuse to mix two batches, or to replace without --overwrite."""
    journal = folder / _JOURNAL
    with checked_output(folder):
        folder.mkdir(parents=True, exist_ok=True)
    earlier: Any = None
    if journal.exists():
        with contextlib.suppress(OSError, ValueError):
            earlier = json.loads(journal.read_text("utf-8"))
    if resume and isinstance(earlier, dict) and earlier != json.loads(json.dumps(options)):
        changed = sorted(k for k in options if earlier.get(k) != options[k])
        raise UsageError(
            f"{quoted(folder)} was started with other options ({', '.join(changed)})",
            fix="use the same, or another --out",
            code="other_batch",
        )
    if not overwrite and not resume:
        existing = next((p for p in planned if p.exists()), None)
        if existing is not None:
            raise UsageError(
                f"{quoted(existing)} exists",
                fix="pass --resume to continue, --overwrite to replace, or another --out",
                code="exists",
            )
        if not planned and any(folder.iterdir()):
            raise UsageError(f"{quoted(folder)} is not empty", fix="pass --overwrite, or another --out", code="exists")
    write_json(journal, options)


def _run(
    jobs: Sequence[_Job], request: dict[str, Any], n: int
) -> Iterator[tuple[_Job, dict[str, Any] | EyewrightError]]:
    """Do the jobs in `n` worker processes and yield each as it is done, in no order.

    When the caller stops, files that are being written are finished first.
    """
    todo = iter(jobs)
    lock, stop = threading.Lock(), threading.Event()
    done: queue.Queue[tuple[_Job, dict[str, Any] | EyewrightError | BaseException] | None] = queue.Queue(maxsize=4 * n)

    def put(item: Any) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                done.put(item, timeout=0.2)
                return

    def work() -> None:
        worker = Worker("eyewright.processing.jobs:process_file", _BOUNDS)
        try:
            while not stop.is_set():
                with lock:
                    job = next(todo, None)
                if job is None:
                    break
                whole = {**request, "path": str(job.source), "out": str(job.out), "format": job.format}
                try:
                    put((job, worker.ask(whole)[0]))
                except EyewrightError as error:
                    put((job, error))
        except BaseException as fault:  # noqa: BLE001 - told to the main thread, which raises it
            put((_Job(Path(), Path(), ""), fault))
        finally:
            worker.close()
            put(None)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(n)]
    for thread in threads:
        thread.start()
    try:
        running = n
        while running:
            item = done.get()
            if item is None:
                running -= 1
                continue
            job, answer = item
            if isinstance(answer, BaseException) and not isinstance(answer, EyewrightError):
                raise answer
            yield job, answer
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _process_frames(
    source: Iterable[Frame], steps: Steps, folder: Path, format: str, quality: float, seed: int, quiet: bool
) -> Processed:
    """Process a stream's frames on threads, a few at a time, into numbered files."""
    threads = os.cpu_count() or 1
    written = bytes_out = 0

    def one(frame: Frame) -> int:
        done = steps(frame.image, seed=seed)
        if done.dtype == np.uint16 and format not in DEEP_FORMATS:
            done = (done >> 8).astype(np.uint8)
        data = encode_image(done, format=format, quality=quality)
        # Pages of a file are distinguished by its name; a camera has none.
        named = f"-{Path(frame.origin).stem}" if Path(frame.origin).is_file() and frame.time_s is None else ""
        write_bytes(folder / f"{frame.index:06d}{named}{extension_of(format)}", data)
        return len(data)

    waiting: list[Future[int]] = []
    with (
        track_progress("processing", None, quiet=quiet) as advance,
        ThreadPoolExecutor(threads) as pool,
    ):
        for frame in source:
            waiting.append(pool.submit(one, frame))
            if len(waiting) >= 2 * threads:
                bytes_out += waiting.pop(0).result()
                written += 1
                advance(1, "")
        for future in waiting:
            bytes_out += future.result()
            written += 1
    if not written:
        raise InputError("the source returned no frame", fix="check it", code="no_images")
    return Processed(folder, steps, written, 0, (), 0, bytes_out)


def _write_preview(path: Path, jobs: Sequence[_Job], steps: Steps, limits: Limits, seed: int) -> None:
    """Draw the first files that can be read, before and after."""
    rows: list[tuple[str, NDArray[Any], NDArray[Any]]] = []
    for job in itertools.islice(jobs, 4 * _PREVIEWED):
        if len(rows) == _PREVIEWED:
            break
        with contextlib.suppress(EyewrightError):
            before = read_native(job.source, steps, limits)
            rows.append((job.source.name, before, steps(before, seed=seed)))
    if rows:
        write_bytes(path, encode_image(contact_sheet(rows, str(steps)), format="PNG"))
