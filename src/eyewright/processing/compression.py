"""Write images as small as a target of quality allows, measured on what was written."""

__all__ = [
    "CODECS",
    "Encoded",
    "Target",
    "available_codecs",
    "codecs_named",
    "encode_files",
    "encode_picture",
    "named_files",
    "encode_to",
    "encoded_name",
]

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import EyewrightError, UsageError, spelling_hint
from eyewright.core.extras import raise_if_only_missing
from eyewright.core.files import write_bytes
from eyewright.core.progress import track_progress
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.imaging.decode import probe_image, read_encoded, read_image, read_profile
from eyewright.imaging.encode import encode_image, extension_of
from eyewright.imaging.sources import list_sources
from eyewright.metrics.fidelity import VISUALLY_LOSSLESS, ms_ssim, psnr, ssim, ssimulacra2
from eyewright.processing.losses import lost_finding, reading_losses

Pixels = NDArray[Any]


@dataclass(frozen=True)
class Target:
    """What a file has to reach: a `quality` as the codec means it, at most so many `bytes`, an SSIM of the luma, or a
    SSIMULACRA 2 `score` (90: no visible loss).
    """

    kind: Literal["quality", "bytes", "ssim", "score"] = "score"
    value: float = VISUALLY_LOSSLESS

    def __post_init__(self) -> None:
        low, high = {"quality": (1, 100), "bytes": (64, 2**40), "ssim": (0.01, 1), "score": (-100, 100)}[self.kind]
        if not low <= self.value <= high:
            raise UsageError(f"expected a target {self.kind} of {low:g} to {high:g}, found {self.value:g}")

    def measure(self, original: Pixels, decoded: Pixels) -> float:
        """Return what the target bounds from below."""
        return ssim(original, decoded) if self.kind == "ssim" else ssimulacra2(original, decoded)

    def __str__(self) -> str:
        name = {"quality": "quality", "bytes": "bytes at most", "ssim": "SSIM", "score": "SSIMULACRA 2"}[self.kind]
        return f"{name} {self.value:g}"


@dataclass(frozen=True)
class Codec:
    """A format as the search sees it: qualities from worst to best, and variants that are compared with each other."""

    format: str
    qualities: tuple[float, ...]
    chroma: tuple[str, ...] = ("auto",)
    lossless: bool = False


_LARGE = 3_000_000
# Codecs that need so much more than the best of them, on a mosaic of a large picture, are not tried on all of it.
_CLOSE = 1.1


def _jpeg_qualities() -> tuple[float, ...]:
    """Return qualities whose quantisation tables lie 1.5 % apart: whole ones are too far apart to land on a target.

    A quality below 50 scales the tables by 5000 / quality percent, one above by 200 - 2 * quality (libjpeg).
    """
    scales = 5000 * np.exp(-0.015 * np.arange(int(np.log(5000 / 1.5) / 0.015)))
    return (*(float(5000 / s if s > 100 else (200 - s) / 2) for s in scales), 100.0)


_WHOLE = tuple(float(q) for q in range(1, 100))
CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        "jpeg": Codec("JPEG", _jpeg_qualities(), ("420", "444")),
        "webp": Codec("WEBP", (*_WHOLE, 100.0)),
        "avif": Codec("AVIF", (*_WHOLE, 100.0), ("420", "444")),
        "jxl": Codec("JXL", (*(q / 4 for q in range(4, 400)), 100.0)),
        "jpeg2000": Codec("JPEG2000", (*(q / 4 for q in range(4, 400)), 100.0)),
        "png": Codec("PNG", (100.0,), lossless=True),
    }
)
"""Name → how it is searched."""


@dataclass(frozen=True)
class Encoded:
    """One file written: what it is, how large, how close. `missed` says why a target could not be met, or is empty."""

    source: Path
    out: Path | None
    codec: str
    quality: float
    chroma: str
    size_hw: tuple[int, int]
    bytes_in: int
    bytes_out: int
    psnr: float
    ssim: float
    ms_ssim: float
    score: float
    missed: str = ""

    @property
    def bits_per_pixel(self) -> float:
        """Bits for each pixel of the image."""
        return 8 * self.bytes_out / (self.size_hw[0] * self.size_hw[1])

    @property
    def saved(self) -> float:
        """The fraction of bytes saved; negative where the file grew."""
        return 1 - self.bytes_out / self.bytes_in if self.bytes_in else 0.0


@dataclass(frozen=True)
class _Try:
    data: bytes
    quality: float
    chroma: str
    reached: float
    meets: bool


def available_codecs() -> tuple[str, ...]:
    """Return the codecs that can be written here; JPEG XL needs the extra `formats`."""
    has_jxl = importlib.util.find_spec("imagecodecs") is not None
    return tuple(name for name in CODECS if name != "jxl" or has_jxl)


def encode_to(image: Pixels, codec: str, target: Target, *, icc: bytes | None = None) -> tuple[bytes, float, str, bool]:
    """Return the smallest file of a codec that meets a target: (bytes, quality, chroma, whether it meets it).

    Quality is searched by halving, and then every neighbour of the place found, since neither size nor likeness rises
    with every step. Where nothing meets the target, what comes nearest is given.

    Raises:
        UsageError: an unknown codec; a picture too small to be measured.
        MissingExtraError: JPEG XL without the extra that writes it.
    """
    kind = CODECS.get(codec)
    if kind is None:
        raise UsageError(f"there is no codec {codec!r}", fix=spelling_hint(codec, CODECS))
    if target.kind == "quality":
        quality = 100.0 if kind.lossless else target.value
        chroma = "auto" if len(kind.chroma) > 1 else kind.chroma[0]
        return _final(codec, _encoded(image, kind, quality, chroma, icc)), quality, chroma, True
    # Luma does not see what is lost in colour: where it alone is asked for, the cheaper sampling always wins.
    variants = kind.chroma[:1] if target.kind == "ssim" or image.ndim == 2 else kind.chroma
    starts: dict[str, int | None] = dict.fromkeys(variants)
    if target.kind != "bytes" and image.shape[0] * image.shape[1] > _LARGE:
        # A large picture costs seconds a try. A mosaic of it tells where to begin, and which sampling is smaller.
        small = _mosaic(image)
        guesses = {v: _search(small, codec, kind, v, target, icc) for v in variants}
        chosen = _better_of(list(guesses.values()), target)
        starts = {chosen.chroma: kind.qualities.index(chosen.quality)}
    tries = [_search(image, codec, kind, chroma, target, icc, start=start) for chroma, start in starts.items()]
    best = _better_of(tries, target)
    return _final(codec, best.data), best.quality, best.chroma, best.meets


def _mosaic(image: Pixels, *, side: int = 256, across: int = 3) -> Pixels:
    """Return tiles taken evenly from a picture, side by side."""
    height, width = image.shape[:2]
    tops = np.linspace(0, height - side, across).astype(int) if height > side else np.zeros(1, int)
    lefts = np.linspace(0, width - side, across).astype(int) if width > side else np.zeros(1, int)
    rows = [np.concatenate([image[y : y + side, x : x + side] for x in lefts], 1) for y in tops]
    return np.ascontiguousarray(np.concatenate(rows, 0))


def _search(
    image: Pixels, codec: str, kind: Codec, chroma: str, target: Target, icc: bytes | None, *, start: int | None = None
) -> _Try:
    """Find the first quality that meets a likeness, or the last that meets a size; `start` is where it should be."""
    tried: dict[int, _Try] = {}

    def at(index: int) -> _Try:
        if index not in tried:
            quality = kind.qualities[index]
            data = _encoded(image, kind, quality, chroma, icc)
            if target.kind == "bytes":
                data = _final(codec, data)
                tried[index] = _Try(data, quality, chroma, -len(data), len(data) <= target.value)
            else:
                reached = target.measure(image, _decoded(data, image))
                tried[index] = _Try(data, quality, chroma, reached, reached >= target.value)
        return tried[index]

    last = len(kind.qualities) - 1
    rising = target.kind != "bytes"
    low, high = (0, last) if start is None else _bracket(at, start, last)
    while low < high:
        middle = (low + high) // 2 if rising else (low + high + 1) // 2
        if at(middle).meets == rising:
            low, high = (low, middle) if rising else (low, middle - 1)
        else:
            low, high = (middle + 1, high) if rising else (middle, high)
    at(low)
    # Neither size nor likeness rises with every step: the place's neighbours are tried, where each costs seconds only
    # those below it, whose files are smaller.
    reach = 3 if last <= 100 else 6
    above = reach if start is None else 0
    for index in range(max(0, low - reach), min(last, low + above) + 1):
        at(index)
    if rising and start is None and kind.qualities[low] < 15:
        # Where quality is very low, likeness goes up and down with it: a far lower one may do as well.
        for index in range(low - reach, -1, -max(1, len(kind.qualities) // 40)):
            at(index)
    return _better_of(list(tried.values()), target)


def _bracket(at: Callable[[int], _Try], start: int, last: int) -> tuple[int, int]:
    """Go from `start` in growing steps until one quality meets the likeness and one before it does not."""
    step = 1
    if at(start).meets:
        high = start
        while (low := max(0, high - step)) < high and at(low).meets:
            high, step = low, 2 * step
        return low, high
    low = start
    while (high := min(last, low + step)) > low and not at(high).meets:
        low, step = high, 2 * step
    return low, high


def _better_of(tries: Sequence[_Try], target: Target) -> _Try:
    good = [t for t in tries if t.meets]
    if target.kind == "bytes":
        # Of those that fit, the best quality; of none, the smallest.
        return max(good, key=lambda t: (t.quality, -len(t.data))) if good else min(tries, key=lambda t: len(t.data))
    return min(good, key=lambda t: len(t.data)) if good else max(tries, key=lambda t: (t.reached, -len(t.data)))


def _encoded(image: Pixels, kind: Codec, quality: float, chroma: str, icc: bytes | None) -> bytes:
    return encode_image(image, format=kind.format, quality=quality, chroma=chroma, icc=icc)


def _decoded(data: bytes, like: Pixels) -> Pixels:
    # The profile that is kept with the file is not carried out: likeness is measured on the numbers themselves.
    found: Pixels = read_encoded(data, colour="file")
    return found if like.ndim == 3 else np.ascontiguousarray(found[..., 0])


def _final(codec: str, data: bytes) -> bytes:
    """Pack without loss what a wheel that is there can pack tighter: mozjpeg's scans, oxipng's filters."""
    if codec == "jpeg" and importlib.util.find_spec("mozjpeg_lossless_optimization") is not None:
        import mozjpeg_lossless_optimization as mozjpeg

        tighter = bytes(mozjpeg.optimize(data, copy=mozjpeg.COPY_MARKERS.ICC))
        return tighter if len(tighter) < len(data) else data
    if codec == "png" and importlib.util.find_spec("oxipng") is not None:
        import oxipng

        tighter = bytes(oxipng.optimize_from_memory(data, level=3))
        return tighter if len(tighter) < len(data) else data
    return data


def encode_files(
    source: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    to: str = "auto",
    target: Target | None = None,
    keep_icc: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    quiet: bool = True,
) -> tuple[tuple[Encoded, ...], tuple[Finding, ...]]:
    """Encode every image of a source into a folder; return what was written, and what a person should know of it.

    `to` is a codec, several with commas between, or "auto" for all that can be written here: the smallest file that
    meets the target is kept. Without a target nothing visible is lost (SSIMULACRA 2 of 90). Metadata is left out; with
    `keep_icc` the colour profile stays and the pixels keep its numbers. Pictures lie upright, in 8 bits, the first
    frame only, transparency over white. The structure of a folder is kept.

    Raises:
        UsageError: an unknown codec, an output that exists, two inputs for one output, an output that is an input.
        InputError: nothing is there.
        OutputError: the folder cannot be written.
    """
    target = target or Target()
    if workers is not None and workers < 1:
        raise UsageError(f"expected at least one worker, found {workers}", fix="change --workers")
    codecs = codecs_named(to)
    sources = [source] if isinstance(source, str | Path) else list(source)
    names = [named for s in sources for named in named_files(s)]
    if not names:
        raise UsageError("expected image files, found standard input", fix="pass files, a folder or a glob")
    folder = Path(out)
    _check_names(names, folder, codecs, overwrite=overwrite)
    findings: list[Finding] = []
    done: list[Encoded] = []

    def one(named: tuple[Path, Path]) -> tuple[Encoded | None, list[Finding]]:
        path, relative = named
        try:
            return _encode_file(path, folder / relative.parent, codecs, target, keep_icc=keep_icc)
        except EyewrightError as error:
            if isinstance(error, UsageError) and error.code == "output_not_writable":
                raise
            return None, [Finding(error.code, error.message, error.fix, str(path), severity="error")]

    with (
        track_progress("encoding", len(names), quiet=quiet) as advance,
        ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool,
    ):
        for (path, _), (encoded, found) in zip(names, pool.map(one, names), strict=True):
            findings.extend(found)
            if encoded is not None:
                done.append(encoded)
            advance(1, path.name[:40])
    raise_if_only_missing(findings, len(done))
    return tuple(done), tuple(findings)


_LESS: Mapping[str, str] = {
    "quality": "ask for less, or use another --to",
    "bytes": "allow more bytes, shrink the image first, or use another --to",
    "ssim": "ask for less, or use another --to",
    "score": "ask for less, or use another --to",
}


def codecs_named(to: str) -> tuple[str, ...]:
    """Return the codecs that `--to` names: "auto" is all that can be written here.

    >>> codecs_named("jpg, webp")
    ('jpeg', 'webp')

    Raises:
        UsageError: there is no such codec.
    """
    if to == "auto":
        return available_codecs()
    names = tuple({"jpg": "jpeg", "jp2": "jpeg2000"}.get(n.strip().lower(), n.strip().lower()) for n in to.split(","))
    for name in names:
        if name not in CODECS:
            raise UsageError(f"there is no codec {name!r}", fix=spelling_hint(name, ("auto", *CODECS)))
    return names


def named_files(source: str | Path) -> list[tuple[Path, Path]]:
    """Return each file of a source with the path of its output below the folder of outputs, whose extension the codec
    decides: the structure of a folder is kept, and of a glob what lies below the folder that its files have in common.
    """
    paths = [Path(p) for p in list_sources(source) if p != "-"]
    if not paths:
        return []
    root = Path(source) if Path(source).is_dir() else Path(os.path.commonpath([p.parent for p in paths]))
    return [(p, p.relative_to(root) if p.is_relative_to(root) else Path(p.name)) for p in paths]


def _check_names(names: Sequence[tuple[Path, Path]], folder: Path, codecs: Sequence[str], *, overwrite: bool) -> None:
    """Refuse before the first search what would overwrite an input, another output, or a file that is there."""
    seen: dict[Path, Path] = {}
    inputs = {p.resolve() for p, _ in names}
    for path, relative in names:
        stem = relative.with_name(relative.stem)
        if stem in seen:
            raise UsageError(
                f"{quoted(seen[stem])} and {quoted(path)} would both become {quoted(stem)}",
                fix="rename one, or encode them into two folders",
                code="same_output",
            )
        seen[stem] = path
        for codec in codecs:
            target = folder / relative.parent / encoded_name(path, codec)
            if target.resolve() in inputs:
                raise UsageError(f"{quoted(target)} is an input", fix="choose another --out", code="overlap")
            if target.exists() and not overwrite:
                raise UsageError(f"{quoted(target)} exists", fix="pass --overwrite, or another --out", code="exists")


def _encode_file(
    path: Path, folder: Path, codecs: Sequence[str], target: Target, *, keep_icc: bool
) -> tuple[Encoded, list[Finding]]:
    encoded, data, findings = encode_picture(path, codecs, target, keep_icc=keep_icc)
    out = folder / encoded_name(path, encoded.codec)
    write_bytes(out, data)
    return replace(encoded, out=out), findings


def encoded_name(path: Path, codec: str) -> str:
    """Return what an image is called once it is encoded.

    >>> encoded_name(Path("a/b.tiff"), "jpeg")
    'b.jpg'
    """
    return path.stem + extension_of(CODECS[codec].format)


def encode_picture(
    path: Path, codecs: Sequence[str], target: Target, *, keep_icc: bool
) -> tuple[Encoded, bytes, list[Finding]]:
    """Return one image encoded, as `encode_files` does it, without writing it: what it is, its bytes, what was lost.

    Raises:
        UnreadableImageError: it cannot be read.
        MissingExtraError: a codec is not installed.
    """
    info = probe_image(path)
    findings = []
    image: Pixels = read_image(path, colour="file" if keep_icc else "srgb")
    icc = read_profile(path) if keep_icc else None
    if info.mode in ("L", "1", "I;16", "LA"):
        image = np.ascontiguousarray(image[..., 0])
    lost = reading_losses(path, info)
    if "16" in info.mode:
        lost.append("the low byte of 16 bits")
    if lost:
        findings.append(lost_finding(path, lost))
    tried = _worth_trying(image, codecs, target, icc)
    found = [(*encode_to(image, codec, target, icc=icc), codec) for codec in tried]
    meeting = [f for f in found if f[3]]
    if target.kind == "bytes" and len(meeting) > 1 and min(image.shape[:2]) >= 8:
        # Several fit: the one that is closest to the original is the best use of the bytes.
        data, quality, chroma, meets, codec = max(meeting, key=lambda f: ssimulacra2(image, _decoded(f[0], image)))
    else:
        data, quality, chroma, meets, codec = min(meeting or found, key=lambda f: len(f[0]))
    decoded = _decoded(data, image)
    missed = ""
    if not meets and target.kind == "bytes":
        missed = f"expected at most {target.value:,.0f} bytes, found {len(data):,} at the lowest quality of {codec}"
    elif not meets:
        missed = f"no quality of {', '.join(codecs)} reaches {target}"
    measured = _measured(image, decoded)
    encoded = Encoded(
        path, None, codec, quality, chroma, image.shape[:2], path.stat().st_size, len(data), *measured, missed
    )
    if missed:
        findings.append(Finding("target_missed", missed, _LESS[target.kind], str(path)))
    if encoded.saved < 0:
        more = f"{encoded.bytes_in:,} bytes became {encoded.bytes_out:,}"
        findings.append(Finding("larger", more, "keep the original, or ask for less quality", str(path)))
    return encoded, data, findings


def _worth_trying(image: Pixels, codecs: Sequence[str], target: Target, icc: bytes | None) -> Sequence[str]:
    """Leave codecs out that a mosaic of a large picture shows to be far from the smallest."""
    if len(codecs) == 1 or target.kind in ("bytes", "quality") or image.shape[0] * image.shape[1] <= _LARGE:
        return codecs
    small = _mosaic(image)
    sizes = {}
    for codec in codecs:
        data, _, _, meets = encode_to(small, codec, target, icc=icc)
        if meets:
            sizes[codec] = len(data)
    return [c for c, size in sizes.items() if size <= _CLOSE * min(sizes.values())] or codecs


def _measured(image: Pixels, decoded: Pixels) -> tuple[float, float, float, float]:
    if min(image.shape[:2]) < 11:
        nothing = float("nan")
        return psnr(image, decoded), nothing, nothing, nothing
    return psnr(image, decoded), ssim(image, decoded), ms_ssim(image, decoded), ssimulacra2(image, decoded)
