"""Make the files of a source anonymous: names, order, what is left out, and what the whole came to."""

__all__ = ["NAMES", "AnonymousFiles", "anonymize_files"]

import hashlib
import posixpath
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import EyewrightError, InputError, UsageError, spelling_hint
from eyewright.core.extras import raise_if_only_missing
from eyewright.core.files import write_staged
from eyewright.core.progress import track_progress
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.core.walking import walk_files
from eyewright.imaging.clip_files import media_files
from eyewright.imaging.decode import file_bytes
from eyewright.imaging.encode import extension_of
from eyewright.imaging.headers import FORMATS
from eyewright.imaging.media import media_of
from eyewright.imaging.overlay import shrink
from eyewright.imaging.sources import list_sources
from eyewright.imaging.sources.files import is_video
from eyewright.imaging.video_facts import has_sound
from eyewright.processing.anonymous import HiddenFile, Hiding, anonymize_bytes, anonymize_video, scan_video
from eyewright.processing.hiding import hidden_mask

Names = Literal["keep", "hash"]
NAMES: tuple[Names, ...] = ("keep", "hash")
_MOST_SHOWN, _SHOWN_SIDE = 12, 240


@dataclass(frozen=True, eq=False)
class AnonymousFiles:
    """What a source came to: its files, findings, other files that were not copied, and a few of the anonymous images,
    small, by their new names."""

    files: tuple[HiddenFile, ...]
    findings: tuple[Finding, ...]
    others: tuple[str, ...]
    shown: tuple[tuple[str, NDArray[np.uint8]], ...]


def anonymize_files(
    source: str | Path, folder: Path, hiding: Hiding, *, names: Names = "keep", quiet: bool = True
) -> AnonymousFiles:
    """Write anonymous copies of a source's images and videos to a folder that is being built, in the same subfolders.

    With `names="hash"` a file is called by the digest of its new content. A file that cannot be made anonymous, or in
    whose copy something of the input is left, is not written and is a finding.

    Raises:
        UsageError: an unknown way of naming.
        InputError: there are no images and no videos.
    """
    if names not in NAMES:
        raise UsageError(f"unknown way of naming {names!r}", fix=spelling_hint(names, NAMES))
    paths, others = _listed(source)
    files: list[HiddenFile] = []
    findings: list[Finding] = []
    shown: list[tuple[str, NDArray[np.uint8]]] = []
    taken: Counter[str] = Counter()
    every = max(1, len(paths) // _MOST_SHOWN)
    with track_progress("anonymizing", len(paths), quiet=quiet) as advance:
        for k, (name, path) in enumerate(paths):
            try:
                if is_video(path):
                    done, left, small = _video(name, path, folder, hiding, names, taken, quiet)
                else:
                    done, left, small = _image(name, path, folder, hiding, names, taken)
            except EyewrightError as error:
                if error.exit_code == UsageError.exit_code:
                    raise
                findings.append(Finding(error.code, error.message, error.fix, str(path), severity="error"))
                continue
            finally:
                advance(1, path.name[:40])
            if left:
                findings.append(
                    Finding(
                        "residue",
                        f"the copy still holds {_residue_in_words(left)}: it is not written",
                        "report this with the file's format and the program that wrote it",
                        str(path),
                        severity="error",
                    )
                )
                continue
            files.append(done)
            findings += [
                Finding("changed", n, "nothing, if this is meant", str(path), severity="note") for n in done.notes
            ]
            if k % every == 0 and len(shown) < _MOST_SHOWN:
                shown.append((done.name, small))
    findings += _unknown_images(hiding, paths)
    raise_if_only_missing([f for f in findings if f.severity == "error"], len(files))
    return AnonymousFiles(tuple(files), tuple(findings), others, tuple(shown))


def _unknown_images(hiding: Hiding, paths: Sequence[tuple[str, Path]]) -> list[Finding]:
    """Return a finding where --boxes has images that the source does not have, such as misspelt names.

    It is an error where an image of the source is not in --boxes: that may be the one that was meant. Names are not
    quoted: reports show findings, and are passed on.
    """
    if hiding.boxes is None or hiding.boxes.video:
        return []
    keys = [hiding.boxes.key_of(name) for name, path in paths if not is_video(path)]
    known = {k for k in keys if k is not None}
    unknown = [boxes for name, boxes in hiding.boxes.named.items() if name not in known]
    if not unknown:
        return []
    text = (
        f"images in --boxes that are not in the source: {len(unknown):,}; their boxes hide nothing; the first: "
        f"{unknown[0].place}"
    )
    severity: Literal["error", "warning"] = "error" if None in keys else "warning"
    return [Finding("unknown_images", text, "check the names of images in --boxes", severity=severity)]


def _residue_in_words(left: Sequence[str]) -> str:
    """Return what is left in a copy without quoting it: reports show findings, and are passed on."""
    parts = [text for text in left if text.startswith("the part ")]
    words = parts[:3] + ([f"{len(parts) - 3} more parts"] if len(parts) > 3 else [])
    texts = len(left) - len(parts)
    words += [f"{texts} text{'s' * (texts != 1)} of the input's metadata"] if texts else []
    return ", ".join(words)


def _listed(source: str | Path) -> tuple[list[tuple[str, Path]], tuple[str, ...]]:
    """Return images and videos by their names in the source, and the names of other files in it."""
    root = Path(source)
    if root.is_dir():
        names, _ = walk_files(root)
        media = media_files(names, lambda name: media_of(root / name))
        if not media:
            raise InputError(
                f"expected images or videos in {quoted(source)}, found none", fix="check the folder", code="no_images"
            )
        return [(n, root / n) for n in media], tuple(sorted(set(names) - set(media)))
    if root.is_file() and is_video(root):
        return [(root.name, root)], ()
    if str(source) == "-":
        raise UsageError("expected files, found standard input", fix="pass a file, folder or glob")
    return [(Path(p).name, Path(p)) for p in list_sources(source)], ()


def _place(name: str, extension: str, content: str, names: Names, taken: Counter[str]) -> str:
    """Return the name of an output, which no other has."""
    folder, base = posixpath.split(name)
    stem, given = posixpath.splitext(base)
    same = any({given.lower(), extension} <= set(e) for e in FORMATS.values())
    ending = given if same and names == "keep" else extension
    wanted = posixpath.join(folder, (content[:24] if names == "hash" else stem) + ending)
    taken[wanted] += 1
    if taken[wanted] == 1:
        return wanted
    base, ending = posixpath.splitext(wanted)
    return _place(f"{base}-{taken[wanted]}{ending}", ending, content, "keep", taken)


def _image(
    name: str, path: Path, folder: Path, hiding: Hiding, names: Names, taken: Counter[str]
) -> tuple[HiddenFile, Sequence[str], NDArray[np.uint8]]:
    made = anonymize_bytes(file_bytes(path, hiding.limits), name, hiding)
    size = (made.pixels.shape[0], made.pixels.shape[1])
    place = name
    if not made.left:
        place = _place(name, extension_of(made.format), hashlib.sha256(made.data).hexdigest(), names, taken)
        write_staged(folder / place, made.data)
    share = float(hidden_mask(made.boxes, size).mean())
    done = HiddenFile(name, place, size, made.found, share, [made.boxes], notes=made.notes)
    return done, made.left, _small(made.pixels)


def _video(
    name: str, path: Path, folder: Path, hiding: Hiding, names: Names, taken: Counter[str], quiet: bool
) -> tuple[HiddenFile, Sequence[str], NDArray[np.uint8]]:
    scan = scan_video(path, hiding, quiet=quiet)
    with tempfile.TemporaryDirectory(prefix=".video-", dir=folder) as place:
        out = Path(place, "video.webm")
        share, left, shown = anonymize_video(path, out, scan, hiding, quiet=quiet)
        written = name
        if not left:
            digest = hashlib.sha256()
            with open(out, "rb") as file:
                while chunk := file.read(2**20):
                    digest.update(chunk)
            written = _place(name, ".webm", digest.hexdigest(), names, taken)
            (folder / written).parent.mkdir(parents=True, exist_ok=True)
            out.rename(folder / written)
    sound = {True: ("sound is not copied",), None: ("sound, if there is any, is not copied",), False: ()}[
        has_sound(path)
    ]
    notes = (*sound, *scan.notes)
    done = HiddenFile(name, written, scan.size_hw, scan.counts, share, scan.boxes, len(scan.boxes), notes)
    return done, left, _small(shown)


def _small(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    eight = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else np.asarray(pixels, np.uint8)
    colour = np.repeat(eight[..., None], 3, 2) if eight.ndim == 2 else eight
    return shrink(colour, _SHOWN_SIDE)
