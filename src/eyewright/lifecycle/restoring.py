"""Restore image files by a bundle: depth, transparency and greys stay as they were."""

__all__ = [
    "Restoration",
    "RestoredFile",
    "format_changes",
    "holding_path",
    "lost_frames",
    "restore",
    "write_layers",
]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import EyewrightError, InputError, OutputError, UsageError, spelling_hint
from eyewright.core.extras import import_extra
from eyewright.core.files import checked_output, write_bytes
from eyewright.core.progress import track_progress
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.imaging.decode import probe_image
from eyewright.imaging.encode import CLEAR_FORMATS, DEEP_FORMATS, WRITTEN, encode_image, extension_of
from eyewright.imaging.headers import FORMATS, Limits
from eyewright.imaging.layers import read_layers
from eyewright.processing.compression import named_files
from eyewright.processing.losses import lost_finding, reading_losses

PathLike = str | Path

_NOTHING = 0.75
"""Levels of noise below which a net for noise has nothing to do."""
_GIF_COLOURS = 256


@dataclass(frozen=True)
class RestoredFile:
    """One file: what it was made from, the measured noise in levels of 0-255, the mean absolute change as a fraction of
    the range, and whether it was left as it is."""

    source: Path
    out: Path
    sigma: float
    changed: float
    size_hw: tuple[int, int]
    untouched: bool = False


@dataclass(frozen=True)
class Restoration:
    """What `restore` made, and what was found: files that cannot be read, images with nothing to do."""

    folder: Path
    files: tuple[RestoredFile, ...]
    findings: tuple[Finding, ...]
    degrade: str


def restore(
    model: PathLike,
    sources: Sequence[PathLike],
    out: PathLike,
    *,
    strength: float = 1.0,
    sigma: float | None = None,
    tile: int | None = None,
    test_time_augment: bool = False,
    to: str | None = None,
    quality: float = 90,
    before_after: bool = False,
    map: bool = False,
    overwrite: bool = False,
    limits: Limits | None = None,
    quiet: bool = True,
) -> Restoration:
    """Restore images, folders or globs of them by a bundle of the task restore, and write them to a folder.

    16 bits stay 16, transparency is kept (enlarged by the bicubic filter where the net enlarges), grey stays grey. A
    file keeps its format, or gets that of `to`; a format that cannot hold what it must becomes PNG.

    Args:
        strength: the fraction of the change that is made, in [0, 1].
        sigma: the level of the noise in levels of 0-255; by default it is measured in each image.
        tile: the side of a tile, at most what the net takes; the result does not depend on it.
        test_time_augment: add the mean of what the net adds to 8 flips and rotations, in 8 times the time.
        before_after: also write NAME-before-after.png, the image and the result next to each other.
        map: also write NAME-map.png, how much was changed and where: grey, 8 times the difference.

    Raises:
        UsageError: the bundle does something else, a value out of its range, outputs that exist without `overwrite`.
        InputError: nothing is there.
    """
    from eyewright.bundle.restoring import open_restorer

    if not 0 <= strength <= 1:
        raise UsageError(f"expected a strength in [0, 1], found {strength:g}", fix="change --strength")
    if sigma is not None and not 0 <= sigma <= 100:
        raise UsageError(f"expected a sigma in [0, 100], found {sigma:g}", fix="change --sigma")
    format = _format_named(to)
    restorer = open_restorer(str(model))
    folder, limits = Path(out), limits or Limits()
    jobs = list(_planned(sources, folder, format))
    if not overwrite and (there := next((o for _, o in jobs if o.exists()), None)) is not None:
        raise UsageError(f"{quoted(there)} exists", fix="pass --overwrite, or another --out", code="exists")
    planned = {target for _, target in jobs}
    with checked_output(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files: list[RestoredFile] = []
    findings: list[Finding] = []
    noisy = restorer.degradation.noisy and restorer.degradation.made and len(restorer.degradation.parts) == 1
    with track_progress("restoring", len(jobs), quiet=quiet) as advance:
        for source, target in jobs:
            try:
                image, alpha = read_layers(source, limits)
                done = restorer(image, strength=strength, sigma=sigma, tile=tile, test_time_augment=test_time_augment)
                untouched = noisy and sigma is None and done.sigma < _NOTHING
                result = image if untouched else done.image
                clear = _alpha_for(alpha, result)
                made = holding_path(target, result, clear)
                if made != target and (made in planned or (made.exists() and not overwrite)):
                    raise InputError(
                        f"{target.suffix} cannot hold its depth or transparency, and {made.name} is taken",
                        fix="rename the file, or pass --to png or another --out",
                        code="same_output",
                    )
                planned.add(made)
                findings += lost_frames(source, limits)
                findings += format_changes(target, made, result, clear, source)
                path = write_layers(target, result, clear, quality)
                if before_after:
                    shown = _in_8_bits(_enlarged(image, result.shape[:2]))
                    _write_png(path, "before-after", np.concatenate([shown, _in_8_bits(result)], 1))
                if map:
                    _write_png(path, "map", _change_map(image, result))
            except OutputError:
                raise
            except UsageError:
                raise
            except EyewrightError as error:
                findings.append(Finding(error.code, error.message, error.fix, str(source), severity="error"))
                advance(1, source.name[:40])
                continue
            if untouched:
                text = f"there is hardly any noise ({done.sigma:.2f} levels): the image is unchanged"
                findings.append(
                    Finding("nothing_to_do", text, "pass --sigma to denoise it anyway", str(source), severity="note")
                )
            changed = 0.0 if untouched else done.changed
            files.append(RestoredFile(source, path, done.sigma, changed, result.shape[:2], untouched))
            advance(1, source.name[:40])
    return Restoration(folder, tuple(files), tuple(findings), str(restorer.degradation))


def _format_named(to: str | None) -> str | None:
    if to is None:
        return None
    name = {"JPG": "JPEG", "TIF": "TIFF", "JP2": "JPEG2000"}.get(to.upper(), to.upper())
    if name not in WRITTEN:
        raise UsageError(f"the format {to!r} cannot be written", fix=spelling_hint(name, WRITTEN))
    return name


def _planned(sources: Sequence[PathLike], folder: Path, format: str | None) -> Iterator[tuple[Path, Path]]:
    """Yield which file becomes which. The folders below a source are kept.

    Of several sources with files of one name, the later ones get the name of their source in front; files that differ
    only in their extension get it at the end of their name.
    """
    taken: dict[Path, Path] = {}
    for source in sources:
        named = named_files(source)
        if not named:
            raise UsageError("expected files, found standard input", fix="pass a file, folder or glob")
        for path, relative in named:
            kept = format or next((n for n, exts in FORMATS.items() if path.suffix.lower() in exts), "PNG")
            kept = kept if kept in WRITTEN else "PNG"
            suffix = path.suffix if path.suffix.lower() in FORMATS[kept] else extension_of(kept)
            above = Path(source).name if Path(source).is_dir() else path.parent.name
            plain = relative.with_name(f"{path.stem}{suffix}")
            full = relative.with_name(f"{path.stem}-{path.suffix.lstrip('.').lower()}{suffix}")
            places = [folder / plain, folder / above / plain, folder / full, folder / above / full]
            if taken.get(places[0]) is not None and taken[places[0]].parent == path.parent:
                places = [folder / full]
            target = next((p for p in places if p not in taken), places[0])
            if target in taken or target.resolve() == path.resolve():
                why = "another file becomes" if target in taken else "is the input itself"
                raise UsageError(
                    f"{quoted(path)} would become {quoted(target)}, which {why}",
                    fix="choose another --out, or restore folder by folder",
                    code="same_output",
                )
            taken[target] = path
            yield path, target


def lost_frames(source: Path, limits: Limits) -> list[Finding]:
    """Return the note about frames after the first, which `read_layers` leaves out; empty where there are none."""
    lost = reading_losses(source, probe_image(source, limits=limits), limits=limits, keeps_clear=True)
    return [lost_finding(source, lost, "write them as images with eyewright process --pages")] if lost else []


def _enlarged(image: NDArray[Any], size_hw: tuple[int, int]) -> NDArray[Any]:
    if image.shape[:2] == size_hw:
        return image
    cv2 = import_extra("cv2", extra="pixels", what="enlarging images")
    larger: NDArray[Any] = cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
    return larger


def _alpha_for(alpha: NDArray[Any] | None, result: NDArray[Any]) -> NDArray[Any] | None:
    return None if alpha is None else _enlarged(alpha, result.shape[:2])


def holding_path(path: Path, image: NDArray[Any], alpha: NDArray[Any] | None) -> Path:
    """Return the path, or the same with .png where the format of its name cannot hold an image and its opacity."""
    format = _format_of(path)
    deep = image.dtype == np.uint16
    unclear = alpha is not None and (format not in CLEAR_FORMATS or (deep and format == "WEBP"))
    return path.with_suffix(".png") if unclear or (deep and format not in DEEP_FORMATS) else path


def format_changes(
    asked: Path, made: Path, image: NDArray[Any], alpha: NDArray[Any] | None, source: Path
) -> list[Finding]:
    """Return the note that an image is written as PNG because the format of the name `asked` for cannot hold it, or
    that a GIF keeps fewer of its colours; empty where neither is so."""
    if made != asked:
        held = [*(["16 bits"] if image.dtype == np.uint16 else []), *(["transparency"] if alpha is not None else [])]
        text = f"{_format_of(asked)} cannot hold its {' and '.join(held)}: written as {made.name}"
        return [Finding("format_changed", text, "", str(source), severity="note")]
    if _format_of(made) == "GIF" and _colours_of(image) > _GIF_COLOURS:
        text = f"GIF keeps {_GIF_COLOURS} of its {_colours_of(image):,} colours"
        return [Finding("format_loses", text, "write it as png to keep all", str(source), severity="note")]
    return []


def _colours_of(image: NDArray[Any]) -> int:
    planes = image if image.ndim == 3 else image[..., None]
    packed = np.zeros(planes.shape[:2], np.uint32)
    for colour in range(planes.shape[2]):
        packed = packed << np.uint32(8) | planes[..., colour]
    return len(np.unique(packed))


def _format_of(path: Path) -> str:
    return next(n for n, exts in FORMATS.items() if path.suffix.lower() in exts)


def write_layers(path: Path, image: NDArray[Any], alpha: NDArray[Any] | None, quality: float) -> Path:
    """Write an image in the format of its name, or as PNG where that cannot hold it; return the path."""
    path = holding_path(path, image, alpha)
    format = _format_of(path)
    if alpha is not None:
        colour = image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)
        image = np.concatenate([colour, alpha[..., None]], 2)
    fast = {"png_level": 6} if format == "PNG" else {}
    write_bytes(path, encode_image(image, format=format, quality=quality, **fast))  # type: ignore[arg-type]
    return path


def _write_png(path: Path, what: str, image: NDArray[np.uint8]) -> None:
    write_bytes(path.with_name(f"{path.stem}-{what}.png"), encode_image(image, png_level=6))


def _in_8_bits(image: NDArray[Any]) -> NDArray[np.uint8]:
    eight = image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8)
    return eight if eight.ndim == 3 else np.repeat(eight[..., None], 3, 2)


def _change_map(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.uint8]:
    """Return how much was changed, 8 times, uint8 (H, W): of several colours that of the most changed one."""
    first, second = _in_8_bits(_enlarged(before, after.shape[:2])), _in_8_bits(after)
    out = np.empty(second.shape[:2], np.uint8)
    for start in range(0, len(out), 256):
        rows = slice(start, start + 256)
        apart = np.abs(first[rows].astype(np.int16) - second[rows]).max(2)
        out[rows] = np.minimum(255, 8 * apart)
    return out
