"""Compare codecs on one's own pictures: rate-distortion curves, Bjøntegaard rates, one page to show."""

__all__ = ["Study", "bjontegaard_rate", "study_folder"]

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import EyewrightError, InputError, UsageError
from eyewright.core.extras import import_extra
from eyewright.core.files import write_json, write_text
from eyewright.core.progress import track_progress
from eyewright.core.provenance import describe_machine
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.evaluation.charts import Series, line_chart
from eyewright.evaluation.finishing import finish_page
from eyewright.evaluation.pages import style_sheet
from eyewright.imaging.decode import read_encoded, read_image
from eyewright.imaging.encode import data_uri, encode_image
from eyewright.imaging.sources import list_sources
from eyewright.imaging.steps import process
from eyewright.metrics.fidelity import ms_ssim, psnr, ssim, ssimulacra2
from eyewright.processing.compression import CODECS, available_codecs

MEASURES: Mapping[str, str] = {"psnr": "PSNR, dB", "ssim": "SSIM", "ms_ssim": "MS-SSIM", "score": "SSIMULACRA 2"}
"""What is measured, and how a chart calls it."""

_QUALITIES: Mapping[str, Sequence[float]] = {
    "jpeg": (10, 20, 30, 45, 60, 75, 85, 92, 96),
    "webp": (5, 15, 30, 45, 60, 75, 85, 92, 97),
    "avif": (10, 20, 32, 44, 56, 66, 76, 86, 94),
    "jxl": (10, 30, 50, 65, 75, 82, 88, 93, 97),
    "jpeg2000": (22, 30, 37, 44, 51, 58, 65, 73, 82),
}
_LEAST = 32
_NAMES = {"jpeg": "JPEG", "webp": "WebP", "avif": "AVIF", "jxl": "JPEG XL", "jpeg2000": "JPEG 2000"}


@dataclass(frozen=True)
class Study:
    """Curves of each codec and what they come to.

    `curves` holds, by codec, rows with `quality`, `bpp` and the measures, medians over the pictures; `rates` the
    Bjøntegaard rate against JPEG by codec and measure, the median over the pictures in percent (negative: fewer bytes
    for the same quality), None where curves do not overlap.
    """

    n: int
    curves: Mapping[str, Sequence[Mapping[str, float]]]
    rates: Mapping[str, Mapping[str, float | None]]
    findings: tuple[Finding, ...]
    paths: Mapping[str, Path]


def study_folder(
    source: str | Path, out: str | Path, *, max_images: int = 24, workers: int | None = None, quiet: bool = True
) -> Study:
    """Encode the pictures of a source by every codec at nine qualities and write `study.html` and `study.json`.

    Pictures are taken evenly from all of them, `max_images` at most, 1,024 pixels the longer side at most.

    Raises:
        InputError: no picture can be read.
        OutputError: the folder cannot be written.
    """
    if max_images < 1 or (workers is not None and workers < 1):
        raise UsageError(f"expected at least one image and one worker, found {max_images} and {workers}")
    items = [p for p in list_sources(source) if p != "-"]
    step = max(1, -(-len(items) // max_images))
    chosen = [Path(p) for p in items[::step]]
    findings: list[Finding] = []
    pictures: list[tuple[Path, NDArray[Any]]] = []
    for path in chosen:
        try:
            image = _at_most(np.asarray(read_image(path)), 1024)
        except EyewrightError as error:
            findings.append(Finding(error.code, error.message, error.fix, str(path), severity="error"))
            continue
        height, width = image.shape[:2]
        if min(height, width) >= _LEAST:
            pictures.append((path, image))
            continue
        message = f"{width}x{height} pixels are too few for the measures, which need {_LEAST} on each side"
        findings.append(Finding("too_small", message, "leave it out", str(path), severity="warning"))
    if not pictures:
        raise InputError(
            f"expected pictures of at least {_LEAST} pixels a side in {quoted(source)}, found none",
            fix="check the folder",
        )
    codecs = [name for name in available_codecs() if not CODECS[name].lossless]
    tasks = [(k, codec, q) for k in range(len(pictures)) for codec in codecs for q in _QUALITIES[codec]]
    with (
        track_progress("encoding", len(tasks), quiet=quiet) as advance,
        ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool,
    ):
        rows: dict[tuple[int, str], list[dict[str, float]]] = {}
        measured = pool.map(lambda t: _measure(pictures[t[0]][1], t[1], t[2]), tasks)
        for (k, codec, _), row in zip(tasks, measured, strict=True):
            rows.setdefault((k, codec), []).append(row)
            advance(1, codec)
    n = len(pictures)
    curves = {
        codec: [_median([rows[k, codec][j] for k in range(n)]) for j in range(len(_QUALITIES[codec]))]
        for codec in codecs
    }
    rates = {
        codec: {
            m: _median_rate([bjontegaard_rate(_curve(rows[k, "jpeg"], m), _curve(rows[k, codec], m)) for k in range(n)])
            for m in MEASURES
        }
        for codec in codecs
        if codec != "jpeg"
    }
    folder = Path(out)
    paths = {"study": folder / "study.html", "study_json": folder / "study.json"}
    study = Study(n, curves, rates, tuple(findings), paths)
    write_text(paths["study"], _page(study, Path(source).resolve().name, pictures))
    write_json(
        paths["study_json"],
        {"n": n, "pictures": [p.name for p, _ in pictures], "curves": curves, "bjontegaard_percent": rates},
    )
    return study


def bjontegaard_rate(anchor: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]) -> float | None:
    """Return the mean difference in rate, percent, of `other` to `anchor` at equal quality; points are (rate, quality).

    Log rate is interpolated over quality, piecewise cubic and monotone, and integrated over what both curves cover
    (Bjøntegaard, VCEG-M33, 2001; with PCHIP as in VCEG-AL22). None where they share no range.

    >>> anchor = [(1, 30), (2, 33), (4, 36), (8, 39)]
    >>> round(bjontegaard_rate(anchor, [(r / 2, q) for r, q in anchor]), 6)
    -50.0
    """
    interpolate = import_extra("scipy.interpolate", extra="pixels", what="a study")
    lines = []
    for points in (anchor, other):
        rising: list[tuple[float, float]] = []
        for rate, quality in sorted(points, key=lambda p: p[1]):
            if np.isfinite(quality) and (not rising or quality > rising[-1][1] + 1e-9):
                rising.append((rate, quality))
        if len(rising) < 2:
            return None
        rates, qualities = np.array(rising, np.float64).T
        lines.append((interpolate.PchipInterpolator(qualities, np.log(rates)), qualities[0], qualities[-1]))
    low, high = max(line[1] for line in lines), min(line[2] for line in lines)
    if high <= low:
        return None
    mean = (lines[1][0].integrate(low, high) - lines[0][0].integrate(low, high)) / (high - low)
    return float((np.exp(mean) - 1) * 100)


def _measure(image: NDArray[Any], codec: str, quality: float) -> dict[str, float]:
    data = encode_image(image, format=CODECS[codec].format, quality=quality)
    decoded = read_encoded(data)
    return {
        "quality": float(quality),
        "bpp": 8 * len(data) / (image.shape[0] * image.shape[1]),
        "psnr": psnr(image, decoded),
        "ssim": ssim(image, decoded),
        "ms_ssim": ms_ssim(image, decoded),
        "score": ssimulacra2(image, decoded),
    }


def _median(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: float(np.median([r[key] for r in rows])) for key in rows[0]}


def _median_rate(rates: Sequence[float | None]) -> float | None:
    known = [r for r in rates if r is not None]
    return float(np.median(known)) if known else None


def _curve(rows: Sequence[Mapping[str, float]], measure: str) -> list[tuple[float, float]]:
    return [(r["bpp"], r[measure]) for r in rows]


def _at_most(image: NDArray[Any], side: int) -> NDArray[Any]:
    if max(image.shape[:2]) <= side:
        return image

    return process(image, f"resize:{side},filter=lanczos")


def _page(study: Study, name: str, pictures: Sequence[tuple[Path, NDArray[Any]]]) -> str:
    codecs = list(study.curves)
    styles = {codec: f"s{k}" for k, codec in enumerate(codecs)}
    charts = []
    for measure, label in MEASURES.items():
        lines = [
            Series([(r["bpp"], r[measure]) for r in rows if r["bpp"] <= 4], _NAMES[codec], styles[codec], dots=True)
            for codec, rows in study.curves.items()
        ]
        charts.append((label, line_chart(lines, title=label, x_label="bits per pixel", y_label=label, height=300)))
    best = min(
        ((codec, rate["score"]) for codec, rate in study.rates.items() if rate["score"] is not None),
        key=lambda pair: pair[1] or 0.0, default=None,
    )  # fmt: skip
    page: str = _template().render(
        style=style_sheet(),
        name=name,
        n=study.n,
        charts=charts,
        rates=study.rates,
        measures=MEASURES,
        names=_NAMES,
        styles=styles,
        codecs=codecs,
        best=None if best is None else (_NAMES[best[0]], best[1]),
        curves=study.curves,
        machine=describe_machine()["hardware"],
        thumbnails=[(p.name, data_uri(np.asarray(_at_most(image, 320)))) for p, image in pictures[:12]],
        findings=study.findings,
    )
    return finish_page(page)


@lru_cache(maxsize=1)
def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(Path(__file__).with_name("study.html.j2").read_text("utf-8"))
